//! Graph of calls: how deep each is in its frame, and the deepest path.
//!
//! **Invariant:** a cycle is an error unless one of its functions has a bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Bytes of stack that it takes itself.
    pub deepest: u64,
    /// The same, where interrupts may come.
    pub deepest_interruptible: Option<u64>,
    /// Whom it calls.
    pub edges: Vec<Edge>,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Node that is called.
    pub to: usize,
    /// Bytes of stack that the caller has taken by then.
    pub depth: u64,
    /// Whether interrupts may come in the callee.
    pub interruptible: bool,
    /// Why a path ends here.
    pub end: Option<End>,
}

/// Why a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The call is made only when enough of the stack is left.
    Checked,
    /// Nobody returns from the call.
    Fatal,
}

/// What holds for a search.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// How often a node is on one path at most.
    pub times: BTreeMap<usize, u32>,
    /// Nodes of these that are on no path behind one of these.
    pub never_in: BTreeMap<usize, BTreeSet<usize>>,
    /// Bytes that an interrupt takes.
    pub interrupt: u64,
}

/// A path through the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Bytes of stack.
    pub bytes: u64,
    /// Its nodes, and what each takes of the bytes.
    pub steps: Vec<(usize, u64)>,
    /// Whether an interrupt comes on top.
    pub interrupted: bool,
}

/// Functions that call each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recursion(pub Vec<String>);

impl fmt::Display for Recursion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recursion without a bound: {}", self.0.join(" -> "))
    }
}

impl std::error::Error for Recursion {}

/// Functions and their calls.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Functions.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The path from `from` that takes the most bytes.
    ///
    /// # Errors
    /// Recursion without a bound.
    pub fn deepest(&self, from: usize, bounds: &Bounds) -> Result<Path, Recursion> {
        let path = Search::new(self, bounds, None).run(from)?;
        Ok(path.unwrap_or(Path {
            bytes: 0,
            steps: Vec::new(),
            interrupted: false,
        }))
    }

    /// The path from `from` to a checked call of `to` that takes the most bytes.
    ///
    /// # Errors
    /// Recursion without a bound.
    pub fn deepest_to(
        &self,
        from: usize,
        to: usize,
        bounds: &Bounds,
    ) -> Result<Option<Path>, Recursion> {
        Search::new(self, bounds, Some(to)).run(from)
    }

    /// Nodes that no path from `roots` leads to.
    #[must_use]
    pub fn unreached(&self, roots: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut reached = vec![false; self.nodes.len()];
        let mut waiting: Vec<usize> = roots.into_iter().collect();
        while let Some(node) = waiting.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                waiting.extend(self.nodes[node].edges.iter().map(|edge| edge.to));
            }
        }
        (0..reached.len()).filter(|node| !reached[*node]).collect()
    }

    /// Whether a node can come to call itself.
    #[must_use]
    pub fn is_recursive(&self, node: usize) -> bool {
        let callees = self.nodes[node].edges.iter().map(|edge| edge.to);
        !self.unreached(callees).contains(&node)
    }
}

/// How often each node with a bound may still come.
type Left = Vec<u32>;

/// The best way on from a node.
#[derive(Clone, Copy)]
struct Best {
    bytes: u64,
    /// The edge to take, none to stay.
    edge: Option<usize>,
    interrupted: bool,
}

struct Search<'a> {
    graph: &'a Graph,
    bounds: &'a Bounds,
    /// The node whose checked call is looked for; `None`: any path.
    to: Option<usize>,
    found: HashMap<(usize, Left), Option<Best>>,
    path: Vec<(usize, Left)>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, bounds: &'a Bounds, to: Option<usize>) -> Self {
        Self {
            graph,
            bounds,
            to,
            found: HashMap::new(),
            path: Vec::new(),
        }
    }

    fn run(mut self, from: usize) -> Result<Option<Path>, Recursion> {
        let left: Left = self.bounds.times.values().copied().collect();
        let left = self.entered(from, &left).unwrap_or(left);
        let Some(best) = self.best(from, &left)? else {
            return Ok(None);
        };
        let mut path = Path {
            bytes: best.bytes,
            steps: Vec::new(),
            interrupted: best.interrupted,
        };
        let (mut node, mut left, mut best) = (from, left, best);
        while let Some(edge) = best.edge {
            let edge = &self.graph.nodes[node].edges[edge];
            path.steps.push((node, edge.depth));
            if edge.end.is_some() {
                return Ok(Some(path));
            }
            left = self.entered(edge.to, &left).unwrap_or(left);
            node = edge.to;
            match self.found.get(&(node, left.clone())) {
                Some(Some(next)) => best = *next,
                _ => break,
            }
        }
        path.steps.push((node, best.bytes));
        Ok(Some(path))
    }

    /// What is left when `node` is entered; `None` when it may not be entered again.
    fn entered(&self, node: usize, left: &Left) -> Option<Left> {
        let mut left = left.clone();
        if let Some(index) = self.bounds.times.keys().position(|bound| *bound == node) {
            left[index] = left[index].checked_sub(1)?;
        }
        if let Some(never) = self.bounds.never_in.get(&node) {
            for (left, bound) in left.iter_mut().zip(self.bounds.times.keys()) {
                if never.contains(bound) {
                    *left = 0;
                }
            }
        }
        Some(left)
    }

    fn best(&mut self, node: usize, left: &Left) -> Result<Option<Best>, Recursion> {
        let key = (node, left.clone());
        if let Some(found) = self.found.get(&key) {
            return Ok(*found);
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == key) {
            let circle = self.path[start..].iter().chain([&key]);
            let names = circle.map(|(node, _)| self.graph.nodes[*node].name.clone());
            return Err(Recursion(names.collect()));
        }
        self.path.push(key.clone());
        let graph = self.graph;
        let mut best = self.to.is_none().then(|| self.own(&graph.nodes[node]));
        for (index, edge) in graph.nodes[node].edges.iter().enumerate() {
            let Some((on, interrupted)) = self.onward(edge, left)? else {
                continue;
            };
            let bytes = edge.depth + on;
            if best.is_none_or(|best| bytes > best.bytes) {
                best = Some(Best {
                    bytes,
                    edge: Some(index),
                    interrupted,
                });
            }
        }
        self.path.pop();
        self.found.insert(key, best);
        Ok(best)
    }

    /// A path that ends in the node.
    fn own(&self, node: &Node) -> Best {
        let open = node
            .deepest_interruptible
            .map(|deepest| deepest + self.bounds.interrupt);
        Best {
            bytes: node.deepest.max(open.unwrap_or(0)),
            edge: None,
            interrupted: open.is_some_and(|open| open > node.deepest),
        }
    }

    /// Bytes behind a call, and whether an interrupt is among them.
    fn onward(&mut self, edge: &Edge, left: &Left) -> Result<Option<(u64, bool)>, Recursion> {
        let interrupt = if edge.interruptible && self.to.is_none() {
            self.bounds.interrupt
        } else {
            0
        };
        if let Some(end) = edge.end {
            let counts = self
                .to
                .is_none_or(|to| end == End::Checked && to == edge.to);
            return Ok(counts.then_some((interrupt, interrupt > 0)));
        }
        let Some(left) = self.entered(edge.to, left) else {
            return Ok(None);
        };
        let best = self.best(edge.to, &left)?;
        Ok(best.map(|best| (best.bytes + interrupt, best.interrupted || interrupt > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(bytes, [(callee, depth)])` for each node; its name is its number.
    fn graph(nodes: &[(u64, &[(usize, u64)])]) -> Graph {
        let nodes = nodes.iter().enumerate().map(|(n, (deepest, edges))| Node {
            name: n.to_string(),
            deepest: *deepest,
            deepest_interruptible: None,
            edges: edges
                .iter()
                .map(|&(to, depth)| Edge {
                    to,
                    depth,
                    interruptible: false,
                    end: None,
                })
                .collect(),
        });
        Graph {
            nodes: nodes.collect(),
        }
    }

    fn times(node: usize, times: u32) -> Bounds {
        Bounds {
            times: [(node, times)].into(),
            ..Bounds::default()
        }
    }

    #[test]
    fn depth_counts_where_the_call_is() {
        // The large frame is given back before the call.
        let graph = graph(&[(100, &[(1, 16), (2, 100)]), (50, &[]), (8, &[])]);
        let path = graph.deepest(0, &Bounds::default()).unwrap();
        assert_eq!((path.bytes, path.steps), (108, vec![(0, 100), (2, 8)]));
    }

    #[test]
    fn recursion_needs_a_bound_which_multiplies() {
        let graph = graph(&[(16, &[(1, 16)]), (32, &[(2, 32)]), (64, &[(1, 64)])]);
        let refused = graph.deepest(0, &Bounds::default()).unwrap_err();
        assert_eq!(
            refused,
            Recursion(["1", "2", "1"].map(str::to_owned).into())
        );
        let bytes = |bounds| graph.deepest(0, &bounds).unwrap().bytes;
        assert_eq!(bytes(times(1, 1)), 16 + 32 + 64);
        assert_eq!(bytes(times(1, 3)), 16 + 3 * (32 + 64));
        assert!(graph.is_recursive(1) && !graph.is_recursive(0));
    }

    #[test]
    fn what_is_never_in_a_function_is_on_no_path_behind_it() {
        let graph = graph(&[
            (16, &[(1, 16), (2, 16)]),
            (32, &[(2, 32)]),
            (64, &[(3, 64)]),
            (128, &[(1, 128)]),
        ]);
        let mut bounds = times(1, 1);
        bounds.times.insert(3, 2);
        assert_eq!(
            graph.deepest(0, &bounds).unwrap().bytes,
            16 + 64 + 128 + 32 + 64 + 128
        );
        bounds.never_in.insert(3, [1].into());
        assert_eq!(graph.deepest(0, &bounds).unwrap().bytes, 16 + 32 + 64 + 128);
    }

    #[test]
    fn a_bound_elsewhere_does_not_help() {
        let graph = graph(&[(16, &[(1, 16)]), (32, &[(1, 32)])]);
        assert!(graph.deepest(0, &times(0, 1)).is_err());
    }

    #[test]
    fn paths_stop_at_ends_and_are_measured_to_checked_calls() {
        let mut graph = graph(&[
            (16, &[(1, 16), (2, 8)]),
            (32, &[(2, 24)]),
            (1000, &[(0, 900)]),
        ]);
        // From the one place behind a check, the other is followed, and comes back to a checked call.
        graph.nodes[1].edges[0].end = Some(End::Checked);
        graph.nodes[2].edges[0].end = Some(End::Checked);
        let bounds = Bounds::default();
        assert_eq!(graph.deepest(0, &bounds).unwrap().bytes, 8 + 1000);
        let path = graph.deepest_to(0, 2, &bounds).unwrap().unwrap();
        assert_eq!((path.bytes, path.steps), (40, vec![(0, 16), (1, 24)]));
        let path = graph.deepest_to(0, 0, &bounds).unwrap().unwrap();
        assert_eq!((path.bytes, path.steps), (908, vec![(0, 8), (2, 900)]));
        graph.nodes[0].edges[1].end = Some(End::Fatal);
        assert_eq!(graph.deepest(0, &bounds).unwrap().bytes, 48);
        assert_eq!(graph.deepest_to(0, 0, &bounds).unwrap(), None);
    }

    #[test]
    fn an_interrupt_comes_where_it_may() {
        let mut graph = graph(&[(100, &[(1, 40)]), (50, &[])]);
        graph.nodes[0].edges[0].interruptible = true;
        let bounds = Bounds {
            interrupt: 1000,
            ..Bounds::default()
        };
        let path = graph.deepest(0, &bounds).unwrap();
        assert_eq!((path.bytes, path.interrupted), (1090, true));
        graph.nodes[0].edges[0].interruptible = false;
        assert_eq!(graph.deepest(0, &bounds).unwrap().bytes, 100);
        graph.nodes[1].deepest_interruptible = Some(10);
        assert_eq!(graph.deepest(0, &bounds).unwrap().bytes, 40 + 1010);
    }

    #[test]
    fn what_nothing_calls_is_found() {
        let graph = graph(&[(0, &[(1, 0)]), (0, &[(0, 0)]), (0, &[(1, 0)])]);
        assert_eq!(graph.unreached([0]), [2]);
    }
}

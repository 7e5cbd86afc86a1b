//! The bound of each stack: what a program's entries take at most, and what a check of the stack must leave.
//!
//! **Invariant:** whatever the plan names is in the program, and whatever changes stacks, recurses or calls indirectly is
//! in the plan; the rest is complaints.

use crate::calls::{Calls, Rule, resolve};
use crate::flow::{Flow, flows};
use crate::graph::{Bounds, End, Path};
use crate::program::{Program, names};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use tally_symbols::dwarf::Frame;

/// What is known of a program beside its code. A function is named by the last part of its path or more of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Where the machine enters assembly.
    pub doors: &'a [Door<'a>],
    /// Functions that return by a way that their code does not show.
    pub resumed: &'a [&'a str],
    /// Where stacks begin.
    pub entries: &'a [Entry<'a>],
    /// The door through which interrupts come, on the stack of whom they interrupt.
    pub interrupt: Option<&'a str>,
    /// Whom indirect calls may call.
    pub rules: &'a [Rule<'a>],
    /// Recursion, and its bounds.
    pub recursions: &'a [Recursion<'a>],
    /// What is on no path behind something else.
    pub nevers: &'a [Never<'a>],
    /// Checks of the stack.
    pub checks: &'a [Check<'a>],
    /// What is called again and again behind a check.
    pub nesting: Option<Nested<'a>>,
    /// Functions that nothing calls, though something points to them.
    pub uncalled: &'a [&'a str],
}

/// A place where the machine enters assembly, or several.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// The symbol.
    pub symbol: &'a str,
    /// How many places there are.
    pub count: u64,
    /// Bytes between them.
    pub step: u64,
}

/// A call on a stack that is empty but for `above` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The assembly that changes to the stack.
    pub from: &'a str,
    /// The function that it calls there.
    pub to: &'a str,
    /// The stack.
    pub stack: &'a str,
    /// The symbol whose value is the stack's size in bytes.
    pub size: &'a str,
    /// The symbol whose value is what is taken of the stack already, beside what the assembly takes.
    pub above: Option<&'a str>,
}

/// A recursion.
#[derive(Clone, Copy, Debug)]
pub struct Recursion<'a> {
    /// One function of each circle.
    pub function: &'a str,
    /// How often it is on the stack at most.
    pub times: u32,
}

/// What a function never calls, nor what it calls.
#[derive(Clone, Copy, Debug)]
pub struct Never<'a> {
    /// The function.
    pub function: &'a str,
    /// Functions with a bound of their own.
    pub calls: &'a [&'a str],
}

/// A check of how much of a stack is left.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The function that checks.
    pub function: &'a str,
    /// The symbol whose value is how many bytes must be left.
    pub reserve: &'a str,
    /// Functions that are called behind the check alone, or by each other.
    pub checked: &'a [&'a str],
}

/// Calls in one another, each behind a check.
#[derive(Clone, Copy, Debug)]
pub struct Nested<'a> {
    /// Number of the check.
    pub check: usize,
    /// The checked functions that come back to themselves.
    pub again: &'a [&'a str],
    /// The entry from which all this is called.
    pub entry: &'a str,
}

/// A path with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Bytes of stack.
    pub bytes: u64,
    /// Functions and what each takes, outermost first.
    pub steps: Vec<(String, u64)>,
    /// Bytes of these that an interrupt takes.
    pub interrupt: u64,
}

/// What an entry takes at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The entry.
    pub entry: String,
    /// Its stack.
    pub stack: String,
    /// Bytes of the stack.
    pub size: u64,
    /// The deepest path.
    pub chain: Chain,
}

/// What runs behind a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The function that checks.
    pub check: String,
    /// Bytes that it leaves.
    pub reserve: u64,
    /// What the checked function that takes most takes, up to the next check.
    pub chain: Chain,
}

/// How often a checked function is called in itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nesting {
    /// From the entry to the first checked call.
    pub first: Chain,
    /// From one checked call to the next.
    pub level: Chain,
    /// Checked calls that the stack has room for in one another.
    pub levels: u64,
    /// Bytes that these take with all that runs in the last one.
    pub bytes: u64,
    /// Bytes of the stack.
    pub size: u64,
}

/// All bounds of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries, in the plan's order.
    pub rows: Vec<Row>,
    /// What an interrupt takes of the stack of whom it interrupts.
    pub interrupt: Chain,
    /// What never returns, such as a panic: it comes on top of all else.
    pub fatal: Chain,
    /// Checks, in the plan's order.
    pub checks: Vec<Behind>,
    /// Calls in one another.
    pub nesting: Option<Nesting>,
    /// Functions by their own bytes, largest first.
    pub frames: Vec<(String, u64)>,
    /// What is wrong.
    pub complaints: Vec<String>,
}

/// What symbols and debug information say of a program.
pub struct Names<'a> {
    /// The value of a symbol.
    pub symbol: &'a dyn Fn(&str) -> Option<u64>,
    /// The functions at an address, innermost first.
    pub frames: &'a dyn Fn(u64) -> Vec<Frame>,
}

impl Names<'_> {
    fn symbol(&self, name: &str) -> Result<u64> {
        (self.symbol)(name).with_context(|| format!("there is no symbol {name}"))
    }
}

/// Finds all bounds.
///
/// # Errors
/// A program whose code cannot be followed, or that has recursion without a bound.
pub fn report(program: &Program, names: &Names<'_>, plan: &Plan<'_>) -> Result<Report> {
    let mut doors = BTreeMap::new();
    for door in plan.doors {
        let at = names.symbol(door.symbol)?;
        let places = (0..door.count).map(|n| at + n * door.step).collect();
        doors.insert(at, places);
    }
    let resumed = plan.resumed.iter().map(|name| names.symbol(name));
    let resumed = resumed.collect::<Result<BTreeSet<u64>>>()?;
    let flows = flows(program, &doors, resumed)?;
    let calls = resolve(program, &flows, plan.rules, names.frames);
    let mut work = Work {
        names,
        plan,
        flows: &flows,
        calls,
        bounds: Bounds::default(),
        report: Report::default(),
    };
    work.run(doors.keys().copied().collect())?;
    work.report.complaints.append(&mut work.calls.complaints);
    Ok(work.report)
}

struct Work<'a> {
    names: &'a Names<'a>,
    plan: &'a Plan<'a>,
    flows: &'a BTreeMap<u64, Flow>,
    calls: Calls,
    bounds: Bounds,
    report: Report,
}

impl Work<'_> {
    fn complain(&mut self, what: impl Into<String>) {
        self.report.complaints.push(what.into());
    }

    /// Nodes of a function; complains when there are none.
    fn find(&mut self, name: &str) -> BTreeSet<usize> {
        let nodes = self.calls.graph.nodes.iter().enumerate();
        let found: BTreeSet<usize> = nodes
            .filter_map(|(n, node)| is_named(&node.name, name).then_some(n))
            .collect();
        if found.is_empty() {
            self.complain(format!(
                "the plan names {name}, which is not in the program"
            ));
        }
        found
    }

    fn run(&mut self, doors: Vec<u64>) -> Result<()> {
        let plan = self.plan;
        for recursion in plan.recursions {
            for node in self.find(recursion.function) {
                self.bounds.times.insert(node, recursion.times);
            }
        }
        for Never { function, calls } in plan.nevers {
            for name in *calls {
                let never = self.find(name);
                for node in self.find(function) {
                    self.bounds.never_in.entry(node).or_default().extend(&never);
                }
            }
        }
        // Before paths end at checks: each bound is of a circle that there is.
        let bounded: Vec<usize> = self.bounds.times.keys().copied().collect();
        for node in bounded {
            if !self.calls.graph.is_recursive(node) {
                let name = self.calls.graph.nodes[node].name.clone();
                self.complain(format!(
                    "the plan bounds the recursion of {name}, which has none"
                ));
            }
        }
        let margins: Vec<_> = plan
            .checks
            .iter()
            .map(|check| self.mark_checked(check))
            .collect();
        if let Some(interrupt) = plan.interrupt {
            for node in self.find(interrupt) {
                let path = self.calls.graph.deepest(node, &self.bounds)?;
                self.report.interrupt = self.deeper(&path, 0, &self.report.interrupt);
            }
        }
        self.bounds.interrupt = self.report.interrupt.bytes;
        let mut roots: Vec<usize> = doors.iter().filter_map(|at| self.node_at(*at)).collect();
        self.rows(&mut roots)?;
        let edges = self.calls.graph.nodes.iter().flat_map(|node| &node.edges);
        let fatal = edges.filter(|edge| edge.end == Some(End::Fatal));
        for node in fatal.map(|edge| edge.to).collect::<BTreeSet<_>>() {
            let path = self.calls.graph.deepest(node, &self.bounds)?;
            self.report.fatal = self.deeper(&path, 0, &self.report.fatal);
        }
        for (check, margins) in plan.checks.iter().zip(&margins) {
            self.behind(check, margins)?;
        }
        if let Some(nested) = &plan.nesting {
            self.nesting(nested)?;
        }
        self.uncalled(roots);
        let nodes = self.calls.graph.nodes.iter();
        self.report.frames = nodes
            .map(|node| (node.name.clone(), node.deepest))
            .collect();
        self.report
            .frames
            .sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Ok(())
    }

    fn node_at(&self, at: u64) -> Option<usize> {
        self.calls.addresses.binary_search(&at).ok()
    }

    /// A path of which `above` bytes are taken already, if it is deeper than what was found so far.
    fn deeper(&self, path: &Path, above: u64, so_far: &Chain) -> Chain {
        if path.bytes + above < so_far.bytes {
            return so_far.clone();
        }
        let mut steps: Vec<(String, u64)> = Vec::new();
        if above > 0 {
            steps.push(("(above)".to_owned(), above));
        }
        let named = path
            .steps
            .iter()
            .map(|(node, bytes)| (self.calls.graph.nodes[*node].name.clone(), *bytes));
        steps.extend(named);
        let interrupt = if path.interrupted {
            self.bounds.interrupt
        } else {
            0
        };
        Chain {
            bytes: path.bytes + above,
            steps,
            interrupt,
        }
    }

    fn rows(&mut self, roots: &mut Vec<usize>) -> Result<()> {
        let plan = self.plan;
        let mut explained = vec![false; self.calls.entries.len()];
        for entry in plan.entries {
            let size = self.names.symbol(entry.size)?;
            let above = match entry.above {
                Some(name) => self.names.symbol(name)?,
                None => 0,
            };
            let mut chain = Chain::default();
            for (n, found) in self.calls.entries.clone().into_iter().enumerate() {
                let nodes = &self.calls.graph.nodes;
                if is_named(&nodes[found.from].name, entry.from)
                    && (entry.to.is_empty() || is_named(&nodes[found.to].name, entry.to))
                {
                    explained[n] = true;
                    roots.push(found.to);
                    let path = self.calls.graph.deepest(found.to, &self.bounds)?;
                    chain = self.deeper(&path, above + found.depth, &chain);
                }
            }
            if chain.steps.is_empty() {
                self.complain(format!(
                    "{} does not call {} on another stack",
                    entry.from, entry.to
                ));
            }
            if chain.bytes > size {
                self.complain(format!(
                    "{}: {} bytes on a stack of {size}",
                    entry.name, chain.bytes
                ));
            }
            self.report.rows.push(Row {
                entry: entry.name.to_owned(),
                stack: entry.stack.to_owned(),
                size,
                chain,
            });
        }
        for (found, _) in self
            .calls
            .entries
            .clone()
            .iter()
            .zip(explained)
            .filter(|(_, explained)| !explained)
        {
            let nodes = &self.calls.graph.nodes;
            let what = format!(
                "no entry of the plan is {} calling {}",
                nodes[found.from].name, nodes[found.to].name
            );
            self.complain(what);
        }
        Ok(())
    }

    /// Ends paths at calls behind a check. Returns how much deeper than its check each checked function is called.
    fn mark_checked(&mut self, check: &Check<'_>) -> BTreeMap<usize, u64> {
        let mut margins = BTreeMap::new();
        for name in check.checked {
            margins.extend(self.find(name).into_iter().map(|node| (node, 0)));
        }
        for from in 0..self.calls.graph.nodes.len() {
            if margins.contains_key(&from) {
                continue;
            }
            for edge in 0..self.calls.graph.nodes[from].edges.len() {
                let call = self.calls.graph.nodes[from].edges[edge];
                let Some(margin) = margins.get(&call.to).copied() else {
                    continue;
                };
                match self.check_depth(from, check) {
                    Some(depth) => {
                        self.calls.graph.nodes[from].edges[edge].end = Some(End::Checked);
                        margins.insert(call.to, margin.max(call.depth.saturating_sub(depth)));
                    }
                    None => {
                        let nodes = &self.calls.graph.nodes;
                        let what = format!(
                            "{} calls {} without {}",
                            nodes[from].name, nodes[call.to].name, check.function
                        );
                        self.complain(what);
                    }
                }
            }
        }
        margins
    }

    /// How deep the stack pointer is in a function where the check reads it.
    fn check_depth(&self, node: usize, check: &Check<'_>) -> Option<u64> {
        let flow = self.flows.get(&self.calls.addresses[node])?;
        let inlined = flow.stack_pointers.iter().filter(|(at, _)| {
            let mut frames = (self.names.frames)(**at).into_iter();
            frames.any(|frame| frame.function.contains(check.function))
        });
        let inlined = inlined.map(|(_, depth)| *depth);
        let nodes = &self.calls.graph.nodes;
        let called = nodes[node]
            .edges
            .iter()
            .filter(|edge| is_named(&nodes[edge.to].name, check.function));
        inlined.chain(called.map(|edge| edge.depth)).min()
    }

    /// What the functions take that are called behind a check.
    fn behind(&mut self, check: &Check<'_>, margins: &BTreeMap<usize, u64>) -> Result<()> {
        let reserve = self.names.symbol(check.reserve)?;
        let mut deepest = Chain::default();
        for (&node, &margin) in margins {
            let path = self.calls.graph.deepest(node, &self.bounds)?;
            deepest = self.deeper(&path, margin, &deepest);
        }
        if deepest.bytes > reserve {
            let what = format!(
                "{} leaves {reserve} bytes, and {} are taken behind it",
                check.function, deepest.bytes
            );
            self.complain(what);
        }
        self.report.checks.push(Behind {
            check: check.function.to_owned(),
            reserve,
            chain: deepest,
        });
        Ok(())
    }

    fn nesting(&mut self, nested: &Nested<'_>) -> Result<()> {
        let mut nesting = Nesting::default();
        let names = nested.again.iter();
        let again: BTreeSet<usize> = names.flat_map(|name| self.find(name)).collect();
        let entry = self
            .plan
            .entries
            .iter()
            .find(|entry| entry.name == nested.entry);
        let Some(entry) = entry else {
            anyhow::bail!("the plan has no entry {}", nested.entry);
        };
        let above = entry.above.map_or(Ok(0), |name| self.names.symbol(name))?;
        let begin = self.find(entry.to);
        for &to in &again {
            for &from in &begin {
                if let Some(path) = self.calls.graph.deepest_to(from, to, &self.bounds)? {
                    nesting.first = self.deeper(&path, above, &nesting.first);
                }
            }
            for &from in &again {
                if let Some(path) = self.calls.graph.deepest_to(from, to, &self.bounds)? {
                    nesting.level = self.deeper(&path, 0, &nesting.level);
                }
            }
        }
        nesting.size = self.names.symbol(entry.size)?;
        let check = self
            .report
            .checks
            .get(nested.check)
            .cloned()
            .unwrap_or_default();
        let room = nesting
            .size
            .checked_sub(check.reserve + nesting.first.bytes);
        nesting.levels = room.map_or(0, |room| 1 + room / nesting.level.bytes.max(1));
        let more = nesting.levels.saturating_sub(1) * nesting.level.bytes;
        nesting.bytes = nesting.first.bytes + more + check.chain.bytes;
        if nesting.levels == 0 {
            self.complain(format!(
                "{} leaves no room for one call behind it",
                check.check
            ));
        }
        self.report.nesting = Some(nesting);
        Ok(())
    }

    /// Complains of functions that nothing leads to: an entry or a rule is missing.
    fn uncalled(&mut self, mut roots: Vec<usize>) {
        for name in self.plan.uncalled {
            let found = self.find(name);
            roots.extend(found);
        }
        for node in self.calls.graph.unreached(roots) {
            let name = self.calls.graph.nodes[node].name.clone();
            self.complain(format!("nothing calls {name}"));
        }
    }
}

/// Whether `name` is a function's path, or ends it.
fn is_named(path: &str, name: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.ends_with("::");
    names(path).any(|path| {
        path.strip_suffix(name)
            .is_some_and(|rest| ends(rest) || name.contains("::"))
    })
}

#[cfg(test)]
mod tests;

//! Indirect calls: which functions each may call.
//!
//! **Invariant:** a call that no rule explains is a complaint, and so is a rule that explains none or finds nobody to call.

use crate::flow::{Call, Callee, Flow};
use crate::graph::{Edge, End, Graph, Node};
use crate::program::Program;
use std::collections::{BTreeMap, BTreeSet};
use tally_symbols::dwarf::Frame;

/// Whom indirect calls may call.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// Beginning of the path of the source file that the call is in, inlined functions first; empty: any.
    pub file: &'a str,
    /// Part of the name of the function that the call is in; empty: any.
    pub function: &'a str,
    /// Whom.
    pub to: To<'a>,
}

/// Whom an indirect call may call.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// The method at the place from which the call took its address (at any, if that is unknown), in each table that
    /// has a method with one of these in its name.
    Methods(&'a [&'a str]),
    /// Functions that something points to, with one of these in their names.
    Functions(&'a [&'a str]),
}

/// A call on another stack than its caller's: where a stack begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Function that changes to the stack.
    pub from: usize,
    /// Function that is called on it.
    pub to: usize,
    /// Bytes that are taken of it by then.
    pub depth: u64,
}

/// What became of a program.
pub struct Calls {
    /// Functions by address, in the graph's order.
    pub addresses: Vec<u64>,
    /// Calls on the caller's stack.
    pub graph: Graph,
    /// Calls on another one.
    pub entries: Vec<Entry>,
    /// What is not understood.
    pub complaints: Vec<String>,
}

/// Makes a graph of a program's calls. `source` names the functions at an address, innermost first.
pub fn resolve(
    program: &Program,
    flows: &BTreeMap<u64, Flow>,
    rules: &[Rule<'_>],
    source: &dyn Fn(u64) -> Vec<Frame>,
) -> Calls {
    let addresses: Vec<u64> = program.functions.keys().copied().collect();
    let node = |at: u64| addresses.binary_search(&at).ok();
    let mut calls = Calls {
        graph: Graph::default(),
        entries: Vec::new(),
        complaints: Vec::new(),
        addresses: addresses.clone(),
    };
    // Within what does not return, a call of its like is one among others.
    let returns = |node: usize| flows.get(&addresses[node]).is_none_or(|flow| flow.returns);
    let fatal = |to: usize| (!returns(to)).then_some(End::Fatal);
    let mut used = vec![false; rules.len()];
    for (from, (at, function)) in program.functions.iter().enumerate() {
        let flow = flows.get(at).cloned().unwrap_or_default();
        let mut edges = Vec::new();
        for call in &flow.calls {
            let targets = match call.callee {
                Callee::Function(to) => [to].into(),
                _ => {
                    let site = source(call.at);
                    let rule = rules.iter().position(|rule| rule.explains(&site));
                    let targets = rule.map(|rule| {
                        used[rule] = true;
                        rules[rule].targets(program, call)
                    });
                    match targets {
                        Some(targets)
                            if !targets.is_empty()
                                || rule.is_some_and(|rule| rules[rule].is_nobody()) =>
                        {
                            targets
                        }
                        targets => {
                            let why = match targets {
                                None => "no rule explains",
                                Some(_) => "its rule finds nobody for",
                            };
                            calls.complaints.push(complaint(
                                why,
                                function.name.as_str(),
                                call,
                                &site,
                            ));
                            continue;
                        }
                    }
                }
            };
            for to in targets.into_iter().filter_map(node) {
                if call.on_new_stack {
                    calls.entries.push(Entry {
                        from,
                        to,
                        depth: call.depth,
                    });
                } else {
                    edges.push(Edge {
                        to,
                        depth: call.depth,
                        interruptible: call.interruptible,
                        end: flow.returns.then(|| fatal(to)).flatten(),
                    });
                }
            }
        }
        calls.graph.nodes.push(Node {
            name: function.name.clone(),
            deepest: flow.deepest,
            deepest_interruptible: flow.deepest_interruptible,
            edges,
        });
    }
    for (rule, _) in rules.iter().zip(used).filter(|(_, used)| !used) {
        calls
            .complaints
            .push(format!("no call is explained by {rule:?}"));
    }
    calls
}

fn complaint(why: &str, function: &str, call: &Call, site: &[Frame]) -> String {
    let place = site.first().map_or_else(String::new, |frame| {
        format!(", {} ({}:{})", frame.function, frame.file, frame.line)
    });
    format!(
        "{why} the indirect call at {:#x} in {function}{place}: {:?}",
        call.at, call.callee
    )
}

impl Rule<'_> {
    fn explains(&self, site: &[Frame]) -> bool {
        site.first().is_some_and(|frame| {
            frame.file.starts_with(self.file) && frame.function.contains(self.function)
        })
    }

    fn is_nobody(&self) -> bool {
        matches!(self.to, To::Methods([]) | To::Functions([]))
    }

    fn targets(&self, program: &Program, call: &Call) -> BTreeSet<u64> {
        let name = |at: &u64| {
            program
                .functions
                .get(at)
                .map_or("", |function| function.name.as_str())
        };
        let is_one = |at: &u64, parts: &[&str]| parts.iter().any(|part| name(at).contains(part));
        let pointed_to = |parts: &[&str]| -> BTreeSet<u64> {
            let all = program.pointed_to.iter().copied();
            all.filter(|at| is_one(at, parts)).collect()
        };
        match (self.to, &call.callee) {
            (To::Functions(parts), _) => pointed_to(parts),
            (To::Methods(parts), callee) => {
                let tables = program.tables.iter();
                let tables =
                    tables.filter(|table| table.methods.values().any(|at| is_one(at, parts)));
                let methods = tables.flat_map(|table| &table.methods);
                if let Callee::Loaded(places) = callee {
                    let there = methods.filter(|(place, _)| places.contains(place));
                    return there.map(|(_, at)| *at).collect();
                }
                // The caller's caller may have taken it from a table that is not in the program any more.
                let mut targets = pointed_to(parts);
                targets.extend(methods.map(|(_, at)| *at));
                targets
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::flows;
    use crate::program::MethodTable;
    use crate::program::testing::*;

    fn resolved(rules: &[Rule<'_>]) -> Calls {
        let mut program = program(&[
            ("caller", &[LOAD_METHOD, BLR_X8, RET]),
            ("<A as Trait>::one", &[RET]),
            ("<A as Trait>::two", &[RET]),
            ("<A as Other>::one", &[RET]),
        ]);
        let [one, two, other] = [0x100c, 0x1010, 0x1014];
        program.pointed_to = [one, two, other].into();
        let table = |methods: &[(i32, u64)]| MethodTable {
            methods: methods.iter().copied().collect(),
        };
        program.tables = vec![table(&[(24, one), (32, two)]), table(&[(24, other)])];
        let flows = flows(&program, &BTreeMap::new(), BTreeSet::new()).unwrap();
        let site = |_| {
            vec![Frame {
                function: "call".to_owned(),
                file: "a/b.rs".to_owned(),
                line: 1,
            }]
        };
        resolve(&program, &flows, rules, &site)
    }

    fn rule<'a>(file: &'a str, to: To<'a>) -> Rule<'a> {
        Rule {
            file,
            function: "",
            to,
        }
    }

    fn called(calls: &Calls) -> Vec<&str> {
        let nodes = &calls.graph.nodes;
        let edges = nodes[0].edges.iter();
        edges.map(|edge| nodes[edge.to].name.as_str()).collect()
    }

    #[test]
    fn methods_are_those_of_the_trait_at_the_place() {
        let calls = resolved(&[rule("a/", To::Methods(&["as Trait>"]))]);
        assert_eq!(called(&calls), ["<A as Trait>::one"]);
        assert!(calls.complaints.is_empty());
        let calls = resolved(&[rule("", To::Functions(&["::one"]))]);
        assert_eq!(called(&calls), ["<A as Trait>::one", "<A as Other>::one"]);
    }

    #[test]
    fn a_call_that_nothing_explains_is_a_complaint() {
        let complaints = resolved(&[]).complaints;
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].starts_with("no rule explains the indirect call at 0x1004 in caller")
        );
        let complaints = resolved(&[rule("", To::Functions(&["gone"]))]).complaints;
        assert!(complaints[0].starts_with("its rule finds nobody"));
        // Somebody says that nobody is called.
        assert!(
            resolved(&[rule("", To::Functions(&[]))])
                .complaints
                .is_empty()
        );
    }

    #[test]
    fn a_rule_that_explains_nothing_is_a_complaint() {
        let rules = [
            rule("a/", To::Methods(&["as Trait>"])),
            rule("c/", To::Functions(&["::one"])),
        ];
        let complaints = resolved(&rules).complaints;
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("no call is explained by"));
    }
}

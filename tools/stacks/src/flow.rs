//! The paths through a function: how deep its stack is at each call.
//!
//! **Invariant:** where paths of different depth meet, the deeper one counts; what cannot be followed is an error.

use crate::code::{Definition, Motion, Next, SP, Word};
use crate::program::Program;
use anyhow::ensure;
use std::collections::{BTreeMap, BTreeSet};

/// How often the depth at one place may rise: more is a loop that takes stack with each turn.
const MAX_RISES: usize = 8;

/// Whom a call calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// The function at this address.
    Function(u64),
    /// A function whose address was loaded from these distances behind some other address.
    Loaded(BTreeSet<i32>),
    /// A function whose address comes from elsewhere.
    Unknown,
}

/// A call, or a jump that leaves the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Address of the instruction.
    pub at: u64,
    /// Whom.
    pub callee: Callee,
    /// How far below its place at the function's entry the stack pointer is; below a new stack's, if it is on one.
    pub depth: u64,
    /// Whether the function has changed to another stack.
    pub on_new_stack: bool,
    /// Whether interrupts may come.
    pub interruptible: bool,
}

/// What a function does to its stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The lowest place of the stack pointer in the function itself.
    pub deepest: u64,
    /// The same, where interrupts may come.
    pub deepest_interruptible: Option<u64>,
    /// Its calls, by address.
    pub calls: Vec<Call>,
    /// Where it copies the stack pointer, and how low that is.
    pub stack_pointers: BTreeMap<u64, u64>,
    /// Whether there is a way back to its caller.
    pub returns: bool,
}

/// The registers from which LLVM's prologues and epilogues set the stack pointer.
const FRAME_REGISTERS: [u16; 2] = [9, 29];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    depth: i64,
    on_new_stack: bool,
    interruptible: bool,
    /// How deep the places are in [`FRAME_REGISTERS`], where they point to this stack.
    places: [Option<i64>; FRAME_REGISTERS.len()],
}

/// Where a value is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Register(u16),
    /// In the function's frame, this deep.
    Slot(i64),
}

impl State {
    /// How deep the place in a register is, if it points to this stack.
    fn place(&self, register: u16) -> Option<i64> {
        if register == SP {
            return Some(self.depth);
        }
        let n = FRAME_REGISTERS
            .iter()
            .position(|known| *known == register)?;
        self.places[n]
    }
}

/// All functions' flows. `more_entries`: further addresses at which assembly is entered; `resumed`: functions that
/// return by a way that their code does not show.
///
/// # Errors
/// Names the place where a path cannot be followed.
pub fn flows(
    program: &Program,
    more_entries: &BTreeMap<u64, Vec<u64>>,
    resumed: BTreeSet<u64>,
) -> anyhow::Result<BTreeMap<u64, Flow>> {
    // At first no other function returns: a path ends at each call. Each round adds those that turn out to return.
    let mut returning = resumed;
    loop {
        let before = returning.len();
        let mut flows = BTreeMap::new();
        for &start in program.functions.keys() {
            let more = more_entries.get(&start).map_or(&[][..], Vec::as_slice);
            let mut flow = Walk::new(program, &returning, start).run(more)?;
            flow.returns |= returning.contains(&start);
            flows.insert(start, flow);
        }
        let found = flows.iter().filter(|(_, flow)| flow.returns);
        returning.extend(found.map(|(at, _)| *at));
        if returning.len() == before {
            return Ok(flows);
        }
    }
}

struct Walk<'a> {
    program: &'a Program,
    returning: &'a BTreeSet<u64>,
    start: u64,
    states: BTreeMap<u64, (State, usize)>,
    from: BTreeMap<u64, BTreeSet<u64>>,
    waiting: Vec<u64>,
}

impl<'a> Walk<'a> {
    fn new(program: &'a Program, returning: &'a BTreeSet<u64>, start: u64) -> Self {
        Self {
            program,
            returning,
            start,
            states: BTreeMap::new(),
            from: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn run(&mut self, more_entries: &[u64]) -> anyhow::Result<Flow> {
        let entered = State {
            depth: 0,
            on_new_stack: false,
            interruptible: false,
            places: [None; FRAME_REGISTERS.len()],
        };
        for &entry in [self.start].iter().chain(more_entries) {
            self.reach(None, entry, entered)?;
        }
        self.follow()?;
        // Jump tables lead to what nothing else leads to.
        while let Some((jump, state)) = self.table_jump()
            && let Some(at) = self.unreached()
        {
            self.reach(Some(jump), at, state)?;
            self.follow()?;
        }
        self.flow()
    }

    fn follow(&mut self) -> anyhow::Result<()> {
        while let Some(at) = self.waiting.pop() {
            let (mut state, _) = self.states[&at];
            let Some(word) = self.program.word(at) else {
                continue;
            };
            state = self.moved(at, &word, state);
            if let Some(interruptible) = word.window() {
                state.interruptible = interruptible;
            }
            let behind = at + 4;
            match word.next() {
                Next::Behind | Next::CallRegister(_) => self.reach(Some(at), behind, state)?,
                Next::Jump(to) => self.reach(Some(at), to, state)?,
                Next::Branch(to) => {
                    self.reach(Some(at), to, state)?;
                    self.reach(Some(at), behind, state)?;
                }
                Next::Call(to) if self.returning.contains(&to) => {
                    self.reach(Some(at), behind, state)?;
                }
                Next::Call(_) | Next::JumpRegister(_) | Next::Return | Next::Stop => {}
            }
        }
        Ok(())
    }

    /// What is true behind an instruction.
    fn moved(&self, at: u64, word: &Word, before: State) -> State {
        let mut state = before;
        match word.motion() {
            Motion::None => {}
            Motion::Down(by) => {
                // A large frame is touched page by page, in a loop that ends at a place that was calculated.
                let behind = self.program.word(at + 4);
                let end = behind.and_then(|word| before.place(word.compares_stack_pointer()?));
                state.depth = end.unwrap_or(before.depth + by);
            }
            Motion::From(from) => {
                let own = from.and_then(|(register, by)| Some(before.place(register)? + by));
                state.on_new_stack |= own.is_none();
                state.depth = own.unwrap_or(from.map_or(0, |(_, by)| by));
            }
        }
        for (place, register) in state.places.iter_mut().zip(FRAME_REGISTERS) {
            match word.place() {
                Some((to, from, by)) if to == register => {
                    *place = before.place(from).map(|depth| depth + by);
                }
                _ if word.definition(register) != Definition::Kept => *place = None,
                _ => {}
            }
        }
        state
    }

    /// Whether a path that comes to `at` leaves this function for another.
    fn leaves(&self, at: u64) -> bool {
        at != self.start && self.program.functions.contains_key(&at)
    }

    fn reach(&mut self, from: Option<u64>, at: u64, state: State) -> anyhow::Result<()> {
        if from.is_some() && self.leaves(at) {
            return Ok(());
        }
        if let Some(from) = from {
            self.from.entry(at).or_default().insert(from);
        }
        let (merged, rises) = match self.states.get(&at) {
            None => (state, 0),
            Some((old, rises)) => {
                ensure!(
                    old.on_new_stack == state.on_new_stack,
                    "{}: paths on two stacks meet at {at:#x}",
                    self.name()
                );
                let merged = State {
                    depth: old.depth.max(state.depth),
                    interruptible: old.interruptible || state.interruptible,
                    places: std::array::from_fn(|n| {
                        old.places[n].filter(|place| state.places[n] == Some(*place))
                    }),
                    ..state
                };
                if merged == *old {
                    return Ok(());
                }
                (merged, rises + usize::from(merged.depth > old.depth))
            }
        };
        ensure!(
            rises <= MAX_RISES,
            "{}: each turn of a loop takes stack at {at:#x}",
            self.name()
        );
        self.states.insert(at, (merged, rises));
        self.waiting.push(at);
        Ok(())
    }

    fn name(&self) -> &str {
        self.program.name_at(self.start)
    }

    /// A jump by a table, and what is true there.
    fn table_jump(&self) -> Option<(u64, State)> {
        self.states.iter().find_map(|(&at, (state, _))| {
            let Next::JumpRegister(register) = self.program.word(at)?.next() else {
                return None;
            };
            self.definitions(at, register)
                .contains(&Definition::Sum)
                .then_some((at, *state))
        })
    }

    /// The first instruction of this function that no path leads to.
    fn unreached(&self) -> Option<u64> {
        let end = self.program.functions.get(&self.start)?.end;
        (self.start..end)
            .step_by(4)
            .find(|at| !self.states.contains_key(at))
    }

    /// What a register holds when the instruction at `at` is about to run.
    fn definitions(&self, at: u64, register: u16) -> Vec<Definition> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![(at, Held::Register(register))];
        while let Some((at, held)) = waiting.pop() {
            if !seen.insert((at, held)) {
                continue;
            }
            let Some(from) = self.from.get(&at) else {
                found.push(Definition::Other);
                continue;
            };
            for &before in from {
                match self.before(before, held) {
                    Ok(held) => waiting.push((before, held)),
                    Err(definition) => found.push(definition),
                }
            }
        }
        found
    }

    /// Where that which is held in `held` behind an instruction was before it, or what the instruction made it.
    fn before(&self, at: u64, held: Held) -> Result<Held, Definition> {
        let (Some(word), Some((state, _))) = (self.program.word(at), self.states.get(&at)) else {
            return Err(Definition::Other);
        };
        let slot = |base, offset| Some(state.place(base)? - i64::from(offset));
        match held {
            Held::Slot(depth) => {
                let stored = word
                    .stores()
                    .find(|(_, base, offset)| slot(*base, *offset) == Some(depth));
                Ok(stored.map_or(held, |(register, ..)| Held::Register(register)))
            }
            Held::Register(register) => match word.definition(register) {
                Definition::Kept => Ok(held),
                Definition::Copied(other) => Ok(Held::Register(other)),
                Definition::Loaded(base, offset) => {
                    let depth = slot(base, offset).ok_or(Definition::Loaded(base, offset))?;
                    Ok(Held::Slot(depth))
                }
                definition => Err(definition),
            },
        }
    }

    fn callee(&self, at: u64, register: u16) -> Callee {
        let mut offsets = BTreeSet::new();
        for definition in self.definitions(at, register) {
            let Definition::Loaded(_, offset) = definition else {
                return Callee::Unknown;
            };
            offsets.insert(offset);
        }
        Callee::Loaded(offsets)
    }

    fn flow(&self) -> anyhow::Result<Flow> {
        let mut flow = Flow::default();
        for (&at, (state, _)) in &self.states {
            let Some(word) = self.program.word(at) else {
                continue;
            };
            let depth = self.depth_at(at, &word, state);
            if !state.on_new_stack {
                flow.deepest = flow.deepest.max(depth);
                if state.interruptible {
                    let deepest = flow.deepest_interruptible.unwrap_or(0);
                    flow.deepest_interruptible = Some(deepest.max(depth));
                }
            }
            if word.reads_stack_pointer() {
                flow.stack_pointers.insert(at, depth);
            }
            let call = |callee| Call {
                at,
                callee,
                depth,
                on_new_stack: state.on_new_stack,
                interruptible: state.interruptible,
            };
            let next = word.next();
            match next {
                Next::Call(to) => {
                    ensure!(
                        self.program.functions.contains_key(&to),
                        "{} calls {to:#x} at {at:#x}, where no function begins",
                        self.name()
                    );
                    flow.calls.push(call(Callee::Function(to)));
                }
                Next::CallRegister(register) => {
                    flow.calls.push(call(self.callee(at, register)));
                }
                Next::JumpRegister(register) => {
                    if !self.definitions(at, register).contains(&Definition::Sum) {
                        flow.calls.push(call(self.callee(at, register)));
                        flow.returns = true;
                    }
                }
                Next::Return => flow.returns = true,
                Next::Jump(_) | Next::Branch(_) | Next::Behind | Next::Stop => {}
            }
            let falls = matches!(next, Next::Behind | Next::Branch(_) | Next::CallRegister(_))
                || matches!(next, Next::Call(to) if self.returning.contains(&to));
            let mut onward = Vec::new();
            if let Next::Jump(to) | Next::Branch(to) = next {
                onward.push(to);
            }
            if falls {
                onward.push(at + 4);
            }
            for to in onward.into_iter().filter(|to| self.leaves(*to)) {
                flow.calls.push(call(Callee::Function(to)));
                flow.returns |= self.returning.contains(&to);
            }
        }
        Ok(flow)
    }

    /// The deepest of before and after an instruction.
    fn depth_at(&self, at: u64, word: &Word, state: &State) -> u64 {
        let after = self.moved(at, word, *state);
        let depth = match after.on_new_stack == state.on_new_stack {
            true => state.depth.max(after.depth),
            false => state.depth,
        };
        u64::try_from(depth).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::*;

    fn flow(functions: &[(&str, &[u32])]) -> Flow {
        let program = program(functions);
        let flows = flows(&program, &BTreeMap::new(), BTreeSet::new()).unwrap();
        flows[&0x1000].clone()
    }

    #[test]
    fn depth_is_that_of_each_call() {
        let leaf: &[u32] = &[RET];
        let flow = flow(&[("f", &[bl(5), TAKE, bl(3), GIVE, RET]), ("leaf", leaf)]);
        let depths: Vec<u64> = flow.calls.iter().map(|call| call.depth).collect();
        assert_eq!((flow.deepest, depths), (32, vec![0, 32]));
        assert!(flow.returns);
    }

    #[test]
    fn nothing_follows_a_call_that_does_not_return() {
        let flow = flow(&[("f", &[TAKE, bl(2), TAKE_PAGE]), ("fatal", &[BRK])]);
        assert_eq!((flow.deepest, flow.returns), (32, false));
    }

    #[test]
    fn a_large_frame_is_as_deep_as_its_probe_goes() {
        let code = [
            0xd140_27e9, // sub x9, sp, #9, lsl #12
            TAKE_PAGE,
            0xeb29_63ff, // cmp sp, x9
            0xf900_03ff, // str xzr, [sp]
            0x54ff_ffa1, // b.ne to the second
            0x9140_27ff, // add sp, sp, #9, lsl #12
            RET,
        ];
        assert_eq!(flow(&[("f", &code)]).deepest, 9 << 12);
    }

    #[test]
    fn a_loop_that_takes_stack_is_refused() {
        let program = program(&[("f", &[TAKE, 0x17ff_ffff])]);
        let refused = flows(&program, &BTreeMap::new(), BTreeSet::new()).unwrap_err();
        assert!(refused.to_string().starts_with("f: each turn of a loop"));
    }

    #[test]
    fn another_stack_is_not_the_callers() {
        let flow = flow(&[
            ("f", &[TAKE, MOV_SP_X9, TAKE, bl(2), BRK]),
            ("leaf", &[RET]),
        ]);
        let call = &flow.calls[0];
        assert_eq!(
            (flow.deepest, call.depth, call.on_new_stack),
            (32, 32, true)
        );
    }

    #[test]
    fn interrupts_come_between_unmasking_and_masking() {
        let code = [0xd503_43ff, bl(5), TAKE, 0xd503_43df, bl(2), RET, RET];
        let flow = flow(&[("f", &code[..6]), ("leaf", &code[6..])]);
        let open: Vec<bool> = flow.calls.iter().map(|call| call.interruptible).collect();
        assert_eq!(
            (flow.deepest_interruptible, open),
            (Some(32), vec![true, false])
        );
    }

    #[test]
    fn a_method_is_known_by_its_place_even_if_it_was_kept_on_the_stack() {
        let code = [
            TAKE,
            LOAD_METHOD,
            0xf900_07e8, // str x8, [sp, #8]
            bl(5),
            0xf940_07e8, // ldr x8, [sp, #8]
            BLR_X8,
            GIVE,
            RET,
        ];
        let flow = flow(&[("f", &code), ("leaf", &[RET])]);
        assert_eq!(flow.calls[1].callee, Callee::Loaded([24].into()));
        let flow = self::flow(&[("f", &[BLR_X8, RET])]);
        assert_eq!(flow.calls[0].callee, Callee::Unknown);
    }
}

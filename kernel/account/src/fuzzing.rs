//! Fuzz entry points of the kernel.
//!
//! **Invariant:** takes any bytes; panics only where the kernel is wrong: books that do not add
//! up, a lock or an owner kept, something left behind.

use crate::api::{Answers, Entry, Rows};
use crate::book::{Book, Shown};
use crate::testing::{Run, World, world};
use alloc::sync::Arc;
use alloc::vec::Vec;
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd};
use tally_abi::smc::FunctionId;
use tally_abi::ta::{flags, svc};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::guest_id::GuestId;
use tally_core::pta::services::Control;
use tally_core::pta::{PseudoTa, Session, Step, Work};
use tally_core::share::Share;
use tally_core::ta::session::Opener;
use tally_core::testing::world::{CLIENT, CLIENT_PAGES, Event, header};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::Trap;
use tally_records::Selector;
use zerocopy::{FromZeros, IntoBytes};

/// Most actions of one input.
const MAX_ACTIONS: usize = 64;
/// Events that the normal world answers in one action.
const PATIENCE: usize = 200;
const PTA: TeeUuid = TeeUuid::from_u128(0xf0);

/// The TAs: single ones, shared and kept.
const TAS: [(TeeUuid, u32); 3] = [
    (TeeUuid::from_u128(0xf1), 0),
    (
        TeeUuid::from_u128(0xf2),
        flags::SINGLE_INSTANCE | flags::MULTI_SESSION,
    ),
    (
        TeeUuid::from_u128(0xf3),
        flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE,
    ),
];

/// Room for every row, of which none is kept.
struct Unread;

impl Rows for Unread {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn put(&mut self, _: &[u8]) -> Result<(), TeeResult> {
        Ok(())
    }
}

/// Touches all of its parameters and kills whom it is told to.
const PROBER: PseudoTa<Book> = PseudoTa {
    uuid: PTA,
    name: "prober",
    work: Work::Account(Entry::Controls(enter)),
};

fn enter(
    account: &dyn Answers,
    control: &dyn Control,
    _: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    let Step::Invoke(command, params) = step else {
        return Ok(());
    };
    for index in 0..5 {
        let (a, b) = params.value(index);
        params.set_value(index, b, a);
        let len = params.memref_len(index);
        let mut bytes = [0; 16];
        for offset in [0, len.wrapping_sub(16), len, u64::MAX] {
            // Refusals are as good as anything.
            let _ = params.read(index, offset, &mut bytes);
            let _ = params.write(index, offset, &bytes);
        }
        params.set_memref_len(index, len / 2);
    }
    // Whatever TAs have made of their heaps, every list has an end, or an error.
    for section in 0..32 {
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let listed = account.list(section, &Selector::ALL, at, &mut Unread);
            cursor = listed.ok().flatten();
        }
        let _ = account.dropped(section);
    }
    for index in 0..8 {
        let _ = account.ta_stats(index);
    }
    if let Some((uuid, _)) = TAS.get(command as usize) {
        control.kill(*uuid);
    }
    let _ = account.scan(&Selector::ALL, &mut Unread);
    let _ = account.clear(&Selector::TAS);
    account.mark(b"").map(drop)
}

/// Takes an input apart; zeros follow its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// A number that is worth trying.
    fn number(&mut self) -> u64 {
        let choice = self.byte();
        let small = u64::from(self.byte());
        match choice % 8 {
            0..=2 => small,
            3 => small << 12,
            4 => CLIENT.0 + (small % CLIENT_PAGES as u64) * 4096,
            5 => CLIENT.0 + small * 8,
            6 => u64::MAX - small,
            _ => u64::from_le_bytes(self.bytes()),
        }
    }

    fn param(&mut self) -> MsgParam {
        const LIKELY: [u64; 8] = [
            attr::NONE,
            attr::VALUE_INOUT,
            attr::VALUE_OUTPUT,
            attr::RMEM_INOUT,
            attr::RMEM_INPUT,
            attr::TMEM_INOUT,
            attr::TMEM_OUTPUT,
            attr::TMEM_INPUT,
        ];
        let choice = self.byte();
        let kind = LIKELY[usize::from(choice % 8)];
        if choice < 200 {
            // One that can be served, if its cookie is registered.
            let tmem = kind >= attr::TMEM_INPUT;
            let base = if tmem { CLIENT.0 } else { 0 };
            return MsgParam {
                attr: kind,
                a: base + u64::from(self.byte()) * 8,
                b: u64::from(self.byte()) * if tmem { 64 } else { 8 },
                c: u64::from(self.byte() % 4),
            };
        }
        let kind = u64::from(self.byte()) % 13;
        let list = u64::from(self.byte().is_multiple_of(4)) * attr::NONCONTIG;
        let size = match self.byte() % 4 {
            0 => self.number(),
            _ => u64::from(self.byte()) * 64,
        };
        MsgParam {
            attr: if kind >= attr::TMEM_INPUT {
                kind | list
            } else {
                kind
            },
            a: self.number(),
            b: size,
            c: u64::from(self.byte() % 8),
        }
    }

    fn params(&mut self) -> Vec<MsgParam> {
        let count = self.byte() % 6;
        (0..count).map(|_| self.param()).collect()
    }
}

/// What a TA does next.
fn step(world: &World, input: &mut Input<'_>) {
    let kind = input.byte();
    let number = match kind % 4 {
        0 => u64::from(input.byte()),
        1 => u64::from(input.byte() % 16),
        2 => svc::tally::HEAP_RESERVE + u64::from(input.byte() % 2),
        _ => svc::OPEN_TA_SESSION + u64::from(input.byte() % 3),
    };
    let picks: [u8; 7] = input.bytes();
    let numbers: [u64; 7] = core::array::from_fn(|_| input.number());
    let payload: [u8; 80] = input.bytes();
    match kind >> 2 & 7 {
        0 => world.ta(|_| Trap::ForeignInterrupt),
        1 => world.ta(|_| Trap::Fault { esr: 0 }),
        _ => world.ta(move |run: &mut Run<'_>| {
            let stack = run.stack(0);
            run.store(stack, &payload);
            if payload[0].is_multiple_of(2) {
                let (uuid, _) = TAS[usize::from(payload[1]) % TAS.len()];
                run.store(stack + 128, uuid.as_bytes());
            }
            let args: [u64; 7] = core::array::from_fn(|n| match picks[n] % 6 {
                0 => stack,
                1 => stack + 128,
                2 => run.context.x[2],
                3 => run.context.pc,
                4 => stack + u64::from(picks[n]),
                _ => numbers[n],
            });
            run.call(number, &args)
        }),
    }
}

fn action(world: &World, input: &mut Input<'_>, deep: bool) {
    let ids: Vec<u32> = {
        let state = world.kernel.state();
        state
            .guest(GuestId::FIRST)
            .sessions
            .iter()
            .map(|(_, s)| s.id)
            .collect()
    };
    let pick = usize::from(input.byte());
    let id = match ids.get(pick % ids.len().max(1)) {
        Some(id) if pick < 240 => *id,
        _ => pick as u32,
    };
    match input.byte() % 16 {
        0 | 1 => {
            let uuid = match input.byte() % 4 {
                3 => PTA,
                n => TAS[usize::from(n)].0,
            };
            let params = input.params();
            world.open(uuid, &params);
        }
        2 | 3 | 12..=14 => {
            let command = u32::from(input.byte() % 8);
            let params = input.params();
            world.invoke(id, command, &params);
        }
        4 => {
            world.send(header(cmd::CLOSE_SESSION, id, 0), &[]);
        }
        5 => {
            let at = CLIENT.0 + u64::from(input.byte() % 4) * 4096;
            let entries: Vec<u64> = (0..input.byte() % 8)
                .map(|_| match input.byte() {
                    odd @ 0..8 => input.number() ^ u64::from(odd),
                    n => CLIENT.0 + (u64::from(n) % CLIENT_PAGES as u64) * 4096,
                })
                .collect();
            world.write(PhysAddr(at), entries.as_bytes());
            let param = MsgParam {
                attr: attr::TMEM_OUTPUT | attr::NONCONTIG,
                a: at + u64::from(input.byte()),
                b: u64::from(input.byte()) * 64,
                c: u64::from(input.byte() % 4),
            };
            world.send(header(cmd::REGISTER_SHM, 0, 0), &[param]);
        }
        6 => {
            let param = input.param();
            world.send(header(cmd::UNREGISTER_SHM, 0, 0), &[param]);
        }
        7 => {
            // A message of any bytes at any place.
            let mut raw = MsgHeader::new_zeroed();
            raw.as_mut_bytes().copy_from_slice(&input.bytes::<32>());
            raw.cmd %= 9;
            raw.num_params %= 9;
            world.write(CLIENT, raw.as_bytes());
            let params = [input.param(), input.param()];
            world.write(PhysAddr(CLIENT.0 + 32), params.as_bytes());
            let function = [
                FunctionId::CALL_WITH_ARG,
                FunctionId::CALL_WITH_REGD_ARG,
                FunctionId(0x3200_0005),
            ][usize::from(input.byte() % 3)];
            let place = if function == FunctionId::CALL_WITH_ARG {
                input.number()
            } else {
                u64::from(input.byte() % 8)
            };
            let x0 = u64::from(function.0);
            let offset = input.number();
            // Without an argument of its own, an RPC would go where the model finds none.
            world.call(&[x0, place >> 32, place & 0xffff_ffff, offset, 0, 0, 0, 0]);
        }
        8 => world.fail_event(Some(usize::from(input.byte() % 16))),
        9 => {
            let n = u32::from(input.byte() % 32);
            world.kernel.state().pages.fail_nth(Some(n));
        }
        10 => {
            let bytes: [u8; 64] = input.bytes();
            let mut bytes = bytes.to_vec();
            if bytes[0].is_multiple_of(2) {
                // A header that says success, to have the rest looked at.
                bytes[20..24].fill(0);
            }
            world.garble_event(usize::from(input.byte() % 8), bytes);
        }
        _ => {
            for _ in 0..input.byte() % 4 {
                step(world, input);
            }
            if deep {
                let rest = input.bytes::<48>();
                world.on(Event::Interrupt, move |world| {
                    action(world, &mut Input(&rest), false);
                });
            }
        }
    }
}

/// A list of actions of the normal world, of TAs and of failures, on a whole kernel.
///
/// # Panics
/// When the kernel is wrong.
pub fn calls(data: &[u8]) {
    let world = new_world();
    let before = world.accounts();
    let mut input = Input(data);
    for _ in 0..MAX_ACTIONS {
        if input.0.is_empty() {
            break;
        }
        world.set_patience(Some(PATIENCE));
        action(&world, &mut input, true);
        let _ = world.accounts();
    }
    clean(&world);
    assert_eq!(world.accounts(), before, "something was left behind");
}

fn new_world() -> Arc<World> {
    let world = world(&[PROBER], Shown::default());
    for (uuid, flags) in TAS {
        world.install(uuid, flags, 4);
    }
    world
}

/// Closes and ends everything, with nothing failing.
fn clean(world: &World) {
    world.fail_event(None);
    world.set_patience(None);
    world.forget_lent();
    world.clear_ta_steps();
    world.kernel.state().pages.fail_nth(None);
    for _ in 0..2 * Share::SESSIONS.all {
        let id = {
            let state = world.kernel.state();
            let found = state
                .guest(GuestId::FIRST)
                .sessions
                .iter()
                .find(|(_, session)| session.opener == Opener::Normal);
            found.map(|(_, session)| session.id)
        };
        let Some(id) = id else { break };
        world.close(id);
    }
    // The kept one.
    let prober = world.opened(PTA);
    for command in 0..TAS.len() as u32 {
        world.invoke(prober, command, &[]);
    }
    world.close(prober);
    for cookie in 0..8 {
        let param = MsgParam {
            attr: attr::RMEM_INPUT,
            c: cookie,
            ..MsgParam::default()
        };
        world.send(header(cmd::UNREGISTER_SHM, 0, 0), &[param]);
    }
    world.forget_lent();
}

#[cfg(test)]
mod tests {
    use super::calls;
    use std::vec::Vec;
    use tally_mem::testing::splitmix;

    #[test]
    fn any_list_of_calls_leaves_nothing_behind() {
        // Signatures take minutes under Miri.
        let rounds = if cfg!(miri) { 0 } else { 60 };
        for seed in 0..rounds {
            let bytes: Vec<u8> = (0..200)
                .flat_map(|n| splitmix(seed << 32 | n).to_le_bytes())
                .collect();
            calls(&bytes);
        }
    }
}

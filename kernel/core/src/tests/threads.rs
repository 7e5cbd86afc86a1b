//! The last threads, when all others are taken.

use super::*;
use crate::call::entry::Entry;
use crate::testing::world::{THREADS, header};
use tally_abi::msg::cmd;
use tally_abi::smc::{FunctionId, ret};

/// A pseudo-TA that nobody asks about others.
const PLAIN: TeeUuid = TeeUuid::from_u128(0x66);
const PTAS: &[PseudoTa<()>] = &[
    ECHO_TA,
    PseudoTa {
        uuid: PLAIN,
        name: "plain",
        work: Work::Alone(|_, _| Ok(())),
    },
];

/// With all threads taken by TAs that never end, nobody could ask which they are, nor end them.
#[test]
fn the_last_threads_are_for_those_who_ask_who_has_the_others_or_end_them() {
    let world = world_of(PTAS);
    let [ta, asking, plain] = [SHARED, ECHO, PLAIN].map(|uuid| world.opened(uuid));
    let kernel = &world.kernel;
    let start = [u64::from(FunctionId::CALL_WITH_ARG.0), 0, 0, 0, 0, 0, 0, 0];
    for thread in 0..THREADS - 1 {
        assert_eq!(kernel.yield_entry(&start), Entry::Start(thread));
    }
    let code = |command, session| world.send(header(command, session, 0), &[]).code;
    for (command, session, told) in [
        (cmd::INVOKE_COMMAND, ta, ret::ETHREAD_LIMIT),
        (cmd::CLOSE_SESSION, ta, ret::ETHREAD_LIMIT),
        (cmd::INVOKE_COMMAND, plain, ret::ETHREAD_LIMIT),
        (cmd::INVOKE_COMMAND, asking, ret::OK),
        (cmd::INVOKE_COMMAND, asking + 1, ret::OK),
        (cmd::CANCEL, ta, ret::OK),
        (cmd::REGISTER_SHM, 0, ret::OK),
        (cmd::UNREGISTER_SHM, 0, ret::OK),
        (cmd::OPEN_SESSION, 0, ret::ETHREAD_LIMIT),
        (99, 0, ret::EBADCMD),
    ] {
        let before = kernel.threads.turned_away();
        assert_eq!(code(command, session), told, "command {command}");
        let turned_away = kernel.threads.turned_away() - before;
        assert_eq!(turned_away, u32::from(told == ret::ETHREAD_LIMIT));
    }
    for (uuid, told) in [
        (MULTI, ret::ETHREAD_LIMIT),
        (PLAIN, ret::ETHREAD_LIMIT),
        (ECHO, ret::OK),
    ] {
        let reply = world.open(uuid, &[]);
        assert_eq!(reply.code, told);
        if told == ret::OK {
            assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
        }
    }
    // One thread is free again, and with it anybody's call goes through.
    kernel.thread_done(0);
    assert_eq!(code(cmd::INVOKE_COMMAND, plain), ret::OK);
    for thread in 1..THREADS - 1 {
        kernel.thread_done(thread);
    }
    for session in [ta, asking, plain] {
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    }
}

//! A TA of the model that asks a pseudo-TA, and tells what it heard.

use super::*;
use crate::testing::world::Run;
use std::sync::Mutex;
use tally_abi::ta::{param_type, svc};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

/// What a TA heard: the result and the words of its parameters.
pub(super) type Heard = (TeeResult, [u64; 8]);

/// A session of a TA that has one to a pseudo-TA.
pub(super) struct Asker<'w> {
    world: &'w World,
    session: u32,
    inner: u32,
}

impl<'w> Asker<'w> {
    /// Opens both.
    pub(super) fn new(world: &'w World, ta: TeeUuid, target: TeeUuid) -> Self {
        let session = world.opened(ta);
        let asker = Self {
            world,
            session,
            inner: 0,
        };
        let opens = asker.calls(
            move |run| {
                let (uuid, out) = (run.stack(0), run.stack(16));
                run.store(uuid, target.as_bytes());
                run.store(out, &[0; 8]);
                run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
            },
            |run| (run.result(), run.load_u32(run.stack(16))),
        );
        assert_eq!(opens.0, TeeResult::SUCCESS);
        Self {
            inner: opens.1,
            ..asker
        }
    }

    /// Has the TA make a call, and tell of it afterwards.
    fn calls<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Run<'_>) -> Trap + Send + 'static,
        tell: impl FnOnce(&mut Run<'_>) -> T + Send + 'static,
    ) -> T {
        let told = Arc::new(Mutex::new(None));
        self.world.ta(call);
        let heard = told.clone();
        self.world.ta(move |run| {
            *heard.lock().unwrap() = Some(tell(run));
            run.exit(TeeResult::SUCCESS)
        });
        let reply = self.world.invoke(self.session, 0, &[]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let told = told.lock().unwrap().take();
        told.unwrap()
    }

    /// Has the TA invoke a command with these types and words, and look at its memory afterwards.
    pub(super) fn asks_of<T: Send + 'static>(
        &self,
        command: u32,
        kinds: [u32; 4],
        words: impl FnOnce(&mut Run<'_>) -> [u64; 8] + Send + 'static,
        tell: impl FnOnce(&mut Run<'_>) -> T + Send + 'static,
    ) -> (Heard, T) {
        let id = u64::from(self.inner);
        self.calls(
            move |run| {
                let params = run.stack(0);
                let words = words(run);
                run.store(params, u64::from(param_type::pack(kinds)).as_bytes());
                run.store(params + 8, words.as_bytes());
                run.call(svc::INVOKE_TA_COMMAND, &[id, 0, command.into(), params, 0])
            },
            |run| {
                let params = run.stack(8);
                let words = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| run.load_u64(params + 8 * n));
                ((run.result(), words), tell(run))
            },
        )
    }

    /// As [`Self::asks_of`], of words alone.
    pub(super) fn asks(&self, command: u32, kinds: [u32; 4], words: [u64; 8]) -> Heard {
        self.asks_of(command, kinds, move |_| words, |_| ()).0
    }

    /// Has the TA close its session to the pseudo-TA.
    pub(super) fn leaves(&self) {
        let id = u64::from(self.inner);
        self.calls(
            move |run| run.call(svc::CLOSE_TA_SESSION, &[id]),
            |run| assert_eq!(run.result(), TeeResult::SUCCESS),
        );
    }

    /// Closes its session; with its instance the other one goes.
    pub(super) fn close(self) {
        assert_eq!(self.world.close(self.session), TeeResult::SUCCESS);
        assert_eq!(self.world.ta_steps_left(), 0);
    }
}

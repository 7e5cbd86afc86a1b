//! Trusted storage as the account tells of it.

use super::*;
use tally_abi::pta::inspect;
use tally_abi::storage::{data_flag, space, whence};
use tally_abi::ta::svc;
use tally_core::testing::caller::Caller;
use tally_records::{CacheRow, StorageRow, cache};

const SPACE: u64 = space::PRIVATE as u64;

fn rows(world: &World) -> Vec<StorageRow> {
    listed(world, &Selector::ALL).unwrap()
}

fn cache(world: &World, code: u32) -> CacheRow {
    let all: Vec<CacheRow> = listed(world, &Selector::ALL).unwrap();
    all.into_iter().find(|row| row.cache == code).unwrap()
}

#[test]
fn what_a_ta_has_of_storage_and_asked_of_it_is_told() {
    with(inspect::UUID, |world, _| {
        assert!(rows(world).is_empty());
        let ta = Caller::new(world, TA);
        ta.store(ta.memory, b"id");
        let flags = data_flag::ACCESS_READ | data_flag::ACCESS_WRITE | data_flag::ACCESS_WRITE_META;
        let args = [SPACE, ta.memory, 2, flags.into(), 0, ta.memory, 100];
        let object = ta.handle(svc::STORAGE_OBJ_CREATE, &args).unwrap();
        let made = rows(world)[0];
        assert_eq!((made.uuid, made.calls, made.failed), (TA, 1, 0));
        assert_eq!((made.objects, made.handles), (1, 1));
        assert_eq!((made.written, made.read, made.corrupt), (100, 0, 0));
        assert!(made.requests > 3 && made.bytes > 0, "{made:?}");
        let there = cache(world, cache::BLOCKS);
        assert_eq!((there.entries, there.bytes), (1, 4096), "{there:?}");
        ta.expect(
            TeeResult::SUCCESS,
            svc::STORAGE_OBJ_SEEK,
            &[object, 0, whence::SET],
        );
        let count = ta.memory + 0x200;
        let read = [object, ta.memory, 30, count];
        ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_READ, &read);
        let there = cache(world, cache::BLOCKS);
        assert!(there.hits + there.misses > 0, "{there:?}");
        assert_eq!(
            ta.handle(svc::STORAGE_OBJ_OPEN, &[SPACE, ta.memory, 99, 0]),
            Err(TeeResult::BAD_PARAMETERS)
        );
        let now = rows(world)[0];
        assert_eq!((now.calls, now.failed, now.read), (4, 1, 30));
        ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_DEL, &[object]);
        let last = rows(world)[0];
        assert_eq!((last.objects, last.handles, last.bytes), (0, 0, 0));
        for code in [
            cache::BLOCKS,
            cache::NODES,
            cache::DIRECTORY_BLOCKS,
            cache::DIRECTORY_NODES,
            cache::INDEX,
        ] {
            let row = cache(world, code);
            assert_eq!((row.entries, row.bytes), (0, 0), "{row:?}");
            assert!(row.limit > 0 && row.bytes_max > 0, "{row:?}");
        }
        ta.close();
    });
}

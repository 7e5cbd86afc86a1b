//! Files of the secure world: kept in memory, asked for through messages.

use std::borrow::Cow;

use tally_abi::msg::{MsgHeader, MsgParam, attr};
use tally_abi::rpc::{cmd, fs};
use tally_abi::smc::{CALLS_UID, FunctionId, sec_cap};
use tally_abi::{TeeResult, TeeUuid};
use teec::smc::{CallInfo, Conduit, Files, MemoryFiles, Message, Pages, Services, SmcTransport};

const ROOM: usize = 10_000;

struct Nobody;

impl Conduit for Nobody {
    fn smc(&self, regs: [u32; 8]) -> [u32; 8] {
        let [a, b, c, d] = CALLS_UID;
        match FunctionId(regs[0]) {
            FunctionId::CALLS_UID => [a, b, c, d, 0, 0, 0, 0],
            _ => [0, sec_cap::DYNAMIC_SHM as u32, 0, 4, 0, 0, 0, 0],
        }
    }
}

struct Keeper(MemoryFiles);

impl Services for Keeper {
    fn ta_image(&self, _: TeeUuid) -> Result<Cow<'_, [u8]>, TeeResult> {
        Err(TeeResult::ITEM_NOT_FOUND)
    }
    fn time(&self) -> (u64, u32) {
        (0, 0)
    }
    fn wait(&self, _: u64, _: u64, _: &CallInfo) -> Result<(), TeeResult> {
        Ok(())
    }
    fn notify(&self, _: u64) {}
    fn suspend(&self, _: u64, _: &CallInfo) {}
    fn files(&self) -> Option<&dyn Files> {
        Some(&self.0)
    }
    fn foreign_interrupt(&self, _: &CallInfo) {}
    fn thread_limit(&self) {}
}

/// The secure world's side: a page that is shared, and requests about it.
struct Asking {
    transport: SmcTransport<Nobody, Keeper>,
    message: Pages,
    shared: MsgParam,
}

impl Asking {
    fn new() -> Self {
        let transport = SmcTransport::probe(Nobody, Keeper(MemoryFiles::new(ROOM))).unwrap();
        let mut asking = Self {
            transport,
            message: Pages::allocate(1).unwrap(),
            shared: MsgParam::default(),
        };
        let mut room = [value(0, 4096, 8)];
        assert_eq!(asking.ask(cmd::SHM_ALLOC, &mut room), TeeResult::SUCCESS);
        asking.shared = room[0];
        asking
    }

    fn ask(&self, cmd: u32, params: &mut [MsgParam]) -> TeeResult {
        let message = Message::at(&self.message, 0);
        message.set_header(&MsgHeader {
            cmd,
            num_params: params.len() as u32,
            ..MsgHeader::default()
        });
        for (i, param) in params.iter().enumerate() {
            message.set_param(i, param);
        }
        self.transport.serve_command(message, &CallInfo::default());
        for (i, param) in params.iter_mut().enumerate() {
            *param = message.param(i);
        }
        TeeResult(message.header().ret)
    }

    fn memory(&self, attr: u64, offset: u64, bytes: u64) -> MsgParam {
        MsgParam {
            attr,
            a: offset,
            b: bytes,
            c: self.shared.c,
        }
    }

    /// The page as this side sees it.
    fn page(&self) -> &[std::sync::atomic::AtomicU8] {
        let list = self.shared.a & !0xfff;
        // SAFETY:
        // 1. The transport exposed the addresses of the list and of the page, which live as long as it does.
        // 2. Nobody writes them while they are read: there is one thread.
        unsafe {
            let page = *std::ptr::with_exposed_provenance::<u64>(list as usize);
            let page = std::ptr::with_exposed_provenance(page as usize);
            std::slice::from_raw_parts(page, 4096)
        }
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.page()[at..].iter().zip(bytes) {
            place.store(*byte, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize, len: usize) -> Vec<u8> {
        let bytes = self.page()[at..at + len].iter();
        bytes
            .map(|byte| byte.load(std::sync::atomic::Ordering::Relaxed))
            .collect()
    }

    fn named(&self, what: u64, name: &str) -> Result<u64, TeeResult> {
        self.put(0, name.as_bytes());
        self.put(name.len(), &[0]);
        let name = self.memory(attr::RMEM_INPUT, 0, name.len() as u64 + 1);
        let out = MsgParam {
            attr: attr::VALUE_OUTPUT,
            ..MsgParam::default()
        };
        let mut params = [value(what, 0, 0), name, out];
        match self.ask(cmd::FS, &mut params) {
            TeeResult::SUCCESS => Ok(params[2].a),
            code => Err(code),
        }
    }

    fn write(&self, file: u64, at: u64, bytes: &[u8]) -> TeeResult {
        self.put(8, bytes);
        let data = self.memory(attr::RMEM_INPUT, 8, bytes.len() as u64);
        self.ask(cmd::FS, &mut [value(fs::WRITE, file, at), data])
    }

    fn read(&self, file: u64, at: u64, len: u64) -> Result<Vec<u8>, TeeResult> {
        let data = self.memory(attr::RMEM_OUTPUT, 8, len);
        let mut params = [value(fs::READ, file, at), data];
        match self.ask(cmd::FS, &mut params) {
            TeeResult::SUCCESS => Ok(self.get(8, params[1].b as usize)),
            code => Err(code),
        }
    }
}

const fn value(a: u64, b: u64, c: u64) -> MsgParam {
    MsgParam {
        attr: attr::VALUE_INPUT,
        a,
        b,
        c,
    }
}

#[test]
fn a_file_is_made_written_read_cut_and_closed() {
    let world = Asking::new();
    assert_eq!(
        world.named(fs::OPEN, "dirf.db"),
        Err(TeeResult::ITEM_NOT_FOUND)
    );
    let file = world.named(fs::CREATE, "dirf.db").unwrap();
    assert_eq!(world.write(file, 3, b"abc"), TeeResult::SUCCESS);
    assert_eq!(world.read(file, 0, 100), Ok(b"\0\0\0abc".to_vec()));
    assert_eq!(world.read(file, 4, 1), Ok(b"b".to_vec()));
    assert_eq!(world.read(file, 7, 1), Ok(Vec::new()));
    let cut = &mut [value(fs::TRUNCATE, file, 4)];
    assert_eq!(world.ask(cmd::FS, cut), TeeResult::SUCCESS);
    assert_eq!(world.read(file, 0, 100), Ok(b"\0\0\0a".to_vec()));
    let close = &mut [value(fs::CLOSE, file, 0)];
    assert_eq!(world.ask(cmd::FS, close), TeeResult::SUCCESS);
    assert_eq!(world.ask(cmd::FS, close), TeeResult::GENERIC);
    assert_eq!(world.read(file, 0, 1), Err(TeeResult::GENERIC));
    let again = world.named(fs::OPEN, "/dirf.db").unwrap();
    assert_eq!(world.read(again, 3, 1), Ok(b"a".to_vec()));
}

#[test]
fn names_of_a_folder_come_one_by_one_and_say_how_much_room_they_need() {
    let world = Asking::new();
    for name in ["b/second", "b/first", "a/other"] {
        world.named(fs::CREATE, name).unwrap();
    }
    assert_eq!(
        world.named(fs::OPENDIR, "c"),
        Err(TeeResult::ITEM_NOT_FOUND)
    );
    let folder = world.named(fs::OPENDIR, "b").unwrap();
    let next = |room| {
        let name = world.memory(attr::RMEM_OUTPUT, 0, room);
        let mut params = [value(fs::READDIR, folder, 0), name];
        let code = world.ask(cmd::FS, &mut params);
        (code, params[1].b)
    };
    assert_eq!(next(6), (TeeResult::SUCCESS, 6));
    assert_eq!(world.get(0, 6), b"first\0");
    assert_eq!(next(6), (TeeResult::SHORT_BUFFER, 7));
    assert_eq!(next(64).0, TeeResult::ITEM_NOT_FOUND);
    let close = &mut [value(fs::CLOSEDIR, folder, 0)];
    assert_eq!(world.ask(cmd::FS, close), TeeResult::SUCCESS);
    assert_eq!(world.ask(cmd::FS, close), TeeResult::BAD_PARAMETERS);
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let world = Asking::new();
    let file = world.named(fs::CREATE, "0").unwrap();
    let input = world.memory(attr::RMEM_INPUT, 0, 16);
    let beyond = world.memory(attr::RMEM_OUTPUT, 4090, 16);
    let out = MsgParam {
        attr: attr::VALUE_OUTPUT,
        ..MsgParam::default()
    };
    world.put(0, &[b'x'; 16]); // No zero behind the name.
    for params in [
        &mut [][..],
        &mut [out],
        &mut [value(99, 0, 0)],
        &mut [value(fs::READ, file, 0), input],
        &mut [value(fs::READ, file, 0), beyond],
        &mut [value(fs::OPEN, 0, 0), input],
        &mut [value(fs::OPEN, 0, 0), input, out],
        &mut [value(fs::CREATE, 0, 0), input, value(0, 0, 0)],
    ] {
        assert_eq!(
            world.ask(cmd::FS, params),
            TeeResult::BAD_PARAMETERS,
            "{params:?}"
        );
    }
    assert_eq!(world.transport.services().0.save().files().len(), 1);
}

#[test]
fn a_file_that_is_removed_or_replaced_stays_for_who_has_it_open() {
    let files = MemoryFiles::new(ROOM);
    let (old, new) = (files.create("old").unwrap(), files.create("new").unwrap());
    files.write(old, 0, b"old").unwrap();
    files.write(new, 0, b"new").unwrap();
    assert_eq!(
        files.rename("new", "old", false),
        Err(TeeResult::ACCESS_CONFLICT)
    );
    files.rename("new", "old", true).unwrap();
    assert_eq!(
        files.rename("new", "x", true),
        Err(TeeResult::ITEM_NOT_FOUND)
    );
    let mut read = Vec::new();
    files
        .read(old, 0, 9, &mut |_, bytes| read.extend_from_slice(bytes))
        .unwrap();
    assert_eq!(read, b"old");
    let saved = files.save();
    assert_eq!(saved.files(), [("old".into(), b"new".to_vec())]);
    files.close(old).unwrap();
    files.remove("old").unwrap();
    assert_eq!(files.remove("old"), Err(TeeResult::ITEM_NOT_FOUND));
    files.close(new).unwrap();
    assert_eq!(files.n_open(), 0);
    files.restore(&saved);
    assert_eq!(files.save(), saved);
    assert!(files.change("old", |bytes| bytes[0] = b'x'));
    assert!(!files.change("new", Vec::clear));
    assert_eq!(files.save().files(), [("old".into(), b"xew".to_vec())]);
}

#[test]
fn files_take_no_more_than_they_may_and_a_refusal_changes_nothing() {
    let files = MemoryFiles::new(100);
    let file = files.create("name").unwrap();
    files.write(file, 0, &[7; 90]).unwrap();
    let before = files.save();
    for refused in [
        files.write(file, 90, &[8; 10]),
        files.write(file, u64::MAX, &[8]),
        files.truncate(file, 97),
        files.create("a longer one").map(drop),
    ] {
        assert_eq!(refused, Err(TeeResult::STORAGE_NO_SPACE));
        assert_eq!(files.save(), before);
    }
    files.truncate(file, 96).unwrap();
    files.remove("name").unwrap();
    files.close(file).unwrap();
    let file = files.create("other").unwrap();
    files.truncate(file, 95).unwrap();
}

#[test]
fn after_a_restart_no_handle_is_known_and_all_files_are() {
    let files = MemoryFiles::new(ROOM);
    let file = files.create("kept").unwrap();
    files.create("removed").unwrap();
    files.remove("removed").unwrap();
    files.restart();
    assert_eq!(files.close(file), Err(TeeResult::GENERIC));
    assert_eq!((files.n_open(), files.save().files().len()), (0, 1));
    files.open("kept").unwrap();
}

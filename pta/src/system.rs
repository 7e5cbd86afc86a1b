//! OP-TEE's system pTA (`pta_system.h`), as far as memory, libraries and the supplicant's plugins go.

use crate::params::{expect, native_uuid};
use tally_abi::TeeResult;
use tally_abi::pta::system::{
    CMD_DLOPEN, CMD_DLSYM, CMD_MAP_ZI, CMD_SUPP_PLUGIN_INVOKE, CMD_UNMAP, DLOPEN_FLAGS,
    MAP_SHAREABLE, UUID,
};
use tally_abi::ta::param_type::{
    MEMREF_INOUT, MEMREF_INPUT, NONE, VALUE_INOUT, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_core::book::Book;
use tally_core::pta::system_services::{Plugin, SystemServices};
use tally_core::pta::{Params, PseudoTa, Session, Step, Work};

/// Longest name of a symbol that is looked for, in bytes.
const MAX_SYMBOL: usize = 512;

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "system.pta",
        work: Work::System(enter),
    }
}

fn enter(
    system: &dyn SystemServices,
    session: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    match step {
        Step::Open if !session.is_of_ta() => Err(TeeResult::ACCESS_DENIED),
        step => step.of_anyone(|command, params| invoke(system, command, params)),
    }
}

fn invoke(
    system: &dyn SystemServices,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_MAP_ZI => {
            expect(params, [VALUE_INPUT, VALUE_INOUT, VALUE_INPUT, NONE])?;
            let (bytes, flags) = params.value(0);
            if bytes == 0 || flags & !MAP_SHAREABLE != 0 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            let va = system.map_zero(bytes, join(params.value(1)), params.value(2))?;
            set_address(params, 1, va);
            Ok(())
        }
        CMD_UNMAP => {
            expect(params, [VALUE_INPUT, VALUE_INPUT, NONE, NONE])?;
            let (bytes, flags) = params.value(0);
            if flags != 0 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            system.unmap(bytes, join(params.value(1)))
        }
        CMD_DLOPEN => {
            expect(params, [MEMREF_INPUT, VALUE_INPUT, NONE, NONE])?;
            let uuid = native_uuid(params, 0)?;
            if params.value(1).0 != DLOPEN_FLAGS {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            if uuid.is_nil() {
                // The program itself, which is there.
                return Ok(());
            }
            system.open_library(uuid)
        }
        CMD_DLSYM => dlsym(system, params),
        CMD_SUPP_PLUGIN_INVOKE => {
            expect(
                params,
                [MEMREF_INPUT, VALUE_INPUT, MEMREF_INOUT, VALUE_OUTPUT],
            )?;
            let uuid = native_uuid(params, 0)?;
            let (command, subcommand) = params.value(1);
            let plugin = Plugin {
                uuid,
                command,
                subcommand,
            };
            system.invoke_plugin(plugin, params, 2, 3)
        }
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}

#[inline(never)]
fn dlsym(system: &dyn SystemServices, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [MEMREF_INPUT, MEMREF_INPUT, VALUE_OUTPUT, NONE])?;
    let uuid = native_uuid(params, 0)?;
    let mut name = [0; MAX_SYMBOL];
    let room = params.memref_len(1).min(MAX_SYMBOL as u64) as usize;
    params.read(1, 0, &mut name[..room])?;
    // It ends with its zero, or with the buffer.
    let len = name.iter().position(|byte| *byte == 0);
    let name = match len {
        Some(len) => &name[..len],
        None if params.memref_len(1) > MAX_SYMBOL as u64 => return Err(TeeResult::ITEM_NOT_FOUND),
        None => &name[..room],
    };
    if name.is_empty() {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    let va = system.find_symbol(uuid, name)?;
    set_address(params, 2, va);
    Ok(())
}

/// The address in a pair of values, high word first (`reg_pair_to_64` of optee_os `lib/libutils/ext/include/util.h`).
const fn join((high, low): (u32, u32)) -> u64 {
    (high as u64) << 32 | low as u64
}

fn set_address(params: &mut dyn Params, index: usize, va: u64) {
    params.set_value(index, (va >> 32) as u32, va as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tally_abi::TeeUuid;
    use tally_abi::ta::param_type::pack;
    use zerocopy::IntoBytes as _;

    const LIBRARY: TeeUuid = TeeUuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

    /// Values and memory of a call.
    struct Call {
        types: u32,
        values: [(u32, u32); 4],
        memory: [Vec<u8>; 4],
    }

    impl Call {
        fn new(types: [u32; 4], values: [(u32, u32); 4], memory: [&[u8]; 4]) -> Self {
            Self {
                types: pack(types),
                values,
                memory: memory.map(<[u8]>::to_vec),
            }
        }
    }

    impl Params for Call {
        fn types(&self) -> u32 {
            self.types
        }
        fn value(&self, index: usize) -> (u32, u32) {
            self.values[index]
        }
        fn set_value(&mut self, index: usize, a: u32, b: u32) {
            self.values[index] = (a, b);
        }
        fn memref_len(&self, index: usize) -> u64 {
            self.memory[index].len() as u64
        }
        fn set_memref_len(&mut self, _: usize, _: u64) {}
        fn read(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult> {
            let from = self.memory[index].get(offset as usize..).unwrap_or(&[]);
            let from = from.get(..buf.len()).ok_or(TeeResult::BAD_PARAMETERS)?;
            buf.copy_from_slice(from);
            Ok(())
        }
        fn write(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), TeeResult> {
            Ok(())
        }
    }

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Noted(RefCell<Vec<String>>);

    impl Noted {
        fn note(&self, what: String) -> Result<u64, TeeResult> {
            self.0.borrow_mut().push(what);
            Ok(0x12_3456_7000)
        }
    }

    impl SystemServices for Noted {
        fn map_zero(&self, bytes: u32, at: u64, pads: (u32, u32)) -> Result<u64, TeeResult> {
            self.note(format!("map {bytes} {at:#x} {pads:?}"))
        }
        fn unmap(&self, bytes: u32, va: u64) -> Result<(), TeeResult> {
            self.note(format!("unmap {bytes} {va:#x}")).map(drop)
        }
        fn open_library(&self, uuid: TeeUuid) -> Result<(), TeeResult> {
            self.note(format!("open {uuid}")).map(drop)
        }
        fn find_symbol(&self, uuid: TeeUuid, name: &[u8]) -> Result<u64, TeeResult> {
            let name = String::from_utf8_lossy(name).into_owned();
            self.note(format!("find {uuid} {} {name}", name.len()))
        }
        fn invoke_plugin(
            &self,
            plugin: Plugin,
            _: &mut dyn Params,
            data: usize,
            len: usize,
        ) -> Result<(), TeeResult> {
            self.note(format!("{plugin:?} {data} {len}")).map(drop)
        }
    }

    /// The answer, what was asked of the kernel, and the values afterwards.
    type Invoked = (Result<(), TeeResult>, Vec<String>, [(u32, u32); 4]);

    fn invoked(
        command: u32,
        types: [u32; 4],
        values: [(u32, u32); 4],
        memory: [&[u8]; 4],
    ) -> Invoked {
        let (system, mut call) = (Noted::default(), Call::new(types, values, memory));
        let answer = invoke(&system, command, &mut call);
        (answer, system.0.into_inner(), call.values)
    }

    const NO_MEMORY: [&[u8]; 4] = [&[]; 4];
    const MAP: [u32; 4] = [VALUE_INPUT, VALUE_INOUT, VALUE_INPUT, NONE];

    #[test]
    fn an_address_goes_by_its_high_word_first() {
        let values = [(5000, 1), (0x10, 0x2000), (3, 4), (0, 0)];
        let (answer, asked, values) = invoked(CMD_MAP_ZI, MAP, values, NO_MEMORY);
        assert_eq!((answer, values[1]), (Ok(()), (0x12, 0x3456_7000)));
        assert_eq!(asked, ["map 5000 0x1000002000 (3, 4)"]);
        let types = [VALUE_INPUT, VALUE_INPUT, NONE, NONE];
        let values = [(4096, 0), (0x12, 0x3000), (0, 0), (0, 0)];
        let (answer, asked, _) = invoked(CMD_UNMAP, types, values, NO_MEMORY);
        assert_eq!((answer, &asked[0][..]), (Ok(()), "unmap 4096 0x1200003000"));
    }

    #[test]
    fn flags_sizes_and_types_that_are_none_are_refused() {
        let at = |bytes, flags| [(bytes, flags), (0, 0), (0, 0), (0, 0)];
        let unmap = [VALUE_INPUT, VALUE_INPUT, NONE, NONE];
        for (command, types, values) in [
            (CMD_MAP_ZI, MAP, at(0, 0)),
            (CMD_MAP_ZI, MAP, at(1, 2)),
            (CMD_MAP_ZI, MAP, at(1, 3)),
            (CMD_MAP_ZI, unmap, at(1, 0)),
            (CMD_UNMAP, MAP, at(1, 0)),
            (CMD_UNMAP, unmap, at(1, 1)),
        ] {
            let (answer, asked, _) = invoked(command, types, values, NO_MEMORY);
            assert_eq!(
                answer,
                Err(TeeResult::BAD_PARAMETERS),
                "{command} {values:?}"
            );
            assert!(asked.is_empty(), "{asked:?}");
        }
        let (answer, ..) = invoked(12, MAP, at(1, 0), NO_MEMORY);
        assert_eq!(answer, Err(TeeResult::NOT_IMPLEMENTED));
    }

    #[test]
    fn libraries_are_opened_for_good_or_not_at_all() {
        let types = [MEMREF_INPUT, VALUE_INPUT, NONE, NONE];
        let open = |uuid: &[u8], flags| {
            let values = [(0, 0), (flags, 0), (0, 0), (0, 0)];
            let (answer, asked, _) = invoked(CMD_DLOPEN, types, values, [uuid, &[], &[], &[]]);
            answer.map(|()| asked)
        };
        let uuid = LIBRARY.as_bytes();
        assert_eq!(
            open(uuid, DLOPEN_FLAGS),
            Ok(vec![format!("open {LIBRARY}")])
        );
        assert_eq!(open(&[0; 16], DLOPEN_FLAGS), Ok(vec![]), "the program");
        for (uuid, flags) in [(uuid, 2), (&uuid[..15], DLOPEN_FLAGS), (&[], DLOPEN_FLAGS)] {
            assert_eq!(open(uuid, flags), Err(TeeResult::BAD_PARAMETERS));
        }
    }

    #[test]
    fn a_name_ends_with_its_zero_or_with_its_memory() {
        let types = [MEMREF_INPUT, MEMREF_INPUT, VALUE_OUTPUT, NONE];
        let find = |name: &[u8]| {
            let memory = [LIBRARY.as_bytes(), name, &[], &[]];
            let (answer, asked, values) = invoked(CMD_DLSYM, types, [(0, 0); 4], memory);
            answer.map(|()| {
                assert_eq!(values[2], (0x12, 0x3456_7000));
                asked.concat()
            })
        };
        let asked = |len: usize, name: &str| Ok(format!("find {LIBRARY} {len} {name}"));
        assert_eq!(find(b"printf\0"), asked(6, "printf"));
        assert_eq!(find(b"printf\0\0more"), asked(6, "printf"));
        assert_eq!(find(b"printf"), asked(6, "printf"));
        let long = "x".repeat(MAX_SYMBOL);
        assert_eq!(find(long.as_bytes()), asked(MAX_SYMBOL, &long));
        let longer = "x".repeat(MAX_SYMBOL + 1);
        assert_eq!(find(longer.as_bytes()), Err(TeeResult::ITEM_NOT_FOUND));
        for none in [&b""[..], b"\0", b"\0name"] {
            assert_eq!(find(none), Err(TeeResult::BAD_PARAMETERS), "{none:?}");
        }
    }

    #[test]
    fn a_plugin_gets_its_command_and_subcommand() {
        let types = [MEMREF_INPUT, VALUE_INPUT, MEMREF_INOUT, VALUE_OUTPUT];
        let values = [(0, 0), (7, 8), (0, 0), (0, 0)];
        let memory = [LIBRARY.as_bytes(), &[], b"data", &[]];
        let (answer, asked, _) = invoked(CMD_SUPP_PLUGIN_INVOKE, types, values, memory);
        assert_eq!(answer, Ok(()));
        let plugin = format!("Plugin {{ uuid: {LIBRARY}, command: 7, subcommand: 8 }} 2 3");
        assert_eq!(asked, [plugin]);
    }
}

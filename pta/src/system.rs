//! OP-TEE's system pTA (`pta_system.h`), as far as memory, libraries, keys, randomness and the supplicant's plugins go.

use crate::params::{expect, native_uuid};
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::pta::system::{
    CMD_ADD_RNG_ENTROPY, CMD_DERIVE_TA_UNIQUE_KEY, CMD_DLOPEN, CMD_DLSYM, CMD_MAP_ZI,
    CMD_SUPP_PLUGIN_INVOKE, CMD_UNMAP, DLOPEN_FLAGS, KEY_BYTES, MAP_SHAREABLE, MAX_EXTRA, UUID,
};
use tally_abi::rpc::{self, SUPP_PLUGIN_INVOKE};
use tally_abi::ta::param_type::{
    MEMREF_INOUT, MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INOUT, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_core::book::Book;
use tally_core::pta::supplicant::{Answer, Data, input, value};
use tally_core::pta::system_services::SystemServices;
use tally_core::pta::{Params, PseudoTa, Session, Step, Work};
use zerocopy::IntoBytes;

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
        CMD_ADD_RNG_ENTROPY => {
            expect(params, [MEMREF_INPUT, NONE, NONE, NONE])?;
            let len = params.memref_len(0);
            if len == 0 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            for at in (0..len).step_by(32) {
                let mut words = [0_u64; 4];
                let piece = (len - at).min(32) as usize;
                params.read(0, at, &mut words.as_mut_bytes()[..piece])?;
                system.stir(words);
            }
            Ok(())
        }
        CMD_DERIVE_TA_UNIQUE_KEY => {
            expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let (extra, len) = (params.memref_len(0), params.memref_len(1));
            if extra > MAX_EXTRA || !KEY_BYTES.contains(&len) {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            if !params.is_secure(1) {
                return Err(TeeResult::SECURITY);
            }
            let key = system.unique_key(extra, params, 0)?;
            params.write(1, 0, &key[..len as usize])
        }
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
            let bytes = uuid.to_bytes();
            let word = |n: usize| {
                let word = bytes[4 * n..].first_chunk().copied();
                u64::from(u32::from_le_bytes(word.unwrap_or_default()))
            };
            let mut rpc = [
                input(SUPP_PLUGIN_INVOKE, word(0), word(1)),
                input(word(2), word(3), command.into()),
                value(attr::VALUE_INOUT, subcommand.into(), 0, 0),
                MsgParam::default(),
            ];
            let data = Data {
                rpc: 3,
                param: 2,
                kind: attr::RMEM_INOUT,
                answer: Answer::Value(2),
            };
            let done = system.ask(rpc::cmd::SUPP_PLUGIN, &mut rpc, Some(data), params);
            params.set_value(3, rpc[2].b as u32, 0);
            done
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
    use crate::fakes::{Call, NORMAL, Noted};
    use tally_abi::TeeUuid;

    const LIBRARY: TeeUuid = TeeUuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

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
        (answer, system.into_inner(), call.values)
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
    fn what_a_ta_believes_to_be_random_is_mixed_in_whole() {
        let types = [MEMREF_INPUT, NONE, NONE, NONE];
        let stirred = |data: &[u8]| {
            let memory = [data, &[], &[], &[]];
            let (answer, asked, _) = invoked(CMD_ADD_RNG_ENTROPY, types, [(0, 0); 4], memory);
            answer.map(|()| asked)
        };
        let mut data = [0; 33];
        (data[0], data[31], data[32]) = (1, 0x20, 3);
        let words = ["stir [1, 0, 0, 2000000000000000]", "stir [3, 0, 0, 0]"];
        assert_eq!(stirred(&data), Ok(words.map(String::from).to_vec()));
        assert_eq!(stirred(&[]), Err(TeeResult::BAD_PARAMETERS));
    }

    #[test]
    fn a_key_of_the_tas_own_never_goes_to_the_normal_world() {
        let types = [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE];
        let derive = |extra: usize, room: usize, place| {
            let system = Noted::default();
            let (extra, room) = (vec![1; extra], vec![0; room]);
            let values = [(0, 0), place, (0, 0), (0, 0)];
            let mut call = Call::new(types, values, [&extra, &room, &[], &[]]);
            let answer = invoke(&system, CMD_DERIVE_TA_UNIQUE_KEY, &mut call);
            answer.map(|()| (call.memory[1].clone(), system.into_inner()))
        };
        for (extra, room) in [(0, 16), (5, 20), (1024, 32)] {
            let asked = vec![format!("key {extra} 0")];
            assert_eq!(derive(extra, room, (0, 0)), Ok((vec![7; room], asked)));
            assert_eq!(derive(extra, room, NORMAL), Err(TeeResult::SECURITY));
        }
        for (extra, room) in [(0, 15), (0, 33), (1025, 16)] {
            assert_eq!(derive(extra, room, (0, 0)), Err(TeeResult::BAD_PARAMETERS));
        }
    }

    #[test]
    fn a_plugin_gets_its_command_and_subcommand() {
        let types = [MEMREF_INPUT, VALUE_INPUT, MEMREF_INOUT, VALUE_OUTPUT];
        let values = [(0, 0), (7, 8), (0, 0), (0, 0)];
        let memory = [LIBRARY.as_bytes(), &[], b"data", &[]];
        let (answer, asked, values) = invoked(CMD_SUPP_PLUGIN_INVOKE, types, values, memory);
        assert_eq!((answer, values[3]), (Ok(()), (5, 0)));
        let wanted = "12 [(1, 0, 33221100, 77665544), (1, bbaa9988, ffeeddcc, 7), (3, 8, 0, 0), (0, 0, 0, 0)] \
                      Some(Data { rpc: 3, param: 2, kind: 7, answer: Value(2) })";
        assert_eq!(asked, [wanted]);
    }
}

//! Tally's leak finder: mark, do the work, list what is still there and who has it.
//!
//! **Invariant:** no TA is entered; the list's own buffers are charged to an owner that the list
//! leaves out.
//! **Knows nothing of:** how blocks are recorded.

use crate::list;
use crate::records::Text;
use core::fmt::Write;
use tally_abi::pta::memleak::{CMD_LIST, CMD_MARK, CMD_NAME, UUID, list_flag};
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::heap::LiveGroup;
use tally_core::pta_api::{Params, PseudoTa, Services};
use zerocopy::IntoBytes;

/// Most groups of one heap that are listed.
const MAX_GROUPS: usize = 32;

pub(crate) struct Memleak;

impl PseudoTa for Memleak {
    fn uuid(&self) -> TeeUuid {
        UUID
    }

    fn name(&self) -> &'static str {
        "memleak"
    }

    /// TAs have no business with each other's lives and memory.
    fn serves_tas(&self) -> bool {
        false
    }

    fn invoke(
        &self,
        services: &dyn Services,
        command: u32,
        params: &mut dyn Params,
    ) -> Result<(), TeeResult> {
        match command {
            CMD_MARK => {
                list::expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
                let mark = services.mark()?;
                params.set_value(0, u32::from(mark), 0);
                Ok(())
            }
            CMD_LIST => list_leaks(services, params),
            CMD_NAME => {
                list::expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
                let (low, high) = params.value(0);
                let offset = u64::from(high) << 32 | u64::from(low);
                let mut text = Text::new(params, 1);
                if !services.name_site(offset, &mut text as &mut dyn Write) {
                    return Err(TeeResult::ITEM_NOT_FOUND);
                }
                text.finish()
            }
            _ => Err(TeeResult::NOT_SUPPORTED),
        }
    }
}

fn list_leaks(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let (mark, flags) = params.value(0);
    let since = u16::try_from(mark).map_err(|_| TeeResult::BAD_PARAMETERS)?;
    let room = params.memref_len(1);
    let mut needed = 0;
    let mut groups = [LiveGroup::default(); MAX_GROUPS];
    let mut put = |params: &mut dyn Params, groups: &[LiveGroup], ta| {
        for group in groups {
            let record = services.leak_record(group, ta);
            let octets = record.as_bytes();
            if needed + octets.len() as u64 <= room {
                params.write(1, needed, octets)?;
            }
            needed += octets.len() as u64;
        }
        Ok::<(), TeeResult>(())
    };
    if flags & list_flag::TA_ONLY == 0 {
        let count = services.kernel_leaks(since, &mut groups).min(MAX_GROUPS);
        put(params, &groups[..count], None)?;
    }
    if flags & list_flag::KERNEL_ONLY == 0 {
        for index in 0.. {
            let Some(count) = services.ta_leaks(index, since, &mut groups) else {
                break;
            };
            put(params, &groups[..count.min(MAX_GROUPS)], Some(index))?;
        }
    }
    list::finish(params, 1, needed)
}

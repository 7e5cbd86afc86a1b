//! Size advice as text.
//!
//! **Invariant:** says no more than [`tally_metrics::advice`] does.

use alloc::string::String;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_metrics::advice::{Advice, What};

use super::Named;
use crate::Names;

pub(crate) fn advice(out: &mut dyn Write, advice: &[Advice], names: &dyn Names) -> fmt::Result {
    writeln!(
        out,
        "{:<14} {:>10} {:>10} {:>10}  setting",
        "what", "now", "most used", "set to"
    )?;
    let mut whose = TeeUuid::nil();
    for one in advice {
        if one.uuid != whose {
            whose = one.uuid;
            writeln!(out, "{}", Named(whose, names))?;
        }
        let set = match one.set {
            0 => String::from("-"),
            set => alloc::format!("{set}"),
        };
        write!(
            out,
            "{:<14} {:>10} {:>10} {set:>10}  {}",
            one.what.name(),
            one.now,
            one.most,
            one.what.setting()
        )?;
        if one.refused > 0 {
            write!(out, ", {} refused", one.refused)?;
        }
        if one.impossible > 0 {
            write!(
                out,
                ", one of {} bytes, more than the TA memory can give",
                one.impossible
            )?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "most used since boot or `teestat reset`; set to: half as much again, what was refused too, in \
         whole pages"
    )?;
    if !advice.iter().any(|one| one.what == What::Quota) {
        return Ok(());
    }
    writeln!(
        out,
        "the quota has room for the heaps as in `set to`: one that is larger than the quota is refused whole"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;
    use crate::text::print;

    #[test]
    fn advice_speaks_of_the_quota_where_it_has_one() {
        let of = |what| Advice {
            what,
            ..Advice::default()
        };
        let says = |rows: &[Advice]| print(|out| advice(out, rows, &NoNames));
        let both = says(&[of(What::Quota), of(What::Heap)]);
        assert!(both.contains("\nthe quota has room for"), "{both}");
        let ended = says(&[of(What::Heap), of(What::Stack)]);
        assert!(!ended.contains("quota"), "{ended}");
        assert!(ended.ends_with("in whole pages\n"), "{ended}");
    }
}

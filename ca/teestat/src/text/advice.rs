//! Size advice as text.
//!
//! **Invariant:** says no more than [`tally_insight::advice`] does.

use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_insight::advice::{Advice, What};
use tally_insight::names::Names;

use super::Called;
use super::columns::Columns;

pub(crate) fn advice(out: &mut dyn Write, advice: &[Advice], names: &dyn Names) -> fmt::Result {
    const COLUMNS: Columns = Columns(&[
        ("what", 14),
        ("now", 10),
        ("most", 10),
        ("set", 10),
        ("setting", 0),
    ]);
    COLUMNS.head::<Advice>(out)?;
    writeln!(out)?;
    let mut whose = TeeUuid::nil();
    for one in advice {
        if one.uuid != whose {
            whose = one.uuid;
            writeln!(out, "{}", Called(whose, names))?;
        }
        COLUMNS.row(out, one, names)?;
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
        "most: used since boot or `teestat reset`; set: half as much again, what was refused too, in \
         whole pages"
    )?;
    if !advice.iter().any(|one| one.what == What::Quota) {
        return Ok(());
    }
    writeln!(
        out,
        "the quota has room for the heaps as in `set`: one that is larger than the quota is refused whole"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::print;
    use tally_insight::names::NoNames;

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

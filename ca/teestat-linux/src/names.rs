//! Names from the directory of trusted applications: `names` (lines of UUID and short name) and a
//! call-site table `UUID.sites` for each that has one.
//!
//! **Invariant:** a file that is missing or not understood names nothing; a table is read once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use tally_abi::TeeUuid;
use tally_abi::sites::Table;
use tally_insight::names::{Frame, PSEUDO};
use teestat::HostNames;

/// Names from a directory.
pub(crate) struct Directory {
    path: PathBuf,
    known: Vec<(String, TeeUuid)>,
    tables: RefCell<HashMap<TeeUuid, Rc<[u8]>>>,
}

impl Directory {
    /// Reads the list of names in `path`.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let list = std::fs::read_to_string(path.join("names")).unwrap_or_default();
        let mut known = parse(&list);
        known.extend(PSEUDO.map(|(name, uuid)| (name.to_owned(), uuid)));
        Self {
            path,
            known,
            tables: RefCell::default(),
        }
    }

    fn table(&self, image: TeeUuid) -> Rc<[u8]> {
        let mut tables = self.tables.borrow_mut();
        let read = || {
            let file = self.path.join(format!("{image}.sites"));
            std::fs::read(file).unwrap_or_default().into()
        };
        Rc::clone(tables.entry(image).or_insert_with(read))
    }
}

fn parse(list: &str) -> Vec<(String, TeeUuid)> {
    list.lines()
        .filter_map(|line| {
            let (uuid, name) = line.trim().split_once(char::is_whitespace)?;
            Some((name.trim().to_owned(), uuid.parse().ok()?))
        })
        .collect()
}

impl HostNames for Directory {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        let (name, _) = self.known.iter().find(|(_, known)| *known == uuid)?;
        Some(name.clone())
    }

    fn uuid_of(&self, name: &str) -> Option<TeeUuid> {
        let (_, uuid) = self.known.iter().find(|(known, _)| known == name)?;
        Some(*uuid)
    }

    fn known(&self) -> Vec<(String, TeeUuid)> {
        self.known.clone()
    }

    fn site(&self, image: TeeUuid, offset: u64) -> Option<Frame> {
        let bytes = self.table(image);
        Table::parse(&bytes)?.lookup(offset).map(Frame::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::pta::{memleak, stats};

    #[test]
    fn lines_that_are_no_names_are_skipped() {
        let list = "d96a5b40-e2c7-b1af-8794-1002a5d5c61b  figures \n# a remark\n\nnonsense x\n";
        let uuid = stats::UUID;
        assert_eq!(parse(list), [("figures".to_owned(), uuid)]);
    }

    #[test]
    fn a_missing_directory_knows_the_pseudo_tas() {
        let names = Directory::new("/nonexistent");
        assert_eq!(names.uuid_of("stats"), Some(stats::UUID));
        assert_eq!(names.name_of(memleak::UUID).as_deref(), Some("memleak"));
        assert_eq!(names.site(stats::UUID, 0), None);
    }
}

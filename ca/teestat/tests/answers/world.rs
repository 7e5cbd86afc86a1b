//! A fake secure world: every question of `teestat` has an answer, the lists those of a
//! sample.

use tally_abi::TeeUuid;
use tally_abi::pta::stats::{self, AllocStats, TaStats};
use tally_abi::pta::{audit, control, inspect, memleak, watch};
use tally_insight::names::Frame;
use tally_insight::sample;
use tally_records::{
    BlockRow, ChunkRow, EndedRow, EventRow, HeldRow, MarkRow, Record, ScanRow, SessionRow,
    SnapshotRow, SuspectRow, consistency, snapshot_sections, snapshot_state,
};
use teec::{Error, ErrorKind};
use teec::{RawParam, SharedBytes, TempMemory, Transport};
use teestat::{FileSink, Files, Host, HostNames, Labels, Server};
use zerocopy::{FromBytes, IntoBytes};

/// Its sessions are numbers in this list.
const PSEUDO_TAS: [TeeUuid; 6] = [
    stats::UUID,
    memleak::UUID,
    control::UUID,
    inspect::UUID,
    audit::UUID,
    watch::UUID,
];

/// The secure world; this byte fills the records that the sample has none of. Zero: most of what
/// may be null is.
pub(crate) struct World(pub(crate) u8);

impl World {
    fn record<T: FromBytes>(&self) -> T {
        T::read_from_bytes(&vec![self.0; size_of::<T>()]).unwrap()
    }

    fn rows(&self, section: u32) -> Vec<u8> {
        let mut sample = sample::machine(3);
        sample.tas[1].heap.inconsistent = consistency::INCONSISTENT;
        macro_rules! of_sample {
            ($($field:ident: $record:ty,)*) => {
                $(if section == <$record>::SECTION {
                    sample.$field.push(self.record());
                    return sample.$field.as_bytes().to_vec();
                })*
            };
        }
        snapshot_sections!(of_sample);
        macro_rules! filled {
            ($($record:ty),*) => {
                $(if section == <$record>::SECTION {
                    return self.record::<$record>().as_bytes().to_vec();
                })*
            };
        }
        filled!(
            SessionRow, ChunkRow, EndedRow, SuspectRow, HeldRow, EventRow
        );
        match section {
            BlockRow::SECTION => self.block().as_bytes().to_vec(),
            MarkRow::SECTION => [1, 2]
                .map(|number| MarkRow {
                    number,
                    ..self.record()
                })
                .as_bytes()
                .to_vec(),
            SnapshotRow::SECTION => SnapshotRow {
                number: 1,
                state: snapshot_state::TAKEN,
                ..self.record()
            }
            .as_bytes()
            .to_vec(),
            _ => panic!("no list has section {section}"),
        }
    }

    fn block(&self) -> BlockRow {
        BlockRow {
            size: 16,
            ..self.record()
        }
    }
}

/// Gives `bytes` to the caller, or says how many they are.
fn put(param: &mut RawParam<'_>, bytes: &[u8]) -> teec::Result<()> {
    let RawParam::Temp { memory, size } = param else {
        panic!("no memory for an answer");
    };
    **size = bytes.len();
    match memory {
        TempMemory::Output(room) if room.len() >= bytes.len() => {
            room[..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::ShortBuffer)),
    }
}

impl Transport for World {
    fn open_session(&self, uuid: TeeUuid, _: &mut [RawParam<'_>; 4]) -> teec::Result<u32> {
        let found = PSEUDO_TAS.iter().position(|pta| *pta == uuid);
        Ok(found.unwrap() as u32)
    }

    fn invoke(
        &self,
        session: u32,
        command: u32,
        _: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> teec::Result<()> {
        let section = match &params[0] {
            RawParam::Value { a, .. } => **a,
            _ => 0,
        };
        for param in &mut *params {
            if let RawParam::Value { direction, a, b } = param
                && *direction != teec::Direction::Input
            {
                (**a, **b) = (0, 0);
            }
        }
        match (PSEUDO_TAS[session as usize], command) {
            (stats::UUID, stats::CMD_ALLOC_STATS) => {
                put(&mut params[1], self.record::<AllocStats>().as_bytes())
            }
            (stats::UUID, stats::CMD_TA_STATS) => {
                put(&mut params[0], self.record::<TaStats>().as_bytes())
            }
            (memleak::UUID, memleak::CMD_NAME) => put(&mut params[1], b"f a.rs:3"),
            (memleak::UUID, memleak::CMD_SCAN) => {
                put(&mut params[1], self.record::<ScanRow>().as_bytes())
            }
            (control::UUID, control::CMD_LAST_OOM) if self.0 == 0 => {
                Err(Error::new(ErrorKind::NoData))
            }
            (control::UUID, control::CMD_LAST_OOM) => put(&mut params[0], b"out of memory\n"),
            (inspect::UUID, inspect::CMD_LIST) => put(&mut params[3], &self.rows(section)),
            (inspect::UUID, inspect::CMD_BLOCK) => put(&mut params[2], self.block().as_bytes()),
            (inspect::UUID, inspect::CMD_BLOCK_BYTES) if self.0 == 0 => {
                Err(Error::new(ErrorKind::NotSupported))
            }
            (watch::UUID, watch::CMD_READ) => put(&mut params[1], &sample::machine(1).to_bytes()),
            _ => Ok(()),
        }
    }

    fn close_session(&self, _: u32) -> teec::Result<()> {
        Ok(())
    }

    fn cancel(&self, _: u32, _: u32) -> teec::Result<()> {
        Ok(())
    }

    fn allocate_shared(&self, _: usize) -> teec::Result<Box<dyn SharedBytes>> {
        Err(Error::new(ErrorKind::NotSupported))
    }

    fn release_shared(&self, _: u64) -> teec::Result<()> {
        Ok(())
    }
}

/// A machine on which everything works and nothing is kept.
pub(crate) struct Machine;

impl Host for Machine {
    fn names(&self) -> &dyn HostNames {
        self
    }

    fn files(&self) -> &dyn Files {
        self
    }

    fn server(&self) -> &dyn Server {
        self
    }
}

impl HostNames for Machine {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        (uuid == sample::LEAKER).then(|| "leaker".into())
    }

    fn uuid_of(&self, name: &str) -> Option<TeeUuid> {
        (name == "leaker").then_some(sample::LEAKER)
    }

    fn site(&self, image: TeeUuid, _: u64) -> Option<Frame> {
        (image == sample::LEAKER).then(|| Frame::parse("leak leaker/src/main.rs:7"))
    }
}

impl Files for Machine {
    fn create(&self, _: &str) -> Result<Box<dyn FileSink>, String> {
        Ok(Box::new(Self))
    }
}

impl FileSink for Machine {
    fn write(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl Server for Machine {
    fn serve(&self, _: &str, _: &[&str], _: &Labels) -> Result<(), String> {
        Ok(())
    }
}

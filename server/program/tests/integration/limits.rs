//! What one short record may cost: a run of blocks costs the same however long it is. The only test
//! of its program, which shows how much memory the process has taken.

use crate::common::{self, BLOCK, Driver, SECTOR, SESSION, VOLUME};
use snapless_server::error::Result;
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::stream::StreamState;
use snapless_server::target::Target;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::RecordKind;
use snapless_wire::record::Records;

/// 64 TiB: as many blocks of 16 KiB as a volume may have.
const LENGTH: u64 = 64 << 40;

/// An image of which only the calls are counted.
#[derive(Default)]
struct Counted {
    zeros: u64,
}

impl Target for Counted {
    fn write(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn zero(&mut self, _: u64, len: u64) -> Result<()> {
        self.zeros += len;
        Ok(())
    }
}

/// Streams whose records are about all blocks of the volume, in and out of gaps.
fn streams() -> [Vec<u8>; 4] {
    let whole = |driver: &mut Driver, kind| driver.plain(kind, 0, LENGTH);
    let mut of = Driver::default();
    let unreadable = [
        of.start(),
        whole(&mut of, RecordKind::Unreadable),
        of.base_complete(),
        whole(&mut of, RecordKind::Trim),
        whole(&mut of, RecordKind::Unreadable),
        of.epoch_end(),
    ];
    let mut of = Driver::default();
    let unallocated = [
        of.start(),
        whole(&mut of, RecordKind::Unallocated),
        of.base_complete(),
        of.gap(),
        whole(&mut of, RecordKind::Zero),
        of.consistent(),
        of.epoch_end(),
    ];
    // The last sector is touched first: what is missing is at the end of everything else.
    let mut of = Driver::default();
    let trimmed = [
        of.start(),
        of.gap(),
        of.zero(RecordKind::Write, LENGTH - SECTOR, SECTOR),
        of.plain(RecordKind::Trim, 0, LENGTH - SECTOR),
        of.plain(RecordKind::Trim, SECTOR, LENGTH - SECTOR),
        whole(&mut of, RecordKind::Unreadable),
        of.consistent(),
        of.epoch_end(),
    ];
    let mut of = Driver::default();
    let scattered = [
        of.start(),
        (0..5000).flat_map(|at| of.zero(RecordKind::Block, 2 * at * BLOCK, BLOCK)).collect(),
        of.gap(),
        (0..5000).flat_map(|at| of.zero(RecordKind::Write, (6 * at + 1) * BLOCK, SECTOR)).collect(),
        whole(&mut of, RecordKind::Unreadable),
        whole(&mut of, RecordKind::Unreadable),
        of.consistent(),
        of.epoch_end(),
    ];
    [unreadable.concat(), unallocated.concat(), trimmed.concat(), scattered.concat()]
}

/// The most memory that this process has had, in bytes, where the system tells.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[test]
fn records_about_a_whole_volume_take_no_memory_for_each_block() {
    for (records, name) in
        streams().into_iter().zip(["unreadable", "unallocated", "trimmed", "scattered"])
    {
        let mut state = StreamState::new(common::geometry(LENGTH));
        for record in Records::new(&records) {
            let header = record.unwrap().header;
            state.accept(&header).unwrap();
        }
        let dir = common::scratch();
        common::ingest(dir.path(), LENGTH, 1 << 20, &[records]);
        let repository = Repository::open(dir.path()).unwrap();
        let stop = StopFlag::default();
        let found = verify(&repository, &stop, |_| {}).unwrap();
        assert_eq!(found.damage, [], "{name}");
        for at in [At::T0, At::Latest] {
            let source = Source { volume: VOLUME, session: Some(SESSION), at };
            let Ok(found) = Found::find(&repository, &source, &stop) else { continue };
            let mut image = Counted::default();
            found.write_to(&mut image, &stop, |_| {}).unwrap();
            assert!(image.zeros >= LENGTH / 2, "{name}: {} zeros", image.zeros);
        }
        assert!(peak() < 256 << 20, "{name}: {} MiB", peak() >> 20);
    }
}

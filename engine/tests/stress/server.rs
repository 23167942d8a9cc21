//! The service and the server in one: takes records, makes epochs durable, forgets what was not
//! acknowledged.

use snapless_engine::Record;
use snapless_types::{EpochId, Extent, RecordKind, Seq};

use crate::disk::{BLOCK, BLOCKS, SECTOR, sectors};

/// A record with its payload.
struct Taken {
    extent: Extent,
    content: Vec<u64>,
}

pub struct Server {
    /// The durable content of each sector.
    replica: Vec<Option<u64>>,
    /// Records of the open epoch.
    pending: Vec<Taken>,
    last_seq: Seq,
    /// Blocks of the base image so far.
    based: Vec<bool>,
}

impl Server {
    pub fn new() -> Self {
        Self {
            replica: vec![None; usize::try_from(BLOCKS * BLOCK / SECTOR).unwrap()],
            pending: Vec::new(),
            last_seq: Seq::default(),
            based: vec![false; usize::try_from(BLOCKS).unwrap()],
        }
    }

    /// Takes a record; returns the epoch that it makes durable.
    pub fn take(&mut self, record: Record, content: Vec<u64>, t0: &[u64]) -> Option<EpochId> {
        assert!(record.seq > self.last_seq, "ORDER: records come in the order of their numbers");
        self.last_seq = record.seq;
        if let Some(extent) = record.extent {
            assert_eq!(sectors(extent).len(), content.len(), "LOSS: a record has all its payload");
            if record.kind == RecordKind::Block {
                self.check_base(extent, &content, t0);
            }
            self.pending.push(Taken { extent, content });
        }
        (record.kind == RecordKind::EpochEnd).then(|| {
            self.make_durable();
            record.epoch
        })
    }

    pub fn make_durable(&mut self) {
        for taken in self.pending.drain(..) {
            for (sector, content) in sectors(taken.extent).zip(taken.content) {
                self.replica[sector] = Some(content);
            }
        }
    }

    /// The service is lost; unacknowledged records may be durable all the same.
    pub fn forget(&mut self, was_durable: bool) {
        if was_durable {
            self.make_durable();
        }
        self.pending.clear();
    }

    /// True if the durable content of a block is that of the disk.
    pub fn has(&self, block: u64, disk: &[u64]) -> bool {
        let extent = Extent::new(block * BLOCK, BLOCK).unwrap();
        sectors(extent).all(|sector| self.replica[sector] == Some(disk[sector]))
    }

    fn check_base(&mut self, extent: Extent, content: &[u64], t0: &[u64]) {
        assert_eq!(
            content,
            &t0[sectors(extent)],
            "T0: a block of the base image is as it was at t0"
        );
        for block in extent.offset() / BLOCK..(extent.offset() + extent.len()).div_ceil(BLOCK) {
            let based = &mut self.based[usize::try_from(block).unwrap()];
            assert!(!*based, "T0: a block is in the base image once");
            *based = true;
        }
    }
}

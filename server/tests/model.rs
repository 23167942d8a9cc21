//! Random streams against a model in memory: every point that must be restorable is, byte for byte,
//! and every other is refused.
//!
//! The model is a disk and a driver over it that does what the real one may do: it sweeps, captures
//! blocks before writes, loses its connection, issues writes uncaptured, resyncs.

mod common;

use common::{BLOCK, Driver, LENGTH, SECTOR, base_image, image};
use proptest::prelude::*;
use snapless_server::error::Error;
use snapless_server::timeline::At;
use snapless_types::RecordKind;
use snapless_wire::id::FileTime;

const BLOCKS: usize = 5;
/// Small enough that a stream fills several.
const SEGMENT_LIMIT: u64 = 40 << 10;
/// Points restored per stream, beside t0 and the latest.
const POINTS_TRIED: usize = 6;

#[derive(Clone, Debug)]
enum Op {
    /// The sweep reads one block.
    Sweep(usize),
    /// A write that is captured.
    Write { sector: u64, sectors: u64, byte: u8 },
    /// A write that is issued uncaptured: a gap begins if there is none.
    Uncaptured { sector: u64, sectors: u64, byte: u8 },
    /// The dirty blocks are resynced, and the gap ends.
    Resync,
    /// The epoch ends.
    Epoch,
    /// The records so far leave as a frame.
    Frame,
    /// The connection breaks: the records that were not acknowledged are lost.
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    let sectors = LENGTH / SECTOR;
    let write = (0..sectors, 1..80_u64, 0..4_u8)
        .prop_map(move |(sector, len, byte)| (sector, len.min(sectors - sector), byte));
    prop_oneof![
        4 => (0..BLOCKS).prop_map(Op::Sweep),
        6 => write.clone().prop_map(|(sector, sectors, byte)| Op::Write { sector, sectors, byte }),
        1 => write.prop_map(|(sector, sectors, byte)| Op::Uncaptured { sector, sectors, byte }),
        2 => Just(Op::Resync),
        3 => Just(Op::Epoch),
        3 => Just(Op::Frame),
        1 => Just(Op::Cut),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Unsynced,
    Synced,
    Dirty,
}

struct Model {
    disk: Vec<u8>,
    blocks: [Block; BLOCKS],
    driver: Driver,
    in_gap: bool,
    /// Blocks that the stream has touched since the last epoch's end.
    unacknowledged: [bool; BLOCKS],
    /// Blocks whose Block record is in the stream.
    based: [bool; BLOCKS],
    /// Blocks whose content was first known by a resync.
    t0_lost: [bool; BLOCKS],
    /// When the last such resync was.
    t0_lost_at: Option<u64>,
    /// The three above, as of the last acknowledged epoch.
    acknowledged: ([bool; BLOCKS], [bool; BLOCKS], Option<u64>),
    /// Instants and what the disk held then, in this epoch.
    fresh: Vec<(u64, Vec<u8>)>,
    /// The same, acknowledged.
    points: Vec<(u64, Vec<u8>)>,
    open_frame: Vec<u8>,
    frames: Vec<Vec<u8>>,
    connections: Vec<Vec<Vec<u8>>>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            disk: base_image(),
            blocks: [Block::Unsynced; BLOCKS],
            driver: Driver::default(),
            in_gap: false,
            unacknowledged: [false; BLOCKS],
            based: [false; BLOCKS],
            t0_lost: [false; BLOCKS],
            t0_lost_at: None,
            acknowledged: Default::default(),
            fresh: Vec::new(),
            points: Vec::new(),
            open_frame: Vec::new(),
            frames: Vec::new(),
            connections: Vec::new(),
        };
        let start = model.driver.start();
        model.put(start);
        // The record of t0 is durable in every model: without it the server does not know t0.
        model.epoch();
        model
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Sweep(block) if self.blocks[block] == Block::Unsynced => self.capture(block),
            Op::Sweep(_) => {}
            Op::Write { sector, sectors, byte } => {
                let (offset, len) = (sector * SECTOR, sectors * SECTOR);
                for block in touched(offset, len) {
                    match self.blocks[block] {
                        Block::Unsynced => self.capture(block),
                        Block::Dirty => self.resync(block),
                        Block::Synced => {}
                    }
                    self.unacknowledged[block] = true;
                }
                common::patch(&mut self.disk, offset, len, byte);
                let record = match (byte, sector % 3) {
                    (0, 0) => self.driver.zero(RecordKind::Write, offset, len),
                    (0, 1) => self.driver.plain(RecordKind::Zero, offset, len),
                    (0, _) => self.driver.plain(RecordKind::Trim, offset, len),
                    _ => self.driver.write(offset, len, byte),
                };
                self.put(record);
            }
            Op::Uncaptured { sector, sectors, byte } => {
                self.begin_gap();
                let (offset, len) = (sector * SECTOR, sectors * SECTOR);
                for block in touched(offset, len) {
                    self.blocks[block] = Block::Dirty;
                }
                common::patch(&mut self.disk, offset, len, byte);
            }
            Op::Resync => self.end_gap(),
            Op::Epoch => self.epoch(),
            Op::Frame => self.frame(),
            Op::Cut => self.cut(),
        }
    }

    fn put(&mut self, record: Vec<u8>) {
        self.open_frame.extend(record);
        if !self.in_gap {
            self.fresh.push((self.driver.time - self.driver.tick, self.disk.clone()));
        }
    }

    fn content(&self, block: usize) -> (u64, Vec<u8>) {
        let offset = block as u64 * BLOCK;
        let end = (offset + BLOCK).min(LENGTH);
        let range = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
        (offset, self.disk[range].to_vec())
    }

    fn capture(&mut self, block: usize) {
        let (offset, bytes) = self.content(block);
        self.blocks[block] = Block::Synced;
        self.based[block] = true;
        self.unacknowledged[block] = true;
        let record = if bytes.iter().all(|&byte| byte == 0) {
            self.driver.plain(RecordKind::Unallocated, offset, bytes.len() as u64)
        } else {
            self.driver.data(RecordKind::Block, offset, &bytes)
        };
        self.put(record);
    }

    fn resync(&mut self, block: usize) {
        let (offset, bytes) = self.content(block);
        self.blocks[block] = Block::Synced;
        self.unacknowledged[block] = true;
        if !self.based[block] && !self.t0_lost[block] {
            self.t0_lost[block] = true;
            self.t0_lost_at = Some(self.driver.time);
        }
        let record = self.driver.data(RecordKind::Resync, offset, &bytes);
        self.put(record);
    }

    fn begin_gap(&mut self) {
        if !self.in_gap {
            self.in_gap = true;
            // The marker's own instant is the last one that is known.
            self.fresh.push((self.driver.time, self.disk.clone()));
            let marker = self.driver.gap();
            self.put(marker);
        }
    }

    fn end_gap(&mut self) {
        for block in 0..BLOCKS {
            if self.blocks[block] == Block::Dirty {
                self.resync(block);
            }
        }
        if self.in_gap {
            self.in_gap = false;
            let marker = self.driver.consistent();
            self.put(marker);
        }
    }

    fn epoch(&mut self) {
        let marker = self.driver.epoch_end();
        self.put(marker);
        self.frame();
        self.unacknowledged = [false; BLOCKS];
        self.acknowledged = (self.based, self.t0_lost, self.t0_lost_at);
        self.points.append(&mut self.fresh);
    }

    fn frame(&mut self) {
        if !self.open_frame.is_empty() {
            self.frames.push(std::mem::take(&mut self.open_frame));
        }
    }

    fn cut(&mut self) {
        // The frame arrives, and what of it no epoch's end follows is cut off when the link is
        // back.
        self.frame();
        self.connections.push(std::mem::take(&mut self.frames));
        self.fresh.clear();
        (self.based, self.t0_lost, self.t0_lost_at) = self.acknowledged;
        for block in 0..BLOCKS {
            if self.unacknowledged[block] {
                self.blocks[block] = Block::Dirty;
            }
        }
        self.driver.epoch += 1;
        self.in_gap = true;
        let marker = self.driver.gap();
        self.put(marker);
    }

    fn finish(&mut self) {
        for block in 0..BLOCKS {
            if self.blocks[block] == Block::Unsynced {
                self.capture(block);
            }
        }
        self.end_gap();
        self.epoch();
        self.frame();
        self.connections.push(std::mem::take(&mut self.frames));
    }
}

fn touched(offset: u64, len: u64) -> std::ops::Range<usize> {
    let block = |at: u64| usize::try_from(at).unwrap();
    block(offset / BLOCK)..block((offset + len).div_ceil(BLOCK))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_point_is_restored_byte_for_byte(
        ops in proptest::collection::vec(op(), 1..80),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), POINTS_TRIED),
    ) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
        }
        model.finish();
        let dir = common::scratch();
        let root = dir.path().join("repository");
        for frames in &model.connections {
            common::ingest(&root, LENGTH, SEGMENT_LIMIT, frames);
        }

        prop_assert_eq!(&image(&root, At::Latest).unwrap().1, &model.disk);
        match image(&root, At::T0) {
            Ok((_, image)) => {
                prop_assert!(model.based.iter().all(|&based| based));
                prop_assert_eq!(image, base_image());
            }
            Err(error) => {
                prop_assert!(matches!(error, Error::NotRestorable { .. }), "{}", error);
                prop_assert!(!model.based.iter().all(|&based| based), "{}", error);
            }
        }
        for pick in &picks {
            let (time, want) = pick.get(&model.points);
            let restorable = model.t0_lost_at.is_none_or(|t0_lost| *time >= t0_lost);
            match image(&root, At::Time(FileTime::new(*time))) {
                Ok((_, image)) => {
                    prop_assert!(restorable, "{} is before the last resync of a lost block", time);
                    prop_assert!(&image == want, "the image of {} differs", time);
                }
                Err(error) => {
                    prop_assert!(matches!(error, Error::NotRestorable { .. }), "{}", error);
                    prop_assert!(!restorable, "{}", error);
                }
            }
        }
    }
}

//! The plan of a run, drawn from its seed: the volume, the session's limits, the writers, the disk,
//! the service and what goes wrong.

use std::ops::RangeInclusive;

use clap::ValueEnum;
use snapless_engine::Config;
use snapless_types::Overflow;

use crate::host::{MS, US};
use crate::options::{Fault, Options, Sabotage};
use crate::rng::Rng;
use crate::volume::Volume;

/// How the disk behaves.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Ticks from the start of a request to its end.
    pub latency: RangeInclusive<u64>,
    /// One write in so many fails; 0 for none.
    pub write_fails_once_in: u64,
    /// One read in so many fails, as if a sector were bad or for a reason that passes; 0 for none.
    pub read_fails_once_in: u64,
    /// Sectors that can never be read.
    pub bad_sectors: Vec<usize>,
    /// The application changes a write's buffer in one of so many steps in which the disk transfers
    /// the write; 0 for never.
    pub buffer_changes_once_in: u64,
}

/// How the service and the server behave.
#[derive(Clone, Debug, Default)]
pub struct LinkPlan {
    /// Ticks between two records taken from the driver.
    pub drain_gap: u64,
    /// Records that the service has drained and not handed back yet, at most.
    pub in_hand_max: usize,
    /// Records between service and server, at most.
    pub pipe_max: usize,
    /// Ticks until an epoch is durable, and until its acknowledgement arrives, at most.
    pub durable_delay: u64,
    /// One acknowledgement in so many is lost; 0 for none.
    pub lost_acks_once_in: u64,
    /// The service dies in one step of so many; 0 for never.
    pub dies_once_in: u64,
    /// The link breaks in one step of so many, and the service makes another one; 0 for never.
    pub cuts_once_in: u64,
    /// The service stalls in one step of so many; 0 for never.
    pub stalls_once_in: u64,
    /// Ticks that a stall lasts, at most.
    pub stall_max: u64,
}

/// How the server's end behaves.
#[derive(Clone, Debug)]
pub struct FarEndPlan {
    /// The service's frames are about so long, in bytes.
    pub frame_bytes: usize,
    /// The server's segments are at most so long, in bytes.
    pub segment_bytes: u64,
    /// The server's power fails in one of so many things that it does; 0 for never.
    pub crashes_once_in: u64,
    /// A sync fails in one of so many things that the server does; 0 for never.
    pub sync_fails_once_in: u64,
}

/// Where a writer writes.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Anywhere.
    Anywhere,
    /// Around one sector.
    HotSpot(usize),
    /// From one sector to the next, and from the end to the start.
    Sequential,
}

/// How a writer behaves.
#[derive(Clone, Debug)]
pub struct WriterPlan {
    /// Outstanding writes at a time.
    pub queue_depth: usize,
    /// Where.
    pub pattern: Pattern,
    /// Sectors of a write, at most.
    pub sectors_max: usize,
    /// Ticks between two writes, at most.
    pub think: u64,
    /// One write in so many must not wait, or has no payload; 0 for none.
    pub urgent_once_in: u64,
    /// One write in so many is longer than the session captures; 0 for none.
    pub long_once_in: u64,
    /// One write in so many is a trim or a write of zeros; 0 for none.
    pub clearing_once_in: u64,
    /// One write in so many passes the end of the volume; 0 for none.
    pub beyond_once_in: u64,
    /// It is the memory manager, and writes to the paging file.
    pub pages: bool,
}

/// How the scheduler behaves.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Weights of writers, tasks, disk, workers and link when the next to run is picked.
    pub weights: [u64; 5],
    /// Ticks that a step takes, at most.
    pub step_max: u64,
    /// One task in so many is put off.
    pub task_put_off_once_in: u64,
    /// Reads that the sweep and the hold worker have under way at a time.
    pub read_depth: usize,
    /// Writes that the dispatch worker works on at a time.
    pub dispatch_depth: usize,
    /// Threads are preempted after reading the clock, and the wall clock is set.
    pub odd_clocks: bool,
    /// The sweep is paused, or resumed, in one step of so many; 0 for never.
    pub pauses_once_in: u64,
    /// A thread is preempted before one of so many things that it does; 0 for never.
    pub preempts_once_in: u64,
}

impl Pace {
    /// What could have run this many ticks ago runs next.
    pub const OVERDUE: u64 = 3 * MS;
    /// Ticks that a task is put off, at most.
    pub const PUT_OFF_MAX: u64 = 2 * MS;
    /// Ticks from a wake-up to its effect, at most.
    pub const WAKE_MAX: u64 = MS;
    /// Ticks that a lull lasts, at most.
    pub const LULL_MAX: u64 = 3_000 * MS;
    /// Ticks that a preempted thread stands still, at most.
    pub const PREEMPTED_MAX: u64 = 3_000 * MS;
}

/// A run's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The volume.
    pub volume: Volume,
    /// The session's limits.
    pub config: Config,
    /// The writers.
    pub writers: Vec<WriterPlan>,
    /// The disk.
    pub disk: DiskPlan,
    /// Service and server.
    pub link: LinkPlan,
    /// The server's real code; `None` for a model of it.
    pub far_end: Option<FarEndPlan>,
    /// The scheduler.
    pub pace: Pace,
    /// Times that load and calm follow each other.
    pub rounds: u64,
    /// Steps under load in each round.
    pub round_steps: u64,
    /// The session is stopped under load in the last round.
    pub stops: bool,
    /// The service dies once, at this step under load, and its records are lost, although nothing
    /// else goes wrong: resync has to finish while writers go on.
    pub dies_at: Option<u64>,
    /// The power fails at this step under load.
    pub power_fails_at: Option<u64>,
    /// A held write is cancelled in one step of so many; 0 for never.
    pub cancels_once_in: u64,
    /// The copy of a payload fails once in so many; 0 for never.
    pub copy_fails_once_in: u64,
    /// The volume's length changes at this step under load.
    pub grows_at: Option<u64>,
    /// One run of empty blocks in so many is skipped; 0 for none.
    pub skips_once_in: u64,
    /// A file gives sectors back in one step of so many before t0; 0 if the file system does not
    /// tell which are free.
    pub frees_once_in: u64,
    /// The session is told of unused blocks in one step of so many after t0.
    pub says_unused_once_in: u64,
    /// The paging file grows or shrinks in one step of so many; 0 for never.
    pub resizes_paging_once_in: u64,
    /// The applications write nothing for a while, from one step of so many on; 0 for never.
    pub lulls_once_in: u64,
    /// The service looks at the paging file again in one step of so many after t0: soon, or long
    /// after the sweep has passed it.
    pub reviews_once_in: u64,
    /// How often a verification of the copy begins; 0: never.
    pub verifies_once_in: u64,
}

impl Plan {
    /// The plan of a run.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::new(options.seed, 1);
        let kind = rng.pick(&[Kind::Smooth, Kind::Tight, Kind::Rough, Kind::Rough]);
        let faults = Faults::draw(&mut rng, kind, options);
        let volume = draw_volume(&mut rng, &faults);
        let config = draw_config(&mut rng, &volume, kind, &faults);
        let spots = [0; 2].map(|_| rng.index(volume.sectors));
        let mut writers: Vec<_> = (0..rng.within(1..=MOST_WRITERS as u64))
            .map(|_| draw_writer(&mut rng, &volume, &config, &faults, &spots))
            .collect();
        if faults.has(Fault::Urgent) && rng.once_in(4) {
            // No write may wait.
            for writer in &mut writers {
                writer.urgent_once_in = 1;
            }
        }
        writers.truncate(options.writers.unwrap_or(MOST_WRITERS).max(1));
        if volume.paging[0] < volume.paging[1] {
            writers.push(draw_pager(&mut rng, &volume));
        }
        let rounds = rng.within(1..=3);
        Self {
            disk: draw_disk(&mut rng, &volume, &faults),
            link: draw_link(&mut rng, &config, kind, &faults),
            far_end: draw_far_end(&mut rng, &volume, &faults),
            pace: draw_pace(&mut rng, &faults),
            rounds,
            round_steps: options.steps.div_ceil(rounds),
            stops: faults.has(Fault::Stop),
            dies_at: (kind == Kind::Smooth && rng.once_in(2)).then(|| rng.below(500)),
            power_fails_at: faults.has(Fault::PowerCut).then(|| rng.below(options.steps)),
            cancels_once_in: faults.once_in(&mut rng, Fault::Cancels, 2..=200),
            copy_fails_once_in: faults.once_in(&mut rng, Fault::Urgent, 50..=5_000),
            // Not in all runs that might, or they would show little else.
            grows_at: (faults.has(Fault::Growth) && rng.once_in(4))
                .then(|| rng.below(options.steps)),
            skips_once_in: rng.pick(&[0, 0, 1, 2, 8]),
            frees_once_in: rng.pick(&[0, 0, 2, 10]),
            says_unused_once_in: rng.pick(&[2, 20]),
            resizes_paging_once_in: rng.pick(&[0, 4, 20, 100]),
            lulls_once_in: draw_lulls(&mut rng, options),
            reviews_once_in: rng.pick(&[50, 1000]),
            verifies_once_in: rng.pick(&[0, 50, 400]),
            volume,
            config,
            writers,
        }
    }

    /// Ticks that a write may be held (rule HANG): the hold limit, and local work for it and for
    /// every write that it may have to wait for. User mode has no part in this.
    pub fn hold_bound(&self) -> u64 {
        let under_way: usize = self.writers.iter().map(|writer| writer.queue_depth).sum();
        let hand_over = Pace::OVERDUE + Pace::PUT_OFF_MAX + Pace::WAKE_MAX;
        let local = self.reads_of_a_write() * self.disk.latency.end() + 5 * hand_over;
        self.longest_wait() + (under_way as u64 + 4) * local
    }

    /// Ticks that a write may wait for room in the queue.
    pub fn longest_wait(&self) -> u64 {
        match self.config.overflow {
            Overflow::Gap => self.config.hold_limit,
            Overflow::Hold => 50_000 * MS,
        }
    }

    /// Reads that the blocks of one write take, at most.
    fn reads_of_a_write(&self) -> u64 {
        let captured = self.volume.count(self.config.write_bytes);
        let longest = self.writers.iter().map(|writer| writer.longest(captured)).max();
        let longest = longest.unwrap_or(1).min(self.volume.sectors);
        let blocks = longest.div_ceil(self.volume.block_sectors) as u64 + 1;
        // While writes are held, reads are half as long.
        let read_bytes = self.config.read_bytes.min(self.config.queue_bytes / 2) / 2;
        blocks.div_ceil((read_bytes / self.volume.bytes(self.volume.block_sectors)).max(1))
    }
}

impl WriterPlan {
    /// Sectors of its longest write, unless the volume has fewer, where a record has at most
    /// `captured`.
    pub fn longest(&self, captured: usize) -> usize {
        if self.long_once_in > 0 { LONG_MAX * captured } else { self.sectors_max }
    }
}

/// A long write has at most so many times what a record has.
pub const LONG_MAX: usize = 4;

/// Writers of a run, at most.
pub const MOST_WRITERS: usize = 6;

/// Blocks of a small volume, at most; the others have up to [`BLOCKS_MAX`].
const FEW_BLOCKS: u64 = 40;
/// Blocks of a volume, at most.
const BLOCKS_MAX: u64 = 4096;

/// What sort of run it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nothing goes wrong, and the queue is large.
    Smooth,
    /// Nothing goes wrong, but the queue is small.
    Tight,
    /// Everything may go wrong.
    Rough,
}

/// The faults of a run.
struct Faults(Vec<Fault>);

impl Faults {
    fn draw(rng: &mut Rng, kind: Kind, options: &Options) -> Self {
        let mut faults = Fault::value_variants().to_vec();
        faults.retain(|&fault| fault != Fault::Lulls);
        faults.retain(|_| kind == Kind::Rough && rng.once_in(3));
        faults.retain(|fault| !options.without.contains(fault));
        if options.sabotages(Sabotage::NoOverlap) {
            // Completed when it is issued, a write cannot fail any more.
            faults.retain(|&fault| fault != Fault::WriteErrors);
        }
        Self(faults)
    }

    fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// Once in how many times the fault happens: a number of the range; 0 if the run is without it.
    fn once_in(&self, rng: &mut Rng, fault: Fault, range: RangeInclusive<u64>) -> u64 {
        if self.has(fault) { rng.scaled(range) } else { 0 }
    }
}

fn draw_volume(rng: &mut Rng, faults: &Faults) -> Volume {
    let is_large = rng.once_in(12);
    let blocks =
        if is_large { rng.scaled(FEW_BLOCKS..=BLOCKS_MAX) } else { rng.within(4..=FEW_BLOCKS) };
    // A large volume has large sectors: the model's work is by sector.
    let sector_bytes = rng.pick(if is_large { &[4096] } else { &[4096, 4096, 2048, 512] });
    let block_bytes = rng.pick(&[16 << 10, 16 << 10, 32 << 10]);
    let block_sectors = block_bytes / sector_bytes as usize;
    let short = if rng.once_in(2) { rng.index(block_sectors) } else { 0 };
    let sectors = usize::try_from(blocks).unwrap_or(4) * block_sectors - short;
    let beyond = if faults.has(Fault::Beyond) { block_sectors } else { 0 };
    let paging = if faults.has(Fault::Paging) {
        let start = rng.index(sectors);
        [start, (start + 1 + rng.index(sectors / 2)).min(sectors)]
    } else {
        [0; 2]
    };
    Volume { sector_bytes, block_sectors, sectors, beyond, paging }
}

fn draw_config(rng: &mut Rng, volume: &Volume, kind: Kind, faults: &Faults) -> Config {
    let block = volume.bytes(volume.block_sectors);
    // The whole volume ten times a second, at least: so that a gap is made good within a run.
    let slowest = 10 * volume.bytes(volume.sectors);
    let blocks = volume.blocks() as u64;
    let queue_blocks = match kind {
        Kind::Smooth => 4 * blocks + rng.below(64),
        Kind::Tight => rng.within(4..=12),
        Kind::Rough => rng.scaled(4..=4 * blocks),
    };
    let mut config = Config::new(queue_blocks * block);
    config.hold_limit = rng.within(20..=250) * MS;
    config.overflow = if rng.once_in(4) { Overflow::Hold } else { Overflow::Gap };
    config.write_bytes = config.queue_bytes / rng.within(2..=8);
    config.read_bytes = block * rng.scaled(1..=queue_blocks);
    config.sweep.bytes_per_second =
        if rng.once_in(4) { rng.scaled(slowest..=slowest.max(1 << 30)) } else { 0 };
    config.sweep.latency =
        if kind == Kind::Rough && rng.once_in(4) { rng.scaled(US..=20 * MS) } else { 0 };
    config.epochs = rng.within(2..=4);
    config.epoch_bytes = block * rng.scaled(1..=blocks.max(64));
    config.epoch_bitmap_bytes = rng.scaled(1..=blocks.max(64) / 8);
    config.epoch_age = rng.scaled(1..=1_000) * MS;
    let many = faults.has(Fault::ManyWrites);
    config.writes_max =
        if many { u32::try_from(rng.scaled(1..=32)).unwrap_or(1) } else { MANY_SLOTS };
    config
}

/// Slots of a session that has one for every outstanding write.
const MANY_SLOTS: u32 = 64;

/// `spots`: where the run's writers meet.
fn draw_writer(
    rng: &mut Rng,
    volume: &Volume,
    config: &Config,
    faults: &Faults,
    spots: &[usize],
) -> WriterPlan {
    let captured_max = volume.count(config.write_bytes).max(1);
    // On a large volume, also writes of many blocks.
    let blocks_max = if volume.blocks() as u64 > FEW_BLOCKS { 128 } else { 3 };
    let longest = rng.scaled(1..=blocks_max * volume.block_sectors as u64);
    let many = faults.has(Fault::ManyWrites);
    WriterPlan {
        queue_depth: rng.pick(if many { &[1, 4, 32] } else { &[1, 1, 2, 3, 4] }),
        pattern: match rng.below(4) {
            0 => Pattern::Anywhere,
            1 => Pattern::Sequential,
            _ => Pattern::HotSpot(rng.pick(spots)),
        },
        sectors_max: usize::try_from(longest).unwrap_or(1).min(captured_max),
        think: rng.scaled(US..=4 * MS),
        urgent_once_in: faults.once_in(rng, Fault::Urgent, 1..=200),
        long_once_in: faults.once_in(rng, Fault::Long, 20..=400),
        clearing_once_in: faults.once_in(rng, Fault::Clearings, 2..=50),
        beyond_once_in: faults.once_in(rng, Fault::Beyond, 10..=200),
        pages: false,
    }
}

fn draw_pager(rng: &mut Rng, volume: &Volume) -> WriterPlan {
    WriterPlan {
        queue_depth: rng.pick(&[1, 2, 4]),
        pattern: Pattern::Anywhere,
        sectors_max: rng.index(2 * volume.block_sectors) + 1,
        think: rng.scaled(US..=4 * MS),
        urgent_once_in: 0,
        long_once_in: 0,
        clearing_once_in: 0,
        beyond_once_in: 0,
        pages: true,
    }
}

fn draw_disk(rng: &mut Rng, volume: &Volume, faults: &Faults) -> DiskPlan {
    let slowest = rng.pick(&[US * 200, 2 * MS, 20 * MS]);
    let bad = if faults.has(Fault::BadBlocks) { rng.within(1..=3) } else { 0 };
    DiskPlan {
        latency: 20 * US..=slowest,
        write_fails_once_in: faults.once_in(rng, Fault::WriteErrors, 8..=400),
        read_fails_once_in: faults.once_in(rng, Fault::ReadErrors, 8..=400),
        bad_sectors: (0..bad).map(|_| rng.index(volume.sectors)).collect(),
        buffer_changes_once_in: faults.once_in(rng, Fault::BufferChanges, 1..=20),
    }
}

fn draw_link(rng: &mut Rng, config: &Config, kind: Kind, faults: &Faults) -> LinkPlan {
    let slow = kind != Kind::Smooth && rng.once_in(3);
    LinkPlan {
        // A service so slow that each record takes almost all of the hold limit is still no gap by
        // itself.
        drain_gap: if slow { rng.scaled(US..=config.hold_limit) } else { rng.below(200 * US) },
        in_hand_max: rng.index(4) + 1,
        pipe_max: rng.index(32) + 1,
        durable_delay: rng.scaled(MS..=500 * MS),
        lost_acks_once_in: faults.once_in(rng, Fault::LostAcks, 2..=10),
        dies_once_in: faults.once_in(rng, Fault::Deaths, 100..=2_000),
        cuts_once_in: faults.once_in(rng, Fault::Cuts, 50..=1_000),
        stalls_once_in: faults.once_in(rng, Fault::Stalls, 100..=2_000),
        stall_max: if kind == Kind::Smooth { MS } else { 20_000 * MS },
    }
}

/// The server stores what the volume holds, byte for byte: volumes that are not small go without
/// it.
fn draw_far_end(rng: &mut Rng, volume: &Volume, faults: &Faults) -> Option<FarEndPlan> {
    let plan = FarEndPlan {
        frame_bytes: usize::try_from(rng.scaled(1..=256 << 10)).unwrap_or(1),
        segment_bytes: rng.scaled(4 << 10..=1 << 20),
        crashes_once_in: faults.once_in(rng, Fault::ServerCrashes, 4..=40),
        sync_fails_once_in: faults.once_in(rng, Fault::SyncFails, 10..=100),
    };
    (volume.blocks() as u64 <= FEW_BLOCKS).then_some(plan)
}

/// Nothing goes wrong in a lull: they are in runs of all kinds.
fn draw_lulls(rng: &mut Rng, options: &Options) -> u64 {
    let without = options.without.contains(&Fault::Lulls);
    if without { 0 } else { rng.pick(&[0, 100, 400]) }
}

fn draw_pace(rng: &mut Rng, faults: &Faults) -> Pace {
    Pace {
        weights: std::array::from_fn(|_| rng.pick(&[1, 2, 4])),
        step_max: rng.scaled(US..=10 * US),
        task_put_off_once_in: rng.pick(&[4, 16, 64]),
        read_depth: rng.pick(&[1, 1, 2, 4]),
        dispatch_depth: rng.pick(&[1, 1, 4]),
        odd_clocks: faults.has(Fault::Clocks),
        pauses_once_in: faults.once_in(rng, Fault::Pauses, 20..=2_000),
        preempts_once_in: faults.once_in(rng, Fault::Preemption, 50..=2_000),
    }
}

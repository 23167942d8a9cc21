//! The plan of a run, drawn from its seed: the volume, the session's limits, the writers, the disk, the
//! service, and what goes wrong.

use std::ops::RangeInclusive;

use snapless_engine::{Config, Overflow};

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
    /// One read in so many fails; 0 for none.
    pub read_fails_once_in: u64,
    /// Sectors that can never be read.
    pub bad_sectors: Vec<usize>,
}

/// How the service and the server behave.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// Ticks between two records taken from the driver.
    pub drain_gap: u64,
    /// Records taken and not handed back yet.
    pub in_hand_max: usize,
    /// Records between service and server.
    pub pipe_max: usize,
    /// Ticks until an epoch is durable, and until its acknowledgement arrives, at most.
    pub durable_delay: u64,
    /// One acknowledgement in so many is lost; 0 for none.
    pub lost_acks_once_in: u64,
    /// The service dies in one step of so many; 0 for never.
    pub dies_once_in: u64,
    /// The service stalls in one step of so many; 0 for never.
    pub stalls_once_in: u64,
    /// Ticks that a stall lasts, at most.
    pub stall_max: u64,
}

/// Where a writer writes.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Anywhere.
    Anywhere,
    /// Around one sector.
    HotSpot(usize),
    /// On, one after the other, and round again.
    Sequential,
}

/// How a writer behaves.
#[derive(Clone, Debug)]
pub struct WriterPlan {
    /// Writes under way at a time.
    pub queue_depth: usize,
    /// Where.
    pub pattern: Pattern,
    /// Sectors of a write, at most.
    pub sectors_max: usize,
    /// Ticks between two writes, at most.
    pub think: u64,
    /// One write in so many must not wait, or cannot be captured; 0 for none.
    pub urgent_once_in: u64,
    /// One write in so many is longer than the session captures; 0 for none.
    pub long_once_in: u64,
    /// One write in so many is a trim or a write of zeros; 0 for none.
    pub clearing_once_in: u64,
    /// One write in so many passes the end of the volume; 0 for none.
    pub beyond_once_in: u64,
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
    /// Reads that the sweep and the hold thread have under way at a time.
    pub read_depth: usize,
    /// Writes that the dispatch thread works on at a time.
    pub dispatch_depth: usize,
    /// Threads are preempted after reading the clock, and the wall clock is set back.
    pub odd_clocks: bool,
    /// The sweep is paused, or resumed, in one step of so many; 0 for never.
    pub pauses_once_in: u64,
}

impl Pace {
    /// What can run longer than this runs next, in ticks.
    pub const OVERDUE: u64 = 3 * MS;
    /// Ticks that a task is put off, at most.
    pub const PUT_OFF_MAX: u64 = 2 * MS;
    /// Ticks from a wake-up to its effect, at most.
    pub const WAKE_MAX: u64 = MS;
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
    /// The scheduler.
    pub pace: Pace,
    /// Times that load and calm follow each other.
    pub rounds: u64,
    /// Steps under load in each round.
    pub round_steps: u64,
    /// The session is stopped under load in the last round.
    pub stops: bool,
    /// The service dies once, at this step under load, although nothing else goes wrong: resync has to
    /// get through under writers that go on.
    pub dies_at: Option<u64>,
    /// The power fails at this step under load.
    pub power_fails_at: Option<u64>,
    /// A held write is cancelled in one step of so many; 0 for never.
    pub cancels_once_in: u64,
    /// The volume grows at this step under load.
    pub grows_at: Option<u64>,
    /// One run of so many that hold no data is skipped; 0 for none.
    pub skips_once_in: u64,
}

impl Plan {
    /// The plan of a run.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::new(options.seed, 1);
        let kind = Kind::draw(&mut rng);
        let mut has = |fault: Fault| {
            let drawn = kind == Kind::Rough && rng.once_in(3);
            drawn && !options.without.contains(&fault)
        };
        let faults = Faults {
            write_errors: has(Fault::WriteErrors) && !options.sabotages(Sabotage::NoOverlap),
            read_errors: has(Fault::ReadErrors),
            bad_blocks: has(Fault::BadBlocks),
            deaths: has(Fault::Deaths),
            stalls: has(Fault::Stalls),
            lost_acks: has(Fault::LostAcks),
            urgent: has(Fault::Urgent),
            long: has(Fault::Long),
            beyond: has(Fault::Beyond),
            clocks: has(Fault::Clocks),
            clearings: has(Fault::Clearings),
            growth: has(Fault::Growth),
            pauses: has(Fault::Pauses),
            stop: has(Fault::Stop),
            cancels: has(Fault::Cancels),
            power_cut: has(Fault::PowerCut),
        };
        let volume = draw_volume(&mut rng, &faults);
        let config = draw_config(&mut rng, &volume, kind);
        let mut writers: Vec<_> = (0..rng.within(1..=6))
            .map(|_| draw_writer(&mut rng, &volume, &config, &faults))
            .collect();
        let disk = draw_disk(&mut rng, &volume, &faults);
        let link = draw_link(&mut rng, &config, kind, &faults);
        let pace = draw_pace(&mut rng, &faults);
        let rounds = rng.within(1..=3);
        let dies_at = (kind == Kind::Smooth && rng.once_in(2)).then(|| rng.below(500));
        // Not in all runs that might, or they would show little else.
        let grows_at = (faults.growth && rng.once_in(4)).then(|| rng.below(options.steps));
        let power_fails_at = faults.power_cut.then(|| rng.below(options.steps));
        let cancels_once_in = if faults.cancels { rng.scaled(2..=200) } else { 0 };
        let skips_once_in = rng.pick(&[0, 0, 1, 2, 8]);
        if let Some(count) = options.writers {
            writers.truncate(count.max(1));
        }
        let round_steps = options.steps.div_ceil(rounds);
        Self {
            volume,
            config,
            writers,
            disk,
            link,
            pace,
            rounds,
            round_steps,
            stops: faults.stop,
            dies_at,
            power_fails_at,
            cancels_once_in,
            grows_at,
            skips_once_in,
        }
    }

    /// Ticks that a write may be held (rule HANG): the hold limit, and local work for it and for every
    /// write that it may have to wait for. User mode has no part in this.
    pub fn hold_bound(&self) -> u64 {
        let under_way: usize = self.writers.iter().map(|writer| writer.queue_depth).sum();
        let hand_over = Pace::OVERDUE + Pace::PUT_OFF_MAX + Pace::WAKE_MAX;
        let local = self.disk.latency.end() + 5 * hand_over;
        self.config.hold_limit + (under_way as u64 + 4) * local
    }
}

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

impl Kind {
    fn draw(rng: &mut Rng) -> Self {
        rng.pick(&[Self::Smooth, Self::Tight, Self::Rough, Self::Rough])
    }
}

#[allow(clippy::struct_excessive_bools)]
struct Faults {
    write_errors: bool,
    read_errors: bool,
    bad_blocks: bool,
    deaths: bool,
    stalls: bool,
    lost_acks: bool,
    urgent: bool,
    long: bool,
    beyond: bool,
    clocks: bool,
    clearings: bool,
    growth: bool,
    pauses: bool,
    stop: bool,
    cancels: bool,
    power_cut: bool,
}

fn draw_volume(rng: &mut Rng, faults: &Faults) -> Volume {
    let sector_bytes = rng.pick(&[4096, 4096, 2048, 512]);
    let block_bytes = rng.pick(&[16 << 10, 16 << 10, 32 << 10]);
    let block_sectors = block_bytes / sector_bytes as usize;
    let blocks = usize::try_from(rng.within(4..=40)).unwrap_or(4);
    let short = if rng.once_in(2) { rng.index(block_sectors) } else { 0 };
    let beyond = if faults.beyond { block_sectors } else { 0 };
    Volume { sector_bytes, block_sectors, sectors: blocks * block_sectors - short, beyond }
}

fn draw_config(rng: &mut Rng, volume: &Volume, kind: Kind) -> Config {
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
    config.sweep_bytes_per_second = if rng.once_in(4) { rng.scaled(slowest..=1 << 30) } else { 0 };
    config.sweep_latency =
        if kind == Kind::Rough && rng.once_in(4) { rng.scaled(US..=20 * MS) } else { 0 };
    config.epochs = rng.within(2..=4);
    config.epoch_bytes = block * rng.scaled(1..=64);
    config.epoch_bitmap_bytes = rng.scaled(1..=8);
    config.epoch_age = rng.scaled(1..=1_000) * MS;
    config.writes_max = match kind {
        Kind::Rough if rng.once_in(4) => u32::try_from(rng.within(1..=8)).unwrap_or(1),
        _ => 64,
    };
    config
}

fn draw_writer(rng: &mut Rng, volume: &Volume, config: &Config, faults: &Faults) -> WriterPlan {
    let captured_max = volume.count(config.write_bytes).max(1);
    let some = |rng: &mut Rng, on: bool, range| if on { rng.scaled(range) } else { 0 };
    let longest = usize::try_from(rng.scaled(1..=3 * volume.block_sectors as u64)).unwrap_or(1);
    WriterPlan {
        queue_depth: rng.pick(&[1, 1, 2, 3, 4]),
        pattern: match rng.below(4) {
            0 => Pattern::Anywhere,
            1 => Pattern::Sequential,
            _ => Pattern::HotSpot(rng.index(volume.sectors)),
        },
        sectors_max: longest.min(captured_max),
        think: rng.scaled(US..=4 * MS),
        urgent_once_in: some(rng, faults.urgent, 4..=200),
        long_once_in: some(rng, faults.long, 20..=400),
        clearing_once_in: some(rng, faults.clearings, 2..=50),
        beyond_once_in: some(rng, faults.beyond, 10..=200),
    }
}

fn draw_disk(rng: &mut Rng, volume: &Volume, faults: &Faults) -> DiskPlan {
    let slowest = rng.pick(&[US * 200, 2 * MS, 20 * MS]);
    let some = |rng: &mut Rng, on: bool| if on { rng.scaled(8..=400) } else { 0 };
    DiskPlan {
        latency: 20 * US..=slowest,
        write_fails_once_in: some(rng, faults.write_errors),
        read_fails_once_in: some(rng, faults.read_errors),
        bad_sectors: if faults.bad_blocks {
            (0..rng.within(1..=3)).map(|_| rng.index(volume.sectors)).collect()
        } else {
            Vec::new()
        },
    }
}

fn draw_link(rng: &mut Rng, config: &Config, kind: Kind, faults: &Faults) -> LinkPlan {
    let some = |rng: &mut Rng, on: bool, range| if on { rng.scaled(range) } else { 0 };
    let slow = kind != Kind::Smooth && rng.once_in(3);
    LinkPlan {
        // A service so slow that each record takes almost all of the hold limit is still no gap by itself.
        drain_gap: if slow { rng.scaled(US..=config.hold_limit) } else { rng.below(200 * US) },
        in_hand_max: rng.index(4) + 1,
        pipe_max: rng.index(32) + 1,
        durable_delay: rng.scaled(MS..=500 * MS),
        lost_acks_once_in: some(rng, faults.lost_acks, 2..=10),
        dies_once_in: some(rng, faults.deaths, 100..=2_000),
        stalls_once_in: some(rng, faults.stalls, 100..=2_000),
        stall_max: if kind == Kind::Smooth { MS } else { 20_000 * MS },
    }
}

fn draw_pace(rng: &mut Rng, faults: &Faults) -> Pace {
    Pace {
        weights: std::array::from_fn(|_| rng.pick(&[1, 2, 4])),
        step_max: rng.scaled(US..=10 * US),
        task_put_off_once_in: rng.pick(&[4, 16, 64]),
        read_depth: rng.pick(&[1, 1, 2, 4]),
        dispatch_depth: rng.pick(&[1, 1, 4]),
        odd_clocks: faults.clocks,
        pauses_once_in: if faults.pauses { rng.scaled(20..=2_000) } else { 0 },
    }
}

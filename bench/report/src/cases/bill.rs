//! What a thousand volumes cost in an object store, simulated: a log for each of them, as there is,
//! beside one that the volumes of a node would share.
//!
//! A log is stored when a second ends in which something was written: an epoch. While nothing is, a
//! watermark is stored once a minute. Kept states and maps are so few that they are left out, and
//! so are the bytes: they are the same in both.

use std::path::Path;

use fastrand::Rng;
use snapless_server::bill::{Load, Prices};

use super::Cases;
use crate::error::Result;
use crate::process;
use crate::table::Row;

const VOLUMES: usize = 1_000;
/// Volumes of a node.
const OF_NODE: usize = 100;
const DAY_SECONDS: u32 = 24 * 3_600;
/// Time between the watermarks of a quiet log.
const WATERMARK_SECONDS: u32 = 60;
const SEED: u64 = 1;

/// How a volume is written to.
#[derive(Clone, Copy)]
struct Pattern {
    name: &'static str,
    /// Seconds on the average until a volume that is written to falls quiet; 0 for never.
    busy: u32,
    /// And until it is written to again.
    quiet: u32,
}

const PATTERNS: [Pattern; 2] = [
    Pattern { name: "each written to in every second", busy: 0, quiet: 0 },
    Pattern { name: "each written to 20 s, then quiet 30 s", busy: 20, quiet: 30 },
];

/// Requests of a log.
#[derive(Clone, Copy, Default)]
struct Log {
    puts: u64,
    /// Seconds since the last one.
    since: u32,
}

impl Log {
    /// A second passes.
    fn second(&mut self, is_written: bool) {
        self.since += 1;
        if is_written || self.since >= WATERMARK_SECONDS {
            (self.puts, self.since) = (self.puts + 1, 0);
        }
    }
}

impl Pattern {
    /// Requests of all logs in a day: of one for each volume, and of one for each node.
    fn day(self) -> [u64; 2] {
        let mut rng = Rng::with_seed(SEED);
        let mut volumes = vec![Log::default(); VOLUMES];
        let mut nodes = vec![Log::default(); VOLUMES.div_ceil(OF_NODE)];
        let share = self.busy.max(1);
        let mut is_busy: Vec<bool> =
            (0..VOLUMES).map(|_| rng.u32(..share + self.quiet) < share).collect();
        for _ in 0..DAY_SECONDS {
            let of_nodes = volumes.chunks_mut(OF_NODE).zip(is_busy.chunks_mut(OF_NODE));
            for (node, (volumes, is_busy)) in nodes.iter_mut().zip(of_nodes) {
                for (volume, is_busy) in volumes.iter_mut().zip(&mut *is_busy) {
                    let lasts = if *is_busy { self.busy } else { self.quiet };
                    *is_busy ^= lasts > 0 && rng.u32(..lasts) == 0;
                    volume.second(*is_busy);
                }
                node.second(is_busy.iter().any(|it| *it));
            }
        }
        [&volumes, &nodes].map(|logs| logs.iter().map(|log| log.puts).sum())
    }
}

impl Cases {
    pub(super) fn bill(&mut self) -> Result<()> {
        let prices = Prices::find(Path::new("default"))
            .map_err(|error| process::failed("the prices", error.to_string()))?;
        for pattern in PATTERNS {
            #[allow(clippy::cast_precision_loss)]
            let days = pattern.day().map(|puts| puts as f64);
            let months =
                days.map(|puts_per_day| prices.month(Load { puts_per_day, stored_bytes: 0 }).puts);
            let text = |index: usize| {
                let (day, month) = (days[index] / 1e6, months[index]);
                format!("{day:.2} M; {month:.0} {}", prices.currency)
            };
            self.rows.push(Row::new(
                format!("{VOLUMES} volumes in an object store, {}: simulated", pattern.name),
                format!("PUTs a day; a month of them at {}, {}", prices.store, prices.date),
                format!("a log for each volume: {}", text(0)),
                format!("a log for each {OF_NODE} volumes: {}", text(1)),
                format!("{:.0}", days[0] / days[1]),
            ));
        }
        Ok(())
    }
}

//! The engine without files and clients: a write without a session on every processor, holds of the
//! lock at 64 TiB, writes that are held all at once. The link without a server: what TLS costs.

use std::process::Command;

use serde::de::DeserializeOwned;
use snapless_bench::alone::burst::{self, Burst};
use snapless_bench::alone::link::Speeds;
use snapless_bench::alone::lock::Holds;
use snapless_bench::alone::rundown::Cost;

use super::{Cases, MIB, series};
use crate::error::Result;
use crate::process;
use crate::statistics::Series;
use crate::table::Row;

const PROGRAM: &str = "snapless-bench";
/// Runs of each measurement for one round elsewhere: they are short.
const ROUNDS_FOR_ONE: usize = 25;
/// Two atomic instructions beside the copy of 4 KiB. A cache line that two processors write to at
/// the same time takes as long as half of the copy.
const CLEAR_RATIO: f64 = 1.2;
/// The longest hold of the lock, in microseconds.
const HOLD_LIMIT_US: f64 = 20.0;
/// Reads of 64 KiB that a disk serves at a time: at 100 µs each, these are 21 GB/s, and all of a
/// burst at once 168 GB/s.
const DEPTH: usize = 32;
/// What TLS must leave of the plain link's throughput.
const TLS_RATIO: f64 = 0.75;

type SpeedOf = fn(&Speeds) -> f64;

impl Cases {
    pub(super) fn no_session_on_all_processors(&mut self) -> Result<()> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let rounds = ROUNDS_FOR_ONE * self.plan.rounds;
        for threads in [1, all] {
            let costs: Vec<Cost> =
                self.alone("rundown", &[("threads", threads), ("rounds", rounds)])?;
            let ratio = series(&costs, |it| it.protected / it.bare);
            let one = series(&costs, |it| it.one_counter);
            let row = Row::new(
                "no session, a copy of 4 KiB for the disk",
                format!("{threads} at once: ns for a write"),
                series(&costs, |it| it.protected).text(1),
                format!(
                    "the bare call: {}; with one counter for all processors: {}",
                    series(&costs, |it| it.bare).text(1),
                    one.text(1)
                ),
                ratio.text(2),
            );
            self.rows.push(row.at_most(CLEAR_RATIO, ratio.median()));
        }
        Ok(())
    }

    pub(super) fn lock(&mut self) -> Result<()> {
        let runs = (0..self.plan.rounds).map(|_| self.alone("lock", &[]));
        let runs: Vec<Vec<Holds>> = runs.collect::<Result<_>>()?;
        for (index, Holds { part, count, .. }) in runs.first().into_iter().flatten().enumerate() {
            let of = |what: fn(&Holds) -> u64| {
                let holds = runs.iter().filter_map(|run| run.get(index));
                holds.map(|holds| microseconds(what(holds))).collect::<Series>()
            };
            let most = of(|holds| holds.most);
            let row = Row::new(
                "holds of the session's lock, 64 TiB in blocks of 64 KiB",
                format!("{part}, µs: median; 99.9 % of {count}"),
                format!("{}; {}", of(|holds| holds.median).text(2), most.text(2)),
                format!(
                    "longest, with preemptions: {}; limit: {HOLD_LIMIT_US:.0}",
                    of(|holds| holds.longest).text(0)
                ),
                format!("{:.2}", most.median() / HOLD_LIMIT_US),
            );
            self.rows.push(row.at_most(1.0, most.median() / HOLD_LIMIT_US));
        }
        Ok(())
    }

    pub(super) fn burst(&mut self) -> Result<()> {
        let rounds = ROUNDS_FOR_ONE * self.plan.rounds;
        for depth in [DEPTH, burst::WRITES] {
            let bursts: Vec<Burst> =
                self.alone("burst", &[("depth", depth), ("rounds", rounds)])?;
            let ratio: Series = series(&bursts, |it| microseconds(it.hold) / microseconds(it.read));
            let row = Row::new(
                format!(
                    "{} writes held at once, reads of {} µs",
                    burst::WRITES,
                    burst::SERVICE.as_micros()
                ),
                format!("{depth} reads at a time: median hold, ms"),
                series(&bursts, |it| microseconds(it.hold) / 1e3).text(2),
                format!(
                    "the same reads without the engine: {}",
                    series(&bursts, |it| microseconds(it.read) / 1e3).text(2)
                ),
                ratio.text(2),
            );
            let has_mark = depth == DEPTH;
            self.rows.push(if has_mark { row.at_most(1.3, ratio.median()) } else { row });
        }
        Ok(())
    }

    pub(super) fn tls(&mut self) -> Result<()> {
        let rounds = 2 * self.plan.rounds;
        let speeds: Vec<Speeds> = self.alone("link", &[("rounds", rounds)])?;
        let cases: [(&str, SpeedOf, SpeedOf); 2] = [
            ("link alone", |it| it.plain, |it| it.tls),
            ("link to a server that stores in memory", |it| it.stored_plain, |it| it.stored_tls),
        ];
        for (case, plain, tls) in cases {
            let ratio = series(&speeds, |it| tls(it) / plain(it));
            let row = Row::new(
                format!("{case}, records of 64 KiB, both ends on this machine"),
                "MiB/s over TLS 1.3",
                series(&speeds, |it| tls(it) / MIB).text(0),
                format!("plain TCP: {}", series(&speeds, |it| plain(it) / MIB).text(0)),
                ratio.text(2),
            );
            self.rows.push(row.at_least(TLS_RATIO, ratio.median()));
        }
        Ok(())
    }

    /// Runs `snapless-bench alone` for one of its parts.
    fn alone<T: DeserializeOwned>(&self, part: &str, options: &[(&str, usize)]) -> Result<T> {
        let mut command = Command::new(&self.setting.host);
        command.args(["alone", part]);
        for (name, value) in options {
            command.arg(format!("--{name}")).arg(value.to_string());
        }
        let output = process::run(PROGRAM, &mut command)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| process::failed(PROGRAM, format!("it printed no results: {error}")))
    }
}

#[allow(clippy::cast_precision_loss)]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

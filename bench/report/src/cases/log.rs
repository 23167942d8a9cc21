//! The write-intent log: what it costs writers during live replication.
//!
//! Writers over a tenth of the volume are measured twice: from their first write on, when no region
//! has a mark, and once each region has one, as of a load that goes on. The worst case is that no
//! write finds a mark.

use std::time::Duration;

use snapless_bench::protocol::LogReport;
use snapless_bench::spec::{LogSpec, SessionSpec, SinkSpec};

use super::{Cases, pairs, series};
use crate::contestant::Contestant;
use crate::error::Result;
use crate::fio::{Fio, Load};
use crate::run::{Plan, await_sync, in_turn};
use crate::setting::Setting;
use crate::snapless::Snapless;
use crate::statistics::Window;
use crate::table::Row;
use crate::wait::wait_for;

/// Share of the volume that is written to, as its reciprocal.
const PART: u64 = 10;
/// The mark: 3 % of the rate without a log.
const MARK: f64 = 0.97;
/// Regions of a volume, which the driver does not choose, beside its own.
const COARSER: [u64; 2] = [4096, 1024];
/// KiB of a page.
const PAGE_KIB: u64 = 4;
/// What the log's area takes of the volume, in whole regions of any length.
const END: u64 = 8 << 20;
const CASE: &str = "live replication with a write-intent log";
/// How long writes go to one region after the other, until each has its mark, at least.
const STRIDES: Duration = Duration::from_secs(2);
/// Longest wait for marks.
const LIMIT: Duration = Duration::from_mins(1);

/// Writes in a span of time.
struct Span {
    window: Window,
    /// Writes that waited.
    waits: u64,
    /// Slots that were written.
    slots: u64,
}

/// One run over a tenth of the volume.
struct Tenth {
    /// From the first write on.
    cold: Span,
    /// Once each region has its mark.
    warm: Span,
}

impl Cases {
    pub(super) fn log(&mut self) -> Result<()> {
        let of_driver = region_kib(self.plan.size, snapless_types::REGIONS_MAX);
        let coarser = COARSER.map(|count| Some(region_kib(self.plan.size, count)));
        let few = [None, Some(of_driver)];
        let all = [&few[..], &coarser].concat();
        for (depth, lengths) in [(1, &few[..]), (16, &all)] {
            let load = Load::writes("4k", depth);
            let runs =
                self.take_turns(lengths, |setting, plan, kib| tenth(setting, plan, kib, &load))?;
            self.compare_lengths(lengths, &runs, &load);
        }
        for depth in [1, 16] {
            let load = stride(of_driver, depth);
            let bytes = self.plan.size - END;
            let runs = self.take_turns(&few, |setting, plan, kib| {
                let mut host = replicating(setting, kib)?;
                let worst = span(setting, plan, &mut host, &load, bytes)?;
                host.settle(CASE)?;
                Ok(worst)
            })?;
            if let [none, log] = &runs[..] {
                let case = format!("write-intent log, each write to another region, QD {depth}");
                self.rows.extend(compare(&case, "", log, none, |it| it));
            }
        }
        Ok(())
    }

    /// The runs of each contestant: without a log, or with regions of so many KiB.
    fn take_turns<T>(
        &self,
        lengths: &[Option<u64>],
        run: impl Fn(&Setting, &Plan, Option<u64>) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut runs: Vec<Vec<T>> = lengths.iter().map(|_| Vec::new()).collect();
        for round in 0..self.plan.rounds {
            for index in in_turn(round, (0..lengths.len()).collect()) {
                runs[index].push(run(&self.setting, &self.plan, lengths[index])?);
            }
        }
        Ok(runs)
    }

    fn compare_lengths(&mut self, lengths: &[Option<u64>], runs: &[Vec<Tenth>], load: &Load) {
        let Some((none, logs)) = runs.split_first() else { return };
        for (index, (log, kib)) in logs.iter().zip(lengths.iter().flatten()).enumerate() {
            let case = format!(
                "write-intent log, {}, a tenth of the volume, regions of {kib} KiB",
                load.name()
            );
            let mut rows = compare(&case, "", log, none, |it| &it.warm);
            // The mark is on the length that the driver chooses.
            if index == 0 {
                let ratio = pairs(log, none, |it| it.warm.window.iops).median();
                rows[0] = rows[0].clone().at_least(MARK, ratio);
            }
            self.rows.extend(rows);
            self.rows.extend(compare(&case, ", no region marked before", log, none, |it| &it.cold));
        }
    }
}

/// IOPS, p99 and waits with a log and without.
fn compare<T>(case: &str, when: &str, log: &[T], none: &[T], of: impl Fn(&T) -> &Span) -> [Row; 3] {
    let iops = |it: &T| of(it).window.iops;
    let p99 = |it: &T| of(it).window.percentile(0.99);
    #[allow(clippy::cast_precision_loss)]
    let count = |what: fn(&Span) -> u64| series(log, |it| what(of(it)) as f64).text(0);
    [
        Row::new(
            case,
            format!("IOPS{when}"),
            series(log, iops).text(0),
            format!("without the log: {}", series(none, iops).text(0)),
            pairs(log, none, iops).text(3),
        ),
        Row::new(
            case,
            format!("p99, ms{when}"),
            series(log, p99).text(2),
            format!("without the log: {}", series(none, p99).text(2)),
            pairs(log, none, p99).text(2),
        ),
        Row::new(
            case,
            format!("writes that waited{when}"),
            count(|it| it.waits),
            format!("slots written: {}", count(|it| it.slots)),
            "",
        ),
    ]
}

/// Length of a region of a volume that has at most `count` of them.
fn region_kib(size: u64, count: u64) -> u64 {
    (size.div_ceil(count).next_power_of_two() / 1024).clamp(64, 4096)
}

/// Writes each of which goes to the next region.
fn stride(region_kib: u64, depth: u32) -> Load {
    let skip_kib = u32::try_from(region_kib - PAGE_KIB).unwrap_or(0);
    Load { skip_kib, ..Load::writes("4k", depth) }
}

/// A host whose first sync is done; no region has a mark.
fn replicating(setting: &Setting, region_kib: Option<u64>) -> Result<Snapless> {
    let log = region_kib.map(|kib| LogSpec {
        area: setting.folder.join("log.area"),
        region_kib: u32::try_from(kib).unwrap_or(0),
    });
    let spec = SessionSpec { log, ..setting.spec(SinkSpec::Null { digest: true }) };
    let mut host = setting.snapless(spec)?;
    host.begin()?;
    await_sync(&mut host)?;
    host.await_settled()?;
    if region_kib.is_some() {
        // The regions of the area keep theirs.
        wait_for("a log without marks", LIMIT, || {
            let LogReport { is_live, marked, .. } = host.status()?.log;
            Ok((is_live && marked <= 2).then_some(()))
        })?;
    }
    Ok(host)
}

fn tenth(setting: &Setting, plan: &Plan, region_kib: Option<u64>, load: &Load) -> Result<Tenth> {
    // Whole regions, of any length.
    let bytes = plan.size / PART / END * END;
    let mut host = replicating(setting, region_kib)?;
    let cold = span(setting, plan, &mut host, load, bytes)?;
    // The same writes without a log, in the shortest regions.
    let fio = begin(setting, &mut host, &stride(region_kib.unwrap_or(64), 16), bytes)?;
    std::thread::sleep(STRIDES);
    if let Some(kib) = region_kib {
        wait_for("a mark of each region", LIMIT, || {
            Ok((host.status()?.log.marked >= bytes / (kib << 10)).then_some(()))
        })?;
    }
    fio.end()?;
    let warm = span(setting, plan, &mut host, load, bytes)?;
    host.settle(CASE)?;
    Ok(Tenth { cold, warm })
}

/// Writers for the length of a measurement, from their first write on.
fn span(
    setting: &Setting,
    plan: &Plan,
    host: &mut Snapless,
    load: &Load,
    bytes: u64,
) -> Result<Span> {
    let before = host.status()?.log;
    let fio = begin(setting, host, load, bytes)?;
    std::thread::sleep(plan.warm + plan.window);
    let samples = fio.end()?;
    let after = host.status()?.log;
    let first = samples.iter().map(|it| it.at_ms).min().unwrap_or(0);
    let last = samples.iter().map(|it| it.at_ms).max().unwrap_or(0);
    Ok(Span {
        window: Window::new(CASE, &samples, first, last)?,
        waits: after.waits - before.waits,
        slots: after.slots - before.slots,
    })
}

/// Starts writers, and waits for their first write.
fn begin(setting: &Setting, host: &mut Snapless, load: &Load, bytes: u64) -> Result<Fio> {
    let before = host.status()?.writes_captured_inline;
    let fio = Fio::start(&host.uri(), bytes, load, &setting.folder)?;
    wait_for("the first write", LIMIT, || {
        Ok((host.status()?.writes_captured_inline > before).then_some(()))
    })?;
    Ok(fio)
}

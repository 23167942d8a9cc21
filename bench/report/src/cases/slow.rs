//! A target that takes 20 MB/s and answers after 50 ms: its effect on writers.

use std::time::{Duration, Instant};

use super::{Cases, MIB, pairs, series};
use crate::contestant::{Contestant, Name, Target};
use crate::error::Result;
use crate::fio::{Fio, Load};
use crate::run::{Plan, await_sync, fill, in_turn};
use crate::setting::Setting;
use crate::statistics::{Series, Window, now_ms};
use crate::table::Row;

const TARGET: Target = Target::Slow { bytes_per_second: 20_000_000, latency_ms: 50 };
/// The volume is smaller by this factor, as the target is slow.
const SHARE: u64 = 16;

/// Writers before and during the copy, and the time from their end until the copy is whole.
struct SlowRun {
    before: Window,
    during: Window,
    recovery_seconds: f64,
}

impl Cases {
    pub(super) fn slow_target(&mut self) -> Result<()> {
        let setting = Setting {
            disk: self.setting.folder.join("slow.img"),
            size: self.setting.size / SHARE,
            ..self.setting.clone()
        };
        fill(&setting.disk, setting.size)?;
        let load = Load::writes("4k", 16);
        let mut runs: [Vec<SlowRun>; 2] = [Vec::new(), Vec::new()];
        for round in 0..self.plan.rounds {
            for name in in_turn(round, Name::BOTH.to_vec()) {
                let run = slow_run(&setting, &self.plan, name, &load)?;
                runs[usize::from(name == Name::Qemu)].push(run);
            }
        }
        let [ours, theirs] = &runs;
        #[allow(clippy::cast_precision_loss)]
        let mib = setting.size as f64 / MIB;
        let case = format!("target of 20 MB/s and 50 ms, {}, {mib:.0} MiB", load.name());
        let added = |runs: &[SlowRun]| -> Series {
            let p99 = |window: &Window| window.percentile(0.99);
            runs.iter().map(|it| p99(&it.during) / p99(&it.before)).collect()
        };
        let p99 = |it: &SlowRun| it.during.percentile(0.99);
        let row = Row::new(
            &case,
            "writers' p99, ms",
            series(ours, p99).text(2),
            format!(
                "no session: {}; QEMU: {} (× {})",
                series(ours, |it| it.before.percentile(0.99)).text(2),
                series(theirs, p99).text(2),
                added(theirs).text(1)
            ),
            format!("× {} of no session", added(ours).text(2)),
        );
        self.rows.push(row.at_most(1.2, added(ours).median()));
        self.rows.push(Row::new(
            &case,
            "writers' IOPS",
            series(ours, |it| it.during.iops).text(0),
            format!("QEMU: {}", series(theirs, |it| it.during.iops).text(0)),
            pairs(ours, theirs, |it| it.during.iops).text(1),
        ));
        self.rows.push(Row::new(
            case,
            "until the copy is whole, s after the writers' end",
            series(ours, |it| it.recovery_seconds).text(1),
            format!("QEMU: {}", series(theirs, |it| it.recovery_seconds).text(1)),
            "",
        ));
        Ok(())
    }
}

fn slow_run(setting: &Setting, plan: &Plan, name: Name, load: &Load) -> Result<SlowRun> {
    let case = "a first sync to a slow target";
    let mut contestant: Box<dyn Contestant> = setting.start(name, TARGET)?;
    let fio = Fio::start(&contestant.uri(), setting.size, load, &setting.folder)?;
    std::thread::sleep(plan.warm + plan.window);
    let before_ms = now_ms();
    let start_ms = contestant.begin()?;
    // Not past the sync's end: after it the target no longer affects writers.
    let limit = Instant::now() + 2 * plan.window;
    while Instant::now() < limit && !contestant.is_synced()? {
        std::thread::sleep(Duration::from_millis(2));
    }
    let end_ms = now_ms();
    let samples = fio.end()?;
    let ended = Instant::now();
    await_sync(&mut *contestant)?;
    contestant.settle(case)?;
    let recovery_seconds = ended.elapsed().as_secs_f64();
    let window = u64::try_from(plan.window.as_millis()).unwrap_or(0);
    Ok(SlowRun {
        before: Window::new(case, &samples, before_ms - window, before_ms)?,
        during: Window::new(case, &samples, start_ms, end_ms)?,
        recovery_seconds,
    })
}

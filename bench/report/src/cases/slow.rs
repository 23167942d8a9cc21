//! A target that takes 20 MB/s and answers after 50 ms: what do the writers feel of it?

use std::time::{Duration, Instant};

use super::{Cases, MIB, pairs, series};
use crate::contestant::{Contestant, Name, Setting, Target};
use crate::error::Result;
use crate::fio::{Fio, Load, now_ms};
use crate::run::{Plan, await_sync, fill, in_turn};
use crate::statistics::{Series, Window};
use crate::table::Row;

const TARGET: Target = Target::Slow { bytes_per_second: 20_000_000, latency_ms: 50 };
/// The volume is a sixteenth of the others: the target needs that long for it.
const SHARE: u64 = 16;

/// Writers before and while the target is slow, and how long it takes until the copy is whole again
/// once they end.
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
        self.rows.push(Row {
            case: case.clone(),
            measured: "writers' p99, ms".to_owned(),
            ours: series(ours, |it| it.during.percentile(0.99)).text(2),
            other: format!(
                "no session: {}; QEMU: {} (× {})",
                series(ours, |it| it.before.percentile(0.99)).text(2),
                series(theirs, |it| it.during.percentile(0.99)).text(2),
                added(theirs).text(1)
            ),
            ratio: format!("× {} of no session", added(ours).text(2)),
            mark: "≤ 1.2".to_owned(),
            reached: Some(added(ours).median() <= 1.2),
        });
        self.rows.push(Row {
            case: case.clone(),
            measured: "writers' IOPS".to_owned(),
            ours: series(ours, |it| it.during.iops).text(0),
            other: format!("QEMU: {}", series(theirs, |it| it.during.iops).text(0)),
            ratio: pairs(ours, theirs, |it| it.during.iops).text(1),
            mark: String::new(),
            reached: None,
        });
        self.rows.push(Row {
            case,
            measured: "until the copy is whole, s after the writers' end".to_owned(),
            ours: series(ours, |it| it.recovery_seconds).text(1),
            other: format!("QEMU: {}", series(theirs, |it| it.recovery_seconds).text(1)),
            ratio: String::new(),
            mark: String::new(),
            reached: None,
        });
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
    // Never past the sync's end: a copy that is complete asks nothing of a target any more.
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

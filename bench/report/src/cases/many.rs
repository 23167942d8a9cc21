//! Several volumes at once, each with a session of its own, on one disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use snapless_bench::process::HostProcess;
use snapless_bench::spec::SinkSpec;

use super::{Cases, MIB};
use crate::error::{IoContext, Result};
use crate::process::cpu_seconds;
use crate::run::fill;
use crate::snapless::check;
use crate::statistics::Series;
use crate::table::Row;
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_mins(5);

impl Cases {
    pub(super) fn many(&mut self) -> Result<()> {
        let size = self.setting.size / 8;
        let disks: Vec<PathBuf> =
            (0..8).map(|index| self.setting.folder.join(format!("v{index}.img"))).collect();
        for disk in &disks {
            fill(disk, size)?;
        }
        let mut one = 0.0;
        for count in [1, 2, 4, 8] {
            let (mut rates, mut costs) = (Series::default(), Series::default());
            for _ in 0..self.plan.rounds {
                let (rate, cost) = self.sync_all(&disks[..count], size)?;
                rates.push(rate / MIB);
                costs.push(cost);
            }
            if count == 1 {
                one = rates.median();
            }
            let row = Row::new(
                "several volumes at once",
                format!("{count}: total MiB/s; CPU seconds per GiB"),
                format!("{}; {}", rates.text(0), costs.text(2)),
                format!("one volume: {one:.0}"),
                format!("{:.2}", rates.median() / one),
            );
            self.rows.push(row.marked("does not shrink", rates.median() >= 0.95 * one));
        }
        Ok(disks.iter().try_for_each(|disk| std::fs::remove_file(disk).on("remove", disk))?)
    }

    /// Total bytes per second, and CPU seconds per GiB.
    fn sync_all(&self, disks: &[PathBuf], size: u64) -> Result<(f64, f64)> {
        let names: Vec<String> = (0..disks.len()).map(|index| format!("v{index}")).collect();
        let volumes: Vec<_> =
            names.iter().map(String::as_str).zip(disks.iter().map(PathBuf::as_path)).collect();
        let setting = &self.setting;
        let options = ["--sector", "4096"];
        let host = HostProcess::start(&setting.host, &setting.folder, &volumes, &options)?;
        let mut control = host.control()?;
        let spec = self.setting.spec(SinkSpec::Null { digest: true });
        let (began, cpu) = (Instant::now(), cpu_seconds(host.id()));
        for name in &names {
            control.start(name, &spec)?;
        }
        for name in &names {
            wait_for("a first sync", LIMIT, || {
                let report = control.status(name)?;
                Ok((report.blocks_synced == report.blocks_total).then_some(()))
            })?;
        }
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(host.id()) - cpu);
        for name in &names {
            check("several volumes", &control.verify(name)?)?;
        }
        host.quit()?;
        #[allow(clippy::cast_precision_loss)]
        let bytes = (size * disks.len() as u64) as f64;
        Ok((bytes / seconds, cpu / (bytes / MIB / 1024.0)))
    }
}

//! Several volumes at once, each with a session of its own, on one disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use snapless_bench::process::HostProcess;
use snapless_bench::spec::SinkSpec;

use super::{Cases, MIB};
use crate::contestant::cpu_seconds;
use crate::error::{Error, IoContext, Result};
use crate::run::fill;
use crate::statistics::Series;
use crate::table::Row;

const LIMIT: Duration = Duration::from_secs(300);

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
            self.rows.push(Row {
                case: "several volumes at once".to_owned(),
                measured: format!("{count}: total MiB/s; CPU seconds per GiB"),
                ours: format!("{}; {}", rates.text(0), costs.text(2)),
                other: format!("one volume: {one:.0}"),
                ratio: format!("{:.2}", rates.median() / one),
                mark: "does not shrink".to_owned(),
                reached: Some(rates.median() >= 0.95 * one),
            });
        }
        disks.iter().try_for_each(|disk| std::fs::remove_file(disk).on("remove", disk))
    }

    /// Bytes per second of all together, and CPU seconds per GiB.
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
            while control.status(name)?.blocks_synced * 65_536 < size {
                if began.elapsed() > LIMIT {
                    return Err(Error::Slow { what: "a first sync", seconds: LIMIT.as_secs() });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(host.id()) - cpu);
        for name in &names {
            let found = control.verify(name)?;
            if found.different > 0 {
                return Err(Error::Differs {
                    case: "several volumes".to_owned(),
                    different: found.different,
                    sectors: found.sectors,
                    first: found.first_different.unwrap_or(0),
                });
            }
        }
        host.quit()?;
        #[allow(clippy::cast_precision_loss)]
        let bytes = (size * disks.len() as u64) as f64;
        Ok((bytes / seconds, cpu / (bytes / MIB / 1024.0)))
    }
}

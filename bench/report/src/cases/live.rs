//! Live replication after the first sync: the cost of a write.

use snapless_bench::spec::SessionSpec;
use snapless_bench::spec::SinkSpec;

use super::{Cases, pairs, series};
use crate::contestant::Contestant;
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load};
use crate::run::{COMPARE_LEN, Plan, await_sync, compare, in_turn};
use crate::server::{Repository, Sealing, VOLUME};
use crate::setting::Setting;
use crate::statistics::{Window, now_ms};
use crate::table::Row;

impl Cases {
    pub(super) fn live(&mut self) -> Result<()> {
        let load = Load::writes("4k", 16);
        let mut windows: [Vec<Window>; 3] = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..self.plan.rounds {
            for index in in_turn(round, vec![0, 1, 2]) {
                windows[index].push(match index {
                    0 => self.setting.without_sync(&self.plan, "idle", &load)?,
                    1 => {
                        let spec = self.setting.spec(SinkSpec::Null { digest: true });
                        live_run(&self.setting, &self.plan, spec, &load)?
                    }
                    _ => self.live_to_server(&load)?,
                });
            }
        }
        let [none, null, server] = &windows;
        for (name, runs, mark) in [("null sink", null, true), ("real server", server, false)] {
            let ratio = pairs(runs, none, |it| it.iops);
            let row = Row::new(
                format!("live replication, {}, {name}", load.name()),
                "IOPS",
                series(runs, |it| it.iops).text(0),
                format!("no session: {}", series(none, |it| it.iops).text(0)),
                ratio.text(2),
            );
            self.rows.push(if mark { row.at_least(0.95, ratio.median()) } else { row });
        }
        Ok(())
    }

    fn live_to_server(&self, load: &Load) -> Result<Window> {
        let root = self.setting.folder.join("repository");
        let repository = Repository::init(&self.server, &root, Sealing::Plain)?;
        let server = repository.serve()?;
        let sink = SinkSpec::Server {
            address: server.address.clone(),
            volume: VOLUME.to_owned(),
            token: None,
        };
        let window = live_run(&self.setting, &self.plan, self.setting.spec(sink), load)?;
        let restored = self.setting.folder.join("restored.img");
        repository.restore("latest", &restored)?;
        let steps = (0..self.setting.size).step_by(COMPARE_LEN);
        compare("live replication to the server", &restored, &self.setting.disk, steps)?;
        drop(server);
        std::fs::remove_file(&restored).on("remove", &restored)?;
        repository.remove()?;
        Ok(window)
    }
}

fn live_run(setting: &Setting, plan: &Plan, spec: SessionSpec, load: &Load) -> Result<Window> {
    let case = "live replication";
    let mut host = setting.snapless(spec)?;
    host.begin()?;
    await_sync(&mut host)?;
    host.await_settled()?;
    let fio = Fio::start(&host.uri(), setting.size, load, &setting.folder)?;
    std::thread::sleep(plan.warm);
    let start = now_ms();
    std::thread::sleep(plan.window);
    let end = now_ms();
    let window = Window::new(case, &fio.end()?, start, end);
    host.settle(case)?;
    window
}

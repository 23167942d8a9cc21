//! Live replication after the first sync: the cost of a write.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Stdio};

use snapless_bench::spec::SessionSpec;
use snapless_bench::spec::SinkSpec;

use super::{Cases, pairs, series};
use crate::contestant::Contestant;
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load};
use crate::process::{self, Running};
use crate::run::{COMPARE_LEN, Plan, await_sync, compare, in_turn};
use crate::setting::Setting;
use crate::statistics::{Window, now_ms};
use crate::table::Row;

const GUID: &str = "5d0f7c1e-6d0c-4e57-8a35-3f1b0e6f4c21";
const PROGRAM: &str = "snapless-server";

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
        let repository = self.setting.folder.join("repository");
        let server = Server::start(&self.server, &repository)?;
        let sink = SinkSpec::Server { address: server.address.clone(), volume: GUID.to_owned() };
        let window = live_run(&self.setting, &self.plan, self.setting.spec(sink), load)?;
        let restored = self.setting.folder.join("restored.img");
        restore(&self.server, &repository, &restored)?;
        let steps = (0..self.setting.size).step_by(COMPARE_LEN);
        compare("live replication to the server", &restored, &self.setting.disk, steps)?;
        drop(server);
        std::fs::remove_file(&restored).on("remove", &restored)?;
        std::fs::remove_dir_all(&repository).on("remove", &repository)?;
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

/// A server on the loopback; ends with the value.
struct Server {
    _child: Running,
    address: String,
    /// Kept open, as the server may print more.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &Path, repository: &Path) -> Result<Self> {
        let mut command = process::command(program);
        process::run(PROGRAM, command.arg("init").arg(repository))?;
        let mut command = process::command(program);
        command
            .args(["serve", "--insecure", "--listen", "127.0.0.1:0", "--repository"])
            .arg(repository);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Running::start(PROGRAM, &mut command)?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| process::failed(PROGRAM, "no standard output"))?;
        let (mut stdout, mut said) = (BufReader::new(stdout), String::new());
        while stdout.read_line(&mut said).on("read from", program)? > 0 {
            let line = said.lines().last().unwrap_or_default();
            if let Some((_, address)) = line.split_once("listening on ") {
                let address = address.trim().to_owned();
                return Ok(Self { _child: child, address, _stdout: stdout });
            }
        }
        Err(process::failed(PROGRAM, said))
    }
}

fn restore(program: &Path, repository: &Path, to: &Path) -> Result<()> {
    let mut command = process::command(program);
    command.args(["restore", "--volume", GUID, "--at", "latest", "--force"]);
    command.arg("--repository").arg(repository).arg("--to").arg(to);
    process::run(PROGRAM, &mut command).map(drop)
}

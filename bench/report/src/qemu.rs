//! QEMU's storage daemon: an export of the file, and its backup job.
//!
//! `locking=off` on the file: else the job's filter cannot be put under an export that writes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::contestant::{Contestant, Target, bound};
use crate::error::{Error, IoContext, Result};
use crate::fio::now_ms;

const PROGRAM: &str = "qemu-storage-daemon";
const START_LIMIT: Duration = Duration::from_secs(10);

/// The daemon.
pub struct Qemu {
    child: Child,
    socket: PathBuf,
    monitor: BufReader<UnixStream>,
    done: bool,
}

impl Qemu {
    /// Starts it on a file, with a target for the backup of the same size.
    pub fn start(file: &Path, size: u64, target: Target, folder: &Path) -> Result<Self> {
        let (socket, monitor) = (folder.join("qemu.sock"), folder.join("qmp.sock"));
        for path in [&socket, &monitor] {
            // Left over from an earlier one.
            let _ = std::fs::remove_file(path);
        }
        let name = |path: &Path| path.display().to_string().replace(',', ",,");
        let mut command = bound(PROGRAM);
        command.arg("--blockdev").arg(format!(
            "driver=file,node-name=file,filename={},cache.direct=on,aio=io_uring,locking=off",
            name(file)
        ));
        command.args(["--blockdev", "driver=raw,node-name=disk,file=file"]);
        let sink = |latency_ns| {
            format!("driver=null-co,node-name=sink,size={size},latency-ns={latency_ns}")
        };
        match target {
            Target::Null | Target::Forget => {
                command.arg("--blockdev").arg(sink(0).replace("=sink", "=target"));
            }
            Target::Slow { bytes_per_second, latency_ms } => {
                command
                    .arg("--object")
                    .arg(format!("throttle-group,id=link,x-bps-total={bytes_per_second}"));
                command.arg("--blockdev").arg(sink(latency_ms * 1_000_000));
                let throttle = "driver=throttle,node-name=target,throttle-group=link,file=sink";
                command.args(["--blockdev", throttle]);
            }
        }
        command.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={}", name(&socket)));
        command.args(["--export", "type=nbd,id=export,node-name=disk,name=v,writable=on"]);
        command
            .arg("--chardev")
            .arg(format!("socket,id=monitor,path={},server=on,wait=off", name(&monitor)));
        command.args(["--monitor", "chardev=monitor"]);
        // It says that a target without a backing file has no block size; 64 KiB is what we want.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = command.spawn();
        let mut child =
            spawned.map_err(|source| Error::Spawn { program: PROGRAM.to_owned(), source })?;
        let monitor = match connect(&mut child, &monitor) {
            Ok(stream) => BufReader::new(stream),
            Err(error) => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut qemu = Self { child, socket, monitor, done: false };
        qemu.read()?;
        qemu.ask(&json!({"execute": "qmp_capabilities"}))?;
        Ok(qemu)
    }

    fn ask(&mut self, command: &Value) -> Result<()> {
        let monitor = Path::new("the monitor of QEMU");
        writeln!(self.monitor.get_mut(), "{command}").on("write to", monitor)?;
        loop {
            let answer = self.read()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if answer.get("error").is_some() {
                let (command, answer) = (command.to_string(), answer.to_string());
                return Err(Error::Qemu { command, answer });
            }
        }
    }

    /// Reads one message; notes if it tells of the job's end.
    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.monitor.read_line(&mut line);
        let len = read.on("read from", Path::new("the monitor of QEMU"))?;
        let said = |said: String| Error::Program { program: PROGRAM.to_owned(), said };
        if len == 0 {
            return Err(said("it has ended".to_owned()));
        }
        let message: Value =
            serde_json::from_str(&line).map_err(|error| said(format!("{line}: {error}")))?;
        if message["event"] == "BLOCK_JOB_COMPLETED" {
            if let Some(error) = message["data"].get("error") {
                return Err(said(error.to_string()));
            }
            self.done = true;
        }
        Ok(message)
    }
}

fn connect(child: &mut Child, monitor: &Path) -> Result<UnixStream> {
    let limit = Instant::now() + START_LIMIT;
    loop {
        match UnixStream::connect(monitor) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > limit => return Err(error).on("connect to", monitor),
            Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = format!("it ended at once: {status}");
            return Err(Error::Program { program: PROGRAM.to_owned(), said });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Contestant for Qemu {
    fn uri(&self) -> String {
        format!("nbd+unix:///v?socket={}", self.socket.display())
    }

    fn begin(&mut self) -> Result<u64> {
        // The job runs before the answer comes.
        let start = now_ms();
        self.ask(&json!({
            "execute": "blockdev-backup",
            "arguments": {"job-id": "b", "device": "disk", "target": "target", "sync": "full"}
        }))?;
        Ok(start)
    }

    fn is_synced(&mut self) -> Result<bool> {
        let monitor = Path::new("the monitor of QEMU");
        while !self.done {
            // A message is read only if one has begun to come: the benchmark looks at the time as
            // well.
            let quiet = Some(Duration::from_millis(1));
            self.monitor.get_ref().set_read_timeout(quiet).on("set up", monitor)?;
            match self.monitor.fill_buf() {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).on("read from", monitor),
            }
            self.monitor.get_ref().set_read_timeout(None).on("set up", monitor)?;
            self.read()?;
        }
        self.monitor.get_ref().set_read_timeout(None).on("set up", monitor)?;
        Ok(self.done)
    }

    fn longest_hold_ms(&mut self) -> Result<Option<f64>> {
        Ok(None)
    }

    fn settle(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

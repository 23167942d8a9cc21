//! The contestant QEMU: its storage daemon with an NBD export and a backup job.
//!
//! The file has `locking=off`: otherwise the job's filter cannot be inserted under a writable
//! export.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contestant::{Contestant, Target};
use crate::error::{Error, IoContext, Result};
use crate::process::{self, Running};
use crate::statistics::now_ms;
use crate::wait::wait_for;

const PROGRAM: &str = "qemu-storage-daemon";
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long its monitor may be silent while an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// The daemon.
pub struct Qemu {
    /// Ends with the value.
    _child: Running,
    socket: PathBuf,
    monitor: BufReader<UnixStream>,
    done: bool,
}

impl Qemu {
    /// Starts the daemon with the export and a target for the backup.
    pub fn start(file: &Path, size: u64, target: Target, folder: &Path) -> Result<Self> {
        let (socket, monitor) = (folder.join("qemu.sock"), folder.join("qmp.sock"));
        let started = folder.join("qemu.pid");
        for path in [&socket, &monitor, &started] {
            // Left over from an earlier run.
            let _ = std::fs::remove_file(path);
        }
        let name = |path: &Path| path.display().to_string().replace(',', ",,");
        let mut command = process::command(PROGRAM);
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
        command.args(["--monitor", "chardev=monitor"]).arg("--pidfile").arg(&started);
        // QEMU warns that the target has no block size; its default of 64 KiB is the wanted one.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Running::start(PROGRAM, &mut command)?;
        let monitor = BufReader::new(connect(&mut child, &started, &monitor)?);
        let mut qemu = Self { _child: child, socket, monitor, done: false };
        qemu.limit_silence(ANSWER_LIMIT)?;
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

    /// Sets how long a read waits for the monitor.
    fn limit_silence(&self, limit: Duration) -> Result<()> {
        let monitor = Path::new("the monitor of QEMU");
        Ok(self.monitor.get_ref().set_read_timeout(Some(limit)).on("set up", monitor)?)
    }

    /// Reads one message; notes the end of the job.
    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.monitor.read_line(&mut line);
        let len = read.on("read from", Path::new("the monitor of QEMU"))?;
        if len == 0 {
            return Err(process::failed(PROGRAM, "it exited"));
        }
        let message: Value = serde_json::from_str(&line)
            .map_err(|error| process::failed(PROGRAM, format!("{line}: {error}")))?;
        if message["event"] == "BLOCK_JOB_COMPLETED" {
            if let Some(error) = message["data"].get("error") {
                return Err(process::failed(PROGRAM, error.to_string()));
            }
            self.done = true;
        }
        Ok(message)
    }
}

/// Connects to the monitor once `started`, the file of the daemon's pid, is there: a command that
/// arrives while the daemon still sets its monitor up is never answered.
fn connect(child: &mut Running, started: &Path, monitor: &Path) -> Result<UnixStream> {
    wait_for("the start of QEMU", START_LIMIT, || {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(process::failed(PROGRAM, format!("it exited at once: {status}")));
        }
        Ok(started.exists().then(|| UnixStream::connect(monitor).ok()).flatten())
    })
}

impl Contestant for Qemu {
    fn uri(&self) -> String {
        format!("nbd+unix:///v?socket={}", self.socket.display())
    }

    fn begin(&mut self) -> Result<u64> {
        // The job begins before the answer arrives.
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
            // Read a message only if one has begun to arrive, so that the caller can check its time
            // limit.
            self.limit_silence(Duration::from_millis(1))?;
            match self.monitor.fill_buf() {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => Err(error).on("read from", monitor)?,
            }
            self.limit_silence(ANSWER_LIMIT)?;
            self.read()?;
        }
        self.limit_silence(ANSWER_LIMIT)?;
        Ok(self.done)
    }

    fn longest_hold_ms(&mut self) -> Result<Option<f64>> {
        Ok(None)
    }

    fn settle(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

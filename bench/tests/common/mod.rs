//! A volume with known content, a host on it, and third-party programs.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use snapless_bench::control::Client;
use snapless_bench::process::HostProcess;
use snapless_bench::protocol::Report;
use tempfile::TempDir;

pub const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_mins(1);

/// A volume's file in a folder of its own.
pub struct Bench {
    pub folder: TempDir,
    pub disk: PathBuf,
}

impl Bench {
    /// A volume of `mib` MiB of random bytes, with some zeros.
    pub fn new(mib: usize) -> Self {
        // Not in /tmp, which may be in memory: the host should use a real file system.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = folder.path().join("disk.img");
        let mut random = fastrand::Rng::with_seed(7);
        let mut content = vec![0; mib * MIB];
        for (index, block) in content.chunks_mut(64 << 10).enumerate() {
            if index % 7 != 3 {
                random.fill(block);
            }
        }
        std::fs::write(&disk, content).unwrap();
        Self { folder, disk }
    }

    /// A volume, and a host on it.
    pub fn hosted(mib: usize, options: &[&str]) -> (Self, HostProcess) {
        let bench = Self::new(mib);
        let host = bench.host(options);
        (bench, host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn host(&self, options: &[&str]) -> HostProcess {
        let program = Path::new(env!("CARGO_BIN_EXE_snapless-bench"));
        HostProcess::start(program, self.folder.path(), &[("v", &self.disk)], options).unwrap()
    }

    pub fn content(&self) -> Vec<u8> {
        std::fs::read(&self.disk).unwrap()
    }
}

/// A third-party program.
pub fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name).arg("--version").output();
    assert!(
        found.is_ok(),
        "{name} is not installed: `cargo xtask setup` installs the Debian package {package}"
    );
    Command::new(name)
}

pub fn qemu_io(uri: &str, commands: &[&str]) -> Output {
    let mut command = tool("qemu-io", "qemu-utils");
    command.args(["-f", "raw"]);
    for line in commands {
        command.args(["-c", line]);
    }
    command.arg(uri).output().unwrap()
}

/// Runs `command` to its end; it must succeed.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// fio with random writes through the host.
pub fn fio(uri: &str, folder: &Path) -> Command {
    let mut command = tool("fio", "fio");
    command.current_dir(folder);
    command.args(["--name=load", "--ioengine=nbd", "--rw=randwrite", "--iodepth=16"]);
    command.arg(format!("--uri={uri}"));
    command
}

/// A child process; killed on drop.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the session's state is as wanted.
pub fn wait_for(control: &mut Client, wanted: impl Fn(&Report) -> bool) -> Report {
    let limit = Instant::now() + LIMIT;
    loop {
        let report = control.status("v").unwrap();
        if wanted(&report) {
            return report;
        }
        assert!(!report.sink_failed, "the sink has failed");
        assert!(Instant::now() < limit, "it takes too long: {report:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares images; the failure names the first difference.
pub fn assert_same(what: &str, found: &[u8], wanted: &[u8]) {
    assert_eq!(found.len(), wanted.len(), "{what}: the length");
    let different = found.iter().zip(wanted).position(|(a, b)| a != b);
    assert_eq!(different, None, "{what}: the first byte that differs");
}

//! A Wine prefix of the run's own: a fresh copy of the one that the setup made.
//!
//! The rule: no other prefix is touched; when the value is dropped, the prefix's own Wine server
//! and with it every process of the prefix is gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Pid;

use crate::error::{E2eError, ensure};
use crate::process;
use crate::run_folder::read_if_there;

/// Errors and what drivers print; nothing else, or the log grows without bound.
const WINE_CHANNELS: &str = "-all,err+all,warn+debugstr";
/// An environment variable with more of Wine's debug channels.
const MORE_CHANNELS: &str = "SNAPLESS_RIG_WINEDEBUG";
const STOP_LIMIT: Duration = Duration::from_secs(30);
const COMMAND_LIMIT: Duration = Duration::from_mins(1);
/// An installation loads the driver twice, and Wine its services.
const MSI_LIMIT: Duration = Duration::from_mins(2);
/// `ERROR_SUCCESS_REBOOT_REQUIRED`: how Windows Installer ends once the product is there, or gone.
pub const RESTART: u16 = 3010;
/// Where drivers lie on drive C.
pub const DRIVERS: &str = "windows/system32/drivers";

/// The copy.
#[derive(Debug)]
pub struct Prefix {
    root: PathBuf,
    logs: PathBuf,
    /// Programs start with the same memory layout every time.
    fixed_layout: bool,
}

/// Wine's message when the random memory layout collides with Windows' shared data; the program did
/// not start.
const LAYOUT_CLASH: &str = "failed to map the shared user data";
/// How a program ends whose exit code is lost: Wine's server kills what is not gone half a second
/// after its last thread has ended, as on a busy machine. Nobody else kills a program of a command.
const EXIT_LOST: &str = "signal: 9 (SIGKILL)";
/// How often such a program is started again. One that cannot be run twice says so then.
const TRIES: usize = 3;

impl Prefix {
    /// Copies `template` to `root`, which must not be there yet.
    pub fn copy_of(template: &Path, root: &Path, logs: &Path) -> Result<Self, E2eError> {
        ensure!(
            template.join("system.reg").is_file(),
            Rule,
            "{} is not a Wine prefix; run `cargo xtask setup`",
            template.display()
        );
        process::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(root))?;
        // Some containers do not allow it; then collisions lead to another try.
        let fixed_layout = process::run(Command::new("setarch").args(["-R", "true"])).is_ok();
        Ok(Self { root: root.into(), logs: logs.into(), fixed_layout })
    }

    /// A command for Wine's loader in this prefix: `program` is a Windows path or a name that Wine
    /// knows.
    pub fn wine(&self, program: &str) -> Command {
        let mut command = self.tool("wine");
        command.arg(program);
        command
    }

    /// Runs a Windows program to its end; returns its output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, E2eError> {
        self.run_within(program, arguments, COMMAND_LIMIT)
    }

    /// The same for a program that may take so long.
    pub fn run_within(
        &self,
        program: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String, E2eError> {
        let name = program.rsplit('\\').next().unwrap_or(program);
        let mut command = self.wine(program);
        command.args(arguments);
        let mut run = || process::run_logged(name, &mut command, &self.logs, limit);
        for _ in 1..TRIES {
            match run() {
                Err(E2eError::Exit { status, tail, .. })
                    if tail.contains(LAYOUT_CLASH) || status == EXIT_LOST => {}
                ended => return ended,
            }
        }
        run()
    }

    /// Runs the service manager's tool.
    pub fn sc(&self, arguments: &[&str]) -> Result<(), E2eError> {
        self.run("sc", arguments).map(|_| ())
    }

    /// Runs Windows Installer without a window; returns its log, `msi-NAME.log` of the run's. It
    /// has to end with `expected`.
    pub fn msiexec(
        &self,
        name: &str,
        arguments: &[&str],
        expected: u16,
    ) -> Result<String, E2eError> {
        let log = self.logs.join(format!("msi-{name}.log"));
        let log_path = windows_path(&log);
        let quiet = ["/qn", "/norestart", "/l*v", &log_path];
        let ran = self.run_within("msiexec", &[arguments, &quiet].concat(), MSI_LIMIT);
        let text = read_if_there(&log)?;
        // Of a Windows program's exit code this system has the last byte.
        let status = format!("exit status: {}", expected & 0xFF);
        match ran {
            Err(E2eError::Exit { status: found, .. }) if found == status => Ok(text),
            Ok(_) => Err(E2eError::Rule(format!("msiexec ended with 0 instead of {expected}"))),
            Err(other) => Err(other),
        }
    }

    /// Sets a value of the `Parameters` key of a service.
    pub fn set_parameter(
        &self,
        service: &str,
        name: &str,
        kind: &str,
        value: &str,
    ) -> Result<(), E2eError> {
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{service}\Parameters");
        self.run("reg", &["add", &key, "/v", name, "/t", kind, "/d", value, "/f"]).map(|_| ())
    }

    /// Where a Windows path on drive C lies; `path` uses forward slashes.
    pub fn on_c(&self, path: &str) -> PathBuf {
        self.root.join("drive_c").join(path)
    }

    /// Copies a file to drive C; returns its Windows path.
    pub fn install(&self, file: &Path, folder: &str) -> Result<String, E2eError> {
        let to_folder = self.on_c(folder);
        std::fs::create_dir_all(&to_folder).map_err(E2eError::file("create", &to_folder))?;
        let name = file.file_name().unwrap_or_default();
        let to = to_folder.join(name);
        std::fs::copy(file, &to).map_err(E2eError::file("copy to", &to))?;
        let folder = folder.replace('/', "\\");
        Ok(format!("C:\\{folder}\\{}", name.to_string_lossy()))
    }

    /// The run's logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Ends every process of the prefix and waits until they are gone.
    pub fn stop(&self) -> Result<(), E2eError> {
        // `--kill` fails where no server runs: that is what is wanted.
        let kill = self.tool("wineserver").arg("--kill").status();
        if kill.is_ok_and(|status| status.success()) {
            let mut wait = self.tool("wineserver");
            process::run_logged("wineserver", wait.arg("--wait"), &self.logs, STOP_LIMIT)?;
        }
        Ok(())
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = if self.fixed_layout {
            let mut command = Command::new("setarch");
            command.args(["-R", program]);
            command
        } else {
            Command::new(program)
        };
        let channels = match std::env::var(MORE_CHANNELS) {
            Ok(more) => format!("{WINE_CHANNELS},{more}"),
            Err(_) => String::from(WINE_CHANNELS),
        };
        command
            .env("WINEPREFIX", &self.root)
            .env("WINEARCH", "win64")
            .env("WINEDEBUG", channels)
            // No dialogues, no downloads of components that nothing here uses.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
            .env("RUST_BACKTRACE", "1")
            .env_remove("DISPLAY");
        command
    }

    /// The Unix process ids of the Windows program `exe` in this prefix.
    pub fn processes(&self, exe: &str) -> Result<Vec<Pid>, E2eError> {
        let proc = Path::new("/proc");
        let wanted = format!("WINEPREFIX={}", self.root.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(proc).map_err(E2eError::file("list", proc))?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            let Some(pid) = pid else { continue };
            // A process that has ended has no files: skip it.
            let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let runs = |words: Vec<u8>| {
                let word = words.split(|&byte| byte == 0).next().unwrap_or_default();
                String::from_utf8_lossy(word).to_ascii_lowercase().ends_with(exe)
            };
            let ours = |words: Vec<u8>| words.split(|&b| b == 0).any(|w| w == wanted.as_bytes());
            if runs(read("cmdline")) && ours(read("environ")) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        // A failure cannot be reported here; the run's own error is already on its way.
        let _ = self.stop();
    }
}

/// A path of this machine as a Windows program in Wine sees it.
pub fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.to_string_lossy().replace('/', "\\"))
}

/// A path of this machine as a driver in Wine sees it.
pub fn nt_path(path: &Path) -> String {
    format!("\\??\\{}", windows_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_prefix_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Prefix::copy_of(dir.path(), &dir.path().join("copy"), dir.path());
        assert!(error.unwrap_err().to_string().contains("cargo xtask setup"));
    }
}

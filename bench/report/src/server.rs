//! Repositories, and the commands of `snapless-server` on them.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::error::{IoContext, Result};
use crate::nbd;
use crate::process::{self, Running, Used};

/// The volume of all repositories.
pub const VOLUME: &str = "5d0f7c1e-6d0c-4e57-8a35-3f1b0e6f4c21";
const PROGRAM: &str = "snapless-server";
/// Where each command finds the key of an encrypted repository.
const KEY: &str = "SNAPLESS_KEY_FILE";

/// What a repository does with content before it stores it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sealing {
    /// Nothing.
    Plain,
    /// Compresses it.
    Compressed,
    /// Encrypts it.
    Encrypted,
    /// Compresses it, then encrypts it.
    Both,
}

impl Sealing {
    /// All that this server offers, from what its `init` says.
    pub fn offered(program: &Path) -> Result<Vec<Self>> {
        let help = process::run(PROGRAM, Command::new(program).args(["init", "--help"]))?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let all = [Self::Plain, Self::Compressed, Self::Encrypted, Self::Both];
        let has = |option: &&str| help.contains(*option);
        Ok(all.into_iter().filter(|it| it.options().iter().all(has)).collect())
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Compressed => &["--compression"],
            Self::Encrypted => &["--encryption"],
            Self::Both => &["--compression", "--encryption"],
        }
    }
}

impl fmt::Display for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Compressed => "zstd",
            Self::Encrypted => "AES-256-GCM",
            Self::Both => "zstd, AES-256-GCM",
        })
    }
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository {
    program: PathBuf,
    root: PathBuf,
    key: PathBuf,
}

impl Repository {
    /// One that is there, or will be.
    pub fn at(program: &Path, root: &Path) -> Self {
        let (program, root) = (program.to_owned(), root.to_owned());
        Self { program, key: root.with_extension("key"), root }
    }

    /// Makes one.
    pub fn init(program: &Path, root: &Path, sealing: Sealing) -> Result<Self> {
        let this = Self::at(program, root);
        let mut command = process::command(program);
        command.arg("init").arg(root);
        for option in sealing.options() {
            command.arg(option).arg(match *option {
                "--compression" => "zstd".to_owned(),
                _ => format!("key-file={}", this.key.display()),
            });
        }
        process::run(PROGRAM, &mut command)?;
        Ok(this)
    }

    /// Bytes of its files.
    pub fn stored_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        each_file(&self.root, &mut |file| {
            bytes += file.metadata().on("examine", file)?.len();
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Lets the system forget what it has of the repository's files in its cache.
    pub fn evict(&self) -> Result<()> {
        each_file(&self.root, &mut |file| evict(file))
    }

    /// Removes it, with its key.
    pub fn remove(self) -> Result<()> {
        // There is none of a repository without encryption.
        let _ = std::fs::remove_file(&self.key);
        Ok(std::fs::remove_dir_all(&self.root).on("remove", &self.root)?)
    }

    /// `list`.
    pub fn list(&self) -> Result<Used> {
        process::run_watched(PROGRAM, self.command("list").arg("--repository").arg(&self.root))
    }

    /// `points`.
    pub fn points(&self) -> Result<Used> {
        let mut command = self.command("points");
        process::run_watched(PROGRAM, command.arg("--repository").arg(&self.root).arg(VOLUME))
    }

    /// `restore` of an instant to a file.
    pub fn restore(&self, at: &str, to: &Path) -> Result<Used> {
        let mut command = self.of_volume("restore");
        process::run_watched(PROGRAM, command.args(["--at", at, "--to"]).arg(to))
    }

    /// `mount` of an instant at a socket, until the value is dropped. Reads `len` bytes at
    /// `offset`.
    pub fn mount(&self, at: &str, socket: &Path, (offset, len): (u64, u32)) -> Result<Mounted> {
        let mut command = self.of_volume("mount");
        command.args(["--at", at, "--socket"]).arg(socket);
        Mounted::start(PROGRAM, &mut command, socket, (offset, len))
    }

    /// `serve` on the loopback, without TLS, until the value is dropped.
    pub fn serve(&self) -> Result<Server> {
        let mut command = self.command("serve");
        command.args(["--insecure", "--listen", "127.0.0.1:0", "--repository"]).arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let began = Instant::now();
        let mut child = Running::start(PROGRAM, &mut command)?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| process::failed(PROGRAM, "no standard output"))?;
        let (mut stdout, mut said) = (BufReader::new(stdout), String::new());
        while stdout.read_line(&mut said).on("read from", &self.program)? > 0 {
            let line = said.lines().last().unwrap_or_default();
            if let Some((_, address)) = line.split_once("listening on ") {
                let seconds = began.elapsed().as_secs_f64();
                let address = address.trim().to_owned();
                return Ok(Server { child, address, seconds, _stdout: stdout });
            }
        }
        Err(process::failed(PROGRAM, said))
    }

    fn of_volume(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["--volume", VOLUME, "--repository"]).arg(&self.root);
        command
    }

    fn command(&self, name: &str) -> Command {
        let mut command = process::command(&self.program);
        command.arg(name);
        if self.key.exists() {
            command.env(KEY, &self.key);
        }
        command
    }
}

/// A server on the loopback; ends with the value.
pub struct Server {
    child: Running,
    /// `host:port`.
    pub address: String,
    /// Seconds until it listened.
    pub seconds: f64,
    /// Kept open, as the server may print more.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// A program that serves a disk over NBD; ends with the value.
pub struct Mounted {
    child: Running,
    /// Seconds from the start to the first bytes.
    pub seconds: f64,
    /// The first bytes that were read.
    pub bytes: Vec<u8>,
}

impl Mounted {
    /// Starts the program with a socket that is not there yet, and reads `len` bytes at `offset`.
    pub fn start(
        program: &str,
        command: &mut Command,
        socket: &Path,
        (offset, len): (u64, u32),
    ) -> Result<Self> {
        // Left over from the program before.
        let _ = std::fs::remove_file(socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let child = Running::start(program, command)?;
        let bytes = nbd::first_read(socket, offset, len)?;
        Ok(Self { child, seconds: began.elapsed().as_secs_f64(), bytes })
    }

    /// Bytes of memory that it had at most.
    pub fn peak_memory(&self) -> u64 {
        process::peak_memory(self.child.id())
    }
}

/// Lets the system forget what it has of a file in its cache, and of which the disk has all.
pub fn evict(path: &Path) -> Result<()> {
    let file = std::fs::File::open(path).on("open", path)?;
    let advised = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    Ok(advised.map_err(std::io::Error::from).on("evict", path)?)
}

fn each_file(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(dir).on("list", dir)? {
        let path = entry.on("list", dir)?.path();
        if path.is_dir() { each_file(&path, visit)? } else { visit(&path)? }
    }
    Ok(())
}

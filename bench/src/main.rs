//! `snapless-bench`: the command line of the bench host.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use clap::{Parser, Subcommand, ValueEnum};

use snapless_bench::disk::Disk;
use snapless_bench::error::{Error, Result};
use snapless_bench::server::Server;
use snapless_bench::spec::{SessionSpec, SinkSpec};
use snapless_bench::{alone, control, history, raw_read};
use snapless_wire::id::VolumeGuid;

/// Runs the engine of Snapless between files and NBD clients
///
/// Example: snapless-bench serve --socket nbd.sock --control control.sock --volume v=disk.img
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves volumes until the command `quit`, a signal, or the end of standard input
    Serve(Serve),
    /// Reads a file once, as the sweep does, and prints the time it took as JSON
    Read {
        /// The file
        file: PathBuf,
        /// KiB per read
        #[arg(long, default_value_t = 1024)]
        #[arg(value_parser = clap::value_parser!(u32).range(4..=65536))]
        step: u32,
        /// Reads at once
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        depth: u16,
    },
    /// Writes a repository with a history, and prints what it has as JSON
    History(History),
    /// Measures the engine without files and clients, and prints the results as JSON
    Alone {
        /// Which part of it
        #[arg(value_enum)]
        part: Part,
        /// Runs of each measurement
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
        rounds: u16,
        /// For `rundown`: threads at the same time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
        threads: u16,
        /// For `burst`: reads that the disk serves at the same time
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
        depth: u16,
    },
}

#[derive(clap::Args)]
struct History {
    /// The repository; it must not exist
    #[arg(long)]
    repository: PathBuf,
    /// The volume's GUID in the repository
    #[arg(long, value_parser = volume)]
    volume: VolumeGuid,
    /// The image file of t0; it gets the writes of the history
    #[arg(long, required_unless_present = "length")]
    image: Option<PathBuf>,
    /// A copy of the image file to make after half of the writes
    #[arg(long, requires = "image")]
    middle: Option<PathBuf>,
    /// KiB of a volume that holds nothing at t0
    #[arg(long, conflicts_with = "image")]
    #[arg(value_parser = clap::value_parser!(u64).range(64..=1 << 36))]
    length: Option<u64>,
    /// Random writes after the first sync
    #[arg(long)]
    writes: u64,
    /// Bytes of each write
    #[arg(long, default_value_t = 4096, value_parser = write_len)]
    write: u64,
    /// Microseconds from one record to the next
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1 << 36))]
    interval: u64,
    /// Writes of an epoch; 0: those of four frames of 4 MiB
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    epoch: u64,
    /// KiB of a segment
    #[arg(long, default_value_t = 256 << 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=256 << 10))]
    segment: u64,
    /// KiB of the stream after which a map is kept
    #[arg(long, default_value_t = 4 << 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    map: u64,
}

impl History {
    fn plan(self) -> history::Plan {
        let begin = match self.image {
            Some(image) => history::Begin::Image { image, middle: self.middle },
            None => history::Begin::Empty { length: self.length.unwrap_or(64) << 10 },
        };
        history::Plan {
            repository: self.repository,
            volume: self.volume,
            begin,
            writes: self.writes,
            write_len: self.write,
            interval_us: self.interval,
            epoch_writes: self.epoch,
            segment_bytes: self.segment << 10,
            map_bytes: self.map << 10,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A write on a volume without a session
    Rundown,
    /// Holds of the session's lock at 64 TiB
    Lock,
    /// Writes that are held all at once
    Burst,
    /// TLS between service and server, against plain TCP
    Link,
}

#[derive(clap::Args)]
struct Serve {
    /// The unix socket for NBD clients; it must not exist
    #[arg(long)]
    socket: PathBuf,
    /// The unix socket for commands, one line of JSON each; it must not exist
    #[arg(long)]
    control: PathBuf,
    /// A volume: export name and file; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH", required = true)]
    volumes: Vec<String>,
    /// Sector size in bytes; requests are multiples of it
    #[arg(long, default_value_t = 512, value_parser = sector)]
    sector: u32,
    /// What a write passes through
    #[arg(long, value_enum, default_value = "idle")]
    engine: Engine,
    /// With `--engine session`: the session of every volume, as JSON [default: discard records]
    #[arg(long, value_name = "JSON")]
    session: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Nothing: the engine is compiled out
    Off,
    /// Rundown protection only; commands start sessions
    Idle,
    /// A session from the beginning
    Session,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Read { file, step, depth } => read(&file, step, depth),
        Command::History(options) => print(history::write(&options.plan())),
        Command::Alone { part, rounds, threads, depth } => match part {
            Part::Rundown => print(alone::rundown::measure(threads.into(), rounds.into())),
            Part::Lock => print(alone::lock::measure()),
            Part::Burst => print(alone::burst::measure(depth.into(), rounds.into())),
            Part::Link => print(alone::link::measure(rounds.into())),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Serve) -> Result<()> {
    let disks = options.volumes.iter().map(|text| {
        let (name, path) = text.split_once('=').ok_or_else(|| Error::VolumeSyntax(text.clone()))?;
        Disk::open(name, path.as_ref(), options.sector)
    });
    let server = Server::new(disks.collect::<Result<_>>()?, options.engine != Engine::Off)?;
    let server = Arc::new(server);
    let (quit, quitting) = channel();
    on_signal(quit.clone())?;
    on_end_of_input(quit.clone())?;
    let ended = begin(options, &server, quit).map(|()| {
        println!("serving");
        // Fails if all senders are gone: then the host ends too.
        let _ = quitting.recv();
    });
    server.shut_down();
    for socket in [&options.socket, &options.control] {
        // It may not exist.
        let _ = std::fs::remove_file(socket);
    }
    ended
}

fn begin(options: &Serve, server: &Arc<Server>, quit: Sender<()>) -> Result<()> {
    if options.engine == Engine::Session {
        let spec = match &options.session {
            Some(text) => serde_json::from_str(text).map_err(Error::Command)?,
            None => SessionSpec::new(SinkSpec::Null { digest: false }),
        };
        for served in server.statistics() {
            server.start(&served.volume, &spec)?;
        }
    }
    control::serve(&options.control, Arc::clone(server), quit)?;
    server.listen(&options.socket)
}

fn on_signal(quit: Sender<()>) -> Result<()> {
    let handler = move || {
        // The host may be ending already.
        let _ = quit.send(());
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Thread(std::io::Error::other(error)))
}

/// Ends the host with the process that started it, however that one ends.
fn on_end_of_input(quit: Sender<()>) -> Result<()> {
    let wait = move || {
        let mut ignored = Vec::new();
        // An error counts as the end.
        let _ = std::io::stdin().read_to_end(&mut ignored);
        let _ = quit.send(());
    };
    thread::Builder::new().spawn(wait).map(|_| ()).map_err(Error::Thread)
}

fn read(file: &std::path::Path, step: u32, depth: u16) -> Result<()> {
    let disk = Disk::open("file", file, 512)?;
    print(raw_read::read(&disk, step as usize * 1024, usize::from(depth)))
}

/// Prints a result as JSON.
fn print(result: Result<impl serde::Serialize>) -> Result<()> {
    println!("{}", serde_json::to_string(&result?).map_err(Error::Command)?);
    Ok(())
}

fn volume(text: &str) -> std::result::Result<VolumeGuid, String> {
    VolumeGuid::parse_name(text).ok_or_else(|| format!("{text:?} is not a GUID"))
}

fn write_len(text: &str) -> std::result::Result<u64, String> {
    let bytes: u64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let sound = bytes.is_multiple_of(512) && (512..=1 << 20).contains(&bytes);
    if sound {
        Ok(bytes)
    } else {
        Err("a write has 512 bytes, or a multiple up to 1 MiB".to_owned())
    }
}

fn sector(text: &str) -> std::result::Result<u32, String> {
    let size: u32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let sound = size.is_power_of_two() && (512..=4096).contains(&size);
    if sound { Ok(size) } else { Err("a sector has 512, 1024, 2048 or 4096 bytes".to_owned()) }
}

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
use snapless_bench::{control, raw_read};

/// Puts the engine of Snapless between files and NBD clients.
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
    /// Serve volumes until told to quit, or until standard input ends
    Serve(Serve),
    /// Read a file from beginning to end, as the sweep would, and print the time that it took as JSON
    Read {
        /// The file
        file: PathBuf,
        /// KiB read at a time
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(4..=65536))]
        step: u32,
        /// Reads under way at once
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        depth: u16,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// Where clients come: a unix socket, which must not exist yet
    #[arg(long)]
    socket: PathBuf,
    /// Where commands come, a line of JSON each: a unix socket, which must not exist yet
    #[arg(long)]
    control: PathBuf,
    /// A volume: its export's name, and its file; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH", required = true)]
    volumes: Vec<String>,
    /// Bytes of a sector: requests are multiples of it
    #[arg(long, default_value_t = 512, value_parser = sector)]
    sector: u32,
    /// What is in the way of a write
    #[arg(long, value_enum, default_value = "idle")]
    engine: Engine,
    /// With `--engine session`: the session of every volume, as JSON [default: a sink that forgets]
    #[arg(long, value_name = "JSON")]
    session: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Nothing: the engine is compiled out
    Off,
    /// The gate; sessions are started by command
    Idle,
    /// A session from the start
    Session,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Read { file, step, depth } => read(&file, step, depth),
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
        // Fails if nobody is left who could say it: then it is time too.
        let _ = quitting.recv();
    });
    server.shut_down();
    for socket in [&options.socket, &options.control] {
        // It may not have been made.
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
        // Said once is enough.
        let _ = quit.send(());
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Thread(std::io::Error::other(error)))
}

/// So that the host ends with whoever started it, however that ends.
fn on_end_of_input(quit: Sender<()>) -> Result<()> {
    let wait = move || {
        let mut ignored = Vec::new();
        // An error is an end too.
        let _ = std::io::stdin().read_to_end(&mut ignored);
        let _ = quit.send(());
    };
    thread::Builder::new().spawn(wait).map(|_| ()).map_err(Error::Thread)
}

fn read(file: &std::path::Path, step: u32, depth: u16) -> Result<()> {
    let disk = Disk::open("file", file, 512)?;
    let read = raw_read::read(&disk, step as usize * 1024, usize::from(depth))?;
    println!("{}", serde_json::to_string(&read).map_err(Error::Command)?);
    Ok(())
}

fn sector(text: &str) -> std::result::Result<u32, String> {
    let size: u32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let sound = size.is_power_of_two() && (512..=4096).contains(&size);
    if sound { Ok(size) } else { Err("a sector has 512, 1024, 2048 or 4096 bytes".to_owned()) }
}

//! `snapless-writer`: loads a volume with writes until its standard input closes, and logs each
//! completed one. Each thread has one request under way.
//!
//! Exit code 0: every request succeeded and every sector read back was whole. 1: otherwise;
//! standard error says what happened. 2: the arguments are wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use snapless_writer::WriterError;
use snapless_writer::device::Device;
use snapless_writer::log::WriteLog;
use snapless_writer::regions::Regions;
use snapless_writer::worker::{self, Shared};

/// Loads a volume with overlapping writes and logs every one that completes.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Example:\n  snapless-writer --device \\\\.\\SnaplessTestVolume0 \
    --regions regions.txt --log writes.log --seed 1"
)]
struct Arguments {
    /// The volume's device (on other systems than Windows: a file).
    #[arg(long)]
    device: PathBuf,
    /// File with the regions that may be written: lines of offset and length in bytes.
    #[arg(long)]
    regions: PathBuf,
    /// File for the completed writes.
    #[arg(long)]
    log: PathBuf,
    /// Chooses places, lengths and content.
    #[arg(long)]
    seed: u64,
    /// Threads of load, each with one request under way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Number of the first thread: writers with other numbers write other content
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    first_thread: u16,
    /// Limit in bytes per second, all threads together.
    #[arg(long)]
    rate: Option<u64>,
}

fn main() -> ExitCode {
    match load(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless-writer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments) -> Result<(), WriterError> {
    static INPUT_CLOSED: AtomicBool = AtomicBool::new(false);

    let regions = Regions::read(&arguments.regions)?;
    let log = WriteLog::create(&arguments.log)?;
    let shared = Shared::new(regions, arguments.seed, arguments.rate, log);
    let open = |_| Device::open(&arguments.device).map_err(WriterError::Open);
    let devices = (0..arguments.threads).map(open).collect::<Result<Vec<_>, _>>()?;
    std::thread::spawn(|| {
        // An error means the same as the end of the input.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        INPUT_CLOSED.store(true, Ordering::Relaxed);
    });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (arguments.first_thread..)
            .zip(devices)
            .map(|(thread, device)| {
                let shared = &shared;
                scope.spawn(move || worker::run(shared, thread, device))
            })
            .collect();
        while !shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            if INPUT_CLOSED.load(Ordering::Relaxed) {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
        let ends: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ends.into_iter().try_for_each(|end| end.unwrap_or(Err(WriterError::Panicked)))
    })?;
    shared.log.flush()?;
    let (writes, bytes) = (shared.writes.into_inner(), shared.bytes.into_inner());
    println!("done: {writes} writes, {bytes} bytes");
    Ok(())
}

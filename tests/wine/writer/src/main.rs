//! `snapless-writer`: loads a volume with writes until its standard input closes (or a time is over),
//! and logs each completed one. Prints a line of counters once a second, and a last one at the end.
//!
//! Exit code 0: every request succeeded and every sector read back was whole. 1: not so; standard error
//! says what happened. 2: the arguments are wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use snapless_writer::WriterError;
use snapless_writer::log::WriteLog;
use snapless_writer::pace::Pace;
use snapless_writer::payload::Payload;
use snapless_writer::plan::Targets;
use snapless_writer::port::Port;
use snapless_writer::regions::Regions;
use snapless_writer::worker::{self, Shared};

/// Hammers a volume with overlapping writes and logs every one that completes.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Example:\n  snapless-writer --device \\\\.\\SnaplessTestVolume0 \
    --regions regions.txt --log writes.log --threads 4 --depth 8 --seed 1 --duration 10"
)]
struct Arguments {
    /// The volume's device (on other systems than Windows: a file).
    #[arg(long)]
    device: String,
    /// File with the regions that may be written: lines of offset and length in bytes.
    #[arg(long)]
    regions: PathBuf,
    /// File for the completed writes.
    #[arg(long)]
    log: PathBuf,
    /// Chooses places, lengths and content.
    #[arg(long)]
    seed: u64,
    /// Threads of load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Requests under way per thread.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    depth: u16,
    /// Limit in bytes per second, all threads together.
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds to run; without it, until standard input closes.
    #[arg(long)]
    duration: Option<u64>,
    /// Open the device with write-through.
    #[arg(long)]
    write_through: bool,
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
    let regions = Regions::read(&arguments.regions)?;
    let shared = Shared {
        targets: Targets::new(regions, arguments.seed),
        payload: Payload::new(arguments.seed),
        seed: arguments.seed,
        pace: Pace::new(arguments.rate),
        log: WriteLog::create(&arguments.log)?,
        stop: AtomicBool::new(false),
        totals: worker::Totals::default(),
    };
    let ports = (0..arguments.threads).map(|_| open(arguments)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let deadline = arguments.duration.map(|seconds| begun + Duration::from_secs(seconds));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(ports)
            .map(|(thread, mut port)| {
                let shared = &shared;
                scope.spawn(move || worker::run(shared, thread, &mut *port))
            })
            .collect();
        watch(&shared, deadline);
        let ends: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ends.into_iter().try_for_each(|end| end.unwrap_or(Err(WriterError::Panicked)))
    })?;
    shared.log.flush()?;
    report("done", &shared);
    Ok(())
}

/// Shows the counters until the run is to end.
fn watch(shared: &Shared, deadline: Option<Instant>) {
    let closed = deadline.is_none().then(until_input_closes);
    let mut shown = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || closed.as_ref().is_some_and(std::thread::JoinHandle::is_finished);
        if over {
            shared.stop.store(true, Ordering::Relaxed);
        } else if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            report("running", shared);
        }
    }
}

/// A thread that ends when nobody can type any more.
fn until_input_closes() -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| {
        // An error says the same as the end of the input: nobody is there.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    })
}

fn report(state: &str, shared: &Shared) {
    let totals = &shared.totals;
    println!(
        "{state} writes={} bytes={} reads={} flushes={}",
        totals.writes.load(Ordering::Relaxed),
        totals.bytes.load(Ordering::Relaxed),
        totals.reads.load(Ordering::Relaxed),
        totals.flushes.load(Ordering::Relaxed),
    );
}

#[cfg(windows)]
fn open(arguments: &Arguments) -> Result<Box<dyn Port + Send>, WriterError> {
    use snapless_writer::port::DevicePort;

    let depth = usize::from(arguments.depth);
    Ok(Box::new(DevicePort::open(&arguments.device, depth, arguments.write_through)?))
}

#[cfg(not(windows))]
fn open(arguments: &Arguments) -> Result<Box<dyn Port + Send>, WriterError> {
    use snapless_writer::port::FilePort;

    let file = std::fs::OpenOptions::new().read(true).write(true).open(&arguments.device);
    let failed = |source| WriterError::Open { device: arguments.device.clone(), source };
    Ok(Box::new(FilePort::new(file.map_err(failed)?, usize::from(arguments.depth))))
}

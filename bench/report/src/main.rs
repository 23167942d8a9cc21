//! `snapless-bench-report`: runs the cases, prints the table and writes `docs/benchmarks.md`.
//! `cargo xtask bench` builds and starts it.
//!
//! | module | what it is |
//! | --- | --- |
//! | `cases` | the cases, which add rows to the table |
//! | `run`, `fio`, `statistics` | a run, its writers, its results |
//! | `contestant`, `snapless`, `qemu` | the programs that are compared |
//! | `setting`, `process`, `wait` | programs and files; child processes; time limits |
//! | `server`, `history`, `nbd` | repositories and the server's commands; the first read of a disk |
//! | `content`, `trace`, `chunk_store` | content and writes of volumes; backups in fixed chunks |
//! | `table`, `plot`, `document`, `machine` | the output |

mod cases;
mod chunk_store;
mod content;
mod contestant;
mod document;
mod error;
mod fio;
mod history;
mod machine;
mod nbd;
mod plot;
mod process;
mod qemu;
mod run;
mod server;
mod setting;
mod snapless;
mod statistics;
mod table;
mod trace;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cases::Cases;
use error::{Error, IoContext, Result};
use plot::Plots;
use run::Plan;
use setting::Setting;

/// Compares the bench host with QEMU's backup job on this machine, and writes a page of results
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// One round on a file of 1 GiB; takes about four minutes
    #[arg(long)]
    quick: bool,
    /// Runs per measurement [default: 4, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// Size of the file in MiB [default: 4096, quick: 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(256..=1 << 20))]
    size: Option<u32>,
    /// Size in MiB of the volumes that are sent to repositories [default: 512, quick: 256]
    #[arg(long, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    store: Option<u32>,
    /// Long histories have one of so many parts of 64 GiB and of 1,000 IOPS; at 1024 the longest
    /// takes 12 GB [default: 1024, quick: 8192]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8192))]
    history: Option<u32>,
    /// Run only the cases whose name contains this text, and write no page
    #[arg(long, default_value = "", hide_default_value = true)]
    only: String,
    /// Most sweep reads at once [default: the engine's own]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    depth: usize,
    /// Size of the capture queue in MiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    queue: u32,
    /// The program `snapless-bench`
    #[arg(long)]
    host: PathBuf,
    /// The program `snapless-server`
    #[arg(long)]
    server: PathBuf,
    /// The folder of the files, which are removed at the end
    #[arg(long)]
    folder: PathBuf,
    /// The page to write; its plots go to a folder of the same name next to it
    #[arg(long)]
    output: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let quick = arguments.quick;
    let mib = arguments.size.unwrap_or(if quick { 1024 } else { 4096 });
    let plan = Plan {
        rounds: usize::from(arguments.rounds.unwrap_or(if quick { 1 } else { 4 })),
        size: u64::from(mib) << 20,
        warm: Duration::from_millis(500),
        window: Duration::from_millis(if quick { 1500 } else { 3000 }),
        store_size: u64::from(arguments.store.unwrap_or(if quick { 256 } else { 512 })) << 20,
        history_part: u64::from(arguments.history.unwrap_or(if quick { 8192 } else { 1024 })),
        // 30 days have 42,000 segments, however short they are.
        history_spans: if quick { 2 } else { 3 },
        hour_part: if quick { 16 } else { 1 },
    };
    std::fs::create_dir_all(&arguments.folder).on("create", &arguments.folder)?;
    check_space(arguments, needed_mib(&plan))?;
    // Removed with its content, also after an error.
    let folder =
        tempfile::tempdir_in(&arguments.folder).on("make a folder in", &arguments.folder)?;
    let setting = Setting {
        host: arguments.host.clone(),
        disk: folder.path().join("disk.img"),
        size: plan.size,
        folder: folder.path().to_path_buf(),
        depth: arguments.depth,
        queue_mib: arguments.queue,
    };
    run::fill(&setting.disk, plan.size)?;
    let server = arguments.server.clone();
    let mut cases = Cases { plan, setting, server, rows: Vec::new(), plots: Plots::default() };
    cases.run(&arguments.only)?;
    print!("{}", table::markdown(&cases.rows));
    if !arguments.only.is_empty() {
        return Ok(());
    }

    let plots = arguments.output.with_extension("");
    std::fs::create_dir_all(&plots).on("create", &plots)?;
    let names = cases.plots.draw(&plots)?;
    let machine = machine::describe(folder.path());
    let page = document::page(
        &plan,
        quick,
        (arguments.depth, arguments.queue),
        &machine,
        &cases.rows,
        &names,
    );
    Ok(std::fs::write(&arguments.output, page).on("write", &arguments.output)?)
}

/// What the files take at most.
fn needed_mib(plan: &Plan) -> u64 {
    // The file, eight smaller ones, a repository and a restored image.
    let volume = plan.size * 6;
    // The file, and a record of 4 KiB with its share of a map for each write of 32 days.
    let history = plan.size + 32 * 24 * 3600 * 1000 / plan.history_part * 4800;
    // The file, an image, a repository and a restored image.
    let store = plan.size + plan.store_size * 5;
    volume.max(history).max(store) >> 20
}

fn check_space(arguments: &Arguments, needed: u64) -> Result<()> {
    let found = rustix::fs::statvfs(&arguments.folder).map_err(std::io::Error::from);
    let found = found.on("examine", &arguments.folder)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize) >> 20;
    if free >= needed {
        return Ok(());
    }
    Err(Error::Space(arguments.folder.display().to_string(), free, needed))
}

//! `cargo xtask demo`: sets everything up, builds everything, then protects a live volume from end
//! to end. With `--admin` all of it is done by an administrator's commands, from the MSI to its
//! removal.
//!
//! The rule: what it says is what a script can rely on. Standard output has the summary with the
//! two lines `t0 image: identical` and `latest image: identical`; it exits with 0 only if both are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use snapless_e2e::image::SIZE_MIN_MIB;
use snapless_e2e::rig::Programs;
use snapless_e2e::scenario::{self, Scenario, Setting};
use snapless_e2e::{E2eError, process};

use crate::build::{self, Artifacts, ForWindows};
use crate::console::{Steps, say};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::package;
use crate::scenario_console::ScenarioConsole;
use crate::setup;
use crate::space::{self, Need};
use crate::stay;

/// What the demo lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// MiB of the volume
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(SIZE_MIN_MIB..=65536))]
    size: u64,
    /// Chooses the load; without it a new one is taken and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Limit of the load in MiB per second
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
    rate: u64,
    /// Seconds of live replication after the first sync
    #[arg(long, default_value_t = 5)]
    live: u64,
    /// Install the MSI, enrol, protect, name an instant, kill the service, restore and uninstall,
    /// all by the commands that an administrator types
    #[arg(long)]
    admin: bool,
    /// Leave a server with its console running over what the demo has stored, until Ctrl-C
    #[arg(long)]
    stay: bool,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    process::catch_interrupts()?;
    space::require(layout, Need::of_demo(options.size))?;
    let begun = Instant::now();
    let steps = Steps::new(setup::STEPS + build::STEPS);
    setup::add_to(&steps, layout)?;
    let artifacts = build::all(&steps, layout)?;
    let mut programs = files(artifacts.clone());
    let mut scenario = Scenario::Protect;
    if options.admin {
        programs.package = Some(package::for_run(layout, &artifacts.windows, &msi_folder(layout))?);
        scenario = Scenario::Administration;
    }

    let seed = options.seed.unwrap_or_else(new_seed);
    say(&format!("protecting a volume of {} MiB under load (--seed {seed})", options.size));
    let setting = Setting {
        template: layout.wine_prefix(),
        programs,
        folder: run_folder(layout, "demo"),
        size_mib: options.size,
        seed,
        rate: options.rate << 20,
        live_seconds: options.live,
        repository_stays: options.stay,
    };
    let summary = scenario::run(scenario, &setting, &mut ScenarioConsole::new());
    let summary = summary.map_err(|source| failed(&setting.folder, source))?;
    println!("{}", summary.text());
    say(&format!("done in {:.0} s", begun.elapsed().as_secs_f64()));
    if options.stay {
        stay::run(&artifacts.server, &setting.folder)
            .map_err(|source| failed(&setting.folder, source))?;
    }
    Ok(())
}

/// Where a run keeps its files.
pub fn run_folder(layout: &Layout, name: &str) -> PathBuf {
    layout.target().join("e2e").join(name)
}

/// Where the MSI of such runs is made.
pub fn msi_folder(layout: &Layout) -> PathBuf {
    run_folder(layout, "package")
}

/// Says where to look besides what happened.
pub fn failed(folder: &Path, source: E2eError) -> Error {
    let error = Error::EndToEnd { source: Box::new(source), folder: folder.to_path_buf() };
    space::explain(folder, error)
}

/// A seed that no run had before.
pub fn new_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Short enough to be typed again; the load mixes it before use.
    u64::from(since.unwrap_or_default().subsec_nanos()) / 7 + u64::from(std::process::id())
}

/// The products as the end-to-end run takes them.
pub fn files(artifacts: Artifacts) -> Programs {
    let Artifacts { windows: ForWindows { driver, rig, programs }, server } = artifacts;
    Programs {
        driver: driver.image,
        inf: driver.inf,
        service: programs.service,
        command_line: programs.command_line,
        installer: programs.installer,
        package: None,
        server,
        framework: rig.framework,
        volume: rig.volume,
        writer: programs.writer,
        agent: programs.agent,
    }
}

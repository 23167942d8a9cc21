//! `snapless-vm`: what `cargo xtask vm` runs. Exit code 0: every case has passed; otherwise that of
//! the first verdict that is another one; 2: wrong arguments, or the host cannot do it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use snapless_vm::error::VmError;
use snapless_vm::machine::{Accelerator, Qemu};
use snapless_vm::matrix::{CASES, Case};
use snapless_vm::session::{self, Setting};
use snapless_vm::verdict::Verdict;

/// Tests on real Windows: installs it unattended in virtual machines, carries out the steps of
/// docs/windows-test-plan.md, and leaves a folder with a page for each case.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Examples:\n  cargo xtask vm --iso server2022.iso\n  \
                  cargo xtask vm --iso server2019.iso --only refs --only 4kn\n  \
                  cargo xtask vm --list\n\n\
                  Exit codes: 0 passed, 1 failed, 2 not run, 3 timed out, 4 crashed, 5 hung,\n\
                  6 never booted, 7 protocol broken"
)]
struct Arguments {
    /// The ISO of Windows Server 2019, 2022 or 2025; each one that is named is tested
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    iso: Vec<PathBuf>,
    /// Only this case; can be given several times
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Print the cases
    #[arg(long)]
    list: bool,
    /// The image of the ISO that is installed: 1 is Standard without a desktop
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    image_index: u32,
    /// The key of a release that is no evaluation
    #[arg(long, value_name = "KEY")]
    product_key: Option<String>,
    /// The ISO of virtio's drivers, for the case that needs them
    #[arg(long, value_name = "FILE")]
    virtio: Option<PathBuf>,
    /// Microsoft's diskspd.exe; without it nothing is measured
    #[arg(long, value_name = "FILE")]
    diskspd: Option<PathBuf>,
    /// The package's driver was signed by Microsoft: test signing stays off
    #[arg(long)]
    signed_driver: bool,
    /// A certificate that the machine has to trust: that of a driver signed for tests elsewhere
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// MiB of memory of a machine
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory: u32,
    /// Emulate instead of using KVM: many times slower
    #[arg(long)]
    emulate: bool,
    /// The folder of `cargo xtask package`
    #[arg(long, value_name = "FOLDER", default_value = "target/package")]
    package: PathBuf,
    /// A program for the guest; `cargo xtask vm` names them
    #[arg(long, value_name = "FILE", hide = true)]
    program: Vec<PathBuf>,
    /// The server for this host; `cargo xtask vm` names it
    #[arg(long, value_name = "FILE", hide = true, default_value = "snapless-server")]
    server: PathBuf,
    /// Where runs have their folders
    #[arg(long, value_name = "FOLDER", default_value = "target/vm/runs")]
    folder: PathBuf,
}

/// The exit code where no verdict can be had.
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("snapless-vm: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, VmError> {
    let cases = chosen(&arguments.only)?;
    if arguments.list {
        for case in cases {
            println!("{}", case.line());
        }
        return Ok(0);
    }
    let mut code = 0;
    for iso in &arguments.iso {
        let setting = setting(arguments, iso.clone());
        for case in &cases {
            if let Some(why) = session::obstacle(&setting, case) {
                if !arguments.only.is_empty() {
                    return Err(VmError::Unusable(format!("{}: {why}", case.name)));
                }
                println!("{}: left out: {why}", case.name);
                continue;
            }
            let mut tell = |step: &str| eprintln!("{}: {step}", case.name);
            let (found, page) = session::run(&setting, case, &mut tell)?;
            println!("{}: {}: {}", case.name, found.verdict.name(), page.display());
            if code == 0 && found.verdict != Verdict::Passed {
                code = found.verdict.exit_code();
            }
        }
    }
    Ok(code)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Case>, VmError> {
    if let Some(unknown) = only.iter().find(|name| !CASES.iter().any(|case| case.name == **name)) {
        return Err(VmError::Unusable(format!("there is no case {unknown}; --list prints them")));
    }
    let is_chosen = |case: &&Case| only.is_empty() || only.iter().any(|name| name == case.name);
    Ok(CASES.iter().filter(is_chosen).collect())
}

fn setting(arguments: &Arguments, iso: PathBuf) -> Setting {
    let mut programs = arguments.program.clone();
    programs.extend(arguments.diskspd.clone());
    Setting {
        iso,
        virtio: arguments.virtio.clone(),
        folder: arguments.folder.clone(),
        qemu: Qemu::of_the_system(),
        accelerator: if arguments.emulate { Accelerator::Tcg } else { Accelerator::Kvm },
        memory_mib: arguments.memory,
        package: arguments.package.clone(),
        programs,
        server: arguments.server.clone(),
        image_index: arguments.image_index,
        product_key: arguments.product_key.clone(),
        is_signed: arguments.signed_driver,
        certificates: arguments.certificate.clone(),
    }
}

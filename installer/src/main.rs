//! `snapless-setup.exe`: installs and removes Snapless on this machine.

use std::process::ExitCode;

use clap::Parser;
use snapless_installer::arguments::Arguments;

#[cfg(windows)]
fn main() -> ExitCode {
    use snapless_installer::arguments::Command;
    use snapless_installer::windows::WindowsSystem;
    use snapless_installer::{install, remove, rescue, status};

    let mut out = std::io::stdout();
    let system = WindowsSystem;
    let outcome = match Arguments::parse().command {
        Command::Install(arguments) => {
            arguments.package().and_then(|package| install::run(&package, &system, &mut out))
        }
        Command::Remove => remove::run(&system, &mut out),
        Command::Rescue { to } => rescue::run(&to, &mut out),
        Command::Status { json } => status::run(json, &system, &mut out),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless-setup: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _valid = Arguments::parse();
    eprintln!("snapless-setup: this program runs on Windows only");
    ExitCode::FAILURE
}

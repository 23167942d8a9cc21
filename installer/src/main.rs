//! `snapless-setup.exe`: installs, repairs and removes Snapless on this machine.

use std::process::ExitCode;

use clap::Parser;
use snapless_installer::arguments::Arguments;
use snapless_installer::outcome::Outcome;

#[cfg(windows)]
fn main() -> ExitCode {
    use snapless_installer::windows::WindowsSystem;

    let arguments = Arguments::parse();
    let (mut out, mut nowhere) = (std::io::stdout(), std::io::sink());
    let out: &mut dyn std::io::Write = if arguments.quiet { &mut nowhere } else { &mut out };
    let outcome = arguments.command.run(&WindowsSystem, out).unwrap_or_else(|error| {
        eprintln!("snapless-setup: {error}");
        Outcome::Failed
    });
    outcome.exit()
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _valid = Arguments::parse();
    eprintln!("snapless-setup: this program runs on Windows only");
    Outcome::Failed.exit()
}

//! `snapless-setup.exe`: installs, repairs and removes Snapless on this machine.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use snapless_installer::arguments::Arguments;
use snapless_installer::outcome::Outcome;

#[cfg(windows)]
fn main() -> ExitCode {
    use std::io::{sink, stdout};

    use snapless_installer::windows::WindowsSystem;

    let arguments = parsed();
    let out: Box<dyn Write> = if arguments.quiet { Box::new(sink()) } else { Box::new(stdout()) };
    arguments.command.report(&WindowsSystem, out, &mut stderr()).exit()
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _valid = parsed();
    _ = writeln!(stderr(), "snapless-setup: this program runs on Windows only");
    Outcome::Failed.exit()
}

/// The arguments; ends the program if they are wrong, or ask for help.
fn parsed() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|said| {
        let code = said.exit_code();
        let Err(error) = said.print() else { std::process::exit(code) };
        if said.use_stderr() {
            // Where errors cannot be written, the exit code is what is left.
            std::process::exit(code);
        }
        _ = writeln!(stderr(), "snapless-setup: cannot print the report: {error}");
        std::process::exit(Outcome::Failed.code().into())
    })
}

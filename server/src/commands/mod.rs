//! The subcommands: arguments in, report out. The work is done by the modules above.

mod audit;
mod bookmark;
mod compact;
mod completions;
mod console;
mod copy;
mod diff;
mod export;
mod forget;
mod gc;
mod group;
mod import;
mod init;
mod key;
mod list;
mod man;
mod mount;
mod output;
mod points;
mod progress;
mod rekey;
mod restore;
mod retention;
mod seed;
mod serve;
mod stat;
mod transfer;
mod trust;
mod upgrade;
#[cfg(feature = "console")]
mod users;
mod verified;
mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Error;

use self::console::{
    BAD, EXIT_DAMAGE, EXIT_FAILED, EXIT_NOT_RESTORABLE, EXIT_STOPPED, log_as_command,
    log_as_service,
};
use self::output::errln;

/// Prints what is said of a command line that is wrong, or that asks for help.
pub fn explain(said: &clap::Error) -> ExitCode {
    let code = u8::try_from(said.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
    match said.print() {
        Err(error) if !said.use_stderr() => {
            errln!("{BAD}error{BAD:#}: {}", Error::Report(error));
            ExitCode::from(EXIT_FAILED)
        }
        _ => code,
    }
}

/// Runs the subcommand of the command line.
pub fn run(cli: Cli) -> ExitCode {
    match &cli.command {
        Command::Serve(_) | Command::Mount(_) => log_as_service(),
        _ => log_as_command(),
    }
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Restore(args) => restore::run(args),
        Command::Mount(args) => mount::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::List(args) => list::run(&args),
        Command::Points(args) => points::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Bookmark { command } => bookmark::run(&command),
        Command::Forget(args) => forget::run(&args),
        Command::Seed(args) => seed::run(&args),
        Command::Rekey(args) => rekey::run(&args),
        Command::Group { command } => group::run(&command),
        Command::Retention { command } => retention::run(&command),
        Command::Compact(args) => compact::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Copy(args) => copy::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Completions { shell } => Ok(completions::run(shell)),
        Command::Man { folder } => man::run(&folder),
        Command::Trust(command) => trust::run(command),
        #[cfg(feature = "console")]
        Command::Console { command } => users::run(command),
        #[cfg(feature = "console")]
        Command::ReadFiles(args) => users::read_files(&args),
    };
    let verdict = match result {
        Ok(code) => code,
        Err(error) => {
            errln!("{BAD}error{BAD:#}: {error}");
            ExitCode::from(match error {
                Error::NotRestorable { .. } => EXIT_NOT_RESTORABLE,
                Error::Damaged { .. } => EXIT_DAMAGE,
                Error::Stopped => EXIT_STOPPED,
                _ => EXIT_FAILED,
            })
        }
    };
    let Err(error) = output::check() else { return verdict };
    errln!("{BAD}error{BAD:#}: {error}");
    // What the command found counts for more.
    if verdict == ExitCode::SUCCESS { ExitCode::from(EXIT_FAILED) } else { verdict }
}

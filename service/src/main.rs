//! `snapless-service.exe`: started by the service manager, or at a console with `--console`.
//!
//! Exit codes: 0 stopped as asked, 1 could not run (the message says why), 2 wrong arguments.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[cfg(windows)]
mod console;
#[cfg(windows)]
mod host;
#[cfg(windows)]
mod managed;

/// Takes what the Snapless driver captures to the Snapless server.
///
/// The service manager starts it as `SnaplessService`. To see what it does, run it at an administrator's
/// console: `snapless-service --console`; Ctrl-C stops it after a flush.
#[derive(Clone, Parser, Debug)]
#[command(
    version,
    after_help = "Examples:\n  sc start SnaplessService\n  snapless-service --console\n  \
                  snapless-service --console --config D:\\snapless\\service.toml"
)]
struct Arguments {
    /// The configuration [default: %ProgramData%\Snapless\service.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run at this console, not under the service manager
    #[arg(long)]
    console: bool,
}

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome =
        if arguments.console { console::run(&arguments) } else { managed::run(arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless-service: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let Arguments { config: _, console: _ } = Arguments::parse();
    eprintln!("snapless-service: this program runs on Windows, beside the Snapless driver");
    ExitCode::FAILURE
}

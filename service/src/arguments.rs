//! The command line of `snapless-service`.

use std::path::PathBuf;

use clap::Parser;

/// Sends what the Snapless driver captures to the Snapless server
///
/// The service manager starts this program as `SnaplessService`. To watch it, run `snapless-service
/// --console` as an administrator; Ctrl-C stops it after a flush.
#[derive(Clone, Parser, Debug)]
#[command(
    version,
    after_help = "Examples:\n  sc start SnaplessService\n  snapless-service --console\n  \
                  snapless-service --console --config D:\\snapless\\service.toml"
)]
pub(crate) struct Arguments {
    /// The configuration file [default: %ProgramData%\Snapless\service.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Run at this console instead of under the service manager
    #[arg(long)]
    pub(crate) console: bool,
}

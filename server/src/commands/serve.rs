//! `snapless-server serve`.

use std::path::Path;
use std::process::ExitCode;

use log::warn;

use crate::cli::Serve;
#[cfg(feature = "console")]
use crate::console;
use crate::error::Result;
use crate::format::repository::VOLUMES_DIR;
use crate::handles;
use crate::security::Security;
use crate::serve::{Limits, Server};
use crate::storage::local::is_open_to_others;

use super::console::on_signal;
use super::output::{self, outln};

pub(super) fn run(args: &Serve) -> Result<ExitCode> {
    if let Some(sessions) = handles::raise(args.sessions_max) {
        warn!(
            "the system lets this process open files for about {sessions} sessions, not for {}: \
             raise its limit (`ulimit -Hn`, systemd's LimitNOFILE)",
            args.sessions_max
        );
    }
    if let Some(directory) = args.place.repository.directory() {
        warn_of_readers(directory);
    }
    let Serve { sessions_max: sessions, min_free, .. } = *args;
    let limits = Limits { sessions, min_free, ..Limits::default() };
    let key = args.key.source();
    let security = if args.insecure {
        Security::insecure(args.listen)?
    } else {
        // Without a repository there is no authority either: what to make first is said.
        args.place.repository.open()?;
        Security::open_in(&args.place.folder()?)?
    };
    let repository = args.place.repository.open_for_writing(&key)?;
    let server = Server::bind_to(args.listen, repository, limits, security)?;
    let stopper = server.stopper();
    on_signal(move || stopper.stop())?;
    outln!("listening on {}", server.address());
    #[cfg(feature = "console")]
    let console = start_console(args, &server)?;
    output::check()?;
    server.run();
    #[cfg(feature = "console")]
    drop(console);
    Ok(ExitCode::SUCCESS)
}

/// Starts the console, if one is asked for; dropping it ends it.
#[cfg(feature = "console")]
fn start_console(args: &Serve, server: &Server) -> Result<Option<console::Running>> {
    let Some(address) = args.console else { return Ok(None) };
    let start = console::Start {
        address,
        location: args.place.repository.clone(),
        key: args.key.source(),
        settings: args.console_settings.as_deref(),
    };
    let running = console::start(server, start)?;
    outln!("console on https://{}", running.address());
    if running.has_no_users().unwrap_or(false) {
        warn!("nobody can sign in to the console: `snapless-server console user add`");
    }
    Ok(Some(running))
}

fn warn_of_readers(repository: &Path) {
    // Both: directories that an earlier release made, or whose modes were changed.
    if [repository, &repository.join(VOLUMES_DIR)].iter().all(|dir| is_open_to_others(dir)) {
        warn!(
            "other accounts can read the volumes in {0}: `chmod -R go= {0}` keeps them out",
            repository.display()
        );
    }
}

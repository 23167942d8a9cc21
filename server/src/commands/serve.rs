//! `snapless-server serve`.

use std::path::Path;
use std::process::ExitCode;

use log::warn;

use crate::cli::Serve;
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
    output::check()?;
    server.run();
    Ok(ExitCode::SUCCESS)
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

//! `snapless-server mount`.

use std::process::ExitCode;

use serde::Serialize;
use tempfile::TempDir;

use crate::cli;
use crate::error::{Error, Result};
use crate::mount::{Address, Mount};
use crate::restore::{Found, PassedOver};
use crate::target::keep_out;
use crate::time;

use super::audit::{self, Act};
use super::console::{POOR, on_signal, point_notes, print_json};
use super::output::{self, errln, outln};
use super::progress::Bar;

pub(super) fn run(args: &cli::Mount) -> Result<ExitCode> {
    let repository = args.point.key.open(&args.point.place.repository)?.pinned_for("mount");
    // Ctrl-C ends the look-up, and then the mount.
    let stopper = Stopper::default();
    let also = stopper.clone();
    let stop = on_signal(move || also.stop())?;
    let source = args.point.source(&args.at, &repository)?;
    let found = Found::find(&repository, &source, &stop)?;
    let bar = Bar::new("reading headers");
    let image = found.open(&stop, |progress| bar.restore(progress))?;
    drop(bar);
    if let (Some(socket), Some(directory)) = (&args.socket, args.point.place.repository.directory())
    {
        keep_out(socket, directory)?;
    }
    let (address, _folder) = address(args)?;
    let overlay = args.writable.then(tempfile::tempfile).transpose();
    let overlay = overlay.map_err(Error::file("create a file in", &std::env::temp_dir()))?;
    let mount = Mount::bind(&address, found.header(), image, overlay)?;
    let report = Report::new(&mount, &found);
    let about = format!(
        "volume {}, session {}, as of {}, at {}",
        report.volume,
        report.session,
        report.time,
        mount.address()
    );
    audit::note_at(&args.point.place, Act::Mounted, &about);
    stopper.reach(&mount);
    // A signal before that reached the flag alone.
    if stop.is_set() {
        return Err(Error::Stopped);
    }
    if args.json {
        print_json(&report)?;
    } else {
        print(&report, &mount, args.writable);
    }
    // Without its report no client finds the mount.
    output::check()?;
    mount.run();
    Ok(ExitCode::SUCCESS)
}

/// Where to listen: as asked, or where the system has such a thing at a socket in a folder of its
/// own, which goes with the result.
fn address(args: &cli::Mount) -> Result<(Address, Option<TempDir>)> {
    match (&args.listen, &args.socket) {
        (Some(address), _) => Ok((Address::Tcp(*address), None)),
        (None, Some(path)) => {
            // Clients may run in another directory.
            let path = std::path::absolute(path).map_err(Error::file("find", path))?;
            Ok((Address::Unix(path), None))
        }
        (None, None) => default_address(),
    }
}

#[cfg(unix)]
fn default_address() -> Result<(Address, Option<TempDir>)> {
    Address::in_own_folder().map(|(address, folder)| (address, Some(folder)))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where it can fail")]
fn default_address() -> Result<(Address, Option<TempDir>)> {
    use std::net::{Ipv4Addr, SocketAddr};
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cli::NBD_PORT));
    Ok((Address::Tcp(address), None))
}

/// Ends the mount that there is at last.
#[derive(Clone, Default)]
struct Stopper(std::sync::Arc<std::sync::OnceLock<crate::mount::Stopper>>);

impl Stopper {
    fn reach(&self, mount: &Mount) {
        // Set once.
        drop(self.0.set(mount.stopper()));
    }

    fn stop(&self) {
        if let Some(stopper) = self.0.get() {
            stopper.stop();
        }
    }
}

/// What is served, and where.
#[derive(Serialize)]
struct Report {
    volume: String,
    session: String,
    time: String,
    bytes: u64,
    uri: String,
    gap_since: Option<String>,
    unreadable_bytes: u64,
    passed_over: Vec<PassedOver>,
}

impl Report {
    fn new(mount: &Mount, found: &Found) -> Self {
        Self {
            volume: found.header().volume.to_string(),
            session: found.header().session.to_string(),
            time: time::to_text(found.point().time),
            bytes: mount.map().length(),
            uri: mount.address().uri(mount.export()),
            gap_since: found.point().gap_since.map(time::to_text),
            unreadable_bytes: mount.map().unreadable_bytes(),
            passed_over: found.passed_over().to_vec(),
        }
    }
}

fn print(report: &Report, mount: &Mount, is_writable: bool) {
    let Report { volume, session, time, uri, .. } = report;
    let access = if is_writable { "what is written goes at the end" } else { "read-only" };
    outln!("serving {volume} as of {time}, session {session}, until Ctrl-C; {access}");
    outln!("{uri}");
    let [attach, convert] = mount.commands();
    outln!("  {convert}");
    outln!("  {attach}");
    for note in point_notes(&report.passed_over, report.gap_since.as_deref()) {
        errln!("{POOR}note{POOR:#}: {note}");
    }
    if report.unreadable_bytes > 0 {
        errln!(
            "{POOR}unreadable{POOR:#}: {} bytes, which the disk could not read, are zeros; \
             `restore` lists them",
            report.unreadable_bytes
        );
    }
}

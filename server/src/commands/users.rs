//! `snapless-server console user`, and the process that reads files for the console.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use serde::Serialize;
use snapless_console::accounts::users::Users;
use snapless_console::fault::Fault;
use zeroize::Zeroizing;

use crate::cli::{ConsoleCommand, ReadFiles, UserAdd, UserCommand};
use crate::console::accounts_dir;
use crate::console::files::{self, Wanted};
use crate::error::{Error, Result};
use crate::trust_cli::TrustPlace;

use super::console::{GOOD, print_json};
use super::output::{errln, outln};

/// The longest line that is read of a password.
const LINE_MAX: u64 = 8192;

pub(super) fn run(command: ConsoleCommand) -> Result<ExitCode> {
    let ConsoleCommand::User { command } = command;
    match command {
        UserCommand::Add(args) => add(&args)?,
        UserCommand::List { place, json } => list(&place, json)?,
        UserCommand::Remove { name, place } => {
            users(&place)?.remove(name.0.as_str()).map_err(failed)?;
            outln!("{GOOD}removed{GOOD:#} {}", name.0);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn users(place: &TrustPlace) -> Result<Users> {
    // Without an authority there is no console: what to make first is said.
    let folder = place.folder()?;
    snapless_trust::server::ServerTrust::open(&folder)?;
    Ok(Users::new(&accounts_dir(&folder)))
}

fn failed(fault: Fault) -> Error {
    Error::Console(fault.message)
}

fn add(args: &UserAdd) -> Result<()> {
    let users = users(&args.place)?;
    let password = password(args.name.0.as_str())?;
    users.set(&args.name.0, args.role, &password).map_err(failed)?;
    outln!("{GOOD}added{GOOD:#} {} as {}", args.name.0, args.role.name());
    Ok(())
}

/// The first line of the input; from a terminal without showing it.
fn password(name: &str) -> Result<Zeroizing<String>> {
    let is_terminal = io::stdin().is_terminal();
    let hidden = is_terminal.then(Hidden::begin).flatten();
    if is_terminal {
        errln!("password of {name}:");
    }
    let mut line = Zeroizing::new(String::new());
    let read = io::Read::take(io::stdin().lock(), LINE_MAX).read_line(&mut line);
    drop(hidden);
    read.map_err(|error| Error::Console(format!("the password cannot be read: {error}")))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden {
    #[cfg(target_os = "linux")]
    before: rustix::termios::Termios,
}

impl Hidden {
    #[cfg(target_os = "linux")]
    fn begin() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self { before })
    }

    #[cfg(not(target_os = "linux"))]
    fn begin() -> Option<Self> {
        None
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        {
            use rustix::termios::{OptionalActions, tcsetattr};
            // The terminal may be gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
        }
    }
}

/// A user of a list.
#[derive(Serialize)]
struct Listed {
    name: String,
    role: &'static str,
}

fn list(place: &TrustPlace, json: bool) -> Result<()> {
    let all = users(place)?.all().map_err(failed)?;
    let listed: Vec<_> =
        all.into_iter().map(|user| Listed { name: user.name, role: user.role.name() }).collect();
    if json {
        return print_json(&listed);
    }
    if listed.is_empty() {
        outln!("nobody may sign in; `snapless-server console user add` makes a user");
    }
    for user in &listed {
        outln!("{}  {}", user.name, user.role);
    }
    Ok(())
}

/// Reads files of a point for the console.
pub(super) fn read_files(args: &ReadFiles) -> Result<ExitCode> {
    let path = args.path.clone();
    let wanted = if args.content {
        Wanted::Content { path }
    } else {
        Wanted::Folder { path, after: args.after.clone() }
    };
    files::limit(&wanted).map_err(|error| Error::Console(format!("no limits: {error}")))?;
    let repository = args.key.open(&args.repository)?.pinned_for("files");
    let source = args.at.source(&repository, args.volume, None);
    let mut out = io::stdout().lock();
    files::run(&repository, source, &wanted, &mut out).map_err(Error::Report)?;
    Ok(ExitCode::SUCCESS)
}

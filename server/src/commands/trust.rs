//! `snapless-server ca`, `token`, `revoke`, `allow-restore` and `machines`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use snapless_trust::audit::text_of;
use snapless_trust::machines::Machine;
use snapless_trust::revocation::Subject;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::Grant;

use crate::error::Result;
use crate::trust_cli::{
    self as cli, AllowRestore, CaCommand, Machines, Revoke, TokenCommand, TokenCreate,
    TrustCommand, TrustPlace,
};

use super::console::{BAD, GOOD, print_json};
use super::output::{self, errln, outln};

pub(super) fn run(command: TrustCommand) -> Result<ExitCode> {
    match command {
        TrustCommand::Ca { command: CaCommand::Init { place } } => init(&place)?,
        TrustCommand::Ca { command: CaCommand::Show { place } } => {
            print_fingerprint(&open(&place)?)?;
        }
        TrustCommand::Token { command: TokenCommand::Create(args) } => create_token(args)?,
        TrustCommand::Revoke(args) => revoke(args)?,
        TrustCommand::AllowRestore(args) => allow_restore(&args)?,
        TrustCommand::Machines(args) => machines(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the authority. Not in a directory that is no repository: it may be one that is not
/// mounted.
fn init(place: &TrustPlace) -> Result<()> {
    let folder = place.folder()?;
    place.repository.open()?;
    let trust = ServerTrust::create(&folder, SystemTime::now())?;
    outln!("{GOOD}made{GOOD:#} the certificate authority in {}", trust.folder().display());
    print_fingerprint(&trust)
}

fn create_token(args: TokenCreate) -> Result<()> {
    let trust = open(&args.place)?;
    let machine = args.machine.map(|machine| machine.to_string());
    let grant = Grant { role: args.role, name: args.name, machine };
    let now = SystemTime::now();
    let token = trust.make_token(&grant, args.valid, now)?;
    print(&token.text())?;
    errln!(
        "valid until {}, for one machine: snapless enroll SERVER --token TOKEN",
        text_of(now + args.valid)
    );
    Ok(())
}

fn revoke(args: Revoke) -> Result<()> {
    let trust = open(&args.place)?;
    let cli::Subject { machine, certificate } = args.subject;
    let subjects = [machine.map(Subject::Machine), certificate.map(Subject::Serial)];
    for subject in subjects.into_iter().flatten() {
        let verdict = if trust.revoke(&subject, SystemTime::now())? {
            "revoked; connections end within a second"
        } else {
            "was revoked before"
        };
        print(verdict)?;
    }
    Ok(())
}

fn allow_restore(args: &AllowRestore) -> Result<()> {
    let (trust, machine) = (open(&args.place)?, args.machine);
    if args.end {
        let ended = trust.end_restores(machine)?;
        return print(if ended { "allowed no longer" } else { "was not allowed" });
    }
    let now = SystemTime::now();
    trust.allow_restores(machine, args.valid, now)?;
    let until = text_of(now + args.valid);
    print(&format!("machine {machine} may restore its own volumes until {until}"))
}

/// A machine in a report.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    machine: Machine,
    revoked: bool,
}

fn machines(args: &Machines) -> Result<()> {
    let listed = open(&args.place)?.machines()?;
    let listed: Vec<_> =
        listed.into_iter().map(|(machine, revoked)| Listed { machine, revoked }).collect();
    if args.json {
        return print_json(&listed);
    }
    if listed.is_empty() {
        print("no machine has enrolled; `snapless-server token create` makes a token for one")?;
    }
    for Listed { machine, revoked } in listed {
        let at = |seconds| text_of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        outln!("machine {} ({}, {})", machine.machine, machine.name, machine.role);
        outln!("    enrolled     {}", at(machine.enrolled));
        if revoked {
            outln!("    state        {BAD}revoked{BAD:#}");
        } else {
            outln!("    valid until  {}", at(machine.expires));
        }
        let newest = machine.serials.last().map_or("none", String::as_str);
        outln!("    certificate  {newest}");
    }
    Ok(())
}

fn open(place: &TrustPlace) -> Result<ServerTrust> {
    Ok(ServerTrust::open(&place.folder()?)?)
}

fn print_fingerprint(trust: &ServerTrust) -> Result<()> {
    print(&trust.fingerprint())
}

fn print(line: &str) -> Result<()> {
    outln!("{line}");
    output::check()
}

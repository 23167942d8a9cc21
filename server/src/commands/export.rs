//! `snapless-server export`.

use std::process::ExitCode;

use crate::cli;
use crate::copy::{Report, Wanted};
use crate::error::{Error, Result};
use crate::export;
use crate::repository::{Repository, WritableRepository};
use crate::seal::KeySource;

use super::audit::{self, Act};
use super::console::{BAD, GOOD, tell};
use super::key::{keep_key_out, warn_of_loss};
use super::output::outln;
use super::transfer::{Target, exit_code, keep_apart, print, transfer};

pub(super) fn run(args: &cli::Export) -> Result<ExitCode> {
    let from = args.key.open(&args.repository)?.pinned_for("export");
    keep_apart(&args.repository, &args.to)?;
    keep_key_out(&args.encryption, &args.to)?;
    let present = match args.to.open() {
        Ok(present) => {
            export::check_begin(&from, &present)?;
            Some(present.unlock(&args.encryption)?)
        }
        Err(Error::NotARepository(_)) => None,
        Err(error) => return Err(error),
    };
    let target = Target { place: &args.to, present, open: || begin(&from, args) };
    let wanted = Wanted { volumes: args.volumes.clone(), session: None };
    let (report, to) = transfer(&from, target, &wanted, &args.options)?;
    let finished = match to {
        Some(to) if report.is_complete() => Some(export::finish(&to)?.len()),
        Some(_) | None => None,
    };
    if !args.options.dry_run {
        let about = format!("{} session(s) to {}", report.sessions.len(), args.to);
        audit::note(&args.repository, args.trust.as_deref(), Act::Copied, &about);
    }
    tell(&report, args.options.json, |report| print_export(report, finished, args))?;
    Ok(exit_code(&report))
}

fn begin(from: &Repository, args: &cli::Export) -> Result<WritableRepository> {
    let to = match args.to.init(args.compression, &args.encryption) {
        Err(Error::Exists(_)) => args.to.open_for_writing(&args.encryption)?,
        made => made?,
    };
    export::begin(from, &to)?;
    Ok(to)
}

fn print_export(report: &Report, finished: Option<usize>, args: &cli::Export) {
    print(report);
    let dir = &args.to;
    let key = match &args.encryption {
        KeySource::None => "",
        KeySource::KeyFile(_) => " --from-key-file PATH",
        KeySource::PassphraseFile(_) => " --from-passphrase-file PATH",
    };
    match finished {
        Some(sessions) => {
            outln!("{GOOD}complete{GOOD:#}: {dir} has {sessions} session(s)");
            outln!("next: at the other server, with its repository and the disk:");
            outln!("  snapless-server import --from {dir}{key} --repository DIR");
            warn_of_loss(&args.encryption);
        }
        None if args.options.dry_run => {}
        None => outln!(
            "{BAD}not complete{BAD:#}: `import` refuses {dir} until `export` has ended without a failure"
        ),
    }
}

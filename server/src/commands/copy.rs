//! `snapless-server copy`.

use std::process::ExitCode;

use crate::cli;
use crate::copy::Wanted;
use crate::error::Result;

use super::audit::{self, Act};
use super::console::tell;
use super::transfer::{Target, exit_code, keep_apart, print, transfer};

pub(super) fn run(args: &cli::Copy) -> Result<ExitCode> {
    let from = args.key.open(&args.repository)?.pinned_for("copy");
    keep_apart(&args.repository, &args.to)?;
    let key = args.to_key.source();
    let target = Target {
        place: &args.to,
        present: Some(args.to.open()?.unlock(&key)?),
        open: || args.to.open_for_writing(&key),
    };
    let wanted = Wanted { volumes: args.volumes.clone(), session: args.session };
    let (report, changed) = transfer(&from, target, &wanted, &args.options)?;
    if changed.is_some() {
        let about = format!("{} session(s) to {}", report.sessions.len(), args.to);
        audit::note(&args.repository, args.trust.as_deref(), Act::Copied, &about);
    }
    tell(&report, args.options.json, print)?;
    Ok(exit_code(&report))
}

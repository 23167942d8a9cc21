//! `snapless-server import`.

use std::process::ExitCode;

use crate::cli;
use crate::copy::Wanted;
use crate::error::Result;
use crate::export;
use crate::time;

use super::console::tell;
use super::output::outln;
use super::transfer::{Target, exit_code, keep_apart, print, transfer};

pub(super) fn run(args: &cli::Import) -> Result<ExitCode> {
    let from = args.from.open()?.unlock(&args.from_key.source())?;
    keep_apart(&args.from, &args.repository)?;
    let found = export::check(&from)?;
    let key = args.key.source();
    let target = Target {
        place: &args.repository,
        present: Some(args.repository.open()?.unlock(&key)?),
        open: || args.repository.open_for_writing(&key),
    };
    let wanted = Wanted { volumes: args.volumes.clone(), session: None };
    let (report, _) = transfer(&from, target, &wanted, &args.options)?;
    tell(&report, args.options.json, |report| {
        let (place, time) = (&found.origin.place, time::to_text(found.time));
        outln!("an export of {place}, finished at {time}");
        print(report);
    })?;
    Ok(exit_code(&report))
}

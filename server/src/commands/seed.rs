//! `snapless-server seed`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::seed_image;

use super::console::{GOOD, bytes, on_signal, tell};
use super::output::outln;
use super::progress::Bar;

pub(super) fn run(args: &cli::Seed) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.repository.open_for_writing(&args.stored.key.source())?;
    let bar = Bar::new("importing");
    let imported = seed_image::import(&repository, args.volume, &args.image, &stop, |progress| {
        bar.set(progress.done, progress.total);
    });
    drop(bar);
    tell(&imported?, args.json, |report| {
        let (content, all) = (bytes(report.content_bytes), bytes(report.bytes));
        outln!("{GOOD}imported{GOOD:#}: {content} of {all} are no zeros");
        outln!("session {}, with one point of {}", report.session, report.time);
        outln!("the first sync of volume {} sends what differs from it", report.volume);
    })?;
    Ok(ExitCode::SUCCESS)
}

//! `snapless-server points`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::list::{Content, Points, Stream};
use crate::points::{Report, Request, Session, points};

use super::bookmark;
use super::console::{BAD, GOOD, POOR, duration, on_signal, tell};
use super::progress::Bar;

pub(super) fn run(args: &cli::Points) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.open()?.pinned_for("points");
    let cli::Points { volume, session, quiet, .. } = *args;
    let request = Request { volume, session, quiet };
    let bar = Bar::new("reading headers");
    let report = points(&repository, &request, &stop, |done, total| bar.set(done, total))?;
    drop(bar);
    tell(&report, args.json, print)?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    anstream::println!("volume {}", report.volume);
    for session in &report.sessions {
        anstream::println!("  session {}", session.listed.session);
        match &session.listed.content {
            Content::Damaged { error, points } => {
                anstream::println!("    {BAD}damaged{BAD:#}: {error}");
                points.iter().for_each(print_points);
            }
            Content::Empty => anstream::println!("    nothing acknowledged yet"),
            Content::FirstSync(stream) => {
                anstream::println!(
                    "    {POOR}no points yet{POOR:#}: the first sync is not complete"
                );
                print_stream(session, stream);
            }
            Content::Gap(stream) | Content::Complete(stream) => print_stream(session, stream),
        }
    }
    report.bookmarks.iter().for_each(bookmark::print);
}

fn print_points(points: &Points) {
    anstream::println!("    {GOOD}points{GOOD:#}  {} to {}", points.from, points.to);
}

fn print_stream(session: &Session, stream: &Stream) {
    if let Some(t0) = &stream.t0 {
        let whole = if stream.t0_restorable { "" } else { " (cannot be restored)" };
        anstream::println!("    t0      {t0}{whole}");
    }
    stream.points.iter().for_each(print_points);
    if let Some(from) = &stream.whole_from {
        anstream::println!("    folded  before {from} only these points are kept");
    }
    for gap in &stream.gaps {
        let reason = gap.reason_text;
        match &gap.to {
            Some(to) => {
                anstream::println!("    {BAD}gap{BAD:#}     {} to {to}: {reason}", gap.from);
            }
            None => anstream::println!("    {BAD}gap{BAD:#}     since {}: {reason}", gap.from),
        }
    }
    for quiet in &session.quiet {
        let length = duration(quiet.seconds);
        anstream::println!("    quiet   {} to {}, {length}", quiet.from, quiet.to);
    }
    if let Some(error) = &session.quiet_error {
        anstream::println!("    {BAD}damaged{BAD:#}: {error}");
    }
    if let (Some(latest), Some(rpo)) = (&stream.latest, stream.rpo_seconds) {
        anstream::println!("    latest  {latest}, {} ago", duration(rpo));
    }
}

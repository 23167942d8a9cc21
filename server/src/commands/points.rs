//! `snapless-server points`.

use std::process::ExitCode;

use snapless_link::question::Consistency;

use crate::cli;
use crate::error::Result;
use crate::list::{Content, Points, Stream};
use crate::points::{Common, CommonBookmark, Report, Request, Session, in_common, points};

use super::bookmark;
use super::console::{BAD, GOOD, POOR, duration, on_signal, tell};
use super::output::outln;
use super::progress::Bar;
use super::verified;

pub(super) fn run(args: &cli::Points) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.open()?.pinned_for("points");
    if !args.with.is_empty() {
        let volumes: Vec<_> = std::iter::once(args.volume).chain(args.with.clone()).collect();
        tell(&in_common(&repository, &volumes, &stop)?, args.json, print_common)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cli::Points { volume, session, quiet, .. } = *args;
    let request = Request { volume, session, quiet };
    let bar = Bar::new("reading headers");
    let report = points(&repository, &request, &stop, |done, total| bar.set(done, total))?;
    drop(bar);
    tell(&report, args.json, print)?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    outln!("volume {}", report.volume);
    if let Some(error) = &report.error {
        outln!("  {BAD}damaged{BAD:#}: {error}");
    }
    for session in &report.sessions {
        outln!("  session {}", session.listed.session);
        match &session.listed.content {
            Content::Damaged { error, points } => {
                outln!("    {BAD}damaged{BAD:#}: {error}");
                points.iter().for_each(print_points);
            }
            Content::Empty => outln!("    nothing acknowledged yet"),
            Content::FirstSync(stream) => {
                outln!("    {POOR}no points yet{POOR:#}: the first sync is not complete");
                print_stream(session, stream);
            }
            Content::Gap(stream) | Content::Complete(stream) => print_stream(session, stream),
        }
    }
    report.bookmarks.iter().for_each(bookmark::print);
}

fn print_common(common: &Common) {
    common.volumes.iter().for_each(|volume| outln!("volume {volume}"));
    if let (Some(first), Some(latest)) = (&common.first, &common.latest) {
        outln!("  first     {first}");
        outln!("  latest    {latest}");
    } else {
        outln!("  {POOR}no common point{POOR:#}: at no instant can all of them be restored");
    }
    for Points { from, to } in &common.points {
        outln!("  {GOOD}points{GOOD:#}    {from} to {to}");
    }
    for CommonBookmark { name, time, consistency, .. } in &common.bookmarks {
        let made = match consistency {
            None | Some(Consistency::Crash) => String::new(),
            Some(other) => format!(", {}-consistent", other.name()),
        };
        outln!("  bookmark  {name}: {time}{made}");
    }
}

fn print_points(points: &Points) {
    outln!("    {GOOD}points{GOOD:#}  {} to {}", points.from, points.to);
}

fn print_stream(session: &Session, stream: &Stream) {
    if let Some(t0) = &stream.t0 {
        let whole = if stream.t0_restorable { "" } else { " (cannot be restored)" };
        outln!("    t0      {t0}{whole}");
    }
    stream.points.iter().for_each(print_points);
    if let Some(from) = &stream.whole_from {
        outln!("    folded  before {from} only these points are kept");
    }
    for gap in &stream.gaps {
        let reason = gap.reason_text;
        match &gap.to {
            Some(to) => {
                outln!("    {BAD}gap{BAD:#}     {} to {to}: {reason}", gap.from);
            }
            None => outln!("    {BAD}gap{BAD:#}     since {}: {reason}", gap.from),
        }
    }
    if let Some(found) = &stream.verified {
        outln!("    verified  {}", verified::text(found));
    }
    for quiet in &session.quiet {
        let length = duration(quiet.seconds);
        outln!("    quiet   {} to {}, {length}", quiet.from, quiet.to);
    }
    if let Some(error) = &session.quiet_error {
        outln!("    {BAD}damaged{BAD:#}: {error}");
    }
    if let (Some(latest), Some(rpo)) = (&stream.latest, stream.rpo_seconds) {
        outln!("    latest  {latest}, {} ago", duration(rpo));
    }
}

//! `snapless-server list`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::list::{Content, Latest, Session, Stream, Volume, list};

use super::bookmark;
use super::console::{BAD, GOOD, POOR, bytes, duration, on_signal, tell, warn_of_shortage};
use super::output::outln;
use super::verified;

pub(super) fn run(args: &cli::List) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.open()?;
    let volumes = list(&repository, &stop)?;
    tell(&volumes[..], args.json, print)?;
    warn_of_shortage(&repository);
    Ok(ExitCode::SUCCESS)
}

fn print(volumes: &[Volume]) {
    if volumes.is_empty() {
        outln!("no volumes yet");
    }
    for volume in volumes {
        outln!("volume {}", volume.volume);
        if let Some(error) = &volume.error {
            outln!("  {BAD}damaged{BAD:#}: {error}");
        }
        for session in &volume.sessions {
            print_session(session);
        }
        if let (Some(latest), [_, _, ..]) = (&volume.latest, &volume.sessions[..]) {
            let Latest { session, time, rpo_seconds } = latest;
            let ago = duration(*rpo_seconds);
            outln!("  latest is {time} of session {session}, {ago} ago");
        }
        volume.bookmarks.iter().for_each(bookmark::print);
    }
}

fn print_session(session: &Session) {
    outln!("  session {}", session.session);
    if let Some(shape) = &session.shape {
        outln!(
            "    volume    {} ({} bytes), sectors of {}, blocks of {}",
            bytes(shape.length),
            shape.length,
            shape.sector_size,
            bytes(shape.block_size.into())
        );
    }
    match &session.content {
        Content::Empty => outln!("    state     nothing acknowledged yet"),
        Content::FirstSync(stream) => {
            outln!("    state     {POOR}first sync{POOR:#} {} %", percent(stream));
            print_stream(stream);
        }
        Content::Gap(stream) => {
            outln!("    state     {BAD}in a gap{BAD:#}");
            print_stream(stream);
        }
        Content::Complete(stream) => {
            outln!("    state     {GOOD}complete{GOOD:#}");
            print_stream(stream);
        }
        Content::Damaged { error, points } => {
            outln!("    state     {BAD}damaged{BAD:#}: {error}");
            for points in points {
                outln!("    points    {} to {}", points.from, points.to);
            }
        }
    }
}

fn print_stream(stream: &Stream) {
    let t0 = stream.t0.as_deref().unwrap_or("unknown: its record was never acknowledged");
    let whole = if stream.t0_restorable { "" } else { " (cannot be restored)" };
    outln!("    t0        {t0}{whole}");
    match (&stream.latest, stream.rpo_seconds) {
        (Some(latest), Some(rpo)) => {
            outln!("    latest    {latest}, {} ago", duration(rpo));
        }
        _ => outln!("    latest    none yet"),
    }
    for points in &stream.points {
        outln!("    points    {} to {}", points.from, points.to);
    }
    if let Some(from) = &stream.whole_from {
        outln!("    folded    before {from} only these points are kept");
    }
    if stream.excluded_bytes > 0 {
        let excluded = bytes(stream.excluded_bytes);
        outln!("    excluded  {excluded} of no file, or of paging, swap and hibernation files");
    }
    let [now, at_t0] = [stream.blocks_with_holes, stream.blocks_with_holes_at_t0];
    if now + at_t0 > 0 {
        outln!(
            "    {POOR}holes{POOR:#}     {now} block(s) that the volume's disk could not read, {at_t0} \
             of the t0 image: zeros there"
        );
    }
    for gap in &stream.gaps {
        match &gap.to {
            Some(to) => {
                outln!("    gap       {} to {to}: {}", gap.from, gap.reason_text);
            }
            None => outln!("    gap       since {}: {}", gap.from, gap.reason_text),
        }
    }
    for resized in &stream.resizes {
        let length = resized.length;
        outln!("    resized   {} to {} ({length} bytes)", resized.at, bytes(length));
    }
    if let Some(found) = &stream.verified {
        outln!("    verified  {}", verified::text(found));
    }
    outln!(
        "    stored    {}, {} records, {} epochs, {} gap(s)",
        bytes(stream.stored_bytes),
        stream.records,
        stream.epochs,
        stream.gaps.len()
    );
}

/// Whole per cent, rounded down: 100 means all.
fn percent(stream: &Stream) -> u64 {
    stream.blocks_known.saturating_mul(100) / stream.blocks.max(1)
}

//! `snapless-server restore`.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::bytes::Bytes;
use crate::cli;
use crate::disk_image::{self, DiskFormat};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::restore::{Report, Request, restore, unfinished_source};
use crate::salvage::{self, salvage};
use crate::stop::StopFlag;
use crate::target::partial::{self, LeftOver};
use crate::target::{keep_out, left};
use crate::time;

use super::audit::{self, Act};
use super::console::{
    BAD, EXIT_DAMAGE, EXIT_HOLES, GOOD, POOR, bytes, on_signal, point_notes, print_json,
};
use super::output::{errln, outln};
use super::progress::Bar;

pub(super) fn run(args: cli::Restore) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let is_salvage = args.salvage;
    let repository = if is_salvage {
        Repository::to_salvage_in(args.point.place.repository.store()?)
    } else {
        args.point.place.repository.open()?
    };
    let repository = repository.pinned_for("restore").unlock(&args.point.key.source())?;
    let source = match &args.at {
        Some(at) => args.point.source(at, &repository)?,
        None => unfinished_source(&args.to, args.point.volume, args.point.session)?,
    };
    let request = Request {
        source,
        to: args.to,
        force: args.force,
        other_sector_size: args.other_sector_size,
    };
    let format = args.format.unwrap_or_else(|| DiskFormat::of(&request.to));
    if is_salvage {
        disk_image::check_raw(format, &request.to)?;
    }
    if let Some(directory) = args.point.place.repository.directory() {
        keep_out(&request.to, directory)?;
    }
    if args.restart {
        left::discard(&request.to)?;
    }
    clean_up(&request.to);
    if is_salvage {
        let report = run_salvage(&repository, &request, &stop)?;
        note(&args.point, &report.volume, &report.session, report.time.as_deref(), &report.file);
        return tell_salvaged(&report, args.json);
    }
    let bar = Bar::new("reading headers");
    let tell = |progress| bar.restore(progress);
    let restored = match format {
        DiskFormat::Raw => restore(&repository, &request, &stop, tell).map(Restored::Raw),
        format => disk_image::restore(&repository, &request, format, !args.no_compare, &stop, tell)
            .map(Restored::Disk),
    };
    drop(bar);
    if let Err(Error::Damaged { .. }) = &restored {
        errln!(
            "{POOR}note{POOR:#}: `--salvage` makes an image of what is there and lists what is not"
        );
    }
    let restored = restored?;
    let report = restored.report();
    note(&args.point, &report.volume, &report.session, Some(&report.time), &report.file);
    if args.json {
        print_json(&restored)?;
    } else {
        print(report);
        if let Restored::Disk(disk) = &restored {
            print_disk(disk);
        }
    }
    Ok(if report.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_HOLES) })
}

/// What was restored.
#[derive(Serialize)]
#[serde(untagged)]
enum Restored {
    /// To a raw image.
    Raw(Report),
    /// To a virtual disk.
    Disk(disk_image::Report),
}

impl Restored {
    fn report(&self) -> &Report {
        match self {
            Self::Raw(report) => report,
            Self::Disk(disk) => &disk.restored,
        }
    }
}

/// Removes and names what killed restores have left beside the target.
fn clean_up(target: &Path) {
    // What is wrong with the folder, the restore finds out.
    let Ok(LeftOver { removed, doubtful, kept }) = partial::clean_up(target) else { return };
    for path in removed {
        let path = path.display();
        errln!("{POOR}note{POOR:#}: removed {path}, left by a restore that was killed");
    }
    for path in doubtful {
        let path = path.display();
        errln!(
            "{POOR}note{POOR:#}: {path} is a restore's unfinished image; if none runs, on no other \
             machine either, remove it"
        );
    }
    for (path, left) in kept {
        let (path, name) = (path.display(), String::from_utf8_lossy(&left.name));
        errln!(
            "{POOR}note{POOR:#}: {path} is a part of {name}, as of {}, which an interrupted restore \
             has left: go on with it, or remove it",
            time::to_text(left.time)
        );
    }
}

fn run_salvage(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
) -> Result<salvage::Report> {
    let bar = Bar::new("salvaging");
    salvage(repository, request, stop, |progress| bar.set(progress.done, progress.total))
}

fn tell_salvaged(report: &salvage::Report, json: bool) -> Result<ExitCode> {
    if json {
        print_json(report)?;
    } else {
        print_salvaged(report);
    }
    Ok(if !report.is_whole() {
        ExitCode::from(EXIT_DAMAGE)
    } else if !report.unreadable.is_empty() {
        ExitCode::from(EXIT_HOLES)
    } else {
        ExitCode::SUCCESS
    })
}

/// Lines of one kind that are printed; all of them are in the report as JSON.
const LINES_MAX: usize = 20;

fn print_salvaged(report: &salvage::Report) {
    let verdict = if report.is_whole() { GOOD } else { POOR };
    outln!(
        "{verdict}salvaged{verdict:#} {} as of {} to {}: {} records, {}",
        report.volume,
        report.time.as_deref().unwrap_or("an unknown time"),
        report.file.display(),
        report.records,
        bytes(report.bytes)
    );
    match report.sector_size {
        Some(size) => print_sector_size(size),
        None => outln!("{POOR}note{POOR:#}: nothing tells the volume's sector size"),
    }
    let damage = report
        .damage
        .iter()
        .map(|place| format!("{} at byte {}: {}", place.file.display(), place.offset, place.error));
    print_lines("damaged", damage);
    let lost = report.lost.iter().map(|lost| {
        let [after, before] = [&lost.after, &lost.before].map(|it| it.as_deref().unwrap_or("-"));
        format!(
            "records {} to {}, between {after} and {before}: what they changed has older content",
            lost.from, lost.to
        )
    });
    print_lines("lost", lost);
    let unsure = report.unsure_after.map(|seq| {
        format!(
            "nothing tells where the stream ends: later records than {seq} may be missing, or were \
             never acknowledged"
        )
    });
    print_lines("unsure", unsure.into_iter());
    for (name, what, runs) in [
        ("missing", "no record gives them; zeros in the image", &report.missing),
        ("doubtful", "their entry's checksum does not match", &report.doubtful),
        ("unreadable", "the disk could not read them; zeros in the image", &report.unreadable),
    ] {
        let line = |run: &Bytes| format!("{} bytes at {}: {what}", run.len, run.offset);
        print_lines(name, runs.iter().map(line));
    }
}

fn print_lines(name: &str, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(LINES_MAX);
    for line in lines.take(LINES_MAX) {
        outln!("{BAD}{name}{BAD:#}: {line}");
    }
    if more > 0 {
        outln!("{BAD}{name}{BAD:#}: and {more} more, listed with --json");
    }
}

fn note(point: &cli::Point, volume: &str, session: &str, time: Option<&str>, file: &Path) {
    let (time, file) = (time.unwrap_or("an unknown time"), file.display());
    let about = format!("volume {volume}, session {session}, as of {time}, to {file}");
    audit::note_at(&point.place, Act::Restored, &about);
}

/// An image file does not tell by itself which disk it fits.
fn print_sector_size(size: u32) {
    outln!("sectors of {size} bytes: attach the image as a disk with such sectors");
}

fn print_disk(disk: &disk_image::Report) {
    let format = disk.format.name();
    if disk.compared {
        outln!("a disk of format {format}; compared with the point: the same");
    } else {
        outln!("a disk of format {format}; {POOR}not compared{POOR:#} with the point");
    }
}

fn print(report: &Report) {
    outln!(
        "{GOOD}restored{GOOD:#} {} as of {} to {}",
        report.volume,
        report.time,
        report.file.display()
    );
    outln!(
        "session {}: {} from {} records, {} of them written",
        report.session,
        bytes(report.bytes),
        report.records,
        bytes(report.bytes_written)
    );
    if report.taken_over > 0 {
        let there = bytes(report.taken_over);
        outln!("{there} were there already, from a restore that was interrupted");
    }
    print_sector_size(report.sector_size);
    for note in point_notes(&report.passed_over, report.gap_since.as_deref()) {
        outln!("{POOR}note{POOR:#}: {note}");
    }
    for extent in &report.unreadable {
        outln!(
            "{POOR}unreadable{POOR:#}: {} bytes at {}: \
             the disk could not read them; zeros in the image",
            extent.len(),
            extent.offset()
        );
    }
}

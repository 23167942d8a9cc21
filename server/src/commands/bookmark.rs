//! `snapless-server bookmark`.

use std::process::ExitCode;

use serde::Serialize;
use snapless_link::question::Consistency;

use crate::bookmarks::Shown;
use crate::cli::{BookmarkAdd, BookmarkCommand, BookmarkList, BookmarkRemove};
use crate::error::Result;
use crate::format::bookmark::Making;
use crate::naming::name_point;
use crate::restore::{Found, PassedOver};
use crate::retention::policy::Keep;
use crate::time;

use super::audit::{self, Act};
use super::console::{BAD, GOOD, POOR, on_signal, point_notes, print_json};
use super::output::{errln, outln};

pub(super) fn run(command: &BookmarkCommand) -> Result<ExitCode> {
    match command {
        BookmarkCommand::Add(args) => add(args)?,
        BookmarkCommand::List(args) => list(args)?,
        BookmarkCommand::Remove(args) => remove(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A bookmark that was made.
#[derive(Serialize)]
struct Made {
    volume: String,
    #[serde(flatten)]
    bookmark: Shown,
    gap_since: Option<String>,
    passed_over: Vec<PassedOver>,
}

fn add(args: &BookmarkAdd) -> Result<()> {
    let stop = on_signal(|| {})?;
    let repository = args.key.open(&args.place.repository)?.pinned_for("bookmark");
    let source = args.at.source(&repository, args.volume, args.session)?;
    let found = Found::find(&repository, &source, &stop)?;
    let point = *found.point();
    let keep = args.keep.and_then(Keep::for_bookmark);
    let bookmark =
        name_point(&repository, &found, args.name.clone(), Making::default(), keep, &stop)?;
    let (time, session) = (time::to_text(bookmark.time), bookmark.session);
    let about =
        format!("volume {}, session {session}, as of {time}, as {}", args.volume, bookmark.name);
    audit::note_at(&args.place, Act::BookmarkAdded, &about);
    let gap_since = point.gap_since.map(time::to_text);
    if !args.json {
        outln!("{GOOD}bookmarked{GOOD:#} {} as {}", args.volume, bookmark.name);
        outln!("as of {time}, session {session}");
        if let Some(keep) = args.keep {
            outln!("retention keeps it {}", shown_keep(&keep.to_string()));
        }
        for note in point_notes(found.passed_over(), gap_since.as_deref()) {
            errln!("{POOR}note{POOR:#}: {note}");
        }
        return Ok(());
    }
    print_json(&Made {
        volume: args.volume.to_string(),
        bookmark: Shown::of(&bookmark),
        gap_since,
        passed_over: found.passed_over().to_vec(),
    })
}

/// A bookmark of a list.
#[derive(Serialize)]
struct Line {
    volume: String,
    #[serde(flatten)]
    bookmark: Shown,
}

fn list(args: &BookmarkList) -> Result<()> {
    let repository = args.repository.open()?;
    let found = repository.bookmarks(args.volume)?;
    let line = |(volume, bookmark): (_, Shown)| Line { volume, bookmark };
    let lines = found.iter().map(|found| (found.volume.to_string(), found.shown())).map(line);
    let lines: Vec<_> = lines.collect();
    if args.json {
        return print_json(&lines);
    }
    if lines.is_empty() {
        outln!("no bookmarks yet");
    }
    for of_volume in lines.chunk_by(|one, next| one.volume == next.volume) {
        outln!("volume {}", of_volume[0].volume);
        for Line { bookmark, .. } in of_volume {
            print(bookmark);
        }
    }
    Ok(())
}

/// Prints a line of a volume's bookmarks.
pub(super) fn print(bookmark: &Shown) {
    let name = &bookmark.name;
    match bookmark {
        Shown { error: Some(error), .. } => {
            outln!("  bookmark {name} {BAD}of no use{BAD:#}: {error}; remove it");
        }
        Shown { session, time, keep, consistency, .. } => {
            let [session, time] = [session, time].map(|it| it.as_deref().unwrap_or("?"));
            let kept = keep.as_deref().map(|keep| format!(", kept {}", shown_keep(keep)));
            let kept = kept.unwrap_or_default();
            let made = match consistency {
                None | Some(Consistency::Crash) => String::new(),
                Some(other) => format!(", {}-consistent", other.name()),
            };
            outln!("  bookmark {name}: {time}{made}, session {session}{kept}");
        }
    }
}

/// How long a bookmark is kept, behind a verb.
fn shown_keep(keep: &str) -> String {
    if keep == Keep::Forever.to_string() { keep.to_owned() } else { format!("for {keep}") }
}

fn remove(args: &BookmarkRemove) -> Result<()> {
    args.place.repository.open()?.remove_bookmark(args.volume, &args.name)?;
    let about = format!("volume {}, {}", args.volume, args.name);
    audit::note_at(&args.place, Act::BookmarkRemoved, &about);
    outln!("{GOOD}removed{GOOD:#} bookmark {} of volume {}", args.name, args.volume);
    Ok(())
}

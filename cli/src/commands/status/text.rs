//! The sessions as text.

use std::time::Duration;

use snapless_driver_client::protection::obstacle;
use snapless_service::report::{Activity, DamagedReport};
use snapless_types::SessionCounters;
use snapless_types::counters::CounterGroup;
use snapless_wire::ioctl::{MapCell, MapReply};

use super::answer::{Answer, SessionLine};
use crate::commands::common::RESTART_NEEDED;
use crate::format;

/// Cells of a progress bar.
const BAR_LEN: usize = 30;
/// What the map's signs say.
const MAP_SIGNS: &str =
    "            # synced  + in part  . not yet  ! to be read again  * writes held\n";
/// Cells of a line of the map.
const MAP_LINE_LEN: usize = 64;
/// Extents that differ from the copy and are told.
const EXTENTS_MAX: usize = 4;

/// The sessions, one paragraph each.
pub(super) fn render(answer: &Answer) -> String {
    let restart = if answer.restart_needed { RESTART_NEEDED } else { "" };
    let damaged: String = answer.damaged_reports.iter().map(damaged).collect();
    if answer.sessions.is_empty() {
        return format!("No volume is protected.\n{damaged}{restart}");
    }
    answer.sessions.iter().map(session).collect::<Vec<_>>().join("\n") + &damaged + restart
}

fn damaged(report: &DamagedReport) -> String {
    format!(
        "The service's report {} is damaged ({}). The service makes a new one within seconds; if it \
         does not, check that it runs.\n",
        report.file.display(),
        report.why
    )
}

fn session(line: &SessionLine) -> String {
    let name = line.volume.as_ref().map(|guid| format!(" {{{guid}}}")).unwrap_or_default();
    let t0 = match line.t0.as_deref() {
        None if line.status.continues => "from before the last restart",
        t0 => t0.unwrap_or("not yet"),
    };
    format!(
        "{}{name}\n  session   {}, t0 {t0}\n  phase     {}\n{}  latest    {}\n  writes    {}\n  \
         queue     {}\n  service   {}\n{}",
        line.device,
        line.session,
        phase(line),
        line.map.as_ref().and_then(map).unwrap_or_default(),
        latest(line),
        writes(line),
        queue(line),
        service(line),
        notes(line)
    )
}

fn phase(line: &SessionLine) -> String {
    let status = &line.status;
    let mut parts = vec![
        format!(
            "{} {} {:.1} %",
            status.phase.name().replace('_', " "),
            bar(line.progress),
            line.progress * 100.0
        ),
        format!("{} of {} blocks", status.counters.blocks_synced, status.counters.blocks_total),
    ];
    parts.extend(line.rate_bytes_per_second.map(format::rate));
    parts.extend(
        line.seconds_left
            .map(|left| format!("{} left", format::duration(Duration::from_secs(left)))),
    );
    parts.extend(listed(&status.counters, CounterGroup::Blocks));
    parts.join(", ")
}

/// The map of the volume, in lines; `None` if all of it is synced.
fn map(map: &MapReply) -> Option<String> {
    // A short volume has parts without a block.
    let cells: Vec<_> = map.cells.iter().filter(|cell| cell.blocks() > 0).collect();
    let is_synced = |cell: &MapCell| u32::from(cell.synced) == cell.blocks() && cell.held == 0;
    if cells.iter().all(|cell| is_synced(cell)) {
        return None;
    }
    let lines = cells.chunks(MAP_LINE_LEN).enumerate().map(|(index, line)| {
        let name = if index == 0 { "map" } else { "" };
        let line: String = line.iter().map(|cell| sign(**cell)).collect();
        format!("  {name:<9} {line}\n")
    });
    Some(lines.collect::<String>() + MAP_SIGNS)
}

fn sign(cell: MapCell) -> char {
    let MapCell { unsynced, reading, synced, dirty, held } = cell;
    match (held, dirty, synced, unsynced + reading) {
        (1.., ..) => '*',
        (0, 1.., ..) => '!',
        (0, 0, _, 0) => '#',
        (0, 0, 0, _) if reading == 0 => '.',
        _ => '+',
    }
}

/// The latest point at the server, and how old it is.
fn latest(line: &SessionLine) -> String {
    match (&line.latest, line.rpo_seconds, &line.service) {
        (Some(latest), Some(rpo), _) => {
            format!("{latest}, {} ago", format::duration(Duration::from_secs(rpo)))
        }
        (_, _, Some(_)) => "none yet".to_owned(),
        (_, _, None) => "unknown".to_owned(),
    }
}

/// The counters of a group that have a text and are not 0.
fn listed(counters: &SessionCounters, group: CounterGroup) -> impl Iterator<Item = String> {
    counters
        .iter()
        .filter(move |it| it.group == group && it.value > 0 && !it.text.is_empty())
        .map(|it| format!("{} {}", it.value, it.text))
}

/// Notes about unusual states; empty if there are none.
fn notes(line: &SessionLine) -> String {
    let status = &line.status;
    let mut notes = Vec::new();
    if status.paused {
        notes.push("the sweep is paused".to_owned());
    }
    if status.outgrown {
        notes.push(
            "the volume has grown: the service goes on with its new length as soon as the server \
             has what was captured"
                .to_owned(),
        );
    }
    if status.shrunk {
        notes.push(
            "the volume has become shorter: the service goes on with its new length as soon as the \
             server has what was captured"
                .to_owned(),
        );
    }
    notes.extend(verification(line));
    if let Some(why) = status.protection.and_then(obstacle) {
        notes.push(format!("a new session cannot begin: {why}"));
    }
    if status.continues && !status.consistent {
        let left = format::bytes(status.bytes_left());
        notes.push(format!(
            "every block is compared with the server's content, and what differs is sent: {left} \
             left to read"
        ));
    }
    if let Some(reason) = status.gap_reason {
        notes.push(format!("last gap: {}", reason.text()));
    }
    if let Some(failure) = status.read_failure {
        notes.push(format!(
            "{} read(s) failed, {} of them to be repeated, the last at byte {} with status {:#010x}",
            status.counters.reads_failed,
            status.counters.reads_put_off,
            failure.offset,
            failure.status
        ));
    }
    if status.counters.writes_failed > 0 {
        notes.push(format!("the disk failed {} write(s)", status.counters.writes_failed));
    }
    if !status.special_files.is_empty() {
        notes.push(format!("holds system files: {}", status.special_files.join(", ")));
    }
    notes.into_iter().fold(String::new(), |text, note| text + "  note      " + &note + "\n")
}

/// How far a verification of the copy has come, or what the last one did.
fn verification(line: &SessionLine) -> Option<String> {
    let (status, counters) = (&line.status, &line.status.counters);
    if !status.verifying && counters.verify_position == 0 {
        return None;
    }
    let passed = format::bytes(counters.verify_position);
    let mut parts = vec![if status.verifying {
        format!("verifying the copy: {passed} of {} passed", format::bytes(status.length))
    } else {
        format!("last verification: {passed} passed")
    }];
    for (count, what) in [
        (Some(counters.verify_read), "read"),
        (nonzero(counters.verify_passed_over), "passed over under writes or as unreadable"),
        (nonzero(counters.verify_excluded), "of paging files left out"),
    ] {
        parts.extend(count.map(|count| format!("{} {what}", format::bytes(count))));
    }
    Some(parts.join(", ") + &compared(line))
}

fn nonzero(count: u64) -> Option<u64> {
    Some(count).filter(|&count| count > 0)
}

/// What the server has found of it so far.
fn compared(line: &SessionLine) -> String {
    let Some(found) = line.service.as_ref().and_then(|report| report.verification.as_ref()) else {
        return "; nothing is compared yet".to_owned();
    };
    let same = format::bytes(found.same_bytes);
    let differing = if found.differing_bytes == 0 {
        "nothing differs".to_owned()
    } else {
        let places = found.differing.iter().take(EXTENTS_MAX);
        let places = places.map(|it| format!("{} bytes at {}", it.len, it.offset));
        let places = places.collect::<Vec<_>>().join(", ");
        format!("{} differ: {places}", format::bytes(found.differing_bytes))
    };
    let damaged = if found.damaged { ", and damage has kept some from being compared" } else { "" };
    format!("; at the server {same} are the same, {differing}{damaged}")
}

fn bar(progress: f64) -> String {
    let done = (0..BAR_LEN).filter(|cell| progress * cells(BAR_LEN) >= cells(*cell + 1)).count();
    format!("[{}{}]", "#".repeat(done), "-".repeat(BAR_LEN - done))
}

/// A count of cells is far below what `f64` holds exactly.
#[allow(clippy::cast_precision_loss)]
fn cells(count: usize) -> f64 {
    count as f64
}

fn writes(line: &SessionLine) -> String {
    let status = &line.status;
    let counters = &status.counters;
    let mut parts = vec![
        format!("{} captured inline", counters.writes_captured_inline),
        format!("{} held ({} now)", counters.writes_held, counters.writes_holding),
    ];
    if let Some(median) = line.hold_median_us {
        parts.push(format!(
            "holds: median {}, longest {}",
            format::micros(median),
            format::micros(status.holds.longest_us)
        ));
    }
    parts.extend(listed(counters, CounterGroup::Writes));
    parts.join(", ")
}

fn queue(line: &SessionLine) -> String {
    let status = &line.status;
    format!(
        "{} of {} used, {} captured, records {} durable of {}",
        format::bytes(status.counters.queue_used),
        format::bytes(status.counters.queue_bytes),
        format::bytes(status.counters.bytes_captured),
        status.acknowledged_seq,
        status.last_seq
    )
}

fn service(line: &SessionLine) -> String {
    let Some(report) = &line.service else {
        return "no service serves this session".to_owned();
    };
    let doing = match report.activity {
        Activity::Connecting => "connecting",
        Activity::Streaming => "streaming",
        Activity::BackingOff => "waiting to try again",
        Activity::Paused => "paused",
        Activity::Ended => "ended",
        Activity::Stopped => "stopped",
    };
    let mut parts = vec![
        doing.to_owned(),
        format!("server {}", report.server),
        format!("{} sent", format::bytes(report.bytes_sent)),
        format!("{} of zeros not sent", format::bytes(report.bytes_elided)),
    ];
    if report.bytes_compressed > 0 {
        parts.push(format!("{} saved by compression", format::bytes(report.bytes_compressed)));
    }
    if report.bytes_unchanged > 0 {
        let unchanged = format::bytes(report.bytes_unchanged);
        parts.push(format!("{unchanged} not sent, as the server had it"));
    }
    parts.extend(report.last_error.clone());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0.0), format!("[{}]", "-".repeat(BAR_LEN)));
        assert_eq!(bar(1.0), format!("[{}]", "#".repeat(BAR_LEN)));
        assert!(bar(0.999).ends_with("-]"));
        assert_eq!(bar(0.5).matches('#').count(), BAR_LEN / 2);
    }
}

//! The sessions as text.

use std::time::Duration;

use snapless_driver_client::protection::obstacle;
use snapless_driver_client::report::Activity;
use snapless_driver_client::status::phase_name;

use super::answer::{Answer, SessionLine};
use crate::commands::common::RESTART_NEEDED;
use crate::format;

/// Cells of a progress bar.
const BAR_LEN: usize = 30;

/// The sessions, one paragraph each.
pub(super) fn render(answer: &Answer) -> String {
    let restart = if answer.restart_needed { RESTART_NEEDED } else { "" };
    if answer.sessions.is_empty() {
        return format!("No volume is protected.\n{restart}");
    }
    answer.sessions.iter().map(session).collect::<Vec<_>>().join("\n") + restart
}

fn session(line: &SessionLine) -> String {
    let name = line.volume.as_ref().map(|guid| format!(" {{{guid}}}")).unwrap_or_default();
    let t0 = line.t0.as_deref().unwrap_or("not yet");
    format!(
        "{}{name}\n  session   {}, t0 {t0}\n  phase     {}\n  writes    {}\n  queue     {}\n  \
         service   {}\n{}",
        line.device,
        line.session,
        phase(line),
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
            phase_name(status.phase).replace('_', " "),
            bar(line.progress),
            line.progress * 100.0
        ),
        format!("{} of {} blocks", status.blocks_synced, status.blocks_total),
    ];
    parts.extend(line.rate_bytes_per_second.map(format::rate));
    parts.extend(
        line.seconds_left
            .map(|left| format!("{} left", format::duration(Duration::from_secs(left)))),
    );
    if let Some(details) = status.details.as_ref().filter(|it| it.blocks_unallocated > 0) {
        parts.push(format!("{} blocks without data", details.blocks_unallocated));
    }
    if status.blocks_unreadable > 0 {
        parts.push(format!("{} blocks unreadable", status.blocks_unreadable));
    }
    if status.gaps > 0 {
        parts.push(format!("{} gap(s)", status.gaps));
        parts.push(format!("{} blocks dirty", status.blocks_dirty));
    }
    parts.join(", ")
}

/// Notes about unusual states; empty if there are none.
fn notes(line: &SessionLine) -> String {
    let Some(details) = &line.status.details else { return String::new() };
    let mut notes = Vec::new();
    if details.paused {
        notes.push("the sweep is paused".to_owned());
    }
    if details.outgrown {
        notes.push(
            "the volume has grown: it is protected up to its old end, and no later point can be \
             restored; stop the session and restart the service to begin a new one"
                .to_owned(),
        );
    }
    if details.shrunk {
        notes.push(
            "the volume has become shorter: stop the session and restart the service to begin a \
             new one"
                .to_owned(),
        );
    }
    if let Some(why) = details.protection.and_then(obstacle) {
        notes.push(format!("a new session cannot begin: {why}"));
    }
    if let Some(failure) = details.read_failure {
        notes.push(format!(
            "{} read(s) failed, the last at byte {} with status {:#010x}",
            details.reads_failed, failure.offset, failure.status
        ));
    }
    if details.writes_failed > 0 {
        notes.push(format!("the disk failed {} write(s)", details.writes_failed));
    }
    if !details.special_files.is_empty() {
        notes.push(format!("holds system files: {}", details.special_files.join(", ")));
    }
    notes.into_iter().fold(String::new(), |text, note| text + "  note      " + &note + "\n")
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
    let mut parts = vec![
        format!("{} captured inline", status.writes_passed),
        format!("{} held ({} now)", status.writes_held, status.writes_holding),
    ];
    if let Some(median) = line.hold_median_us {
        parts.push(format!(
            "holds: median {}, longest {}",
            format::micros(median),
            format::micros(status.hold_longest_us)
        ));
    }
    if let Some(details) = &status.details {
        let counts = [
            (details.clearings, "trimmed or zeroed"),
            (details.writes_cancelled, "cancelled while held"),
            (details.requests_refused, "refused"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        parts.extend(counts.map(|(count, what)| format!("{count} {what}")));
    }
    if status.writes_uncaptured > 0 {
        parts.push(format!("{} uncaptured", status.writes_uncaptured));
    }
    parts.join(", ")
}

fn queue(line: &SessionLine) -> String {
    let status = &line.status;
    format!(
        "{} of {} used, {} captured, records {} durable of {}",
        format::bytes(status.queue_used),
        format::bytes(status.queue_bytes),
        format::bytes(status.bytes_captured),
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
        Activity::Ended => "ended",
        Activity::Stopped => "stopped",
    };
    let mut parts = vec![
        doing.to_owned(),
        format!("server {}", report.server),
        format!("{} sent", format::bytes(report.bytes_sent)),
        format!("{} of zeros not sent", format::bytes(report.bytes_elided)),
    ];
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

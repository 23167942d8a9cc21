//! When a verification has come to its end, and what came of it.
//!
//! The driver says when it has read the whole volume. What it read is a number of records that go
//! through the service: once the server has all that the driver had captured until then, the
//! service has seen the last of them; once the server has compared up to that one, it is done.

use snapless_driver_client::SessionStatus;
use snapless_service::report::Report;
use snapless_service::verification::Verification;

use crate::error::CliError;
use crate::format;

/// Extents that are told; `--json` has more of them.
const EXTENTS_MAX: usize = 8;

/// What a look has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// It is not over.
    UnderWay,
    /// It is over, and nothing was read that could be compared.
    Nothing,
    /// It is over, and this is what the server has found.
    Outcome(Verification),
}

/// Waits for the end of a verification.
pub(super) struct Waiting {
    /// Verifications that had come to their end before.
    passes: u64,
    /// The last record that was captured when the driver had read the volume.
    end: Option<u64>,
}

impl Waiting {
    /// For the one that begins after so many.
    pub(super) fn new(passes: u64) -> Self {
        Self { passes, end: None }
    }

    /// Looks at what the driver and the service say.
    ///
    /// # Errors
    /// [`CliError::VerificationEnded`].
    pub(super) fn look(
        &mut self,
        status: &SessionStatus,
        report: Option<&Report>,
    ) -> Result<Look, CliError> {
        let counters = &status.counters;
        let end = match self.end {
            Some(end) => end,
            None if status.verifying => return Ok(Look::UnderWay),
            None if counters.verify_passes <= self.passes => {
                return Err(CliError::VerificationEnded);
            }
            None if counters.verify_read == 0 => return Ok(Look::Nothing),
            None => *self.end.insert(status.last_seq.get()),
        };
        let Some(report) = report.filter(|it| it.acknowledged_seq >= end) else {
            return Ok(Look::UnderWay);
        };
        let is_whole = |it: &&Verification| it.compared_seq >= report.checked_seq;
        let outcome = report.verification.as_ref().filter(is_whole);
        Ok(outcome.map_or(Look::UnderWay, |it| Look::Outcome(it.clone())))
    }
}

/// What came of it, for a reader.
pub(super) fn text(outcome: Option<&Verification>) -> String {
    let Some(found) = outcome else {
        return "nothing was read that could be compared: see `snapless status`".to_owned();
    };
    let mut lines = vec![format!("{} are the same", format::bytes(found.same_bytes))];
    for (count, what) in [
        (found.differing_bytes, "differ"),
        (found.unclear_bytes, "differ where the copy has free space: no error"),
        (found.overtaken_bytes, "were written to before they could be compared"),
        (found.left_out_bytes, "of paging files or unreadable sectors were left out"),
    ] {
        if count > 0 {
            lines.push(format!("{} {what}", format::bytes(count)));
        }
    }
    for it in found.differing.iter().take(EXTENTS_MAX) {
        lines.push(format!("  {} bytes at {} differ", it.len, it.offset));
    }
    if found.differing.len() > EXTENTS_MAX {
        lines.push("  ...".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use snapless_driver_client::Driver;
    use snapless_service::report::{Activity, REPORT_VERSION};
    use snapless_service::verification::DifferingExtent;
    use snapless_types::Seq;
    use snapless_wire::id::SessionId;

    use super::*;
    use crate::test_driver::{SESSION, TestDriver};

    fn status(verifying: bool, passes: u64, read: u64) -> SessionStatus {
        let port = TestDriver::protecting().open().unwrap();
        let mut status = port.status(SessionId::parse(SESSION).unwrap()).unwrap();
        (status.verifying, status.last_seq) = (verifying, Seq::new(40));
        (status.counters.verify_passes, status.counters.verify_read) = (passes, read);
        status
    }

    fn report(acknowledged_seq: u64, checked_seq: u64, compared_seq: u64) -> Report {
        let verification = Verification {
            compared_seq,
            read_unix_ms: None,
            same_bytes: 1 << 20,
            differing_bytes: 512,
            unclear_bytes: 0,
            overtaken_bytes: 0,
            left_out_bytes: 0,
            damaged: false,
            differing: vec![DifferingExtent { offset: 65_536, len: 512 }],
        };
        Report {
            version: REPORT_VERSION,
            volume: String::new(),
            device: None,
            session: Some(SESSION.into()),
            server: String::new(),
            activity: Activity::Streaming,
            last_error: None,
            bytes_drained: 0,
            bytes_sent: 0,
            bytes_elided: 0,
            bytes_unchanged: 0,
            bytes_compressed: 0,
            frames_sent: 0,
            connections: 1,
            acknowledged_epoch: 1,
            acknowledged_seq,
            checked_seq,
            verification: Some(verification),
            latest_point_unix_ms: None,
            written_unix_ms: 0,
        }
    }

    #[test]
    fn it_is_over_when_the_server_has_compared_the_last_that_was_read() {
        let mut waiting = Waiting::new(2);
        let mut is_over = |status: &SessionStatus, report| {
            waiting.look(status, Some(&report)).unwrap() != Look::UnderWay
        };
        assert!(!is_over(&status(true, 2, 512), report(90, 90, 90)), "it is under way");
        let read = status(false, 3, 512);
        assert!(!is_over(&read, report(39, 30, 39)), "the service has not seen all of it");
        assert!(!is_over(&read, report(41, 38, 37)));
        assert!(!is_over(
            &SessionStatus { last_seq: Seq::new(90), ..read.clone() },
            report(41, 38, 37)
        ));
        assert!(is_over(&read, report(41, 38, 38)));
        assert_eq!(waiting.look(&read, None).unwrap(), Look::UnderWay, "the service is away");
    }

    #[test]
    fn one_that_was_ended_has_no_outcome_and_neither_has_one_of_nothing() {
        let look = |status| Waiting::new(2).look(&status, Some(&report(90, 0, 90)));
        assert!(matches!(look(status(false, 2, 512)), Err(CliError::VerificationEnded)));
        assert_eq!(look(status(false, 3, 0)).unwrap(), Look::Nothing);
        assert!(text(None).contains("nothing was read"));
    }

    #[test]
    fn what_differs_is_told_with_its_places() {
        let told = text(report(1, 1, 1).verification.as_ref());
        assert!(told.contains("1.0 MiB are the same\n512 B differ\n"), "{told}");
        assert!(told.contains("  512 bytes at 65536 differ"), "{told}");
    }
}

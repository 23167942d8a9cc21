//! What VSS says of a writer after a step.

use std::fmt;

use crate::code::Code;

/// A writer: the part of an application that VSS asks to freeze it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Writer {
    /// Its name, such as `SqlServerWriter`.
    pub name: String,
    /// How far it is: `VSS_WRITER_STATE` (docs, `vss.h`).
    pub state: i32,
    /// Its failure, or 0.
    pub failure: Code,
}

/// `VSS_WS_FAILED_AT_IDENTIFY` to `VSS_WS_FAILED_AT_BACKUPSHUTDOWN`, in words.
const FAILED_AT: [(i32, &str); 10] = [
    (6, "when it said what it has"),
    (7, "when it prepared for a backup"),
    (8, "when it prepared for the freeze"),
    (9, "when it froze"),
    (10, "when it thawed"),
    (11, "after it thawed"),
    (12, "when the backup was complete"),
    (13, "before a restore"),
    (14, "after a restore"),
    (15, "when the backup ended"),
];

/// `VSS_WS_WAITING_FOR_BACKUP_COMPLETE`: it was frozen, and has thawed.
const WAITS_FOR_COMPLETE: i32 = 5;

impl Writer {
    /// True after a freeze that it took part in. One whose application began just then did not.
    pub fn was_frozen(&self) -> bool {
        self.state == WAITS_FOR_COMPLETE && !self.has_failed()
    }

    /// True if it has failed: its application is not prepared.
    pub fn has_failed(&self) -> bool {
        self.failed_at().is_some() || self.failure.is_failure()
    }

    fn failed_at(&self) -> Option<&'static str> {
        FAILED_AT.iter().find(|(state, _)| *state == self.state).map(|(_, at)| *at)
    }
}

/// The failure in words.
impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, failure, .. } = self;
        let at = self.failed_at().unwrap_or("in an unknown state");
        write!(f, "the writer \"{name}\" failed {at}")?;
        if failure.is_failure() { write!(f, ": {failure}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_writer_is_named_with_its_step_and_its_code_in_words() {
        let writer = |state, failure| Writer {
            name: "SqlServerWriter".to_owned(),
            state,
            failure: Code(failure),
        };
        let failed = writer(9, 0x8004_23F2);
        assert!(failed.has_failed());
        let said = failed.to_string();
        for part in ["SqlServerWriter", "when it froze", "VSS_E_WRITERERROR_TIMEOUT", "60 s"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        for state in 1..=5 {
            assert!(!writer(state, 0).has_failed(), "{state}");
        }
        assert!(writer(1, 0x8004_23F0).has_failed(), "a failure is one in any state");
    }
}

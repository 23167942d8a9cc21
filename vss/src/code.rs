//! The codes of VSS, in words (docs: `vsserror.h`, `IVssBackupComponents::GetWriterStatus`).

use std::fmt;

/// An `HRESULT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code(pub u32);

/// Codes, their names, and what they mean and ask for.
const KNOWN: [(u32, &str, &str); 25] = [
    (0x8000_4001, "E_NOTIMPL", "this system has no VSS"),
    (0x8004_0154, "REGDB_E_CLASSNOTREG", "this system has no VSS, or its registration is damaged"),
    (0x8007_0005, "E_ACCESSDENIED", "the service may not use VSS: it must run as LocalSystem"),
    (0x8007_000E, "E_OUTOFMEMORY", "the system is short of memory"),
    (0x8004_2301, "VSS_E_BAD_STATE", "VSS did not expect this step"),
    (0x8004_2302, "VSS_E_UNEXPECTED", "VSS failed: its events in the application log say why"),
    (
        0x8004_2304,
        "VSS_E_PROVIDER_NOT_REGISTERED",
        "VSS does not know the provider: run `snapless-setup repair`",
    ),
    (0x8004_2306, "VSS_E_PROVIDER_VETO", "the provider has refused: the instant was not taken"),
    (0x8004_2307, "VSS_E_PROVIDER_IN_USE", "the provider is in use"),
    (0x8004_2308, "VSS_E_OBJECT_NOT_FOUND", "VSS does not know the volume"),
    (
        0x8004_230C,
        "VSS_E_VOLUME_NOT_SUPPORTED",
        "VSS does not support the volume: it has no file system that VSS can flush and hold",
    ),
    (
        0x8004_230E,
        "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER",
        "the provider does not support the volume",
    ),
    (
        0x8004_230F,
        "VSS_E_UNEXPECTED_PROVIDER_ERROR",
        "the provider could not be used: `snapless-setup repair`, and VSS's events in \
         the application log",
    ),
    (
        0x8004_2313,
        "VSS_E_FLUSH_WRITES_TIMEOUT",
        "the volume could not be flushed in time: try again when it is less busy",
    ),
    (
        0x8004_2314,
        "VSS_E_HOLD_WRITES_TIMEOUT",
        "writes could not be held in time (10 s at most): try again when the volume is less busy",
    ),
    (
        0x8004_2315,
        "VSS_E_UNEXPECTED_WRITER_ERROR",
        "VSS could not reach the writers: restart the service \"COM+ Event System\", and see \
         VSS's events in the application log",
    ),
    (
        0x8004_2316,
        "VSS_E_SNAPSHOT_SET_IN_PROGRESS",
        "another program makes a shadow copy: try again when it has done so",
    ),
    (0x8004_231B, "VSS_E_UNSUPPORTED_CONTEXT", "this Windows does not know the context"),
    (0x8004_2327, "VSS_E_REBOOT_REQUIRED", "VSS needs a restart of the machine"),
    (
        0x8004_2336,
        "VSS_E_WRITERERROR_PARTIAL_FAILURE",
        "it failed for a part of what it has: see its application's events",
    ),
    (
        0x8004_23F0,
        "VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT",
        "the volume has only a part of what it needs: what belongs together lies on \
         several volumes",
    ),
    (0x8004_23F1, "VSS_E_WRITERERROR_OUTOFRESOURCES", "it is short of memory or another resource"),
    (
        0x8004_23F2,
        "VSS_E_WRITERERROR_TIMEOUT",
        "it was frozen for longer than it bears (60 s), or did not freeze in that time: try \
         again when it is less busy",
    ),
    (0x8004_23F3, "VSS_E_WRITERERROR_RETRYABLE", "it may succeed when it is tried again"),
    (
        0x8004_23F4,
        "VSS_E_WRITERERROR_NONRETRYABLE",
        "it will fail again: see its application's events",
    ),
];

impl Code {
    /// True for a failure; codes of success have their own.
    pub fn is_failure(self) -> bool {
        self.0 >> 31 == 1
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(code, ..)| *code == self.0) {
            Some((_, name, meaning)) => write!(f, "{meaning} ({name}, {:#010x})", self.0),
            None => write!(f, "code {:#010x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_in_words_and_an_unknown_one_as_a_number() {
        let said = Code(0x8004_2314).to_string();
        assert!(said.contains("VSS_E_HOLD_WRITES_TIMEOUT, 0x80042314"), "{said}");
        assert_eq!(Code(0x8004_2399).to_string(), "code 0x80042399");
        assert!(Code(0x8004_2314).is_failure() && !Code(0x0004_2309).is_failure());
    }

    #[test]
    fn each_code_stands_once() {
        let mut codes: Vec<_> = KNOWN.iter().map(|(code, ..)| code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), KNOWN.len());
    }
}

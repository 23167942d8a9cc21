//! Sleep and hibernation: the driver's memory survives them, and its disk may have been written to
//! meanwhile, by another system or another machine (rule RESUME, rules.md#resume).
//!
//! ```text
//! Awake ──falls_asleep──▶ Asleep ──wakes──▶ Woken ──looked_at──▶ Awake
//!                          ▲ └──── for long ──────────────────────▶
//!                          └───falls_asleep───┘
//! ```
//!
//! The system tells when it is about to sleep or to shut down, and when it is awake again. It stops
//! somewhere in between, and not at an instant that the driver knows: writes come before and after.
//! None of them waits, but those to the stamp: until the volume was looked at, no record leaves the
//! driver, no watermark is given, and the stamp is not read for a slot of the log.
//!
//! When the system is awake, the volume's stamp and the slot of its state area that counts are
//! compared with what the driver has written there last. If they are the same, nobody has mounted
//! the volume: records leave again, without a gap. If not, or if they cannot be read or are not
//! known, the records that have not left are lost, and every block is read again.
//!
//! A write to the stamp would hide what another system has written there. So the volume is looked
//! at before it goes; what is found then counts when the system is awake.
//!
//! Rule: records that have left were made before the system told, and describe the volume.

use snapless_types::Tick;

/// How long the system may take to fall asleep or to tell that it is awake, in ticks of the time
/// that it is awake: 10 min. Then the volume is looked at all the same.
const TOLD_LIMIT: u64 = 600_000 * Tick::PER_MS;

/// Whether the machine may have slept since the volume was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Sleep {
    /// It has not.
    #[default]
    Awake,
    /// It is about to, or sleeps, or has woken up.
    Asleep {
        /// When it told.
        since: Tick,
        /// The volume was in doubt before that, or has changed since.
        has_slept: bool,
    },
    /// It is awake again: the volume is to be looked at.
    Woken {
        /// When it told that it was about to sleep.
        since: Tick,
    },
}

impl Sleep {
    /// The system is about to sleep, or to shut down.
    pub fn falls_asleep(&mut self, now: Tick) {
        *self = Self::Asleep { since: now, has_slept: self.is_doubtful() };
    }

    /// The system is awake again; false if it did not sleep.
    pub fn wakes(&mut self) -> bool {
        let since = match *self {
            Self::Awake => return false,
            Self::Asleep { since, .. } | Self::Woken { since } => since,
        };
        *self = Self::Woken { since };
        true
    }

    /// The volume was looked at, as it was to be then: not if the system is about to sleep again.
    pub fn looked_at(&mut self, then: Self) {
        if *self == then {
            *self = Self::Awake;
        }
    }

    /// The volume has changed: it is known before the system says that it is awake.
    pub fn has_changed(&mut self) {
        if let Self::Asleep { has_slept, .. } = self {
            *has_slept = true;
        }
    }

    /// True while the volume may not be what the driver knows of it.
    pub fn is_doubtful(self) -> bool {
        self != Self::Awake
    }

    /// True if a state may be saved that speaks of the volume as it is now: the machine shuts down,
    /// and has not slept before.
    pub fn may_save(self) -> bool {
        matches!(self, Self::Awake | Self::Asleep { has_slept: false, .. })
    }

    /// True if the volume is to be looked at now.
    pub fn is_to_be_looked_at(self, now: Tick) -> bool {
        match self {
            Self::Awake => false,
            Self::Asleep { since, .. } => now.since(since) >= TOLD_LIMIT,
            Self::Woken { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_in_doubt_from_the_notice_of_sleep_until_it_was_looked_at() {
        let mut sleep = Sleep::default();
        assert!(!sleep.wakes() && !sleep.is_doubtful());
        sleep.falls_asleep(Tick(5));
        assert!(sleep.is_doubtful() && !sleep.is_to_be_looked_at(Tick(6)));
        assert!(sleep.wakes() && sleep.is_doubtful() && sleep.is_to_be_looked_at(Tick(7)));
        sleep.falls_asleep(Tick(8));
        assert!(!sleep.is_to_be_looked_at(Tick(9)), "it is about to sleep again");
        assert!(sleep.wakes());
        let then = sleep;
        sleep.falls_asleep(Tick(10));
        sleep.looked_at(then);
        assert!(sleep.is_doubtful() && sleep.wakes(), "it has slept since");
        sleep.looked_at(then);
        assert!(sleep.is_doubtful(), "it has woken up since");
        sleep.looked_at(sleep);
        assert!(!sleep.is_doubtful() && !sleep.is_to_be_looked_at(Tick(11)));
    }

    #[test]
    fn a_state_is_saved_when_the_machine_shuts_down_and_not_if_it_has_slept_before() {
        let mut sleep = Sleep::default();
        assert!(sleep.may_save());
        sleep.falls_asleep(Tick(5));
        assert!(sleep.may_save(), "it shuts down");
        let mut changed = sleep;
        changed.has_changed();
        assert!(!changed.may_save());
        sleep.falls_asleep(Tick(6));
        assert!(!sleep.may_save(), "it has slept, and shuts down");
        assert!(sleep.wakes() && !sleep.may_save());
    }

    #[test]
    fn a_system_that_does_not_tell_that_it_is_awake_keeps_no_record_for_ever() {
        let mut sleep = Sleep::default();
        sleep.falls_asleep(Tick(5));
        assert!(!sleep.is_to_be_looked_at(Tick(4 + TOLD_LIMIT)));
        assert!(sleep.is_to_be_looked_at(Tick(5 + TOLD_LIMIT)));
    }
}

//! Starts of the driver that no program has reached.
//!
//! The driver counts its starts in the registry ([`VALUE`]) and a program that opens the control
//! device sets the count back: the machine has come up. After [`STARTS_MAX`] starts in a row that
//! no program reached, the driver passes every request through until the setup is run again: what
//! keeps the machine from coming up may be the driver.
//!
//! A start that ends before the system writes its registry to the disk is not counted: there is no
//! other place that a driver could keep the count in so early.

use crate::settings::Value;

/// The count's name in the `Parameters` key: a `REG_DWORD`.
pub const VALUE: &str = "StartsUnreached";
/// Starts in a row that no program reached, until the driver passes everything through.
pub const STARTS_MAX: u32 = 2;

/// The starts before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Starts {
    unreached: u32,
}

impl Starts {
    /// What the registry has; a value of another type counts as none.
    pub fn before(value: Value) -> Self {
        let unreached = match value {
            Value::Number(unreached) => unreached,
            Value::Absent | Value::Unreadable => 0,
        };
        Self { unreached }
    }

    /// True if this start passes everything through.
    pub fn have_failed(self) -> bool {
        self.unreached >= STARTS_MAX
    }

    /// The count with this start; `None` if it stays: only the setup sets it back then.
    pub fn counted(self) -> Option<u32> {
        (!self.have_failed()).then(|| self.unreached.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_start_after_two_that_no_program_reached_passes_through_and_stays_so() {
        let mut value = Value::Absent;
        for _ in 0..STARTS_MAX {
            let starts = Starts::before(value);
            assert!(!starts.have_failed());
            value = Value::Number(starts.counted().unwrap());
        }
        let starts = Starts::before(value);
        assert!(starts.have_failed());
        assert_eq!(starts.counted(), None);
    }

    #[test]
    fn a_start_that_was_reached_begins_the_count_anew() {
        assert_eq!(Starts::before(Value::Number(0)).counted(), Some(1));
        assert_eq!(Starts::before(Value::Unreadable).counted(), Some(1));
        assert!(Starts::before(Value::Number(u32::MAX)).have_failed());
    }
}

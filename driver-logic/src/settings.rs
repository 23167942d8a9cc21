//! The driver's settings: values of its service's `Parameters` registry key.
//!
//! | value | type | meaning | if absent |
//! | --- | --- | --- | --- |
//! | `PassThrough` | `REG_DWORD` | kill switch; 1: pass requests through, protect no volume | 0 |
//! | `QueueLimitMiB` | `REG_DWORD` | the largest capture queue of a session | 2048 |
//! | `HoldLimitMs` | `REG_DWORD` | the longest hold limit of a session | 50,000 |
//! | `ExcludedVolumes` | `REG_MULTI_SZ` | volumes that are never protected | none |
//!
//! Rule: a value out of its range counts as absent, with a line in the debugger's log; but a kill
//! switch of another type counts as set.

use snapless_wire::ioctl::{HOLD_LIMIT_MAX_MS, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN, StartSettings};

/// A value that is a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The kill switch.
    PassThrough,
    /// The limit of the capture queue.
    QueueLimit,
    /// The limit of the hold limit.
    HoldLimit,
}

impl Name {
    /// The value's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PassThrough => "PassThrough",
            Self::QueueLimit => "QueueLimitMiB",
            Self::HoldLimit => "HoldLimitMs",
        }
    }
}

/// Name of the list of excluded volumes.
pub const EXCLUDED_VOLUMES: &str = "ExcludedVolumes";
/// Excluded volumes that are read, at most.
pub const EXCLUDED_MAX: usize = 256;

/// What the registry has under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Nothing.
    Absent,
    /// A number.
    Number(u32),
    /// Something else.
    Unreadable,
}

/// Checked settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Pass all requests through, protect no volume.
    pub pass_through: bool,
    /// The largest capture queue, in bytes.
    pub queue_limit: u64,
    /// The longest hold limit, in milliseconds.
    pub hold_limit_ms: u32,
}

impl Settings {
    /// The settings if all values are absent.
    pub const DEFAULT: Self = Self {
        pass_through: false,
        queue_limit: QUEUE_BYTES_MAX,
        hold_limit_ms: HOLD_LIMIT_MAX_MS,
    };

    /// Reads all values; calls `complain` for each that exists but cannot be used.
    pub fn read(look: impl Fn(Name) -> Value, mut complain: impl FnMut(Name)) -> Self {
        let mut number = |name, allowed: fn(u32) -> bool| match look(name) {
            Value::Number(number) if allowed(number) => Some(number),
            Value::Absent => None,
            Value::Number(_) | Value::Unreadable => {
                complain(name);
                None
            }
        };
        let queue = number(Name::QueueLimit, |mib| {
            (QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&mib_to_bytes(mib))
        });
        let hold = number(Name::HoldLimit, |ms| (1..=HOLD_LIMIT_MAX_MS).contains(&ms));
        let pass_through = match look(Name::PassThrough) {
            Value::Absent => false,
            Value::Number(number) => number != 0,
            Value::Unreadable => {
                complain(Name::PassThrough);
                true
            }
        };
        Self {
            pass_through,
            queue_limit: queue.map_or(Self::DEFAULT.queue_limit, mib_to_bytes),
            hold_limit_ms: hold.unwrap_or(Self::DEFAULT.hold_limit_ms),
        }
    }

    /// A session's settings, limited.
    pub fn cap(&self, asked: StartSettings) -> StartSettings {
        StartSettings {
            queue_bytes: asked.queue_bytes.min(self.queue_limit),
            hold_limit_ms: asked.hold_limit_ms.min(self.hold_limit_ms),
            ..asked
        }
    }
}

fn mib_to_bytes(mib: u32) -> u64 {
    u64::from(mib).saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::Overflow;
    use snapless_wire::id::SessionId;
    use snapless_wire::ioctl::SweepLimits;
    use std::vec::Vec;

    fn read(pass: Value, queue: Value, hold: Value) -> (Settings, Vec<Name>) {
        let mut complaints = Vec::new();
        let look = |name| match name {
            Name::PassThrough => pass,
            Name::QueueLimit => queue,
            Name::HoldLimit => hold,
        };
        (Settings::read(look, |name| complaints.push(name)), complaints)
    }

    #[test]
    fn without_values_the_defaults_hold_without_a_complaint() {
        let (settings, complaints) = read(Value::Absent, Value::Absent, Value::Absent);
        assert_eq!((settings, complaints.len()), (Settings::DEFAULT, 0));
    }

    #[test]
    fn values_in_range_are_used() {
        let (settings, complaints) = read(Value::Number(1), Value::Number(64), Value::Number(250));
        let want = Settings { pass_through: true, queue_limit: 64 << 20, hold_limit_ms: 250 };
        assert_eq!((settings, complaints.len()), (want, 0));
    }

    #[test]
    fn values_out_of_range_count_as_absent_with_a_complaint() {
        for queue in [0, 63, 2049, u32::MAX] {
            let (settings, complaints) =
                read(Value::Number(0), Value::Number(queue), Value::Number(50_001));
            assert_eq!(settings, Settings::DEFAULT);
            assert_eq!(complaints, [Name::QueueLimit, Name::HoldLimit]);
        }
        let (settings, complaints) = read(Value::Absent, Value::Unreadable, Value::Number(0));
        assert_eq!((settings, complaints.len()), (Settings::DEFAULT, 2));
    }

    #[test]
    fn a_kill_switch_of_another_type_counts_as_set() {
        let (settings, complaints) = read(Value::Unreadable, Value::Absent, Value::Absent);
        assert!(settings.pass_through);
        assert_eq!(complaints, [Name::PassThrough]);
    }

    #[test]
    fn a_sessions_settings_are_limited() {
        let asked = StartSettings {
            session: SessionId([1; 16]),
            continues: None,
            block_size: 64 << 10,
            queue_bytes: 512 << 20,
            hold_limit_ms: 200,
            overflow: Overflow::Gap,
            sweep: SweepLimits::DEFAULT,
        };
        assert_eq!(Settings::DEFAULT.cap(asked), asked);
        let tight = Settings { queue_limit: 64 << 20, hold_limit_ms: 50, ..Settings::DEFAULT };
        let capped = tight.cap(asked);
        assert_eq!((capped.queue_bytes, capped.hold_limit_ms), (64 << 20, 50));
        assert_eq!(capped.block_size, asked.block_size);
    }
}

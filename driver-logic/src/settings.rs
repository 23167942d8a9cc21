//! The driver's settings: values in its service's `Parameters` key.
//!
//! | value | type | meaning | if absent |
//! | --- | --- | --- | --- |
//! | `PassThrough` | `REG_DWORD` | 1: attach to volumes, pass everything through, protect nothing | 0 |
//! | `QueueLimitMiB` | `REG_DWORD` | the longest capture queue that a session gets | 2048 |
//! | `HoldLimitMs` | `REG_DWORD` | the longest hold limit that a session gets | 50,000 |
//! | `ExcludedVolumes` | `REG_MULTI_SZ` | volumes that are never protected | none |
//!
//! Rule: a value out of its range counts as absent, and is said so; but a kill switch that cannot be understood is on.

use snapless_wire::ioctl::{HOLD_LIMIT_MAX_MS, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN, StartSettings};

/// What the driver asks the registry for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The kill switch.
    PassThrough,
    /// The cap of the capture queue.
    QueueLimit,
    /// The cap of the hold limit.
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

/// The name of the list of excluded volumes.
pub const EXCLUDED_VOLUMES: &str = "ExcludedVolumes";
/// Excluded volumes that are looked at, at most.
pub const EXCLUDED_MAX: usize = 256;

/// What the registry had under a name.
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
    /// Attach to volumes, pass everything through, protect nothing.
    pub pass_through: bool,
    /// The longest capture queue, in bytes.
    pub queue_limit: u64,
    /// The longest hold limit, in milliseconds.
    pub hold_limit_ms: u32,
}

impl Settings {
    /// Without any value.
    pub const DEFAULT: Self = Self {
        pass_through: false,
        queue_limit: QUEUE_BYTES_MAX,
        hold_limit_ms: HOLD_LIMIT_MAX_MS,
    };

    /// Reads all values; calls `complain` for each that is there but cannot be used.
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

    /// What a session gets that asks for `asked`.
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
    fn without_values_nothing_is_limited_further_and_nobody_complains() {
        let (settings, complaints) = read(Value::Absent, Value::Absent, Value::Absent);
        assert_eq!((settings, complaints.len()), (Settings::DEFAULT, 0));
    }

    #[test]
    fn values_in_range_are_taken() {
        let (settings, complaints) = read(Value::Number(1), Value::Number(64), Value::Number(250));
        let want = Settings { pass_through: true, queue_limit: 64 << 20, hold_limit_ms: 250 };
        assert_eq!((settings, complaints.len()), (want, 0));
    }

    #[test]
    fn values_out_of_range_count_as_absent_and_are_named() {
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
    fn a_kill_switch_that_cannot_be_understood_is_on() {
        let (settings, complaints) = read(Value::Unreadable, Value::Absent, Value::Absent);
        assert!(settings.pass_through);
        assert_eq!(complaints, [Name::PassThrough]);
    }

    #[test]
    fn a_session_gets_what_it_asks_for_up_to_the_caps() {
        let asked = StartSettings {
            session: SessionId([1; 16]),
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

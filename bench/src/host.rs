//! The engine's host in this process: a lock, two clocks, and an alarm that wakes a volume's loop.
//!
//! Rule: a wake-up makes a system call only if the loop sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{EventfdFlags, eventfd};
use snapless_engine::{Event, Host, Tick, Worker};
use snapless_wire::id::FileTime;

use crate::error::{Error, Result};

/// An auto-reset event: one signal releases one waiter, and one signal is remembered.
#[derive(Debug, Default)]
pub struct Signal {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits at most `limit`; true if the signal came.
    pub fn wait(&self, limit: Duration) -> bool {
        let Ok(signalled) = self.signalled.lock() else { return false };
        let waited = self.changed.wait_timeout_while(signalled, limit, |signalled| !*signalled);
        waited.is_ok_and(|(mut signalled, _)| std::mem::take(&mut *signalled))
    }
}

impl Event for Signal {
    fn set(&self) {
        if let Ok(mut signalled) = self.signalled.lock() {
            *signalled = true;
        }
        self.changed.notify_one();
    }

    fn wait_for(&self, ticks: u64) -> bool {
        self.wait(Duration::from_nanos(ticks.saturating_mul(100)))
    }
}

/// Tells a volume's loop what to do, and wakes it.
#[derive(Debug)]
pub struct Alarm {
    /// What to do: one bit per reason.
    reasons: AtomicU32,
    /// The loop sleeps or is about to.
    asleep: AtomicBool,
    bell: Arc<OwnedFd>,
}

impl Alarm {
    /// The loop has mail.
    pub const MAIL: u32 = 1 << 8;

    /// An alarm without a reason.
    pub fn new() -> Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from);
        Ok(Self {
            reasons: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            bell: Arc::new(bell.map_err(Error::Event)?),
        })
    }

    /// The eventfd that the loop reads while it sleeps.
    pub fn bell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.bell)
    }

    /// Adds reasons and wakes the loop if it sleeps.
    pub fn raise(&self, reasons: u32) {
        // Sequentially consistent, here and in `doze`: either the loop sees the reason, or this
        // sees the loop asleep.
        self.reasons.fetch_or(reasons, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // Fails only if the counter is full; then the loop is woken anyway.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the reasons since the last call.
    pub fn take(&self) -> u32 {
        // Acquire: a reader of a reason sees what was done before it was added.
        self.reasons.swap(0, Ordering::Acquire)
    }

    /// Called before the loop sleeps; false if there is a reason not to.
    pub fn doze(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.reasons.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Called after the loop has slept.
    pub fn rise(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// A lock of the standard library.
#[derive(Debug)]
pub struct StdMutex<T>(Mutex<T>);

impl<T> snapless_engine::Mutex<T> for StdMutex<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // A panic inside the engine ends the process (`server::start`).
        f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The engine's host.
#[derive(Debug)]
pub struct BenchHost {
    began: Instant,
    /// The `FILETIME` of `began`.
    began_at: u64,
    alarm: Arc<Alarm>,
    /// Wakes the sink's thread; `None` if the loop drains.
    drain: Option<Arc<Signal>>,
}

impl BenchHost {
    /// A host whose workers run in the loop of `alarm`.
    pub fn new(alarm: Arc<Alarm>, drain: Option<Arc<Signal>>) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ticks = u64::try_from(unix.as_nanos() / 100).unwrap_or(0);
        let began_at = FileTime::UNIX_EPOCH.get() + ticks;
        Self { began: Instant::now(), began_at, alarm, drain }
    }
}

impl Host for BenchHost {
    /// The request's key in the loop.
    type Write = usize;
    type Waiting = std::collections::VecDeque<snapless_engine::Waiter<usize>>;
    type Mutex<T> = StdMutex<T>;

    fn now(&self) -> Tick {
        let passed = self.began.elapsed();
        Tick(passed.as_secs() * 10_000_000 + u64::from(passed.subsec_nanos()) / 100)
    }

    fn clock(&self) -> u64 {
        self.began_at + self.now().0
    }

    fn wake(&self, worker: Worker) {
        match &self.drain {
            Some(drain) if worker == Worker::Drain => drain.set(),
            _ => self.alarm.raise(worker as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_wakes_only_a_sleeping_loop_and_keeps_every_reason() {
        let alarm = Alarm::new().unwrap();
        alarm.raise(2);
        assert!(!alarm.doze(), "there is a reason to stay awake");
        assert_eq!(alarm.take(), 2);
        assert!(alarm.doze());
        alarm.raise(4);
        alarm.raise(Alarm::MAIL);
        let mut count = [0; 8];
        rustix::io::read(&*alarm.bell(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1, "one wake-up for both");
        assert_eq!(alarm.take(), 4 | Alarm::MAIL);
    }

    #[test]
    fn a_signal_is_remembered_once() {
        let signal = Signal::default();
        signal.set();
        signal.set();
        assert!(signal.wait(Duration::ZERO));
        assert!(!signal.wait(Duration::ZERO));
    }
}

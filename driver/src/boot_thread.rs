//! The thread that reads the volumes' state areas when the machine comes up: one for the driver, if
//! an area is known.

use core::sync::atomic::{AtomicBool, Ordering};

use wdk_sys::NTSTATUS;

use crate::kernel::event::Event;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::shared::Shared;
use crate::kernel::thread::{Priority, Run, Thread, Threads};

/// The thread, and what wakes it.
pub struct BootThread {
    wanted: Shared<Event>,
    ends: AtomicBool,
    runs: AtomicBool,
    thread: PassiveLock<Threads<1>>,
}

impl BootThread {
    /// No thread yet; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        Some(Self {
            wanted: Shared::new(Event::new(false)?)?,
            ends: AtomicBool::new(false),
            runs: AtomicBool::new(false),
            thread: PassiveLock::new(Threads::none())?,
        })
    }

    /// Starts it; writes wait for it. PASSIVE_LEVEL.
    pub fn start<T: Run>(&self, context: Shared<T>) -> Result<(), NTSTATUS> {
        let started = Thread::start(context, Priority::WritesWait)?;
        self.thread.with(|thread| thread.0 = [Some(started)]);
        // Relaxed: no volume has arrived yet.
        self.runs.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The event that wakes it, if it runs. PASSIVE_LEVEL.
    pub fn loader(&self) -> Option<Shared<Event>> {
        self.runs.load(Ordering::Relaxed).then(|| self.wanted.clone())
    }

    /// Waits until it is woken; false if it is to end. PASSIVE_LEVEL, on the thread itself.
    pub fn wait(&self) -> bool {
        self.wanted.wait();
        // Relaxed: the event orders it.
        !self.ends.load(Ordering::Relaxed)
    }

    /// Ends it and waits for that. PASSIVE_LEVEL.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
        self.wanted.set();
        self.thread.with(|thread| {
            thread.have_ended(None);
            *thread = Threads::none();
        });
    }
}

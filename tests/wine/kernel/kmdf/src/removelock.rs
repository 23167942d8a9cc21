//! The remove lock that the framework keeps in every device.
//!
//! The rule: once a device is being removed the lock refuses new users, and removal waits for the
//! others.

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nt::event::Event;

use crate::{checks::violation, settings::GIVE_BACK_LIMIT_MS};

/// Counts the users of a device.
pub(crate) struct RemoveLock {
    /// Users, plus one until the device is removed.
    users: AtomicI32,
    removing: AtomicBool,
    empty: Event,
}

impl RemoveLock {
    /// A lock that accepts users.
    pub(crate) fn new() -> Self {
        Self {
            users: AtomicI32::new(1),
            removing: AtomicBool::new(false),
            empty: Event::notification(),
        }
    }

    /// Adds a user; false when the device is being removed.
    #[must_use]
    pub(crate) fn acquire(&self) -> bool {
        // SeqCst, here and in `release_and_wait`: either this sees `removing`, or the remover sees
        // this user.
        self.users.fetch_add(1, Ordering::SeqCst);
        if self.removing.load(Ordering::SeqCst) {
            self.release();
            return false;
        }
        true
    }

    /// Removes a user.
    pub(crate) fn release(&self) {
        // SeqCst: see `acquire`.
        if self.users.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.empty.set();
        }
    }

    /// Refuses new users, removes this one, and waits for the others.
    pub(crate) fn release_and_wait(&self, function: &str) {
        // SeqCst: see `acquire`.
        self.removing.store(true, Ordering::SeqCst);
        self.release();
        self.release();
        let limit = GIVE_BACK_LIMIT_MS.get();
        if self.empty.wait_ms(limit) {
            return;
        }
        // SeqCst: see `acquire`.
        let users = self.users.load(Ordering::SeqCst);
        violation!(Leak, function, "{users} packets still hold the remove lock after {limit} ms");
    }
}

//! Where a session stands: its phase, and whether a service drains it.
//!
//! ```text
//! Starting ──begin──▶ Capturing ◀──resume/stop_capturing──▶ Uncaptured
//!     └──────────────────────── stop ───────────────────────────▶ Stopped
//! ```

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    /// Writes are held; those that were below when the session was made still have to complete.
    #[default]
    Starting,
    /// Writes are captured.
    Capturing,
    /// Writes are issued uncaptured and leave their blocks dirty.
    Uncaptured,
    /// Nothing is captured any more.
    Stopped,
}

/// The phase of a session and its service.
#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    attached: bool,
}

impl Lifecycle {
    /// A session that starts, with a service.
    pub const NEW: Self = Self { phase: Phase::Starting, attached: true };

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// True while writes are captured.
    pub fn is_capturing(&self) -> bool {
        self.phase == Phase::Capturing
    }

    /// True once nothing is captured any more.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// True while a service drains the session.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// t0 has come; false if it came before or the session is stopped.
    pub fn begin(&mut self) -> bool {
        rule!(!self.is_capturing(), "T0: a session begins once");
        let begins = self.phase == Phase::Starting;
        if begins {
            self.phase = if self.attached { Phase::Capturing } else { Phase::Uncaptured };
        }
        begins
    }

    /// From now on writes are issued uncaptured.
    pub fn stop_capturing(&mut self) {
        rule!(self.is_capturing(), "LOSS: a gap begins while writes are captured");
        self.phase = Phase::Uncaptured;
    }

    /// True if nothing but the queue or a held write keeps writes from being captured again.
    pub fn may_resume(&self) -> bool {
        self.phase == Phase::Uncaptured && self.attached
    }

    /// From now on writes are captured again.
    pub fn resume_capturing(&mut self) {
        rule!(self.may_resume(), "LOSS: captured writes have a service");
        self.phase = Phase::Capturing;
    }

    /// The service is lost; false if there is none, or the session is stopped.
    pub fn detach(&mut self) -> bool {
        let is_lost = self.attached && !self.is_stopped();
        if is_lost {
            self.attached = false;
            if self.phase == Phase::Capturing {
                self.phase = Phase::Uncaptured;
            }
        }
        is_lost
    }

    /// A service is there again; false if there is one already, or the session is stopped.
    pub fn attach(&mut self) -> bool {
        let is_new = !self.attached && !self.is_stopped();
        self.attached = self.attached || is_new;
        is_new
    }

    /// Nothing is captured from now on.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }
}

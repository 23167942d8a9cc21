//! Where a session stands: its phase, and whether a service drains it.
//!
//! A service that leaves may be followed by one that drains what the first one did not bring to the
//! server: writes are still captured, until the queue is full. After a service that is lost nothing
//! is captured until the next one is there.
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

/// Whether a service drains a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    /// There is one.
    Attached,
    /// There is none, and the records of the last one are kept.
    Away,
    /// There is none, and the records of the last one are lost.
    Lost,
}

/// The phase of a session and its service.
#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    service: Service,
}

impl Lifecycle {
    /// A session that starts, with a service.
    pub const NEW: Self = Self { phase: Phase::Starting, service: Service::Attached };
    /// One that continues: its service has still to say where its stream stands.
    pub const CONTINUED: Self = Self { phase: Phase::Starting, service: Service::Away };

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
        self.service == Service::Attached
    }

    /// True if the records of the last service are lost, and no other service has come since.
    pub fn has_lost_service(&self) -> bool {
        self.service == Service::Lost
    }

    /// t0 has come; false if it came before or the session is stopped.
    pub fn begin(&mut self) -> bool {
        rule!(!self.is_capturing(), "T0: a session begins once");
        let begins = self.phase == Phase::Starting;
        if begins {
            self.phase = if self.has_lost_service() { Phase::Uncaptured } else { Phase::Capturing };
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
        self.phase == Phase::Uncaptured && self.is_attached()
    }

    /// From now on writes are captured again.
    pub fn resume_capturing(&mut self) {
        rule!(self.may_resume(), "LOSS: captured writes have a service");
        self.phase = Phase::Capturing;
    }

    /// The service has gone, and its records are kept; false if there is none, or the session is
    /// stopped.
    pub fn leave(&mut self) -> bool {
        let is_new = self.is_attached() && !self.is_stopped();
        if is_new {
            self.service = Service::Away;
        }
        is_new
    }

    /// The service's records are lost; false if they are already, or the session is stopped.
    pub fn detach(&mut self) -> bool {
        let is_lost = !self.has_lost_service() && !self.is_stopped();
        if is_lost {
            self.service = Service::Lost;
            if self.phase == Phase::Capturing {
                self.phase = Phase::Uncaptured;
            }
        }
        is_lost
    }

    /// A service is there.
    pub fn attach(&mut self) {
        self.service = Service::Attached;
    }

    /// Nothing is captured from now on.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }
}

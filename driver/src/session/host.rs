//! The engine's host: a spin lock, two clocks, and an event for each worker.

use snapless_engine::{Host, Tick, Worker};

use super::waiting::WaitingWrites;
use super::write::Write;
use crate::kernel::event::Event;
use crate::kernel::irp::CancelRoutine;
use crate::kernel::spin_lock::SpinLock;
use crate::kernel::time;

/// The kernel as the engine uses it.
pub struct KernelHost {
    sweep: Event,
    hold: Event,
    dispatch: Event,
    drain: Event,
    cancel_routine: CancelRoutine,
}

impl KernelHost {
    /// Creates the events; `None` if there is no memory. Held requests get `cancel_routine`.
    /// PASSIVE_LEVEL.
    pub fn new(cancel_routine: CancelRoutine) -> Option<Self> {
        let event = || Event::new(false);
        let [sweep, hold, dispatch, drain] = [event()?, event()?, event()?, event()?];
        Some(Self { sweep, hold, dispatch, drain, cancel_routine })
    }

    /// The event that [`Host::wake`] sets for a worker. IRQL <= DISPATCH_LEVEL.
    pub fn event(&self, worker: Worker) -> &Event {
        match worker {
            Worker::Sweep => &self.sweep,
            Worker::Hold => &self.hold,
            Worker::Dispatch => &self.dispatch,
            Worker::Drain => &self.drain,
        }
    }
}

impl Host for KernelHost {
    type Write = Write;
    type Waiting = WaitingWrites;
    type Mutex<T> = SpinLock<T>;

    fn waiting(&self) -> WaitingWrites {
        WaitingWrites::new(self.cancel_routine)
    }

    fn now(&self) -> Tick {
        Tick(time::uptime())
    }

    fn clock(&self) -> u64 {
        time::system_time()
    }

    fn wake(&self, worker: Worker) {
        self.event(worker).set();
    }
}

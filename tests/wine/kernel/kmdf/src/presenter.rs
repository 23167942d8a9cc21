//! Threads that present the requests of a parallel queue.
//!
//! The rule: requests are with the driver side by side. Wine dispatches all requests of programs on
//! one thread; Windows dispatches each on its caller's.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use nt::{monitor::Monitor, spinlock::SpinLock, status::Result, thread::Thread};

use crate::{
    abi::{Handle, IoDeviceControl},
    checks::violation,
    irql::{self, PASSIVE_LEVEL},
};

/// Requests that the driver may have at once.
const THREADS: usize = 8;

/// A call of the driver's callback.
pub(crate) struct Presentation {
    pub(crate) callback: IoDeviceControl,
    pub(crate) queue: Handle,
    pub(crate) request: Handle,
    pub(crate) output: u32,
    pub(crate) input: u32,
    pub(crate) code: u32,
}

/// The threads, until they are stopped.
pub(crate) struct Presenter {
    work: Arc<Monitor<Work>>,
    threads: SpinLock<Vec<Thread>>,
}

struct Work {
    waiting: VecDeque<Presentation>,
    stopping: bool,
}

impl Presenter {
    /// Starts the threads.
    pub(crate) fn start() -> Result<Self> {
        let work = Work { waiting: VecDeque::new(), stopping: false };
        let presenter =
            Self { work: Arc::new(Monitor::new(work)), threads: SpinLock::new(Vec::new()) };
        for _ in 0..THREADS {
            let work = Arc::clone(&presenter.work);
            match Thread::spawn(move || run(&work)) {
                Ok(thread) => presenter.threads.lock().push(thread),
                Err(failure) => {
                    presenter.stop();
                    return Err(failure);
                }
            }
        }
        Ok(presenter)
    }

    /// Has a request presented.
    pub(crate) fn present(&self, presentation: Presentation) {
        self.work.lock().waiting.push_back(presentation);
        self.work.notify_one();
    }

    /// Ends the threads; nothing waits any more.
    pub(crate) fn stop(&self) {
        self.work.lock().stopping = true;
        self.work.notify_all();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.into_iter().for_each(Thread::join);
    }
}

fn run(work: &Monitor<Work>) {
    irql::set(PASSIVE_LEVEL);
    while let Some(next) = next(work) {
        let (output, input) = (next.output as usize, next.input as usize);
        // SAFETY: the driver's own callback, with live handles.
        unsafe { (next.callback)(next.queue, next.request, output, input, next.code) };
        if irql::current() != PASSIVE_LEVEL {
            violation!(Irql, "EvtIoDeviceControl", "returned at {}", irql::name(irql::current()));
        }
    }
}

fn next(work: &Monitor<Work>) -> Option<Presentation> {
    let mut state = work.lock();
    loop {
        if let Some(next) = state.waiting.pop_front() {
            return Some(next);
        }
        if state.stopping {
            return None;
        }
        state = state.wait();
    }
}

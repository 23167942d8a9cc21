//! The lines that the service logs, events among them.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

struct Recorder;

impl Log for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        locked().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Begins to record, once in a process.
pub fn record() {
    ONCE.call_once(|| {
        log::set_logger(&Recorder).expect("there is no other logger");
        log::set_max_level(LevelFilter::Info);
    });
}

/// The lines so far.
pub fn lines() -> Vec<String> {
    locked().clone()
}

fn locked() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

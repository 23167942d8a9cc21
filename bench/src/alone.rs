//! The engine and the link without files and clients: what their parts cost on threads of this
//! machine.
//!
//! | module | what it measures |
//! | --- | --- |
//! | [`rundown`] | a write on a volume without a session, on one processor and on all |
//! | [`lock`] | how long the verbs hold the session's lock at 64 TiB |
//! | [`burst`] | how long writes are held that arrive all at once, beside the disk's own reads |
//! | [`link`] | what TLS costs between service and server |

pub mod burst;
pub mod link;
pub mod lock;
pub mod rundown;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread in nanoseconds: what other threads take does not count.
fn thread_time_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// The value below which this share of them lies; 0 of none.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

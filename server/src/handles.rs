//! How many files and sockets the process may have open.
//!
//! Linux starts programs with a low limit, for the sake of those that cannot take more, and lets
//! each raise it.

/// Raises the limit as far as the system lets; returns how many sessions it suffices for if those
/// are fewer than `sessions`.
#[cfg(target_os = "linux")]
pub fn raise(sessions: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Files and sockets that a session has open.
    const OF_SESSION: usize = 6;
    /// What else is open: connections without a Hello, and files while sessions are opened.
    const OTHERS: usize = 512;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    let most = usize::try_from(now.current?).unwrap_or(usize::MAX);
    let suffices = most.saturating_sub(OTHERS) / OF_SESSION;
    (suffices < sessions).then_some(suffices)
}

/// There is no such limit.
#[cfg(not(target_os = "linux"))]
pub fn raise(_: usize) -> Option<usize> {
    None
}

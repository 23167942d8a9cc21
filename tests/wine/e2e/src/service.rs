//! The configuration of the product's service.

/// The service's name for the service manager.
pub const NAME: &str = "SnaplessService";
/// Its program.
pub const PROGRAM: &str = "snapless-service.exe";
/// Its configuration, relative to drive C.
pub const CONFIG_ON_C: &str = "ProgramData/Snapless/service.toml";

/// What it remembers between two starts, relative to drive C.
pub const STATE_ON_C: &str = "ProgramData/Snapless/state";

/// Its log, relative to drive C.
pub const LOG_ON_C: &str = "ProgramData/Snapless/logs/service.log";

/// Settings that differ between scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceSettings {
    /// MiB of the capture queue.
    pub queue_mib: u64,
    /// How long a write may wait for queue space, in milliseconds.
    pub hold_limit_ms: u32,
    /// Wait for queue space without end instead of beginning a gap.
    pub hold_forever: bool,
    /// MiB that the sweep may read in a second, if it is capped.
    pub sweep_mib: Option<u64>,
    /// MiB of the resend window.
    pub resend_mib: u64,
}

/// A short resend window, in MiB: a server that does not answer is felt soon.
pub const RESEND_MIB: u64 = 32;

impl ServiceSettings {
    /// Writes wait for queue space without end: a gap has to come from what a scenario does.
    pub const fn holding(queue_mib: u64) -> Self {
        let resend_mib = RESEND_MIB;
        Self { queue_mib, hold_limit_ms: 10_000, hold_forever: true, sweep_mib: None, resend_mib }
    }

    /// The configuration file.
    pub fn to_toml(self, server: &str, volume: &str, device: &str) -> String {
        let overflow = if self.hold_forever { "hold" } else { "gap" };
        let Self { queue_mib, hold_limit_ms, resend_mib, .. } = self;
        let sweep = self.sweep_mib.map(|mib| format!("sweep_rate = \"{mib} MiB\"\n"));
        format!(
            "server = \"{server}\"\n\n[[volumes]]\nvolume = \"{volume}\"\ndevice = '{device}'\n\
             queue_size = \"{queue_mib} MiB\"\nhold_limit_ms = {hold_limit_ms}\n\
             overflow = \"{overflow}\"\nresend_window = \"{resend_mib} MiB\"\n{}",
            sweep.unwrap_or_default()
        )
    }
}

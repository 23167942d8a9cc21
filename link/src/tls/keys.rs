//! The keys of a connection after its handshake: the TLS implementation derives each one.

use std::fmt::{self, Debug};

use snapless_trust::rustls::kernel::KernelConnection;
use snapless_trust::rustls::{ConnectionTrafficSecrets, Error};

/// The message that replaces a key, and asks the other end for nothing.
pub(super) const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// The same, and asks the other end to replace its key as well.
pub(super) const KEY_UPDATE_REQUEST: [u8; 5] = [24, 0, 0, 1, 1];

/// Derives the next key of either direction.
pub(super) trait KeySchedule: Send {
    /// What this end encrypts with, after it has said so.
    fn next_sealing(&mut self) -> Result<ConnectionTrafficSecrets, Error>;

    /// What the other end encrypts with, after it has said so.
    fn next_opening(&mut self) -> Result<ConnectionTrafficSecrets, Error>;
}

impl<Data: Send> KeySchedule for KernelConnection<Data> {
    fn next_sealing(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        self.update_tx_secret().map(|(_, secrets)| secrets)
    }

    fn next_opening(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        self.update_rx_secret().map(|(_, secrets)| secrets)
    }
}

/// Without keys.
impl Debug for dyn KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySchedule").finish_non_exhaustive()
    }
}

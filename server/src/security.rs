//! Who may speak: over TLS a machine that has enrolled, and only about its own volumes; without
//! TLS whoever reaches the port, which is for tests on one machine.

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use snapless_link::LinkError;
use snapless_link::server::ServerLink;
use snapless_link::stream::is_loopback;
use snapless_link::tls::server::Arrival;
use snapless_trust::audit::Act;
use snapless_trust::identity::{Certified, MachineId, Role};
use snapless_trust::server::ServerTrust;
use snapless_wire::id::VolumeGuid;

use crate::error::{Error, Result};

/// How often it is looked whether a connected machine was revoked.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Who may speak.
#[derive(Clone, Debug)]
pub enum Security {
    /// Whoever reaches the port.
    Insecure,
    /// Machines that have enrolled.
    Tls(Arc<ServerTrust>),
}

/// Where the authority of a repository is.
pub fn trust_dir(repository: &Path) -> PathBuf {
    repository.join("trust")
}

/// What a connection may do. Asked as long as it lives.
#[derive(Debug)]
pub struct Pass {
    /// `None` without TLS.
    holder: Option<(Arc<ServerTrust>, Certified)>,
    peer: SocketAddr,
    looked: Cell<Instant>,
}

impl Security {
    /// Opens the authority of a repository.
    ///
    /// # Errors
    /// [`Error::Trust`], which says how to make one.
    pub fn open(repository: &Path) -> Result<Self> {
        Self::open_in(&trust_dir(repository))
    }

    /// Opens the authority in its folder.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(folder: &Path) -> Result<Self> {
        Ok(Self::Tls(Arc::new(ServerTrust::open(folder)?)))
    }

    /// Without TLS, on an address that no other machine reaches.
    ///
    /// # Errors
    /// [`Error::InsecureAddress`].
    pub fn insecure(listen: SocketAddr) -> Result<Self> {
        if is_loopback(listen.ip()) {
            Ok(Self::Insecure)
        } else {
            Err(Error::InsecureAddress(listen))
        }
    }

    /// Closes a connection for which there is no place; says why if that takes no handshake.
    pub fn turn_away(&self, stream: TcpStream, peer: SocketAddr, why: &str) {
        if let Self::Insecure = self
            && let Ok(link) = ServerLink::accept(stream, peer)
        {
            link.refuse_at_once(why);
        }
    }

    /// Takes a connection through its handshake. `None` if the other end wanted a certificate, and
    /// was answered.
    ///
    /// # Errors
    /// Why the connection is refused; the other end was told.
    pub fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<(ServerLink, Pass)>> {
        let pass = |holder| Pass { holder, peer, looked: Cell::new(Instant::now()) };
        match self {
            Self::Insecure => Ok(Some((ServerLink::accept(stream, peer)?, pass(None)))),
            Self::Tls(trust) => {
                let arrival = ServerLink::accept_tls(stream, peer, trust, cancelled);
                match arrival.inspect_err(|error| note(trust, peer, error))? {
                    Arrival::Answered => Ok(None),
                    Arrival::Link { link, holder } => {
                        Ok(Some((link, pass(Some((Arc::clone(trust), holder))))))
                    }
                }
            }
        }
    }
}

impl Pass {
    /// The machine, for the log.
    pub fn machine(&self) -> Option<&Certified> {
        self.holder.as_ref().map(|(_, certified)| certified)
    }

    /// True if the connection must end. Cheap: it looks once a second.
    pub fn is_over(&self) -> bool {
        if self.looked.get().elapsed() < LOOK_AFTER {
            return false;
        }
        self.looked.set(Instant::now());
        self.look().is_err()
    }

    /// Why the connection must end, if it must.
    ///
    /// # Errors
    /// [`Error::Revoked`], or [`Error::CertificateOver`].
    pub fn check(&self) -> Result<()> {
        self.look().inspect_err(|why| self.note_refusal(&why.to_string()))
    }

    fn look(&self) -> Result<()> {
        match &self.holder {
            Some((trust, certified)) if trust.revocations().covers(certified) => {
                Err(Error::Revoked)
            }
            Some((_, certified)) if SystemTime::now() > certified.validity.to => {
                Err(Error::CertificateOver)
            }
            _ => Ok(()),
        }
    }

    /// The name at this server of the volume that the machine calls so.
    ///
    /// # Errors
    /// [`Error::Role`] if the machine may send nothing; otherwise the binding cannot be read or
    /// written.
    pub fn volume(&self, volume: VolumeGuid) -> Result<VolumeGuid> {
        let Some((trust, machine)) = self.client()? else { return Ok(volume) };
        Ok(VolumeGuid(trust.bind_volume(machine, volume.0, &self.peer.to_string())?))
    }

    /// The same, if the machine has sent something of the volume; otherwise `None`.
    ///
    /// # Errors
    /// [`Error::Role`], or the binding cannot be read.
    pub fn known_volume(&self, volume: VolumeGuid) -> Result<Option<VolumeGuid>> {
        let Some((trust, machine)) = self.client()? else { return Ok(Some(volume)) };
        Ok(trust.find_volume(machine, volume.0)?.map(VolumeGuid))
    }

    /// Why the machine may not restore, for it; `None` if it may.
    ///
    /// # Errors
    /// [`Error::Role`], or it cannot be found out.
    pub fn restore_refusal(&self) -> Result<Option<String>> {
        let Some((trust, machine)) = self.client()? else { return Ok(None) };
        if trust.may_restore(machine, SystemTime::now())? {
            return Ok(None);
        }
        self.note_refusal("it may not restore");
        Ok(Some(format!(
            "this machine may send and not read back: have the server's administrator run \
             `snapless-server allow-restore --repository DIR --machine {machine}`"
        )))
    }

    /// Notes what the machine did with a volume of its own. An act that cannot be noted is done
    /// all the same, and the server's log says so.
    pub fn note_act(&self, act: Act, about: &str) {
        let Some((trust, certified)) = &self.holder else { return };
        let who = (&*self.peer.to_string(), certified.identity.machine);
        if let Err(error) = trust.note_machine(act, who, about) {
            log::error!("the audit log lacks this: {about}: {error}");
        }
    }

    /// The machine, whose role must be to send; `None` without TLS.
    fn client(&self) -> Result<Option<(&ServerTrust, MachineId)>> {
        let Some((trust, certified)) = &self.holder else { return Ok(None) };
        let identity = &certified.identity;
        if identity.role != Role::Client {
            self.note_refusal("its role may send nothing");
            return Err(Error::Role(identity.role));
        }
        Ok(Some((trust, identity.machine)))
    }

    fn note_refusal(&self, why: &str) {
        if let Some((trust, certified)) = &self.holder {
            trust.refused(&self.peer.to_string(), Some(certified), why);
        }
    }
}

fn note(trust: &ServerTrust, peer: SocketAddr, error: &LinkError) {
    // The server stops, or a newer connection needs the place: nobody was refused.
    if !matches!(error, LinkError::Cancelled) {
        trust.refused(&peer.to_string(), None, &error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_a_server_listens_on_the_loopback_only() {
        for good in ["127.0.0.1:1", "[::1]:1", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Security::insecure(good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            let error = Security::insecure(bad.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains("--insecure") && error.contains("127.0.0.1"), "{error}");
        }
    }
}

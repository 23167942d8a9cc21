//! All that a server knows of trust: its authority, the tokens, the machines, what is revoked, and
//! the log of acts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::CertificateSigningRequestDer;

use crate::audit::{Act, Audit, Entry, text_of};
use crate::authority::Authority;
use crate::config::{Purpose, console_config, server_config};
use crate::enrolment::{Answer, Request, csr};
use crate::error::TrustError;
use crate::hex;
use crate::identity::{Certified, Identity, MachineId, Serial, printable};
use crate::machines::{Machine, Machines};
use crate::restores::{RESTORES_MAX, Restores};
use crate::revocation::{Revocations, Subject};
use crate::token::{Grant, Token, Tokens};
use crate::volumes::{VolumeName, Volumes};

/// How often it is looked whether the server's own certificate is due.
const SETTINGS_AGE: Duration = Duration::from_hours(1);

/// All that a server knows of trust.
#[derive(Debug)]
pub struct ServerTrust {
    folder: PathBuf,
    authority: Authority,
    tokens: Tokens,
    machines: Machines,
    revocations: Revocations,
    restores: Restores,
    volumes: Volumes,
    audit: Audit,
    /// The TLS settings that are in use, one for each purpose.
    settings: Mutex<Option<Settings>>,
    /// Held while a file of a machine or a volume is read and written again.
    issuing: Mutex<()>,
}

#[derive(Debug)]
struct Settings {
    made: SystemTime,
    configs: [(Purpose, Arc<ServerConfig>); 3],
}

impl ServerTrust {
    /// Makes an authority in a folder that does not exist yet.
    ///
    /// # Errors
    /// [`TrustError::AuthorityExists`], or a file that cannot be written; then nothing is there.
    pub fn create(folder: &Path, now: SystemTime) -> Result<Self, TrustError> {
        Authority::create(folder, now, |new| {
            Tokens::new(new).create()?;
            Machines::new(new).create()?;
            Revocations::new(new).create()?;
            Volumes::new(new).create()
        })?;
        let trust = Self::open(folder)?;
        trust.note(Act::AuthorityMade, None, None, "")?;
        Ok(trust)
    }

    /// Opens the authority in a folder.
    ///
    /// # Errors
    /// [`TrustError::NoAuthority`], or a file that is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self, TrustError> {
        Ok(Self {
            folder: folder.to_owned(),
            authority: Authority::open(folder)?,
            tokens: Tokens::new(folder),
            machines: Machines::new(folder),
            revocations: Revocations::new(folder),
            restores: Restores::new(folder),
            volumes: Volumes::new(folder),
            audit: Audit::new(folder),
            settings: Mutex::default(),
            issuing: Mutex::default(),
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The SHA-256 of the authority's certificate, as text.
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.authority.fingerprint())
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The log of acts.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Every machine that has enrolled, and whether it is revoked.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn machines(&self) -> Result<Vec<(Machine, bool)>, TrustError> {
        let with_state = |machine: Machine| {
            let id: MachineId = machine.machine.parse()?;
            let revoked = self.revocations.covers_machine(id);
            Ok((machine, revoked))
        };
        self.machines.all()?.into_iter().map(with_state).collect()
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The machine of the grant is unknown or revoked, or as [`Tokens::make`].
    pub fn make_token(
        &self,
        grant: &Grant,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Token, TrustError> {
        if let Some(text) = &grant.machine {
            let machine = text.parse()?;
            self.machines.find(machine)?.ok_or_else(|| TrustError::NoMachine(text.clone()))?;
            if self.revocations.covers_machine(machine) {
                return Err(TrustError::Refused(format!(
                    "machine {machine} is revoked for ever: leave --machine out, and it enrols as \
                     a new machine"
                )));
            }
        }
        let token = self.tokens.make(grant, lifetime, self.authority.fingerprint(), now)?;
        let about = format!(
            "token {}, role {}, until {}{}",
            token.number(),
            grant.role,
            text_of(now + lifetime),
            grant.machine.as_ref().map_or_else(String::new, |id| format!(", machine {id}"))
        );
        self.note(Act::TokenMade, None, None, &about)?;
        Ok(token)
    }

    /// Revokes a machine or a certificate; false if it was revoked before.
    ///
    /// # Errors
    /// [`TrustError::NoMachine`], or a file that cannot be written.
    pub fn revoke(&self, subject: &Subject, now: SystemTime) -> Result<bool, TrustError> {
        let about = match subject {
            Subject::Machine(machine) => {
                let known = self.machines.find(*machine)?;
                known.ok_or_else(|| TrustError::NoMachine(machine.to_string()))?;
                format!("machine {machine}")
            }
            Subject::Serial(serial) => format!("certificate {serial}"),
        };
        let is_new = self.revocations.revoke(subject, now)?;
        if is_new {
            self.note(Act::Revoked, None, None, &about)?;
        }
        Ok(is_new)
    }

    /// Allows a machine to read back what it has sent of its volumes, in restores that begin within
    /// so long.
    ///
    /// # Errors
    /// [`TrustError::NoMachine`], [`TrustError::Refused`] if it is revoked or for too long, or a
    /// file that cannot be written.
    pub fn allow_restores(
        &self,
        machine: MachineId,
        how_long: Duration,
        now: SystemTime,
    ) -> Result<(), TrustError> {
        if how_long > RESTORES_MAX {
            let why = "restores are allowed for 7 days at most: allow them again then";
            return Err(TrustError::Refused(why.to_owned()));
        }
        self.machines.find(machine)?.ok_or_else(|| TrustError::NoMachine(machine.to_string()))?;
        if self.revocations.covers_machine(machine) {
            return Err(TrustError::Refused(format!("machine {machine} is revoked for ever")));
        }
        let until = now + how_long;
        self.restores.allow(machine, until)?;
        let about = format!("machine {machine}, until {}", text_of(until));
        self.note(Act::RestoresAllowed, None, None, &about)
    }

    /// Allows it no longer; false if it was not allowed. A restore that has begun goes on.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn end_restores(&self, machine: MachineId) -> Result<bool, TrustError> {
        let ended = self.restores.end(machine)?;
        if ended {
            self.note(Act::RestoresEnded, None, None, &format!("machine {machine}"))?;
        }
        Ok(ended)
    }

    /// True if the machine may read back what it has sent.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn may_restore(&self, machine: MachineId, now: SystemTime) -> Result<bool, TrustError> {
        self.restores.covers(machine, now)
    }

    /// Answers a request that came on a connection of this purpose; `holder` is the certificate
    /// that the other end has shown.
    pub fn answer(
        &self,
        request: &Request,
        holder: Option<&Certified>,
        peer: &str,
        now: SystemTime,
    ) -> Answer {
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = match (request, holder) {
            (Request::Enrol { proof, name, csr: text }, _) => csr(text).and_then(|csr| {
                let grant = self.tokens.consume(proof, now)?;
                let number = proof.number().unwrap_or_default();
                self.enrol(&grant, name, &csr, (peer, number), now)
            }),
            (Request::Renew { csr: text }, Some(holder)) => {
                csr(text).and_then(|csr| self.renew(holder, &csr, peer, now))
            }
            (Request::Renew { .. }, None) => Err(TrustError::Garbled),
        };
        granted.unwrap_or_else(|error| {
            let why = error.to_string();
            log::warn!("{peer}: no certificate: {why}");
            let machine = holder.map(|holder| holder.identity.machine);
            let act = Act::EnrolRefused;
            let who = None;
            self.audit.refused(&Entry { act, who, peer: Some(peer), machine, about: &why });
            // What is wrong with the server's own files is not the other end's business.
            Answer::Refused(match error {
                TrustError::File { .. } | TrustError::Damaged { .. } => {
                    "the server cannot issue certificates now; its log says why".into()
                }
                TrustError::Refused(why) => why,
                _ => why,
            })
        })
    }

    /// The TLS settings for connections of this purpose, with a certificate that is still valid.
    ///
    /// # Errors
    /// The server's certificate cannot be read or made.
    pub fn config(
        &self,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, TrustError> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |settings: &Settings| {
            now.duration_since(settings.made).is_ok_and(|age| age < SETTINGS_AGE)
        };
        if !settings.as_ref().is_some_and(is_fresh) {
            *settings = Some(self.make_settings(now)?);
        }
        let configs = settings.iter().flat_map(|settings| &settings.configs);
        let mut found = configs.filter(|(of, _)| *of == purpose).map(|(_, it)| Arc::clone(it));
        found.next().ok_or(TrustError::Garbled)
    }

    /// The name at this server of a machine's volume: its own, unless another machine has it.
    ///
    /// # Errors
    /// [`TrustError::Refused`], or a file that cannot be read or written.
    pub fn bind_volume(
        &self,
        machine: MachineId,
        volume: VolumeName,
        peer: &str,
    ) -> Result<VolumeName, TrustError> {
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, is_new) = self.volumes.bind(machine, volume)?;
        if is_new {
            let about = if name == volume {
                format!("volume {}", hex::encode(&name))
            } else {
                let (name, volume) = (hex::encode(&name), hex::encode(&volume));
                format!("volume {name}, which the machine calls {volume} as another one does")
            };
            self.note(Act::VolumeBound, Some(peer), Some(machine), &about)?;
        }
        Ok(name)
    }

    /// The name of a machine's volume at the server; `None` if it has sent nothing of it yet.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn find_volume(
        &self,
        machine: MachineId,
        volume: VolumeName,
    ) -> Result<Option<VolumeName>, TrustError> {
        self.volumes.find(machine, volume)
    }

    /// Notes what a machine did with a volume of its own.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note_machine(
        &self,
        act: Act,
        (peer, machine): (&str, MachineId),
        about: &str,
    ) -> Result<(), TrustError> {
        self.note(act, Some(peer), Some(machine), about)
    }

    /// Notes what an operator did with a volume.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note_act(&self, act: Act, about: &str) -> Result<(), TrustError> {
        self.note(act, None, None, about)
    }

    /// Notes what a user of the console is about to do.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note_console(
        &self,
        (who, peer): (&str, &str),
        machine: Option<MachineId>,
        about: &str,
    ) -> Result<(), TrustError> {
        let (who, peer) = (Some(who), Some(peer));
        self.audit.append(&Entry { act: Act::Console, who, peer, machine, about })
    }

    /// The TLS settings of the console, with a new certificate of the authority for these names and
    /// addresses, and when that expires. Browsers need no certificate of their own.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn console_config(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<(Arc<ServerConfig>, SystemTime), TrustError> {
        let identity = self.authority.console_identity(names, now)?;
        let expires = identity.validity.to;
        Ok((console_config(identity)?, expires))
    }

    /// Which machine each volume at this server belongs to. A binding that is damaged is left out.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn volume_owners(&self) -> Result<Vec<(VolumeName, MachineId)>, TrustError> {
        self.volumes.all()
    }

    /// Notes a refused connection.
    pub fn refused(&self, peer: &str, holder: Option<&Certified>, why: &str) {
        let machine = holder.map(|holder| holder.identity.machine);
        let act = Act::ConnectRefused;
        self.audit.refused(&Entry { act, who: None, peer: Some(peer), machine, about: why });
    }

    fn enrol(
        &self,
        grant: &Grant,
        own_name: &str,
        csr: &CertificateSigningRequestDer<'_>,
        (peer, token): (&str, &str),
        now: SystemTime,
    ) -> Result<Answer, TrustError> {
        let again: Option<MachineId> = grant.machine.as_deref().map(str::parse).transpose()?;
        if again.is_some_and(|machine| self.revocations.covers_machine(machine)) {
            return Err(TrustError::Revoked);
        }
        let identity = Identity {
            machine: again.map_or_else(MachineId::random, Ok)?,
            role: grant.role,
            name: printable(grant.name.as_deref().unwrap_or(own_name)),
        };
        let before = again.map(|machine| self.machines.find(machine)).transpose()?.flatten();
        let (certificate, certified) = self.authority.issue(&identity, csr, now)?;
        // An identity that moves to another key is at one place only.
        for serial in before.iter().flat_map(|machine| &machine.serials) {
            let serial: Serial = serial.parse()?;
            self.revocations.revoke(&Subject::Serial(serial), now)?;
        }
        self.machines.note(&certified, now)?;
        let about = format!("{identity}, token {token}, certificate {}", certified.serial);
        self.note(Act::Enrolled, Some(peer), Some(identity.machine), &about)?;
        log::info!("{peer}: enrolled {identity}");
        Ok(Answer::granted(&certificate, self.authority.certificate()))
    }

    fn renew(
        &self,
        holder: &Certified,
        csr: &CertificateSigningRequestDer<'_>,
        peer: &str,
        now: SystemTime,
    ) -> Result<Answer, TrustError> {
        if self.revocations.covers(holder) {
            return Err(TrustError::Revoked);
        }
        let identity = &holder.identity;
        let (certificate, certified) = self.authority.issue(identity, csr, now)?;
        self.machines.note(&certified, now)?;
        let about = format!("certificate {} after {}", certified.serial, holder.serial);
        self.note(Act::Renewed, Some(peer), Some(identity.machine), &about)?;
        log::info!("{peer}: renewed the certificate of {identity}");
        Ok(Answer::granted(&certificate, self.authority.certificate()))
    }

    fn make_settings(&self, now: SystemTime) -> Result<Settings, TrustError> {
        let identity = self.authority.server_identity(now)?;
        let authority = self.authority.certificate();
        let of = |purpose| {
            let config = server_config(purpose, &identity, authority, &self.revocations);
            config.map(|config| (purpose, config))
        };
        let [link, enrol, renew] = Purpose::ALL.map(of);
        Ok(Settings { made: now, configs: [link?, enrol?, renew?] })
    }

    fn note(
        &self,
        act: Act,
        peer: Option<&str>,
        machine: Option<MachineId>,
        about: &str,
    ) -> Result<(), TrustError> {
        self.audit.append(&Entry { act, who: None, peer, machine, about })
    }
}

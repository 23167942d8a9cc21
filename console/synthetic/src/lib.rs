//! An estate that does not exist: up to thousands of volumes, a 64 TiB volume whose first sync goes
//! on, months of timeline. For the console's tests, and to work on its page.
//!
//! Everything follows from the number of a volume and from the clock; nothing is stored but what
//! the API changes. No repository is read and no file is written: a mount listens nowhere, a
//! restore only tells its progress.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snapless_console::estate::{Act, Download, Estate, Stretch};
use snapless_console::fault::{Code, Fault, Result};
use snapless_console::jobs::Progressing;
use snapless_console::model::{
    At, AuditEntry, BlockMap, Bookmark, BookmarkName, CopyCheck, Enrolment, FilePath, Folder, Heat,
    JobResult, Live, MachineId, Mount, NewBookmark, NewEnrolment, NewMount, NewRestore, Overview,
    Point, Policy, Retention, RetentionChanges, Server, StoredSession, Timeline, Volume, VolumeId,
};

mod files;
mod machines;
mod numbers;
mod past;
mod present;

use numbers::{MIB, TIB, mix};
use past::Named;

/// The folder that restores may name.
pub const RESTORE_FOLDER: &str = "/srv/restores";
/// Entries of the audit log that are kept.
const AUDIT_MAX: usize = 10_000;

/// The estate.
#[derive(Debug)]
pub struct Synthetic {
    volumes: u64,
    changed: Mutex<Changed>,
}

/// What the API has changed.
#[derive(Debug, Default)]
struct Changed {
    audit: Vec<AuditEntry>,
    bookmarks: BTreeMap<(VolumeId, String), Named>,
    retention: BTreeMap<VolumeId, RetentionChanges>,
    revoked: HashSet<MachineId>,
}

impl Synthetic {
    /// An estate of so many volumes.
    pub fn new(volumes: u64) -> Self {
        Self { volumes, changed: Mutex::default() }
    }

    /// The id of a volume by its number.
    pub fn volume_id(&self, number: u64) -> VolumeId {
        present::volume_id(number)
    }

    /// What the audit log has, oldest first.
    pub fn audit_log(&self) -> Vec<AuditEntry> {
        self.changed().audit.clone()
    }

    /// The number of a volume.
    fn number(&self, volume: &VolumeId) -> Result<u64> {
        let number = u64::from_str_radix(&volume.as_str()[24..], 16).unwrap_or(u64::MAX);
        if number < self.volumes && *volume == present::volume_id(number) {
            Ok(number)
        } else {
            Err(Fault::not_found("there is no such volume"))
        }
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of a point.
    fn resolve(&self, volume: &VolumeId, at: &At) -> Result<std::result::Result<u64, String>> {
        let number = self.number(volume)?;
        let key = (volume.clone(), at.to_string());
        if let Some(named) = self.changed().bookmarks.get(&key) {
            return Ok(Ok(named.time_ms));
        }
        Ok(past::resolve(number, at.as_str(), now_ms()))
    }

    fn must_resolve(&self, volume: &VolumeId, at: &At) -> Result<u64> {
        self.resolve(volume, at)?.map_err(|why| Fault::new(Code::NotRestorable, why))
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

impl Estate for Synthetic {
    fn server(&self) -> Result<Server> {
        let formats = ["raw", "qcow2", "vhdx"].map(str::to_owned).to_vec();
        let features = ["mount", "restore", "verify", "files", "retention", "enrolment"];
        Ok(Server {
            name: "synthetic".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: now_ms(),
            repository: "/srv/snapless".to_owned(),
            stored_bytes: Some(91 * TIB),
            free_bytes: Some(23 * TIB),
            space_bytes: Some(120 * TIB),
            shortage: None,
            certificate_expires_ms: Some(now_ms() + 80 * 24 * 3_600_000),
            restore_folders: vec![RESTORE_FOLDER.to_owned()],
            restore_formats: formats,
            features: features.map(str::to_owned).to_vec(),
        })
    }

    fn overview(&self) -> Result<Overview> {
        let now_ms = now_ms();
        let revoked = self.changed().revoked.clone();
        let volumes: Vec<_> = (0..self.volumes).map(|it| present::line(it, now_ms)).collect();
        let machines = machines::machines(self.volumes, now_ms).map(|mut machine| {
            machine.revoked = revoked.contains(&machine.machine);
            machine
        });
        Ok(Overview { now_ms, machines: machines.collect(), volumes })
    }

    fn volume(&self, volume: &VolumeId) -> Result<Volume> {
        let number = self.number(volume)?;
        let now_ms = now_ms();
        let line = present::line(number, now_ms);
        let length = present::length(number);
        let blocks = length / (64 << 10);
        let t0_ms = past::t0_ms(number, now_ms);
        let session = StoredSession {
            session: past::session(number),
            created_ms: Some(t0_ms),
            length: Some(length),
            block_size: Some(64 << 10),
            sector_size: Some(512),
            t0_ms: Some(t0_ms),
            t0_restorable: line.first_sync.is_none(),
            latest_ms: line.latest_ms,
            whole_from_ms: Some(past::whole_from_ms(number, now_ms)),
            stored_bytes: line.stored_bytes,
            blocks: Some(blocks),
            blocks_known: Some(line.first_sync.as_ref().map_or(blocks, |it| it.done / (64 << 10))),
            blocks_with_holes: Some(0),
            excluded_bytes: Some(4096 * MIB),
            epochs: Some((now_ms - t0_ms) / 1000),
            gaps: past::gaps(number, now_ms).len() as u64,
            damage: None,
        };
        let copy_check = CopyCheck {
            time_ms: now_ms - 3_600_000,
            same_bytes: length - MIB,
            differing_bytes: 0,
            unclear_bytes: MIB,
            left_out_bytes: 4096 * MIB,
            damaged: false,
        };
        let (sessions, copy_check) = (vec![session], Some(copy_check));
        Ok(Volume { line, sessions, live: self.live(volume), copy_check, error: None })
    }

    fn live(&self, volume: &VolumeId) -> Option<Live> {
        let number = self.number(volume).ok()?;
        present::live(number, now_ms())
    }

    fn map(&self, volume: &VolumeId, parts: u32) -> Result<BlockMap> {
        let number = self.number(volume)?;
        Ok(present::map(number, volume.clone(), parts, now_ms()))
    }

    fn timeline(&self, volume: &VolumeId, stretch: Stretch, buckets: u32) -> Result<Timeline> {
        let number = self.number(volume)?;
        let mut timeline = past::timeline(number, volume.clone(), stretch, buckets, now_ms());
        let changed = self.changed();
        let own = changed.bookmarks.iter().filter(|((of, _), _)| of == volume);
        timeline.bookmarks.extend(own.map(|((_, name), named)| named.shown(name)));
        Ok(timeline)
    }

    fn heat(&self, volume: &VolumeId, stretch: Stretch, parts: u32) -> Result<Heat> {
        let number = self.number(volume)?;
        Ok(past::heat(number, volume.clone(), stretch, parts, now_ms()))
    }

    fn point(&self, volume: &VolumeId, at: &At) -> Result<Point> {
        let resolved = self.resolve(volume, at)?;
        let number = self.number(volume)?;
        let time_ms = resolved.as_ref().ok().copied();
        let near = past::instant(at.as_str(), now_ms());
        let (before_ms, after_ms) =
            near.map_or((None, None), |at| past::nearest(number, at, now_ms()));
        Ok(Point {
            at: at.to_string(),
            restorable: resolved.is_ok(),
            time_ms,
            time: time_ms.and_then(past::text),
            session: time_ms.map(|_| past::session(number)),
            why: resolved.err(),
            before_ms,
            after_ms,
        })
    }

    fn add_bookmark(&self, volume: &VolumeId, new: &NewBookmark) -> Result<Bookmark> {
        let time_ms = self.must_resolve(volume, &new.at)?;
        let keep = new.keep.as_ref().map(ToString::to_string);
        let named = Named {
            time_ms,
            session: past::session(self.number(volume)?),
            made_ms: now_ms(),
            keep,
        };
        let key = (volume.clone(), new.name.to_string());
        let mut changed = self.changed();
        if changed.bookmarks.contains_key(&key) {
            return Err(Fault::new(Code::Conflict, "the volume has a bookmark of this name"));
        }
        let shown = named.shown(new.name.as_str());
        changed.bookmarks.insert(key, named);
        Ok(shown)
    }

    fn remove_bookmark(&self, volume: &VolumeId, name: &BookmarkName) -> Result<()> {
        self.number(volume)?;
        let key = (volume.clone(), name.to_string());
        let removed = self.changed().bookmarks.remove(&key);
        removed.map(drop).ok_or_else(|| Fault::not_found("the volume has no such bookmark"))
    }

    fn mount(&self, volume: &VolumeId, new: &NewMount, job: &Progressing) -> Result<JobResult> {
        self.must_resolve(volume, &new.at)?;
        let address = "/run/snapless/mount-1/nbd.sock".to_owned();
        let uri = format!("nbd+unix:///?socket={address}");
        let commands = vec![
            format!("nbdinfo '{uri}'"),
            format!("nbd-client -unix {address} /dev/nbd0"),
            "mount -o ro /dev/nbd0 /mnt".to_owned(),
        ];
        job.mounted(Mount { address, uri, commands });
        while !job.is_stopped() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(JobResult { sound: true, ..JobResult::default() })
    }

    fn restore(&self, volume: &VolumeId, new: &NewRestore, job: &Progressing) -> Result<JobResult> {
        self.must_resolve(volume, &new.at)?;
        let bytes = work(job, 64 * 1024 * MIB, Duration::from_secs(12))?;
        let file = Some(format!("{}/{}", new.folder, new.file));
        Ok(JobResult { file, bytes: Some(bytes), sound: true, findings: Vec::new() })
    }

    fn verify(&self, volume: &VolumeId, job: &Progressing) -> Result<JobResult> {
        let number = self.number(volume)?;
        let bytes = work(job, 128 * 1024 * MIB, Duration::from_secs(6))?;
        let is_damaged = number % 13 == 5;
        let finding = "segment 17 is damaged: its checksum is another".to_owned();
        let findings = if is_damaged { vec![finding] } else { Vec::new() };
        Ok(JobResult { file: None, bytes: Some(bytes), sound: !is_damaged, findings })
    }

    fn folder(
        &self,
        volume: &VolumeId,
        at: &At,
        path: &FilePath,
        after: Option<&str>,
    ) -> Result<Folder> {
        let at_ms = self.must_resolve(volume, at)?;
        files::folder(at_ms, path.as_str(), after)
    }

    fn file(&self, volume: &VolumeId, at: &At, path: &FilePath) -> Result<Download> {
        self.must_resolve(volume, at)?;
        files::file(path.as_str())
    }

    fn retention(&self, volume: &VolumeId) -> Result<Retention> {
        self.number(volume)?;
        let own = self.changed().retention.get(volume).cloned().unwrap_or_default();
        let number =
            |own: Option<snapless_console::model::Slots>, other| own.map_or(other, |it| it.get());
        let span = |own: &Option<snapless_console::model::Span>, other: &str| {
            own.as_ref().map_or_else(|| other.to_owned(), ToString::to_string)
        };
        let effective = Policy {
            keep_all: span(&own.keep_all, "14d"),
            hourly: number(own.hourly, 0),
            daily: number(own.daily, 30),
            weekly: number(own.weekly, 8),
            monthly: number(own.monthly, 12),
            yearly: number(own.yearly, 0),
            bookmarks: span(&own.bookmarks, "forever"),
            time_zone: own.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        };
        Ok(Retention { own, effective })
    }

    fn set_retention(&self, volume: &VolumeId, new: &RetentionChanges) -> Result<Retention> {
        self.number(volume)?;
        self.changed().retention.insert(volume.clone(), new.clone());
        self.retention(volume)
    }

    fn make_enrolment(&self, new: &NewEnrolment) -> Result<Enrolment> {
        let token = format!("snapless-{:016x}{:016x}", mix(now_ms(), 1), mix(now_ms(), 2));
        Ok(Enrolment {
            command: format!("snapless enroll SERVER --token {token}"),
            token,
            valid_until_ms: now_ms() + u64::from(new.valid_minutes) * 60_000,
        })
    }

    fn revoke(&self, machine: &MachineId) -> Result<()> {
        let is_it = |it: &snapless_console::model::MachineLine| it.machine == *machine;
        if !machines::machines(self.volumes, now_ms()).any(|it| is_it(&it)) {
            return Err(Fault::not_found("there is no such machine"));
        }
        self.changed().revoked.insert(machine.clone());
        Ok(())
    }

    fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>> {
        Ok(self.changed().audit.iter().rev().take(limit).cloned().collect())
    }

    fn note(&self, act: &Act<'_>) -> Result<()> {
        let mut changed = self.changed();
        if changed.audit.len() >= AUDIT_MAX {
            changed.audit.remove(0);
        }
        changed.audit.push(AuditEntry {
            time_ms: Some(now_ms()),
            act: act.act.to_owned(),
            who: Some(act.who.to_owned()),
            peer: Some(act.peer.to_owned()),
            machine: act.machine.map(ToString::to_string),
            about: act.about.to_owned(),
        });
        Ok(())
    }
}

/// Tells a progress for a while.
fn work(job: &Progressing, total: u64, time: Duration) -> Result<u64> {
    const STEPS: u64 = 200;
    for step in 0..STEPS {
        if job.is_stopped() {
            return Err(Fault::new(Code::Conflict, "stopped"));
        }
        job.progress(total / STEPS * step, total);
        thread::sleep(time / 200);
    }
    job.progress(total, total);
    Ok(total)
}

/// TLS settings with a certificate of its own for the loopback, and the certificate in PEM.
///
/// # Errors
/// The certificate cannot be made.
pub fn certificate() -> std::result::Result<(Arc<rustls::ServerConfig>, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into())
        });
    Ok((Arc::new(config.map_err(|_| rcgen::Error::CouldNotParseCertificate)?), cert.pem()))
}

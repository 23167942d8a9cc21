//! The calls of the console, each handed on to the module that does it.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use snapless_console::estate::{Act, Download, Estate, Stretch};
use snapless_console::fault::{Fault, Result};
use snapless_console::jobs::Progressing;
use snapless_console::model::{
    At, AuditEntry, BlockMap, Bookmark, BookmarkName, Enrolment, FilePath, Folder, Heat, JobResult,
    Live, MachineId, NewBookmark, NewEnrolment, NewMount, NewRestore, Overview, Point, Retention,
    RetentionChanges, Server, Timeline, Volume, VolumeId, VolumeLine,
};
use snapless_console::settings::Settings;
use snapless_trust::server::ServerTrust;
use snapless_wire::id::VolumeGuid;

use super::blocks;
use super::changes::AllChanges;
use super::fault::{guid, volume_id};
use super::lines::{self, Link, ms, now_ms};
use super::seen::{Seen, Watcher};
use crate::connected::Connected;
use crate::disk_image;
use crate::floor::Shortage;
use crate::list;
use crate::location::Location;
use crate::repository::Repository;
use crate::seal::KeySource;
use crate::stop::StopFlag;

/// What a server stores, for its console.
#[derive(Debug)]
pub struct Stored {
    pub(super) location: Location,
    pub(super) key: KeySource,
    pub(super) repository: Repository,
    pub(super) connected: Connected,
    pub(super) trust: Arc<ServerTrust>,
    pub(super) settings: Settings,
    pub(super) watcher: Watcher,
    pub(super) changes: AllChanges,
    /// Held while policies are read, changed and written.
    pub(super) policies: Mutex<()>,
    /// Ends what counts.
    pub(super) stop: StopFlag,
    machine: String,
    certificate_expires: SystemTime,
    formats: Vec<String>,
}

/// What it is made of.
pub(super) struct Parts {
    pub(super) location: Location,
    pub(super) key: KeySource,
    pub(super) repository: Repository,
    pub(super) connected: Connected,
    pub(super) trust: Arc<ServerTrust>,
    pub(super) settings: Settings,
    pub(super) machine: String,
    pub(super) certificate_expires: SystemTime,
}

impl Stored {
    /// Starts to look at what is stored.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(parts: Parts) -> crate::error::Result<Self> {
        let Parts { repository, connected, trust, .. } = &parts;
        let watcher = Watcher::start(repository.clone(), connected.clone(), Arc::clone(trust))?;
        let Parts { location, key, repository, connected, trust, settings, .. } = parts;
        Ok(Self {
            location,
            key,
            repository,
            connected,
            trust,
            settings,
            watcher,
            changes: AllChanges::default(),
            policies: Mutex::default(),
            stop: StopFlag::default(),
            machine: parts.machine,
            certificate_expires: parts.certificate_expires,
            formats: disk_image::formats().into_iter().map(|it| it.name().to_owned()).collect(),
        })
    }

    fn link(&self, volume: VolumeGuid, seen: &Seen) -> Link {
        let counts = self.connected.of(volume);
        Link {
            told: counts.as_ref().and_then(|counts| counts.told()),
            known: self.connected.known(volume).unwrap_or_default(),
            is_connected: counts.is_some(),
            rate: counts.as_ref().and(seen.rates.get(&volume)).map(|rate| rate.per_second),
            machine: counts
                .and_then(|counts| counts.machine)
                .or_else(|| seen.owners.get(&volume).copied()),
        }
    }

    fn line(
        &self,
        volume: VolumeGuid,
        listed: &list::Volume,
        seen: &Seen,
        now_ms: u64,
    ) -> Result<VolumeLine> {
        let link = self.link(volume, seen);
        Ok(lines::line(volume_id(volume)?, listed, &link, &self.settings, now_ms))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Estate for Stored {
    fn server(&self) -> Result<Server> {
        let store = self.repository.store();
        let space = store.space()?;
        let since = self.certificate_expires.duration_since(SystemTime::UNIX_EPOCH).ok();
        let expires = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        let shortage = Shortage::find(&self.repository)?.map(|shortage| shortage.to_string());
        let seen = self.watcher.seen();
        let stored = seen.volumes.values().map(|looked| looked.listed.stored_bytes());
        let features = ["mount", "restore", "verify", "files", "retention", "enrolment"];
        Ok(Server {
            name: self.machine.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: now_ms(),
            repository: self.location.to_string(),
            stored_bytes: Some(stored.sum()),
            free_bytes: space.map(|space| space.free),
            space_bytes: space.map(|space| space.total),
            shortage,
            certificate_expires_ms: expires,
            restore_folders: {
                let folders = self.settings.restore_folders.iter();
                folders.map(|folder| folder.display().to_string()).collect()
            },
            restore_formats: self.formats.clone(),
            features: features.map(str::to_owned).to_vec(),
        })
    }

    fn overview(&self) -> Result<Overview> {
        let now_ms = now_ms();
        let machines = self.machines();
        let seen = self.watcher.seen();
        let of = |(volume, looked): (&VolumeGuid, &super::seen::Looked)| {
            self.line(*volume, &looked.listed, &seen, now_ms)
        };
        let volumes = seen.volumes.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok(Overview { now_ms, machines, volumes })
    }

    fn volume(&self, volume: &VolumeId) -> Result<Volume> {
        let guid = guid(volume)?;
        let listed = self.list(guid)?;
        let line = self.line(guid, &listed, &self.watcher.seen(), now_ms())?;
        Ok(Volume {
            line,
            sessions: listed.sessions.iter().map(lines::session).collect(),
            live: self.live(volume),
            copy_check: lines::copy_check(&listed),
            error: listed.error,
        })
    }

    fn live(&self, volume: &VolumeId) -> Option<Live> {
        let volume = guid(volume).ok()?;
        let link = self.link(volume, &self.watcher.seen());
        link.is_connected.then(|| lines::live(&link, now_ms()))
    }

    fn map(&self, volume: &VolumeId, parts: u32) -> Result<BlockMap> {
        let guid = guid(volume)?;
        let mut map = BlockMap::unknown(volume.clone());
        {
            let seen = self.watcher.seen();
            let missing = || Fault::not_found("there is no such volume");
            let looked = seen.volumes.get(&guid).ok_or_else(missing)?;
            let shape = looked.listed.sessions.last().and_then(|it| it.shape.as_ref());
            map.length = shape.map(|shape| shape.length);
            map.block_size = shape.map(|shape| shape.block_size.into());
        }
        let counts = self.connected.of(guid);
        if let Some(made) = counts.as_ref().and_then(|counts| counts.map()) {
            let told = counts.and_then(|counts| counts.told());
            map.time_ms = ms(made.time);
            map.states = blocks::STATES.to_vec();
            let report = told.as_ref().map(|told| &told.report);
            let length = map.length.unwrap_or_default();
            map.run_length(blocks::shares(&made.parts, report, length, parts as usize));
        }
        Ok(map)
    }

    fn timeline(&self, volume: &VolumeId, stretch: Stretch, buckets: u32) -> Result<Timeline> {
        self.timeline_of(volume, stretch, buckets)
    }

    fn heat(&self, volume: &VolumeId, stretch: Stretch, parts: u32) -> Result<Heat> {
        self.heat_of(volume, stretch, parts)
    }

    fn point(&self, volume: &VolumeId, at: &At) -> Result<Point> {
        self.point_of(volume, at)
    }

    fn add_bookmark(&self, volume: &VolumeId, new: &NewBookmark) -> Result<Bookmark> {
        self.bookmark(volume, new)
    }

    fn remove_bookmark(&self, volume: &VolumeId, name: &BookmarkName) -> Result<()> {
        self.drop_bookmark(volume, name)
    }

    fn mount(&self, volume: &VolumeId, new: &NewMount, job: &Progressing) -> Result<JobResult> {
        self.serve(volume, new, job)
    }

    fn restore(&self, volume: &VolumeId, new: &NewRestore, job: &Progressing) -> Result<JobResult> {
        self.restore_to(volume, new, job)
    }

    fn verify(&self, volume: &VolumeId, job: &Progressing) -> Result<JobResult> {
        self.check(volume, job)
    }

    fn folder(
        &self,
        volume: &VolumeId,
        at: &At,
        path: &FilePath,
        after: Option<&str>,
    ) -> Result<Folder> {
        self.read_folder(volume, at, path, after)
    }

    fn file(&self, volume: &VolumeId, at: &At, path: &FilePath) -> Result<Download> {
        self.read_file(volume, at, path)
    }

    fn retention(&self, volume: &VolumeId) -> Result<Retention> {
        self.policy_of(volume)
    }

    fn set_retention(&self, volume: &VolumeId, new: &RetentionChanges) -> Result<Retention> {
        self.set_policy(volume, new)
    }

    fn make_enrolment(&self, new: &NewEnrolment) -> Result<Enrolment> {
        self.enrol(new)
    }

    fn revoke(&self, machine: &MachineId) -> Result<()> {
        self.refuse(machine)
    }

    fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>> {
        self.audit_end(limit)
    }

    fn note(&self, act: &Act<'_>) -> Result<()> {
        self.note_act(act)
    }
}

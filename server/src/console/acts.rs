//! What the console does with volumes: bookmarks, mounts, restores, verification, retention.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::PoisonError;

use clap::ValueEnum;
use snapless_console::fault::{Code, Fault, Result};
use snapless_console::jobs::Progressing;
use snapless_console::model::{
    Bookmark, BookmarkName, JobResult, Mount as Served, NewBookmark, NewMount, NewRestore,
    Retention, RetentionChanges, Transport, VolumeId,
};
use snapless_wire::id::VolumeGuid;

use super::estate::Stored;
use super::fault::guid;
use super::lines::policy;
use super::past::bookmark;
use crate::bookmarks::{Shown, new_name};
use crate::disk_image::{self, DiskFormat};
use crate::error::Error;
use crate::format::bookmark::{BookmarkName as StoredName, Making};
use crate::mount::{Address, Mount};
use crate::naming::name_point;
use crate::point_name::PointName;
use crate::repository::Repository;
use crate::restore::{self, Found, Progress, Request, Source};
use crate::retention::minimum::Minimums;
use crate::retention::policy::{Changes, Keep, Policies, Volume};
use crate::retention::run::volumes;
use crate::stop::StopFlag;
use crate::target::keep_out;
use crate::time;
use crate::verify::{Selection, verify_selected};

/// Findings that are told of a verification or a restore.
const FINDINGS_MAX: usize = 100;

impl Stored {
    /// Opens the repository for an act that reads for long.
    pub(super) fn open(&self, command: &'static str) -> Result<Repository> {
        let repository = self.location.open()?.unlock(&self.key)?;
        Ok(repository.pinned_for(command))
    }

    pub(super) fn bookmark(&self, id: &VolumeId, new: &NewBookmark) -> Result<Bookmark> {
        let volume = guid(id)?;
        let name = new_name(new.name.as_str()).map_err(Fault::bad)?;
        let keep = match &new.keep {
            Some(keep) => Keep::from_str(keep.as_str()).map_err(Fault::bad)?.for_bookmark(),
            None => None,
        };
        let stop = StopFlag::default();
        let repository = self.open("bookmark")?;
        let source = source(&repository, volume, new.at.as_str())?;
        let found = Found::find(&repository, &source, &stop)?;
        let made = name_point(&repository, &found, name, Making::default(), keep, &stop)?;
        Ok(bookmark(&Shown::of(&made)))
    }

    pub(super) fn drop_bookmark(&self, id: &VolumeId, name: &BookmarkName) -> Result<()> {
        let name = StoredName::parse(name.as_str())
            .ok_or_else(|| Fault::not_found("there is no such bookmark"))?;
        Ok(self.repository.remove_bookmark(guid(id)?, &name)?)
    }

    pub(super) fn serve(
        &self,
        id: &VolumeId,
        new: &NewMount,
        job: &Progressing,
    ) -> Result<JobResult> {
        let volume = guid(id)?;
        let stop = stop_of(job);
        let repository = self.open("mount")?;
        let source = source(&repository, volume, new.at.as_str())?;
        let found = Found::find(&repository, &source, &stop)?;
        let image = found.open(&stop, |progress| tell(job, progress))?;
        let (address, _folder) = match new.transport {
            Transport::Socket => Address::in_own_folder().map(|(at, folder)| (at, Some(folder)))?,
            Transport::Port => (Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), None),
        };
        let overlay = new.writable.then(tempfile::tempfile).transpose();
        let overlay = overlay.map_err(Error::file("create a file in", &std::env::temp_dir()))?;
        let mount = Mount::bind(&address, found.header(), image, overlay)?;
        let holes = mount.map().unreadable_bytes();
        let stopper = mount.stopper();
        job.on_stop(move || stopper.stop());
        job.text(format!("serves the volume as of {}", time::to_text(found.point().time)));
        job.mounted(served(&mount));
        mount.run();
        let findings = (holes > 0).then(|| format!("{holes} bytes, which the disk could not read"));
        Ok(JobResult {
            file: None,
            bytes: None,
            sound: holes == 0,
            findings: findings.into_iter().collect(),
        })
    }

    pub(super) fn restore_to(
        &self,
        id: &VolumeId,
        new: &NewRestore,
        job: &Progressing,
    ) -> Result<JobResult> {
        let volume = guid(id)?;
        let folder = Path::new(&new.folder);
        if !self.settings.restore_folders.iter().any(|it| it == folder) {
            return Err(Fault::bad("the folder is none of `restore_folders`"));
        }
        let format = DiskFormat::from_str(&new.format, true).map_err(Fault::bad)?;
        let to = folder.join(new.file.as_str());
        if let Some(directory) = self.location.directory() {
            keep_out(&to, directory)?;
        }
        if to.symlink_metadata().is_ok() {
            let message = format!("{} is there already: choose another name", to.display());
            return Err(Fault::new(Code::Conflict, message));
        }
        let stop = stop_of(job);
        let repository = self.open("restore")?;
        let source = source(&repository, volume, new.at.as_str())?;
        let request = Request { source, to: to.clone(), force: false, other_sector_size: false };
        let progress = |progress| tell(job, progress);
        let report = match format {
            DiskFormat::Raw => restore::restore(&repository, &request, &stop, progress)?,
            format => {
                disk_image::restore(&repository, &request, format, true, &stop, progress)?.restored
            }
        };
        let hole = |extent: &snapless_types::Extent| {
            let (len, offset) = (extent.len(), extent.offset());
            format!("{len} bytes at {offset}: the disk could not read them; zeros in the image")
        };
        job.text(format!("restored the volume as of {}", report.time));
        Ok(JobResult {
            file: Some(to.display().to_string()),
            bytes: Some(report.bytes),
            sound: report.unreadable.is_empty(),
            findings: report.unreadable.iter().take(FINDINGS_MAX).map(hole).collect(),
        })
    }

    pub(super) fn check(&self, id: &VolumeId, job: &Progressing) -> Result<JobResult> {
        let selection = Selection { volume: Some(guid(id)?), session: None };
        let stop = stop_of(job);
        let repository = self.open("verify")?;
        let report = verify_selected(&repository, &selection, &stop, |progress| {
            job.progress(progress.done, progress.total);
        })?;
        let damage = report.damage.iter().map(|it| it.error.clone());
        let differs = report.checks.iter().filter(|it| it.differ()).map(|it| {
            let session = &it.session;
            format!("session {session}: the copy is not what the volume had: see `verify`")
        });
        let findings: Vec<_> = damage.chain(differs).take(FINDINGS_MAX).collect();
        let sound = report.damage.is_empty() && !report.differs();
        let verdict = if sound { "sound" } else { "damaged" };
        let (sessions, entries) = (report.sessions, report.entries);
        job.text(format!("{sessions} sessions with {entries} entries are {verdict}"));
        Ok(JobResult { file: None, bytes: Some(report.bytes), sound, findings })
    }

    pub(super) fn policy_of(&self, id: &VolumeId) -> Result<Retention> {
        let volume = self.must_know(guid(id)?)?;
        let policies = Policies::read(self.repository.store())?;
        let own = policies.volume.get(&Volume(volume)).cloned().unwrap_or_default();
        Ok(Retention { own: shown_changes(&own)?, effective: policy(&policies.of(volume)) })
    }

    pub(super) fn set_policy(&self, id: &VolumeId, new: &RetentionChanges) -> Result<Retention> {
        let volume = self.must_know(guid(id)?)?;
        let (store, changes) = (self.repository.store(), changes(new)?);
        let changing = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut policies = Policies::read(store)?;
        policies.unset(volume);
        if !changes.is_empty() {
            policies.set(Some(volume), &changes);
        }
        let minimums = Minimums::read(store, time::now())?;
        let refused = |error: Error| Fault::new(Code::Conflict, error.to_string());
        minimums.check(&policies).map_err(refused)?;
        policies.write(store)?;
        drop(changing);
        self.policy_of(id)
    }

    /// The volume, if something of it is stored.
    pub(super) fn must_know(&self, volume: VolumeGuid) -> Result<VolumeGuid> {
        volumes(&self.repository, Some(volume))?;
        Ok(volume)
    }
}

fn source(repository: &Repository, volume: VolumeGuid, at: &str) -> Result<Source> {
    let name: PointName = at.parse().map_err(Fault::bad)?;
    Ok(name.source(repository, volume, None)?)
}

/// The flag that ends a job's work.
fn stop_of(job: &Progressing) -> StopFlag {
    let stop = StopFlag::default();
    let also = stop.clone();
    job.on_stop(move || also.set());
    stop
}

fn tell(job: &Progressing, progress: Progress) {
    job.progress(progress.done, progress.total);
}

/// Where a mount is, with commands as `snapless-server mount` prints them.
fn served(mount: &Mount) -> Served {
    let address = mount.address();
    Served {
        address: address.to_string(),
        uri: address.uri(mount.export()),
        commands: mount.commands().to_vec(),
    }
}

/// As JSON both have the same names and values, but for numbers that the API does not take.
fn shown_changes(own: &Changes) -> Result<RetentionChanges> {
    let value = serde_json::to_value(own).map_err(Fault::internal)?;
    serde_json::from_value(value).map_err(Fault::internal)
}

fn changes(new: &RetentionChanges) -> Result<Changes> {
    let mut value = serde_json::to_value(new).map_err(Fault::internal)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(value).map_err(|error| Fault::bad(error.to_string()))
}

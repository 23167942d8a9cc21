//! Restores a point as a virtual disk (qcow2, VHDX, …), which `qemu-img` writes.
//!
//! The point is served over NBD at a socket of this user alone for as long as it takes, and
//! `qemu-img` makes the disk from that. The disk is then compared with the point, byte for byte.
//! Until it is complete, compared and durable it has a name of its own, as every restored image.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::mount::{Address, Mount, Stopper};
use crate::point::PointReader;
use crate::repository::Repository;
use crate::restore::{self, Found, Progress, Request, Stage};
use crate::stop::StopFlag;
use crate::target::ImageFile;
use crate::time;

mod format;
mod qemu_img;

pub use format::DiskFormat;
use qemu_img::QemuImg;

/// The report of a restore to a virtual disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// What was restored. `bytes` are those of the volume, `bytes_written` those of the file.
    #[serde(flatten)]
    pub restored: restore::Report,
    /// The disk's format.
    pub format: DiskFormat,
    /// True if the disk was compared with the point.
    pub compared: bool,
}

/// The formats that can be made on this machine.
pub fn formats() -> Vec<DiskFormat> {
    let has_program = cfg!(unix) && QemuImg::find().is_ok();
    let all = <DiskFormat as clap::ValueEnum>::value_variants();
    all.iter().copied().filter(|format| *format == DiskFormat::Raw || has_program).collect()
}

/// Restores a point to a file of a format other than raw, and compares it with the point unless
/// `compare` is false.
///
/// # Errors
/// As for [`restore::restore`]; [`Error::NoQemuImg`], [`Error::OldQemuImg`], [`Error::QemuImg`],
/// [`Error::DiskDiffers`], [`Error::RawOnly`] for a block device.
pub fn restore(
    repository: &Repository,
    request: &Request,
    format: DiskFormat,
    compare: bool,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    if cfg!(not(unix)) {
        let what = "virtual disks are made where there are Unix sockets";
        return Err(Error::RawOnly { path: request.to.clone(), what });
    }
    // What would fail at the end fails before the work.
    let program = QemuImg::find()?;
    let found = Found::find(repository, &request.source, stop)?;
    let geometry = *found.geometry();
    let target = ImageFile::for_program(&request.to, &request.demand(0, None))?;
    let image = found.open(stop, &mut progress)?;
    let (records, unreadable) = (image.map().records(), image.map().unreadable());
    let total = geometry.length();
    let mut tell = |stage, per_mille: u64| {
        let done = total.saturating_mul(per_mille) / 1000;
        progress(Progress { stage, done, total });
    };
    served(&found, image, |uri| {
        let disk = target.partial_path();
        program.convert(uri, disk, format, stop, |done| tell(Stage::Image, done))?;
        if !compare {
            return Ok(());
        }
        let same = program.compare(uri, disk, format, stop, |done| tell(Stage::Compare, done));
        same.map_err(|error| match error {
            Error::DiskDiffers { why, .. } => Error::DiskDiffers { path: request.to.clone(), why },
            other => other,
        })
    })?;
    let written = fs::metadata(target.partial_path());
    let written = written.map_err(Error::file("look at", &request.to))?.len();
    let restored = restore::Report {
        volume: found.header().volume.to_string(),
        session: found.header().session.to_string(),
        time: time::to_text(found.point().time),
        file: request.to.clone().into(),
        bytes: geometry.length(),
        sector_size: geometry.sector_size(),
        bytes_written: written,
        taken_over: 0,
        records,
        unreadable,
        gap_since: found.point().gap_since.map(time::to_text),
        passed_over: found.passed_over().to_vec(),
    };
    target.finish()?;
    Ok(Report { restored, format, compared: compare })
}

/// Serves the image while `work` uses its URI. Damage of what is served goes before what `work`
/// makes of it.
fn served(found: &Found, image: PointReader, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let (address, _folder) = Address::in_own_folder()?;
    let mount = Mount::bind(&address, found.header(), image, None)?;
    let (uri, failure) = (mount.address().uri(mount.export()), mount.failure());
    let done = thread::scope(|scope| {
        let _end = EndAtLast(mount.stopper());
        let serve = move || mount.run();
        thread::Builder::new().spawn_scoped(scope, serve).map_err(Error::Thread)?;
        work(&uri)
    });
    match (done, Arc::into_inner(failure).and_then(OnceLock::into_inner)) {
        (Err(Error::Stopped), _) => Err(Error::Stopped),
        (_, Some(damage)) => Err(damage),
        (done, None) => done,
    }
}

/// Ends a mount when it is dropped: the thread that serves must end whatever became of the work.
struct EndAtLast(Stopper);

impl Drop for EndAtLast {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Checks that a salvage, which makes raw images, is not asked for another format.
///
/// # Errors
/// [`Error::RawOnly`].
pub fn check_raw(format: DiskFormat, path: &Path) -> Result<()> {
    match format {
        DiskFormat::Raw => Ok(()),
        _ => Err(Error::RawOnly { path: path.to_owned(), what: "a salvage makes raw images only" }),
    }
}

//! An image in a file, which has a name of its own until it is complete.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use snapless_trust::folders;
use snapless_wire::id::FileTime;
use tempfile::{NamedTempFile, TempPath};

use super::checkpoints::Checkpoints;
use super::control::{CONTROL_LEN, Control};
use super::partial::{Left, control_at, name_of};
use super::place::{self, Place};
use super::{Demand, partial};
use crate::error::{Error, Result};
use crate::format::unfinished::{ImageId, Unfinished};
use crate::storage::local::write_all_at;

/// A file that takes the target's name when it is finished. Dropped before, it is removed.
#[derive(Debug)]
pub struct ImageFile {
    partial: NamedTempFile,
    path: PathBuf,
    force: bool,
    resumable: Option<Resumable>,
}

/// What a file has with which a later restore can go on.
#[derive(Debug)]
struct Resumable {
    checkpoints: Checkpoints,
    /// Bytes of the image; the slots stand behind them.
    length: u64,
    /// The image's bytes before this one were there when this restore began.
    there: u64,
}

impl ImageFile {
    /// Makes a file that another program fills, at [`Self::partial_path`].
    ///
    /// # Errors
    /// [`Error::TargetExists`] or [`Error::TargetLinked`] without `force`, [`Error::TargetKind`],
    /// [`Error::TargetNowhere`], [`Error::TargetInUse`]; [`Error::RawOnly`] for a block device.
    pub(crate) fn for_program(path: &Path, demand: &Demand) -> Result<Self> {
        match Place::find(path)? {
            Place::Device(path) => Err(Error::RawOnly { path, what: "it is a block device" }),
            Place::File(_) if !demand.force => Err(place::is_there(path)),
            Place::New(path) | Place::File(path) => Self::create(&path, demand),
        }
    }

    /// The name that the file has until it is finished.
    pub(crate) fn partial_path(&self) -> &Path {
        self.partial.path()
    }

    /// Makes the file beside `path`, which only its owner reads. The name is free, or another
    /// file's.
    pub(super) fn create(path: &Path, demand: &Demand) -> Result<Self> {
        let folder = folders::of(path);
        let partial = partial::create(folder).map_err(Error::file("create a file in", folder))?;
        let sized = partial.as_file().set_len(demand.length);
        sized.map_err(Error::file("make a file as long as the volume for", path))?;
        Ok(Self { partial, path: path.to_owned(), force: demand.force, resumable: None })
    }

    /// [`Self::create`] for an image with which a later restore can go on.
    pub(super) fn create_resumable(
        path: &Path,
        demand: &Demand,
        image: ImageId,
        time: FileTime,
    ) -> Result<Self> {
        let mut this = Self::create(path, demand)?;
        let name = name_of(path).to_vec();
        let unfinished = Unfinished { image, time, name, done: 0, generation: 0 };
        // A name that no slot takes, or a file system of shorter files: a restore that is interrupted
        // begins anew.
        if unfinished.to_slot().is_some()
            && let Some(at) = control_at(demand.length)
            && this.partial.as_file().set_len(at.saturating_add(CONTROL_LEN as u64)).is_ok()
        {
            this.make_resumable(unfinished, at)?;
        }
        Ok(this)
    }

    /// Goes on with an image that an interrupted restore has left.
    pub(super) fn go_on(path: &Path, demand: &Demand, left: Left) -> Result<Self> {
        let Left { file, path: partial, unfinished } = left;
        let failed = |action| Error::file(action, &partial);
        let length = unfinished.image.geometry.length();
        let at = control_at(length).unwrap_or(length);
        // What was written behind the checkpoint may have reached the disk or not.
        if !punch(&file, unfinished.done, length - unfinished.done) {
            file.set_len(unfinished.done).map_err(failed("shorten"))?;
            file.set_len(at.saturating_add(CONTROL_LEN as u64)).map_err(failed("lengthen"))?;
            Control::new(&file, &partial, at, unfinished.clone())?.check(unfinished.done)?;
        }
        let name = TempPath::try_from_path(&partial).map_err(failed("look at"))?;
        let (path, force) = (path.to_owned(), demand.force);
        let partial = NamedTempFile::from_parts(file, name);
        let mut this = Self { partial, path, force, resumable: None };
        // Whatever comes, it stays.
        this.partial.disable_cleanup(true);
        this.make_resumable(unfinished, at)?;
        Ok(this)
    }

    fn make_resumable(&mut self, unfinished: Unfinished, at: u64) -> Result<()> {
        let (length, there) = (unfinished.image.geometry.length(), unfinished.done);
        let control = Control::new(self.partial.as_file(), self.partial.path(), at, unfinished)?;
        let checkpoints = Checkpoints::start(control)?;
        // The name should outlast a power loss, or the checkpoints are of no use.
        drop(folders::try_sync(folders::of(&self.path)));
        self.resumable = Some(Resumable { checkpoints, length, there });
        Ok(())
    }

    /// The image's bytes before this one were there from the begin.
    pub(super) fn there(&self) -> u64 {
        self.resumable.as_ref().map_or(0, |it| it.there)
    }

    /// All of the image before `done` was written.
    pub(super) fn reached(&mut self, done: u64) -> Result<()> {
        self.resumable.as_mut().map_or(Ok(()), |it| it.checkpoints.reached(done))
    }

    /// Ends before the image is complete. The file stays if it has a checkpoint.
    pub(super) fn give_up(self) {
        let Self { partial, path, resumable, .. } = self;
        let Some(Resumable { checkpoints, length, .. }) = resumable else { return };
        // Why a sync failed is told by the write that met it.
        let (done, _) = checkpoints.end();
        keep(partial, &path, done, length);
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = write_all_at(self.partial.as_file(), bytes, offset);
        written.map_err(Error::file("write", &self.path))
    }

    /// Makes a hole; false if the file system cannot.
    pub(super) fn punch(&self, offset: u64, len: u64) -> bool {
        punch(self.partial.as_file(), offset, len)
    }

    /// Makes the image durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::TargetExists`] without `force` if the name was taken meanwhile.
    pub(crate) fn finish(self) -> Result<()> {
        self.finish_with(folders::try_sync)
    }

    fn finish_with(self, sync_folder: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let Self { mut partial, path, force, resumable } = self;
        let file = partial.as_file();
        if !partial::is_named(file, partial.path()) {
            return Err(Error::TargetReplaced(path));
        }
        if let Some(Resumable { checkpoints, length, .. }) = resumable {
            // This may take long: until it is over, a later restore could go on.
            let (done, ended) = checkpoints.end();
            let synced = ended.and_then(|()| file.sync_all().map_err(Error::file("sync", &path)));
            if let Err(error) = synced {
                keep(partial, &path, done, length);
                return Err(error);
            }
            partial.disable_cleanup(false);
            partial.as_file().set_len(length).map_err(Error::file("shorten", &path))?;
        }
        let file = partial.as_file();
        if let Some(names) = place::names_of(&path).filter(|names| *names > 1) {
            log::warn!(
                "{} had {names} names (hard links): the others keep the old content",
                path.display()
            );
        }
        if force
            && let Ok(old) = fs::symlink_metadata(&path)
            && let Err(error) = keep_mode(file, &old)
        {
            // A file system without modes. The image counts for more.
            log::warn!("{} does not keep its mode: {error}", path.display());
        }
        file.sync_all().map_err(Error::file("sync", &path))?;
        // The file is open, and with it its lock, until it has its name.
        let file = give_name(partial, &path, force)?;
        if !partial::is_named(&file, &path) {
            return Err(Error::TargetReplaced(path));
        }
        let folder = folders::of(&path);
        let synced = folders::as_far_as_possible(folder, sync_folder(folder));
        synced.map_err(|source| Error::NameInDoubt { path, source })
    }
}

/// Leaves a file that has a checkpoint, and says what it is for.
fn keep(mut partial: NamedTempFile, path: &Path, done: u64, length: u64) {
    if done == 0 {
        return;
    }
    partial.disable_cleanup(true);
    log::warn!(
        "{done} of {length} bytes for {} are in {}: the same restore again goes on there, and with \
         --restart begins anew; or remove that file",
        path.display(),
        partial.path().display()
    );
}

fn give_name(partial: NamedTempFile, path: &Path, force: bool) -> Result<File> {
    let named = if force {
        partial.persist(path)
    } else {
        partial.persist_noclobber(path).or_else(|refused| match refused.error.kind() {
            ErrorKind::AlreadyExists => Err(refused),
            // A file system that neither renames so nor has hard links.
            _ if is_free(path) => refused.file.persist(path),
            _ => Err(refused),
        })
    };
    named.map_err(|refused| match refused.error.kind() {
        ErrorKind::AlreadyExists => Error::TargetExists(path.to_owned()),
        _ => Error::file("name", path)(refused.error),
    })
}

fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Gives the file the mode of the one that it replaces, and its owner where this account may.
/// Where it may not, the group has no access: it is another group.
#[cfg(unix)]
fn keep_mode(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let new = file.metadata()?;
    let is_same = (new.uid(), new.gid()) == (old.uid(), old.gid());
    let is_kept = is_same || fchown(file, Some(old.uid()), Some(old.gid())).is_ok();
    let mode = old.mode() & if is_kept { 0o777 } else { 0o707 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where it can fail")]
fn keep_mode(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Makes a hole; false if the file system cannot.
#[cfg(target_os = "linux")]
fn punch(file: &File, offset: u64, len: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: u64, _: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(length: u64, force: bool) -> Demand {
        Demand { length, sector_size: Some(512), force, other_sector_size: false }
    }

    #[test]
    fn an_unfinished_image_leaves_nothing_and_the_old_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        let mut file = ImageFile::create(&path, &demand(4096, true)).unwrap();
        file.write(0, &[1; 512]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_not_overwritten_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let [first, second] = [1, 2].map(|byte| {
            let mut file = ImageFile::create(&path, &demand(512, false)).unwrap();
            file.write(0, &[byte; 512]).unwrap();
            file
        });
        second.finish().unwrap();
        assert!(matches!(first.finish(), Err(Error::TargetExists(_))));
        assert_eq!(fs::read(&path).unwrap(), [2; 512]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_image_that_another_program_put_in_its_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut file = ImageFile::create(&path, &demand(512, false)).unwrap();
        file.write(0, &[1; 512]).unwrap();
        let foreign = dir.path().join("foreign");
        fs::write(&foreign, "foreign").unwrap();
        fs::rename(&foreign, file.partial.path()).unwrap();
        assert!(matches!(file.finish(), Err(Error::TargetReplaced(_))));
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_no_failure_and_a_failing_disk_is() {
        let dir = tempfile::tempdir().unwrap();
        // EINVAL, EACCES and EIO, on Linux.
        for (number, is_done) in [(22, true), (13, true), (5, false)] {
            let path = dir.path().join(number.to_string());
            let file = ImageFile::create(&path, &demand(512, false)).unwrap();
            let done = file.finish_with(|_| Err(io::Error::from_raw_os_error(number)));
            assert_eq!(done.is_ok(), is_done || !cfg!(unix), "{number}: {done:?}");
            assert_eq!(fs::metadata(&path).unwrap().len(), 512);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn an_image_is_private_and_an_overwritten_file_keeps_its_mode_and_owner() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let file = ImageFile::create(&path, &demand(512, false)).unwrap();
        assert_eq!(mode(file.partial.path()), 0o600);
        file.finish().unwrap();
        assert_eq!(mode(&path), 0o600);
        for kept in [0o640, 0o400, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            let file = ImageFile::create(&path, &demand(512, true)).unwrap();
            assert_eq!(mode(file.partial.path()), 0o600);
            file.finish().unwrap();
            assert_eq!(mode(&path), kept);
        }
        // Only root gives files away.
        if chown(&path, Some(1234), Some(4321)).is_ok() {
            ImageFile::create(&path, &demand(512, true)).unwrap().finish().unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), mode(&path)), (1234, 4321, 0o755));
        }
    }
}

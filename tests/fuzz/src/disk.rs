//! Files in memory, which nothing changes: a repository as a command reads it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile};

/// The files, by their names below the root.
#[derive(Clone, Debug, Default)]
pub struct Files(pub BTreeMap<PathBuf, Arc<[u8]>>);

impl Storage for Files {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        if mode != OpenMode::Read {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = self.0.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(File(Arc::clone(file))))
    }

    fn create_dir(&self, _: &Path) -> io::Result<bool> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(dir).ok());
        let first = |path: &Path| Some(path.iter().next()?.to_string_lossy().into_owned());
        let mut names: Vec<_> = below.filter_map(first).collect();
        names.dedup();
        if names.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Lock> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn locate(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

#[derive(Debug)]
struct File(Arc<[u8]>);

impl StorageFile for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}

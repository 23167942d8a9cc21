//! Reads an NTFS image: where a file's clusters are, and what the files hold. Read-only.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use ::ntfs::attribute_value::NtfsAttributeValue;
use ::ntfs::structured_values::NtfsFileNamespace;
use ::ntfs::{Ntfs, NtfsFile};
use sha2::{Digest, Sha256};
use snapless_writer::extent::Extent;

use crate::error::E2eError;

/// A file's name and the hash of its content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileHash {
    /// Its name in the root folder.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

impl FileHash {
    /// Hashes a file of this machine, under another name.
    pub fn of_file(path: &Path, name: String) -> Result<Self, E2eError> {
        let content = std::fs::read(path).map_err(E2eError::file("read", path))?;
        Ok(Self { name, len: content.len() as u64, sha256: Sha256::digest(&content).into() })
    }
}

/// The extents of a file in the root folder, in the file's order.
pub fn data_extents(image: &Path, name: &str) -> Result<Vec<Extent>, E2eError> {
    inspect(image, |ntfs, source| {
        let mut extents = None;
        each_file(ntfs, source, |found, file, source| {
            if found == name {
                extents = Some(file_extents(file, source)?);
            }
            Ok(())
        })?;
        Ok(extents.ok_or_else(|| format!("there is no file {name} in the root folder"))?)
    })
}

/// Clusters that no file owns, as extents of at least `least` bytes.
pub fn free_extents(image: &Path, least: u64) -> Result<Vec<Extent>, E2eError> {
    let (cluster, clusters, bitmap) = inspect(image, |ntfs, source| {
        let (cluster, mut bitmap) = (u64::from(ntfs.cluster_size()), Vec::new());
        read_data(&ntfs.file(source, BITMAP_RECORD)?, source, &mut bitmap)?;
        Ok((cluster, ntfs.size() / cluster, bitmap))
    })?;
    let mut extents = Vec::new();
    let mut begin = None;
    for number in 0..=clusters {
        let byte = usize::try_from(number / 8).ok().and_then(|index| bitmap.get(index));
        let free = number < clusters && byte.is_some_and(|byte| byte & (1 << (number % 8)) == 0);
        match (begin, free) {
            (None, true) => begin = Some(number),
            (Some(first), false) => {
                let extent = Extent::new(first * cluster, (number - first) * cluster);
                extents.extend(extent.filter(|extent| extent.len() >= least));
                begin = None;
            }
            _ => {}
        }
    }
    Ok(extents)
}

/// Where the bits are that say which clusters are in use, and how many clusters there are.
pub fn cluster_map(image: &Path) -> Result<(Vec<Extent>, u64), E2eError> {
    inspect(image, |ntfs, source| {
        let bitmap = ntfs.file(source, BITMAP_RECORD)?;
        let clusters = ntfs.size() / u64::from(ntfs.cluster_size());
        Ok((file_extents(&bitmap, source)?, clusters))
    })
}

/// The files of the root folder that `wanted` accepts, sorted by name.
pub fn hashes(image: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<FileHash>, E2eError> {
    inspect(image, |ntfs, source| {
        let mut files = Vec::new();
        each_file(ntfs, source, |name, file, source| {
            if wanted(name) {
                let mut hasher = Sha256::new();
                let len = read_data(file, source, &mut hasher)?;
                files.push(FileHash { name: name.into(), len, sha256: hasher.finalize().into() });
            }
            Ok(())
        })?;
        files.sort();
        Ok(files)
    })
}

type Source = BufReader<File>;
type Answer<T> = Result<T, Box<dyn std::error::Error>>;

/// Reads the NTFS in `path` by `look`.
fn inspect<T>(
    path: &Path,
    look: impl FnOnce(&Ntfs, &mut Source) -> Answer<T>,
) -> Result<T, E2eError> {
    let mut source = BufReader::new(File::open(path).map_err(E2eError::file("open", path))?);
    let seen = Ntfs::new(&mut source).map_err(Into::into).and_then(|ntfs| look(&ntfs, &mut source));
    seen.map_err(|error| E2eError::Damaged(path.into(), error.to_string()))
}

/// The file record of `$Bitmap`: a bit for each cluster, set where it is in use.
const BITMAP_RECORD: u64 = 6;
/// File records below this number are NTFS's own.
const FIRST_USER_RECORD: u64 = 24;

/// Calls `act` for each ordinary file of the root folder.
fn each_file(
    ntfs: &Ntfs,
    source: &mut Source,
    mut act: impl FnMut(&str, &NtfsFile<'_>, &mut Source) -> Answer<()>,
) -> Answer<()> {
    let root = ntfs.root_directory(source)?;
    let index = root.directory_index(source)?;
    let mut entries = index.entries();
    while let Some(entry) = entries.next(source) {
        let entry = entry?;
        let Some(key) = entry.key() else { continue };
        let key = key?;
        let system = entry.file_reference().file_record_number() < FIRST_USER_RECORD;
        if system || key.is_directory() || key.namespace() == NtfsFileNamespace::Dos {
            continue;
        }
        let name = key.name().to_string_lossy();
        let file = entry.to_file(ntfs, source)?;
        act(&name, &file, source)?;
    }
    Ok(())
}

fn file_extents(file: &NtfsFile<'_>, source: &mut Source) -> Answer<Vec<Extent>> {
    let data = file.data(source, "").ok_or("a file has no data")??;
    let attribute = data.to_attribute()?;
    let NtfsAttributeValue::NonResident(value) = attribute.value(source)? else {
        return Err("a file's data is not in clusters of its own, or in too many pieces".into());
    };
    let mut extents = Vec::new();
    for run in value.data_runs() {
        let run = run?;
        let offset = run.data_position().value().ok_or("a file is sparse")?.get();
        let extent = Extent::new(offset, run.allocated_size());
        extents.push(extent.ok_or("a data run is empty")?);
    }
    Ok(extents)
}

/// Copies a file's content; returns its length.
fn read_data(file: &NtfsFile<'_>, source: &mut Source, to: &mut impl Write) -> Answer<u64> {
    let data = file.data(source, "").ok_or("a file has no data")??;
    let attribute = data.to_attribute()?;
    let value = attribute.value(source)?;
    let (len, copied) = (value.len(), std::io::copy(&mut value.attach(source), to)?);
    if copied == len { Ok(len) } else { Err("a file's data is cut short".into()) }
}

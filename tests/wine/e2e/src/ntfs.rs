//! Reads an NTFS image: where a file's clusters are, and what the files hold. Read-only.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use ::ntfs::attribute_value::NtfsAttributeValue;
use ::ntfs::structured_values::NtfsFileNamespace;
use ::ntfs::{Ntfs, NtfsFile, NtfsReadSeek};
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
    let mut volume = Volume::open(image)?;
    let mut extents = None;
    volume.each_file(|found, file, fs| {
        if found == name {
            extents = Some(file_extents(file, fs)?);
        }
        Ok(())
    })?;
    extents.ok_or_else(|| E2eError::Ntfs {
        path: image.into(),
        why: format!("there is no file {name} in the root folder"),
    })
}

/// Clusters that no file owns, as extents of at least `least` bytes.
pub fn free_extents(image: &Path, least: u64) -> Result<Vec<Extent>, E2eError> {
    let mut volume = Volume::open(image)?;
    let cluster = u64::from(volume.ntfs.cluster_size());
    let clusters = volume.ntfs.size() / cluster;
    let bitmap = read_bitmap(&volume.ntfs, &mut volume.source);
    let bitmap = bitmap.map_err(|error| unsound(image, error))?;
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

/// The files of the root folder that `wanted` accepts, sorted by name.
pub fn hashes(image: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<FileHash>, E2eError> {
    let mut volume = Volume::open(image)?;
    let mut files = Vec::new();
    volume.each_file(|name, file, fs| {
        if wanted(name) {
            files.push(hash(name, file, fs)?);
        }
        Ok(())
    })?;
    files.sort();
    Ok(files)
}

type Source = BufReader<File>;
type Answer<T> = Result<T, ReadError>;

/// Why a structure could not be read.
enum ReadError {
    Ntfs(::ntfs::NtfsError),
    Shape(String),
}

impl From<::ntfs::NtfsError> for ReadError {
    fn from(error: ::ntfs::NtfsError) -> Self {
        Self::Ntfs(error)
    }
}

struct Volume<'a> {
    path: &'a Path,
    source: Source,
    ntfs: Ntfs,
}

impl<'a> Volume<'a> {
    fn open(path: &'a Path) -> Result<Self, E2eError> {
        let file = File::open(path).map_err(E2eError::file("open", path))?;
        let mut source = BufReader::new(file);
        let ntfs = Ntfs::new(&mut source).map_err(|error| unsound(path, error.into()))?;
        Ok(Self { path, source, ntfs })
    }

    /// Calls `act` for each ordinary file of the root folder.
    fn each_file(
        &mut self,
        mut act: impl FnMut(&str, &NtfsFile<'_>, &mut Source) -> Answer<()>,
    ) -> Result<(), E2eError> {
        let walked = walk_root(&self.ntfs, &mut self.source, &mut act);
        walked.map_err(|error| unsound(self.path, error))
    }
}

/// The file record of `$Bitmap`: a bit for each cluster, set where it is in use.
const BITMAP_RECORD: u64 = 6;
/// File records below this number are NTFS's own.
const FIRST_USER_RECORD: u64 = 24;

fn walk_root(
    ntfs: &Ntfs,
    source: &mut Source,
    act: &mut impl FnMut(&str, &NtfsFile<'_>, &mut Source) -> Answer<()>,
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
    let shape = |why: &str| ReadError::Shape(String::from(why));
    let data = file.data(source, "").ok_or_else(|| shape("a file has no data"))??;
    let attribute = data.to_attribute()?;
    let NtfsAttributeValue::NonResident(value) = attribute.value(source)? else {
        return Err(shape("a file's data is not in clusters of its own, or in too many pieces"));
    };
    let mut extents = Vec::new();
    for run in value.data_runs() {
        let run = run?;
        let offset = run.data_position().value().ok_or_else(|| shape("a file is sparse"))?.get();
        let extent = Extent::new(offset, run.allocated_size());
        extents.push(extent.ok_or_else(|| shape("a data run is empty"))?);
    }
    Ok(extents)
}

fn read_bitmap(ntfs: &Ntfs, source: &mut Source) -> Answer<Vec<u8>> {
    let file = ntfs.file(source, BITMAP_RECORD)?;
    let missing = || ReadError::Shape(String::from("$Bitmap has no data"));
    let data = file.data(source, "").ok_or_else(missing)??;
    let attribute = data.to_attribute()?;
    let mut value = attribute.value(source)?;
    let mut bitmap = vec![0; usize::try_from(value.len()).map_err(|_| missing())?];
    let mut filled = 0;
    while filled < bitmap.len() {
        match read_value(&mut value, source, &mut bitmap[filled..])? {
            0 => return Err(missing()),
            len => filled += len,
        }
    }
    Ok(bitmap)
}

fn hash(name: &str, file: &NtfsFile<'_>, source: &mut Source) -> Answer<FileHash> {
    let missing = || ReadError::Shape(format!("file {name} has no data"));
    let data = file.data(source, "").ok_or_else(missing)??;
    let attribute = data.to_attribute()?;
    let mut value = attribute.value(source)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = read_value(&mut value, source, &mut buffer)?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
    }
    Ok(FileHash { name: name.into(), len: value.len(), sha256: hasher.finalize().into() })
}

fn read_value<T: Read + Seek>(
    value: &mut NtfsAttributeValue<'_, '_>,
    source: &mut T,
    buffer: &mut [u8],
) -> Answer<usize> {
    Ok(value.read(source, buffer)?)
}

fn unsound(path: &Path, error: ReadError) -> E2eError {
    let why = match error {
        ReadError::Ntfs(error) => error.to_string(),
        ReadError::Shape(why) => why,
    };
    E2eError::Ntfs { path: path.into(), why }
}

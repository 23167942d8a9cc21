//! What the process does that reads files of a point: `snapless-server read-files`, started by the
//! console ([`super::worker`]).
//!
//! A file system is text from outside of a complicated grammar. It is read in a process of its own
//! with limits of memory and time, by the `ntfs` crate. The process opens the repository for
//! reading and writes to its standard output: one line of JSON ([`Answer`]), and behind it the
//! content of a file.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileName, NtfsFileNamespace};
use ntfs::{Ntfs, NtfsAttributeFlags, NtfsError, NtfsFile, NtfsReadSeek};
use serde::{Deserialize, Serialize};
use snapless_console::model::{FileEntry, FileKind, Folder};
use snapless_wire::id::FileTime;

use super::lines::ms;
use crate::error::{Error, Result};
use crate::point::PointReader;
use crate::repository::Repository;
use crate::restore::{Found, Source};
use crate::stop::StopFlag;

/// Entries of a folder that are told at once.
const ENTRIES_MAX: usize = 1000;
/// Files of NTFS itself have lower numbers; they are not shown.
const FIRST_USER_RECORD: u64 = 24;
/// Bytes that are read ahead: records of the file table lie side by side.
const BUFFER: usize = 64 << 10;
/// Folders within folders.
const DEPTH_MAX: usize = 1000;
/// Memory of the process, its map of the point included.
#[cfg(target_os = "linux")]
const MEMORY_MAX: u64 = 4 << 30;
/// Seconds of a processor for a list; a download may take longer.
#[cfg(target_os = "linux")]
const LIST_SECONDS: u64 = 60;
#[cfg(target_os = "linux")]
const FILE_MAX: u64 = 1 << 20;
#[cfg(target_os = "linux")]
const CONTENT_SECONDS: u64 = 24 * 3600;

/// What is to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A folder, the entries behind a name.
    Folder {
        /// Its path.
        path: String,
        /// The name.
        after: Option<String>,
    },
    /// The content of a file.
    Content {
        /// Its path.
        path: String,
    },
}

/// The line that begins what the process writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A folder.
    Folder(Folder),
    /// So many bytes of a file of this name follow.
    Content {
        /// The file's name.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// There is none.
    Not(Not, String),
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Not {
    /// There is no such entry.
    Found,
    /// It cannot be read.
    Readable,
    /// The point has no file system that can be read.
    FileSystem,
    /// The point cannot be restored.
    Restorable,
    /// Reading failed.
    Sound,
}

/// Why an entry cannot be read.
struct Refused(Not, String);

impl From<NtfsError> for Refused {
    fn from(error: NtfsError) -> Self {
        Self(Not::Sound, format!("the file system cannot be read here: {error}"))
    }
}

/// Limits this process. What comes later of it is bounded.
///
/// # Errors
/// The system refuses.
pub fn limit(wanted: &Wanted) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let both = |most| Rlimit { current: Some(most), maximum: Some(most) };
        let seconds = match wanted {
            Wanted::Folder { .. } => LIST_SECONDS,
            Wanted::Content { .. } => CONTENT_SECONDS,
        };
        setrlimit(Resource::As, both(MEMORY_MAX))?;
        setrlimit(Resource::Cpu, both(seconds))?;
        setrlimit(Resource::Core, both(0))?;
        // It writes to its standard output, and a pin.
        setrlimit(Resource::Fsize, both(FILE_MAX))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = wanted;
    Ok(())
}

/// Reads what is wanted of a point, and writes the answer.
///
/// # Errors
/// The answer cannot be written, or content cannot be read after its begin was written.
pub fn run(
    repository: &Repository,
    source: Result<Source>,
    wanted: &Wanted,
    out: &mut impl Write,
) -> io::Result<()> {
    let (image, at) = match source.and_then(|source| open(repository, &source)) {
        Ok(opened) => opened,
        Err(error) => {
            let not = match error {
                Error::NotRestorable { .. } | Error::NoSessions(_) => Not::Restorable,
                Error::NoVolume { .. } | Error::NoBookmark { .. } => Not::Found,
                _ => Not::Sound,
            };
            return answer(out, &Answer::Not(not, error.to_string()));
        }
    };
    let mut disk = BufReader::with_capacity(BUFFER, Disk { image: &image, position: 0 });
    read(&mut disk, at, wanted, out)
}

fn open(repository: &Repository, source: &Source) -> Result<(PointReader, FileTime)> {
    let stop = StopFlag::default();
    let found = Found::find(repository, source, &stop)?;
    let at = found.point().time;
    Ok((found.open(&stop, |_| {})?, at))
}

/// The same of any disk.
fn read<D: Read + Seek>(
    disk: &mut D,
    at: FileTime,
    wanted: &Wanted,
    out: &mut impl Write,
) -> io::Result<()> {
    let ntfs = match ntfs(disk) {
        Ok(ntfs) => ntfs,
        Err(why) => return answer(out, &Answer::Not(Not::FileSystem, why)),
    };
    match wanted {
        Wanted::Folder { path, after } => {
            let found = folder(&ntfs, disk, path, after.as_deref());
            let found = found.map(|(file_system, entries, more)| {
                let path = shown_path(path);
                Answer::Folder(Folder { at_ms: ms(at), file_system, path, entries, more })
            });
            answer(out, &found.unwrap_or_else(|Refused(not, why)| Answer::Not(not, why)))
        }
        Wanted::Content { path } => content(&ntfs, disk, path, out),
    }
}

fn answer(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Opens the file system, or says which other one there is.
fn ntfs<D: Read + Seek>(disk: &mut D) -> Result<Ntfs, String> {
    let mut boot = [0; 16];
    let begin = disk.seek(SeekFrom::Start(0)).and_then(|_| disk.read_exact(&mut boot));
    begin.map_err(|error| format!("the point cannot be read: {error}"))?;
    let other = match &boot[3..11] {
        b"ReFS\0\0\0\0" => Some("ReFS"),
        b"-FVE-FS-" => Some("BitLocker's encryption"),
        b"EXFAT   " => Some("exFAT"),
        _ => None,
    };
    if let Some(other) = other {
        return Err(format!("the volume has {other}, of which no files are read here: mount it"));
    }
    let mut ntfs = Ntfs::new(disk).map_err(|error| {
        format!("the volume has no NTFS at this point that can be read ({error}): mount it")
    })?;
    let read = ntfs.read_upcase_table(disk);
    read.map_err(|error| format!("the NTFS of this point is damaged ({error}): mount it"))?;
    Ok(ntfs)
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

fn shown_path(path: &str) -> String {
    let names: Vec<_> = names(path).collect();
    format!("/{}", names.join("/"))
}

/// The entry of a path, with what its folder says of it; nothing of the root.
fn find<'n, D: Read + Seek>(
    ntfs: &'n Ntfs,
    disk: &mut D,
    path: &str,
) -> Result<(NtfsFile<'n>, Option<NtfsFileName>), Refused> {
    let missing = |name: &str| Refused(Not::Found, format!("there is no {name:?} in its folder"));
    let mut file = ntfs.root_directory(disk)?;
    let mut said = None;
    for (depth, name) in names(path).enumerate() {
        if depth > DEPTH_MAX || !file.is_directory() {
            return Err(missing(name));
        }
        let index = file.directory_index(disk)?;
        let mut finder = index.finder();
        let entry = NtfsFileNameIndex::find(&mut finder, ntfs, disk, name);
        let entry = entry.ok_or_else(|| missing(name))??;
        said = entry.key().transpose()?;
        let next = entry.to_file(ntfs, disk)?;
        file = next;
    }
    Ok((file, said))
}

type Listed = (String, Vec<FileEntry>, bool);

/// The entries of a folder in NTFS's own order, which is that of their names.
fn folder<D: Read + Seek>(
    ntfs: &Ntfs,
    disk: &mut D,
    path: &str,
    after: Option<&str>,
) -> Result<Listed, Refused> {
    let (file, said) = find(ntfs, disk, path)?;
    if !file.is_directory() {
        return Err(Refused(Not::Found, "it is no folder".to_owned()));
    }
    if said.is_some_and(|said| said.file_attributes().contains(REPARSE)) {
        return Err(Refused(Not::Readable, "it is a link, which is not followed".to_owned()));
    }
    let version = ntfs.volume_info(disk)?;
    let file_system = format!("NTFS {}.{}", version.major_version(), version.minor_version());
    let index = file.directory_index(disk)?;
    let mut entries = index.entries();
    let (mut found, mut is_behind) = (Vec::new(), after.is_none());
    while let Some(entry) = entries.next(disk) {
        let entry = entry?;
        let Some(name) = entry.key().transpose()? else { continue };
        let record = entry.file_reference().file_record_number();
        if record < FIRST_USER_RECORD || name.namespace() == NtfsFileNamespace::Dos {
            continue;
        }
        let text = name.name().to_string_lossy();
        if !is_behind {
            is_behind = after == Some(text.as_str());
            continue;
        }
        if found.len() == ENTRIES_MAX {
            return Ok((file_system, found, true));
        }
        found.push(shown(&name, text));
    }
    if !is_behind {
        let why = "the folder has changed: the entry to list from is not in it; list it anew";
        return Err(Refused(Not::Found, why.to_owned()));
    }
    Ok((file_system, found, false))
}

const REPARSE: NtfsFileAttributeFlags = NtfsFileAttributeFlags::REPARSE_POINT;
const COMPRESSED: &str = "NTFS has compressed it, and it cannot be read here: mount the point";
const ENCRYPTED: &str = "EFS has encrypted it, and it cannot be read here: mount the point";
const ELSEWHERE: &str = "it is a link, or Windows keeps its content in a form that \
    cannot be read here: mount the point";

fn shown(name: &NtfsFileName, text: String) -> FileEntry {
    use NtfsFileAttributeFlags as Flags;
    let flags = name.file_attributes();
    let kind = if flags.contains(REPARSE) {
        FileKind::Link
    } else if name.is_directory() {
        FileKind::Folder
    } else {
        FileKind::File
    };
    let attributes = [
        (Flags::HIDDEN, "hidden"),
        (Flags::SYSTEM, "system"),
        (Flags::READ_ONLY, "read-only"),
        (Flags::COMPRESSED, "compressed"),
        (Flags::ENCRYPTED, "encrypted"),
        (Flags::SPARSE_FILE, "sparse"),
    ];
    let attributes = attributes.into_iter().filter(|(flag, _)| flags.contains(*flag));
    let unreadable = match kind {
        FileKind::Link => Some(ELSEWHERE),
        FileKind::File if flags.contains(Flags::ENCRYPTED) => Some(ENCRYPTED),
        FileKind::File if flags.contains(Flags::COMPRESSED) => Some(COMPRESSED),
        _ => None,
    };
    FileEntry {
        name: text,
        kind,
        size: (kind == FileKind::File).then(|| name.data_size()),
        modified_ms: ms(FileTime::new(name.modification_time().nt_timestamp())),
        attributes: attributes.map(|(_, name)| name.to_owned()).collect(),
        unreadable: unreadable.map(str::to_owned),
    }
}

/// Writes a file's answer and its content.
fn content<D: Read + Seek>(
    ntfs: &Ntfs,
    disk: &mut D,
    path: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let found = find(ntfs, disk, path).and_then(|(file, said)| {
        let name = names(path).last().unwrap_or_default().to_owned();
        if file.is_directory() {
            return Err(Refused(Not::Readable, "it is a folder".to_owned()));
        }
        if said.is_some_and(|said| said.file_attributes().contains(REPARSE)) {
            return Err(Refused(Not::Readable, ELSEWHERE.to_owned()));
        }
        Ok((file, name))
    });
    let (file, name) = match found {
        Ok(found) => found,
        Err(Refused(not, why)) => return answer(out, &Answer::Not(not, why)),
    };
    let broken = |error: NtfsError| io::Error::other(error.to_string());
    let Some(item) = file.data(disk, "").transpose().map_err(broken)? else {
        return answer(out, &Answer::Content { name, size: 0 });
    };
    let attribute = item.to_attribute().map_err(broken)?;
    let flags = attribute.flags();
    if flags.contains(NtfsAttributeFlags::ENCRYPTED) {
        return answer(out, &Answer::Not(Not::Readable, ENCRYPTED.to_owned()));
    }
    if flags.contains(NtfsAttributeFlags::COMPRESSED) {
        return answer(out, &Answer::Not(Not::Readable, COMPRESSED.to_owned()));
    }
    let mut value = attribute.value(disk).map_err(broken)?;
    let size = value.len();
    let position = attribute.position().value().filter(|_| !attribute.is_resident());
    let mut written = match position {
        Some(position) => written_size(disk, position.get())?.min(size),
        None => size,
    };
    answer(out, &Answer::Content { name, size })?;
    let unwritten = size - written;
    let mut buffer = vec![0; BUFFER];
    while written > 0 {
        let most = usize::try_from(written).map_or(BUFFER, |left| left.min(BUFFER));
        let read = value.read(disk, &mut buffer[..most]).map_err(broken)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&buffer[..read])?;
        written -= read as u64;
    }
    io::copy(&mut io::repeat(0).take(unwritten), out)?;
    out.flush()
}

/// How many bytes of a value that has clusters of its own were written, by the header of its
/// attribute at this position. In the clusters behind them is what deleted files have left; Windows
/// reads zeros there.
fn written_size<D: Read + Seek>(disk: &mut D, position: u64) -> io::Result<u64> {
    /// Where the header has it.
    const OFFSET: u64 = 0x38;
    /// NTFS puts a number of its own in the place of the last two bytes of each so many bytes of a
    /// record.
    const BLOCK: u64 = 512;
    let begin = position.checked_add(OFFSET).filter(|begin| begin.is_multiple_of(8));
    let begin = begin.ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = [0; 8];
    disk.seek(SeekFrom::Start(begin))?;
    disk.read_exact(&mut bytes)?;
    if begin % BLOCK == BLOCK - 8 {
        // What was there is zero: no file has 2^48 bytes.
        bytes[6..].fill(0);
    }
    Ok(u64::from_le_bytes(bytes))
}

/// A point as a disk.
struct Disk<'a> {
    image: &'a PointReader,
    position: u64,
}

impl Read for Disk<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.image.map().length().saturating_sub(self.position);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if len > 0 {
            let read = self.image.read(self.position, &mut buffer[..len]);
            read.map_err(|error| io::Error::other(error.to_string()))?;
            self.position += len as u64;
        }
        Ok(len)
    }
}

impl Seek for Disk<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.image.map().length().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn run(command: &mut Command) {
        let done = command.output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn image(folder: &Path, files: &[(&str, &[u8])]) -> File {
        let image = folder.join("ntfs.img");
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkntfs").args(["-F", "-Q", "-q", "-s", "512"]).arg(&image));
        for (name, content) in files {
            let source = folder.join("source");
            std::fs::write(&source, content).unwrap();
            run(Command::new("ntfscp").args(["-f", "-q"]).args([&image, &source]).arg(name));
        }
        File::open(image).unwrap()
    }

    fn ask(mut disk: impl Read + Seek, wanted: &Wanted) -> (Answer, Vec<u8>) {
        let mut out = Vec::new();
        read(&mut disk, FileTime::UNIX_EPOCH, wanted, &mut out).unwrap();
        let end = out.iter().position(|byte| *byte == b'\n').unwrap();
        (serde_json::from_slice(&out[..end]).unwrap(), out[end + 1..].to_vec())
    }

    fn content(path: &str) -> Wanted {
        Wanted::Content { path: path.to_owned() }
    }

    #[test]
    fn a_folder_is_listed_and_a_file_is_read() {
        let temporary = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..300_000u32).map(|byte| (byte % 251) as u8).collect();
        let files: [(&str, &[u8]); 3] = [("b.bin", &long), ("A ä.txt", b"small"), ("c", b"")];
        let disk = image(temporary.path(), &files);
        let root = Wanted::Folder { path: "/".to_owned(), after: None };
        let (Answer::Folder(folder), _) = ask(&disk, &root) else { panic!("no folder") };
        assert_eq!((&*folder.path, &*folder.file_system, folder.more), ("/", "NTFS 3.1", false));
        let names: Vec<_> = folder.entries.iter().map(|it| (&*it.name, it.size)).collect();
        assert_eq!(names, [("A ä.txt", Some(5)), ("b.bin", Some(300_000)), ("c", Some(0))]);
        for (name, expected) in files {
            let (Answer::Content { name: said, size }, bytes) =
                ask(&disk, &content(&format!("/{name}")))
            else {
                panic!("no content of {name}")
            };
            assert_eq!((&*said, size, &*bytes), (name, expected.len() as u64, expected));
        }
        let behind = Wanted::Folder { path: "/".to_owned(), after: Some("b.bin".to_owned()) };
        let (Answer::Folder(folder), _) = ask(&disk, &behind) else { panic!("no folder") };
        assert_eq!(folder.entries.len(), 1);
        let gone = Wanted::Folder { path: "/".to_owned(), after: Some("bb".to_owned()) };
        let (answer, _) = ask(&disk, &gone);
        let Answer::Not(Not::Found, why) = answer else { panic!("{answer:?}") };
        assert!(why.contains("has changed"), "{why}");
    }

    #[test]
    fn what_was_never_written_of_a_file_is_zeros() {
        let temporary = tempfile::tempdir().unwrap();
        let long = vec![7; 300_000];
        image(temporary.path(), &[("b", &long)]);
        let path = temporary.path().join("ntfs.img");
        let mut disk = File::options().read(true).write(true).open(path).unwrap();
        let position = {
            let ntfs = ntfs(&mut disk).unwrap();
            let (file, _) = find(&ntfs, &mut disk, "/b").unwrap_or_else(|_| panic!("no file"));
            let item = file.data(&mut disk, "").unwrap().unwrap();
            item.to_attribute().unwrap().position().value().unwrap().get()
        };
        assert_eq!(written_size(&mut disk, position).unwrap(), 300_000);
        for written in [100_000, 1, 0] {
            disk.seek(SeekFrom::Start(position + 0x38)).unwrap();
            disk.write_all(&(written as u64).to_le_bytes()).unwrap();
            let (answer, bytes) = ask(&disk, &content("/b"));
            assert!(matches!(answer, Answer::Content { size: 300_000, .. }), "{answer:?}");
            assert!(bytes[..written].iter().all(|byte| *byte == 7));
            assert!(bytes[written..].iter().all(|byte| *byte == 0));
            assert_eq!(bytes.len(), 300_000);
        }
    }

    #[test]
    fn the_number_in_the_place_of_two_bytes_is_not_taken_for_a_size() {
        let mut record = vec![0; 1024];
        record[504..512].copy_from_slice(&[1, 2, 0, 0, 0, 0, 0x55, 0xAA]);
        let size = |position| written_size(&mut io::Cursor::new(&record), position);
        assert_eq!(size(504 - 0x38).unwrap(), 0x201);
        assert!(size(505 - 0x38).is_err());
    }

    #[test]
    fn what_is_not_there_and_what_is_no_ntfs_is_said() {
        let temporary = tempfile::tempdir().unwrap();
        let disk = image(temporary.path(), &[("a", b"a")]);
        for path in ["/b", "/a/b", "/../a", "/$MFT/x"] {
            let (answer, _) = ask(&disk, &content(path));
            assert!(matches!(answer, Answer::Not(Not::Found, _)), "{path}: {answer:?}");
        }
        let (answer, _) = ask(&disk, &content("/"));
        assert!(matches!(answer, Answer::Not(Not::Readable, _)), "{answer:?}");
        let mut refs = vec![0; 1 << 20];
        refs[3..7].copy_from_slice(b"ReFS");
        for (disk, named) in [(refs, "ReFS"), (vec![0; 1 << 20], "NTFS"), (vec![], "cannot")] {
            let (answer, _) = ask(io::Cursor::new(disk), &content("/a"));
            let Answer::Not(Not::FileSystem, why) = answer else { panic!("{answer:?}") };
            assert!(why.contains(named), "{why}");
        }
    }
}

//! Regular files, and nothing else in their place.
//!
//! A folder that others can write to may hold, under any name, a FIFO at which an open waits for
//! ever, a device that does something when it is opened, or a link to another file. Rule: what
//! Snapless keeps in its own folders is opened here; an open neither follows a link nor waits.
//!
//! Files that a user names on a command line are another matter: those may be links.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// What stands in a file's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is {0} and no regular file: move it away, and put back the file if there was one")]
pub struct NotAFile(&'static str);

impl NotAFile {
    fn of(found: FileType) -> Self {
        Self(if found.is_dir() {
            "a directory"
        } else if found.is_symlink() {
            "a link, which is not followed,"
        } else {
            special(found)
        })
    }

    /// The one that an error of [`open`] tells of.
    pub fn in_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

impl From<NotAFile> for io::Error {
    fn from(why: NotAFile) -> Self {
        Self::other(why)
    }
}

/// Opens a regular file.
///
/// # Errors
/// The system's; one with [`NotAFile`] for anything else than a regular file.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // An open of a device may do something already.
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(NotAFile::of(found.file_type()).into()),
        // What is wrong otherwise, the open says.
        _ => {}
    }
    let file = match open_quietly(options, path) {
        // A file with a lease, as a file server takes one: its holder returns it while one waits.
        Err(error) if error.kind() == ErrorKind::WouldBlock => options.open(path),
        opened => opened,
    }?;
    // Something else may have taken its place.
    let found = file.metadata()?;
    if found.is_file() { Ok(file) } else { Err(NotAFile::of(found.file_type()).into()) }
}

/// Opens a regular file for reading.
///
/// # Errors
/// As for [`open`].
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), path)
}

/// True if the path stands for this very file: it was not removed, renamed or replaced.
///
/// # Errors
/// The system's.
pub fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let named = match fs::symlink_metadata(path) {
        Ok(named) => named,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !named.is_file() {
        return Ok(false);
    }
    is_same(file, path, &named)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(unix)]
fn is_same(file: &File, _: &Path, named: &fs::Metadata) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let opened = file.metadata()?;
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

#[cfg(not(unix))]
fn is_same(file: &File, path: &Path, _: &fs::Metadata) -> io::Result<bool> {
    let named = match same_file::Handle::from_path(path) {
        Ok(named) => named,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(named == same_file::Handle::from_file(file.try_clone()?)?)
}

#[cfg(unix)]
fn special(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if found.is_fifo() {
        "a FIFO"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "something else"
}

/// Opens without following a link, waiting for the other end of a FIFO, or taking a terminal.
#[cfg(unix)]
fn open_quietly(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    options.clone().custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open_quietly(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("/dev/zero", at("to device")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        mknodat(CWD, at("fifo"), Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, kind) in [
            ("link", "a link"),
            ("dangling", "a link"),
            ("to device", "a link"),
            ("folder", "a directory"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
        ] {
            for (read, write, create) in
                [(true, false, false), (false, true, false), (true, true, true)]
            {
                let mut options = OpenOptions::new();
                options.read(read).write(write).create(create);
                let refused = open(&options, &at(name)).unwrap_err();
                let why = NotAFile::in_error(&refused).unwrap();
                assert!(why.to_string().contains(kind), "{name}: {why}");
            }
        }
        let device = open_to_read(Path::new("/dev/null")).unwrap_err();
        assert!(device.to_string().contains("a device"), "{device}");
        open_to_read(&at("file")).unwrap();
        let missing = open_to_read(&at("missing")).unwrap_err();
        assert_eq!((missing.kind(), NotAFile::in_error(&missing)), (ErrorKind::NotFound, None));
    }

    #[test]
    fn a_file_has_its_name_until_it_is_moved_or_something_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("file"), dir.path().join("aside"));
        fs::write(&path, "x").unwrap();
        let file = open_to_read(&path).unwrap();
        assert!(is_named(&file, &path).unwrap());
        fs::rename(&path, &aside).unwrap();
        assert!(!is_named(&file, &path).unwrap());
        // A link to it is no file of that name.
        symlink(&aside, &path).unwrap();
        assert!(!is_named(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(!is_named(&file, &path).unwrap());
        assert!(!is_named(&file, &aside.join("below")).unwrap());
        assert!(is_named(&file, &aside).unwrap());
    }
}

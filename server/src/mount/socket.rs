//! A socket in the file system, which is its user's alone and goes with the mount.
//!
//! A mount that was killed leaves its socket's name behind. The next mount takes it over, if
//! nothing listens there. Mounts at one name take turns while they look: none removes what another
//! one has just made.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use fs4::FileExt;
use snapless_trust::folders;

/// How long a program may take to answer at a socket before it counts as one that listens.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How often a mount asks for its turn, and how long it waits in between.
const TURNS: (usize, Duration) = (100, Duration::from_millis(20));

/// A socket that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's name.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at a name that is free, or a dead mount's.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::AddrInUse`] for a name at which something listens, or that is no
    /// socket's.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let turn = Turn::wait(folders::of(path));
        let socket = match bind_private(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                // Without a turn another mount may be at it.
                if turn.is_none() || !is_left_over(path)? {
                    return Err(error);
                }
                fs::remove_file(path)?;
                log::info!("{} was left by a mount that was killed", path.display());
                bind_private(path)?
            }
            bound => bound?,
        };
        Ok(Self { socket, path: path.to_owned(), identity: identity(path) })
    }

    /// Waits for a client.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another socket may have this name by now.
        if self.identity.is_none() || identity(&self.path) != self.identity {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}; remove it by hand", self.path.display());
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| (found.dev(), found.ino()))
}

/// True for a socket at which nothing listens.
///
/// # Errors
/// [`ErrorKind::AddrInUse`], in words, for anything else.
fn is_left_over(path: &Path) -> io::Result<bool> {
    let in_use = |why| Err(io::Error::new(ErrorKind::AddrInUse, why));
    if identity(path).is_none() {
        return in_use(
            "something that is no socket has this name: choose another, or move it away",
        );
    }
    // A connection waits where a program listens that accepts none.
    let (say, said) = mpsc::channel();
    let to = path.to_owned();
    let connect = move || drop(say.send(UnixStream::connect(to).map(drop)));
    thread::Builder::new().spawn(connect)?;
    match said.recv_timeout(ANSWER_LIMIT) {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => {
            in_use("another program listens there: end it, or choose another name")
        }
    }
}

/// The right to look at a name and to take it, among mounts.
struct Turn(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Turn {
    /// Waits for it; `None` if it does not come, or if the file system has no locks.
    fn wait(folder: &Path) -> Option<Self> {
        let folder = File::open(folder).ok()?;
        for _ in 0..TURNS.0 {
            match FileExt::try_lock(&folder) {
                Ok(()) => return Some(Self(folder)),
                Err(fs4::TryLockError::WouldBlock) => thread::sleep(TURNS.1),
                Err(fs4::TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

/// Makes the socket with mode 0600 from the first instant.
#[cfg(target_os = "linux")]
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    use rustix::process::umask;
    /// The mask is the whole process's.
    static MASK: Mutex<()> = Mutex::new(());
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

#[cfg(not(target_os = "linux"))]
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let bound = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_socket_is_its_users_alone_and_goes_with_the_mount() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = Listener::bind(&path).unwrap_err();
        assert!(refused.to_string().contains("another program listens there"), "{refused}");
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_mount_left_is_taken_over_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // The name of a socket stays when its listener is closed.
        drop(UnixListener::bind(&path).unwrap());
        let taken = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(taken);
        for turn in 0..3 {
            match turn {
                0 => fs::write(&path, "precious").unwrap(),
                1 => symlink("nowhere", &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let refused = Listener::bind(&path).unwrap_err();
            assert!(refused.to_string().contains("no socket"), "{turn}: {refused}");
            if turn == 0 {
                assert_eq!(fs::read(&path).unwrap(), b"precious");
            }
            if turn == 2 { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        }
    }

    #[test]
    fn of_mounts_that_find_the_same_left_over_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        for turn in 0..20 {
            let path = dir.path().join(turn.to_string());
            drop(UnixListener::bind(&path).unwrap());
            let bound: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| Listener::bind(&path).ok())).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(bound.len(), 1, "{turn}");
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn a_mount_that_ends_leaves_the_socket_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = Listener::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("aside")).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }
}

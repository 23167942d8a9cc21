//! Names that do not make a directory something else than an empty one: what an interrupted
//! creation of a repository leaves, and what operating systems put into the root of every drive.

use crate::format::floor::FLOOR_FILE;
use crate::format::repository::{LOCK_FILE, VOLUMES_DIR};
use crate::format::sessions::SESSIONS_FILE;

/// Names of an interrupted creation, and what is made again.
const OURS: [&str; 7] = [
    LOCK_FILE,
    VOLUMES_DIR,
    SESSIONS_FILE,
    "sessions.new",
    "repository.new",
    FLOOR_FILE,
    "floor.new",
];

/// Names of operating systems and storage servers, in lower case: Windows' and macOS' do not tell
/// upper from lower.
const OF_SYSTEMS: &[&str] = &[
    // Linux and other Unixes: checks, quotas, journals, labels
    "lost+found",
    "aquota.group",
    "aquota.user",
    "quota.group",
    "quota.user",
    ".autorelabel",
    ".journal",
    ".snap",
    ".sujournal",
    ".trash",
    // snapshots and book-keeping of file systems and storage servers
    ".glusterfs",
    ".snapshot",
    ".snapshots",
    ".trashcan",
    ".zfs",
    "~snapshot",
    "#recycle",
    "#snapshot",
    ".@__thumb",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@sharebin",
    "@tmp",
    // macOS, and servers that speak to it
    ".appledb",
    ".appledesktop",
    ".appledouble",
    ".apdisk",
    ".documentrevisions-v100",
    ".ds_store",
    ".fseventsd",
    ".metadata_never_index",
    ".pkinstallsandboxmanager",
    ".spotlight-v100",
    ".temporaryitems",
    ".trashes",
    ".volumeicon.icns",
    "network trash folder",
    "temporary items",
    // Windows
    "$recycle.bin",
    "$winreagent",
    "autorun.inf",
    "config.msi",
    "desktop.ini",
    "dumpstack.log",
    "dumpstack.log.tmp",
    "hiberfil.sys",
    "msocache",
    "pagefile.sys",
    "recovery",
    "recycled",
    "recycler",
    "swapfile.sys",
    "system volume information",
    "thumbs.db",
    "wpsettings.dat",
];

/// Beginnings of such names, with a number behind: a user's, or that of a run of `chkdsk`.
const BEGINNINGS: [&str; 2] = [".trash-", "found."];

/// True for a name that is in no repository's way.
pub(super) fn is_leftover(name: &str) -> bool {
    let lower = name.to_lowercase();
    let is_numbered = |beginning: &str| {
        let number = lower.strip_prefix(beginning);
        number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
    };
    // macOS puts the attributes of NAME into `._NAME` where the file system has none.
    let system = lower.strip_prefix("._").unwrap_or(&lower);
    // Of a store that was probed.
    let is_probe = name
        .strip_prefix("probe-")
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    OURS.contains(&name)
        || is_probe
        || lower == "._."
        || OF_SYSTEMS.contains(&system)
        || BEGINNINGS.iter().any(|beginning| is_numbered(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_systems_are_left_out() {
        for name in [
            "lost+found",
            "System Volume Information",
            "$RECYCLE.BIN",
            "found.000",
            ".Trash-0",
            ".Trashes",
            "._.Trashes",
            "._.",
            ".DS_Store",
            "@eaDir",
            "volumes",
            "probe-0123456789abcdef0123456789abcdef",
        ] {
            assert!(is_leftover(name), "{name}");
        }
        for name in [
            "found.txt",
            ".Trash-",
            "pagefile.sys.bak",
            "Volumes",
            "data",
            "probe-1",
            ".hidden",
            "._letter.txt",
            "",
            ".",
        ] {
            assert!(!is_leftover(name), "{name}");
        }
    }
}

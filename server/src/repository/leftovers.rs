//! Names that do not make a directory something else than an empty one: what an interrupted
//! creation of a repository leaves, and what operating systems put into the root of every drive.

use crate::format::repository::{LOCK_FILE, VOLUMES_DIR};
use crate::format::sessions::SESSIONS_FILE;

/// Names of an interrupted creation.
const OURS: [&str; 5] = [LOCK_FILE, VOLUMES_DIR, SESSIONS_FILE, "sessions.new", "repository.new"];

/// Names of operating systems and storage servers; Windows' do not tell upper from lower case.
const OF_SYSTEMS: [&str; 27] = [
    // Linux, and quotas
    "lost+found",
    "aquota.group",
    "aquota.user",
    "quota.group",
    "quota.user",
    // snapshots of file systems and storage servers
    ".snapshot",
    ".snapshots",
    ".zfs",
    "#recycle",
    "#snapshot",
    "@eadir",
    // macOS
    ".ds_store",
    ".fseventsd",
    ".spotlight-v100",
    ".trashes",
    ".temporaryitems",
    // Windows
    "$recycle.bin",
    "$winreagent",
    "config.msi",
    "desktop.ini",
    "msocache",
    "pagefile.sys",
    "recovery",
    "recycler",
    "swapfile.sys",
    "system volume information",
    "thumbs.db",
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
    OURS.contains(&name)
        || OF_SYSTEMS.contains(&lower.as_str())
        || BEGINNINGS.iter().any(|beginning| is_numbered(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_systems_are_left_out() {
        for name in ["lost+found", "System Volume Information", "found.000", ".Trash-0", "volumes"]
        {
            assert!(is_leftover(name), "{name}");
        }
        for name in ["found.txt", ".Trash-", "pagefile.sys.bak", "Volumes", "data", ".hidden"] {
            assert!(!is_leftover(name), "{name}");
        }
    }
}

//! What only the owner may read: folders and files of one account, and secrets sealed to one
//! machine.
//!
//! On Unix, modes 0700 and 0600. On Windows, a folder for SYSTEM and Administrators, from which
//! files inherit, and secrets sealed by the machine's own key (DPAPI).

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

#[cfg(windows)]
mod windows;

/// Makes a folder that only its owner opens.
///
/// # Errors
/// The system's; [`io::ErrorKind::AlreadyExists`] if it is there already.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(folder)
    }
    #[cfg(windows)]
    {
        std::fs::create_dir(folder)?;
        windows::administrators_only(folder)
    }
}

/// Makes a folder, and those above it that are missing, which only their owner opens. A folder that
/// is there stays as it is.
///
/// # Errors
/// The system's.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_folders(above)?;
    }
    match create_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Lets new files be their owner's alone.
pub fn only_owner(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    // On Windows a file inherits from its folder.
    #[cfg(windows)]
    let _ = options;
}

/// Seals a secret for storing: on Windows only this machine opens it again, on Unix it stays as it
/// is.
///
/// # Errors
/// The system's.
pub fn seal(secret: &[u8]) -> io::Result<Vec<u8>> {
    #[cfg(windows)]
    {
        windows::seal(secret)
    }
    #[cfg(unix)]
    Ok(secret.to_vec())
}

/// Opens what [`seal`] sealed.
///
/// # Errors
/// The system's; a secret that another machine sealed is one.
pub fn unseal(sealed: &[u8]) -> io::Result<Vec<u8>> {
    #[cfg(windows)]
    {
        windows::unseal(sealed)
    }
    #[cfg(unix)]
    Ok(sealed.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn folders_that_are_made_are_private_and_those_that_are_there_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        create_folders(&open.join("a/b")).unwrap();
        create_folders(&open.join("a/b")).unwrap();
        assert_eq!(
            [&open, &open.join("a"), &open.join("a/b")].map(|it| mode(it)),
            [0o755, 0o700, 0o700]
        );
        std::fs::write(open.join("file"), "").unwrap();
        assert!(create_folders(&open.join("file")).is_err());
    }

    #[test]
    fn a_sealed_secret_opens_again() {
        assert_eq!(unseal(&seal(b"secret").unwrap()).unwrap(), b"secret");
    }
}

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

    #[test]
    fn a_sealed_secret_opens_again() {
        assert_eq!(unseal(&seal(b"secret").unwrap()).unwrap(), b"secret");
    }
}

//! Copies the output of a program to a file, up to a limit, so that a driver that repeats itself
//! does not fill the disk. Output past the limit is still read, so that no writer blocks on a full
//! pipe.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::E2eError;

/// Bytes that are kept.
pub const LOG_MAX: u64 = 64 << 20;

/// Copies `from` to the file `to`, in a thread of its own, until `from` ends.
pub fn copy(mut from: impl Read + Send + 'static, to: &Path) -> Result<(), E2eError> {
    let mut file = File::create(to).map_err(E2eError::file("create", to))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        let mut kept = 0;
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if kept < LOG_MAX {
                kept += len as u64;
                // A full disk shows in the run's other files; the program must go on being read.
                let _ = file.write_all(&buffer[..len]);
                if kept >= LOG_MAX {
                    let _ = file.write_all(b"\n(the rest is left out)\n");
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wait_until;
    use std::time::Duration;

    #[test]
    fn only_the_beginning_of_a_long_log_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        copy(std::io::repeat(b'x').take(LOG_MAX + (1 << 20)), &path).unwrap();
        wait_until("the log", Duration::from_secs(30), || {
            let text = std::fs::read(&path).unwrap();
            Ok(text.ends_with(b"left out)\n").then_some(()))
        })
        .unwrap();
        assert!(path.metadata().unwrap().len() < LOG_MAX + 16384);
    }
}

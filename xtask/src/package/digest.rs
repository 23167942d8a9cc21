//! SHA-256 of files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::console::Outcome;
use crate::error::{IoContext, Result};
use crate::files::files_below;

/// The name of the list.
const SUMS: &str = "SHA256SUMS";

/// The digest of a file, in hexadecimal.
pub fn of_file(path: &Path) -> Result<String> {
    Ok(hexadecimal(&of_bytes(&fs::read(path).on("read", path)?)))
}

/// The digest of bytes.
pub fn of_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Writes the digests of all files below a folder, as `sha256sum --check` reads them.
pub fn write_sums(folder: &Path) -> Result<Outcome> {
    let list = folder.join(SUMS);
    let mut text = String::new();
    for file in files_below(folder)?.iter().filter(|file| **file != list) {
        let name = file.strip_prefix(folder).unwrap_or(file).display();
        let _ = writeln!(text, "{}  {name}", of_file(file)?);
    }
    fs::write(&list, text).on("write", &list)?;
    Ok(Outcome::Done)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Tool;

    #[test]
    fn the_list_is_one_that_sha256sum_checks() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("folder")).expect("a folder");
        fs::write(dir.path().join("folder/a"), "abc").expect("written");
        fs::write(dir.path().join("b"), "").expect("written");
        write_sums(dir.path()).expect("written");
        let check = || {
            let check = Tool::new("checking", "sha256sum").args(["--check", "--strict", SUMS]);
            check.current_dir(dir.path()).output()
        };
        let said = check().expect("all are right");
        assert_eq!(said.matches(": OK").count(), 2, "{said}");
        fs::write(dir.path().join("b"), "x").expect("written");
        check().expect_err("one has changed");
    }
}

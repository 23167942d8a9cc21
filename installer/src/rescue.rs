//! `snapless-setup rescue`: writes the script that makes a machine boot again.
//!
//! Rule: the script needs nothing but what the recovery environment has (cmd.exe, reg.exe), and
//! leaves the names of other drivers as and where they are.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::SetupError;

/// The script; its lines end as cmd.exe wants them once it is written.
const SCRIPT: &str = include_str!("rescue.cmd");
/// Its name, unless another one is given.
pub const FILE: &str = "snapless-rescue.cmd";

/// Writes the script to `file`, and says how it is used.
pub fn run(file: &Path, out: &mut dyn Write) -> Result<(), SetupError> {
    let script = SCRIPT.replace('\n', "\r\n");
    fs::write(file, script).map_err(SetupError::file("write", file))?;
    writeln!(
        out,
        "Wrote {}. Copy it to a USB stick. If this machine does not boot:\n  1. boot into the \
         recovery environment (three failed starts lead there, or an installation medium)\n  2. \
         Troubleshoot, Advanced options, Command Prompt\n  3. run {FILE}, with the folder of the \
         machine's Windows if it does not find that (D:\\Windows)\n  4. restart",
        file.display()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::DRIVER;

    #[test]
    fn the_script_is_for_this_driver_and_for_cmd() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut out = Vec::new();
        run(&file, &mut out).unwrap();
        let script = fs::read_to_string(&file).unwrap();
        assert!(script.lines().count() > 20 && script.matches("\r\n").count() > 20);
        assert!(!script.replace("\r\n", "").contains('\n'), "cmd loses its place without CR");
        for part in [
            format!("if /i \"%%n\"==\"{DRIVER}\""),
            format!("/s /f {DRIVER} /d /t REG_MULTI_SZ"),
            "UpperFilters".to_owned(),
            "LowerFilters".to_owned(),
            "reg unload".to_owned(),
        ] {
            assert!(script.contains(&part), "{part}");
        }
        assert!(script.is_ascii(), "the recovery environment's code page is unknown");
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("recovery environment") && said.contains(FILE), "{said}");
    }
}

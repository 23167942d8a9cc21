//! `snapless.msi`: wixl compiles `package/msi/snapless.wxs`; what it cannot express is written into
//! the tables afterwards.
//!
//! The rule: the tables that decide what runs, and as whom, are read back and compared; another
//! wixl that makes something else of the source stops the build.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::command::Tool;
use crate::error::{Error, Result};
use crate::layout::Layout;

use super::digest;

/// The custom action, as the MSI's source names it.
pub const ACTION: &str = "snapless-msi-action.dll";

/// Set by users; Windows Installer passes only those named here to its service.
const SECURE: &str = "WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED;UNTRUSTED";
/// The files with a version resource, by their keys in the source.
const VERSIONED: [&str; 4] =
    ["SetupProgram", "ServiceProgram", "CommandLineProgram", "DriverImage"];

/// `msidbCustomActionTypeDll`
const DLL: u16 = 0x0001;
/// `msidbCustomActionTypeTextData` + `…Property`: sets a property.
const SETS_PROPERTY: u16 = 0x0033;
/// `msidbCustomActionTypeContinue`
const IGNORED: u16 = 0x0040;
/// `msidbCustomActionTypeRollback`
const ROLLBACK: u16 = 0x0100;
/// `msidbCustomActionTypeInScript`
const DEFERRED: u16 = 0x0400;
/// `msidbCustomActionTypeNoImpersonate`
const ELEVATED: u16 = 0x0800;

/// Every custom action, and how Windows Installer runs it (docs: "Custom Action Types").
const ACTIONS: [(&str, u16); 7] = [
    ("InstallCommand", SETS_PROPERTY | ELEVATED),
    ("InstallDriver", DLL | DEFERRED | ELEVATED),
    ("InstallUntrustedCommand", SETS_PROPERTY | ELEVATED),
    ("RemoveCommand", SETS_PROPERTY | ELEVATED),
    ("RemoveDriver", DLL | DEFERRED | ELEVATED),
    ("UndoCommand", SETS_PROPERTY | ELEVATED),
    ("UndoDriver", DLL | DEFERRED | ROLLBACK | ELEVATED | IGNORED),
];
/// Those that run while a failed installation is undone; wixl makes immediate ones of them.
const UNDO: &str = "UndoDriver";

/// A package for Windows Installer.
#[derive(Debug, Clone)]
pub struct Msi {
    /// The file.
    pub file: PathBuf,
    /// Three numbers.
    pub version: String,
    /// With braces.
    pub product_code: String,
}

impl Msi {
    /// Packs the files of `folder` as this version; the MSI comes into `target`.
    pub fn build(layout: &Layout, folder: &Path, version: &str, target: &Path) -> Result<Self> {
        let file = target.join(format!("snapless-{version}-x64.msi"));
        let product_code = product_code(version);
        // wixl looks for sources in the folder that it runs in only.
        Tool::new("compiling the MSI", "wixl")
            .current_dir(folder)
            .args(["--arch", "x64", "--define"])
            .arg(format!("Version={version}"))
            .arg("--define")
            .arg(format!("ProductCode={product_code}"))
            .arg("--output")
            .arg(&file)
            .arg(layout.root().join("package/msi/snapless.wxs"))
            .run()?;
        let made = Self { file, version: version.to_owned(), product_code };
        made.complete(layout)?;
        made.check()?;
        Ok(made)
    }

    /// Writes what the source cannot say.
    fn complete(&self, layout: &Layout) -> Result<()> {
        Tool::new("adding the MSI's table Environment", "msibuild")
            .arg(&self.file)
            .arg("-i")
            .arg(layout.root().join("package/msi/Environment.idt"))
            .run()?;
        let undo = ACTIONS.iter().find(|(name, _)| *name == UNDO).map_or(0, |(_, kind)| *kind);
        self.set("CustomAction", &format!("`Type`={undo}"), "Action", UNDO)?;
        self.set("Property", &format!("`Value`='{SECURE}'"), "Property", "SecureCustomProperties")?;
        for key in VERSIONED {
            let version = format!("`Version`='{}.0', `Language`='0'", self.version);
            self.set("File", &version, "File", key)?;
        }
        Ok(())
    }

    fn set(&self, table: &str, columns: &str, key: &str, row: &str) -> Result<()> {
        Tool::new(format!("completing the MSI's table {table}"), "msibuild")
            .arg(&self.file)
            .arg("-q")
            .arg(format!("UPDATE `{table}` SET {columns} WHERE `{key}`='{row}'"))
            .run()
    }

    fn check(&self) -> Result<()> {
        let wrong = |problem: String| Error::Malformed { file: self.file.clone(), problem };
        let rows = self.rows("CustomAction")?;
        let mut found: Vec<_> = rows.iter().map(|row| (column(row, 0), column(row, 1))).collect();
        found.sort_unstable();
        let expected = ACTIONS.map(|(name, kind)| (name.to_owned(), kind.to_string()));
        if found != expected {
            return Err(wrong(format!("its custom actions are {found:?}, not {expected:?}")));
        }
        let properties = self.rows("Property")?;
        for (name, value) in [
            ("SecureCustomProperties", SECURE),
            ("ProductCode", &self.product_code),
            ("ProductVersion", &self.version),
        ] {
            let is_right = |row: &Vec<String>| column(row, 0) == name && column(row, 1) == value;
            if !properties.iter().any(is_right) {
                return Err(wrong(format!("its property {name} is not {value}")));
            }
        }
        let files = self.rows("File")?;
        let versioned = files.iter().filter(|row| column(row, 4) == format!("{}.0", self.version));
        if versioned.count() != VERSIONED.len() {
            return Err(wrong("its files do not have their versions".to_owned()));
        }
        Ok(())
    }

    /// The rows of a table; three lines above them describe the columns.
    fn rows(&self, table: &str) -> Result<Vec<Vec<String>>> {
        let text = Tool::new(format!("reading the MSI's table {table}"), "msiinfo")
            .arg("export")
            .arg(&self.file)
            .arg(table)
            .output()?;
        let rows = text.lines().skip(3).map(|line| line.trim_end_matches('\r'));
        Ok(rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}

fn column(row: &[String], index: usize) -> String {
    row.get(index).cloned().unwrap_or_default()
}

/// The code of a version: the same whenever and wherever it is built, another for each version.
fn product_code(version: &str) -> String {
    let digest = digest::of_bytes(format!("snapless.msi ProductCode {version}").as_bytes());
    let mut code = String::from("{");
    for (index, byte) in digest.iter().take(16).enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            code.push('-');
        }
        // RFC 9562: version 8, of whoever makes it; variant 10.
        let byte = match index {
            6 => byte & 0x0F | 0x80,
            8 => byte & 0x3F | 0x80,
            _ => *byte,
        };
        let _ = write!(code, "{byte:02X}");
    }
    code.push('}');
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_product_code_and_another_version_another() {
        let code = product_code("0.1.0");
        assert_eq!(code, product_code("0.1.0"));
        assert_ne!(code, product_code("0.1.1"));
        let groups: Vec<usize> = code.trim_matches(['{', '}']).split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(code.as_bytes()[15], b'8', "{code}");
    }
}

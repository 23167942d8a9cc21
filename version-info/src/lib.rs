//! The resources of a PE file, for build scripts: its version, which Explorer shows, a support
//! bundle reads and an installer compares; the texts of its events ([`messages`]); strings.
//!
//! Rule: every value of the version comes from the manifest of the crate that is built, but for its
//! description; a crate whose resources cannot be compiled does not build. `cargo xtask` reads the
//! resources of each file that it has built and compares them with the workspace's version and the
//! list of events.

pub mod messages;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use messages::Message;

/// `VFT_APP`
const APPLICATION: u32 = 1;
/// `VFT_DLL`
const LIBRARY: u32 = 2;
/// `VFT_DRV`
const DRIVER: u32 = 3;
/// `VFT2_DRV_SYSTEM`
const SYSTEM_DRIVER: u32 = 7;
/// The language of texts: Windows shows it if there is no other.
const ENGLISH: &str = "LANGUAGE 9, 1\n";
/// `VOS_NT_WINDOWS32`
const WINDOWS: u32 = 0x0004_0004;

/// Links a version resource into the programs of the crate whose build script calls this; does
/// nothing for another system.
///
/// # Panics
/// If the resource compiler is missing or refuses.
pub fn program(file: &str, description: &str) {
    program_with(file, description, &Texts::default());
}

/// Texts that Windows takes from a program, in English.
#[derive(Clone, Copy, Default, Debug)]
pub struct Texts<'a> {
    /// Messages of events.
    pub messages: &'a [Message],
    /// Strings with their ids.
    pub strings: &'a [(u16, &'a str)],
}

/// The same, with texts.
///
/// # Panics
/// As [`program`].
pub fn program_with(file: &str, description: &str, texts: &Texts<'_>) {
    if let Some(script) = write_script(file, description, (APPLICATION, 0), texts) {
        let compiled = embed_resource::compile(script, embed_resource::NONE);
        compiled.manifest_required().expect("the resources are compiled");
    }
}

/// The same for a driver, which is a `cdylib`.
///
/// # Panics
/// As [`program`].
pub fn driver(file: &str, description: &str) {
    if let Some(script) =
        write_script(file, description, (DRIVER, SYSTEM_DRIVER), &Texts::default())
    {
        let compiled = embed_resource::compile_for_cdylib(script, embed_resource::NONE);
        compiled.manifest_required().expect("the version resource is compiled");
    }
}

/// The same for a DLL.
///
/// # Panics
/// As [`program`].
pub fn library(file: &str, description: &str) {
    if let Some(script) = write_script(file, description, (LIBRARY, 0), &Texts::default()) {
        let compiled = embed_resource::compile_for_cdylib(script, embed_resource::NONE);
        compiled.manifest_required().expect("the version resource is compiled");
    }
}

/// Writes the resource script; `None` if the crate is not built for Windows.
fn write_script(
    file: &str,
    description: &str,
    kind: (u32, u32),
    texts: &Texts<'_>,
) -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed=CARGO_PKG_VERSION");
    if env::var("CARGO_CFG_WINDOWS").is_err() {
        return None;
    }
    let of = |variable: &str| env::var(variable).expect("cargo sets it for build scripts");
    let numbers = ["MAJOR", "MINOR", "PATCH"].map(|part| of(&format!("CARGO_PKG_VERSION_{part}")));
    let mut script = script(&numbers, file, description, kind);
    let folder = PathBuf::from(of("OUT_DIR"));
    if !texts.messages.is_empty() {
        let table = messages::compile(texts.messages, &folder).expect("the messages are compiled");
        let path = folder.join("messages.bin");
        fs::write(&path, table).expect("the output folder can be written");
        script += &message_table(&path);
    }
    if !texts.strings.is_empty() {
        script += &string_table(texts.strings);
    }
    let path = folder.join("version.rc");
    fs::write(&path, script).expect("the output folder can be written");
    Some(path)
}

/// The script: language neutral, Unicode (docs: "VERSIONINFO resource").
fn script([major, minor, patch]: &[String; 3], file: &str, what: &str, kind: (u32, u32)) -> String {
    let (file_type, subtype) = kind;
    let text = format!("{major}.{minor}.{patch}");
    let strings = [
        ("CompanyName", "Snapless"),
        ("FileDescription", what),
        ("FileVersion", &text),
        ("InternalName", file),
        ("OriginalFilename", file),
        ("ProductName", "Snapless"),
        ("ProductVersion", &text),
    ];
    let values: String =
        strings.map(|(name, value)| format!("      VALUE \"{name}\", \"{value}\"\n")).concat();
    format!(
        "1 VERSIONINFO\nFILEVERSION {major},{minor},{patch},0\nPRODUCTVERSION \
         {major},{minor},{patch},0\nFILEFLAGSMASK 0x3FL\nFILEFLAGS 0\nFILEOS {WINDOWS:#x}L\n\
         FILETYPE {file_type}\nFILESUBTYPE {subtype}\nBEGIN\n  BLOCK \"StringFileInfo\"\n  BEGIN\n    \
         BLOCK \"000004B0\"\n    BEGIN\n{values}    END\n  END\n  BLOCK \"VarFileInfo\"\n  BEGIN\n    \
         VALUE \"Translation\", 0x0, 1200\n  END\nEND\n"
    )
}

/// The statement for a message table in a file (docs: "MESSAGETABLE resource").
fn message_table(file: &Path) -> String {
    format!("{ENGLISH}1 MESSAGETABLE \"{}\"\n", escaped(&file.display().to_string()))
}

/// The statement for strings (docs: "STRINGTABLE resource").
fn string_table(strings: &[(u16, &str)]) -> String {
    let lines = strings.iter().map(|(id, text)| format!("  {id} \"{}\"\n", escaped(text)));
    format!("{ENGLISH}STRINGTABLE\nBEGIN\n{}END\n", lines.collect::<String>())
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_version_name_and_kind() {
        let numbers = ["1", "2", "3"].map(str::to_owned);
        let script = script(&numbers, "x.sys", "a driver", (DRIVER, SYSTEM_DRIVER));
        for part in [
            "FILEVERSION 1,2,3,0",
            "PRODUCTVERSION 1,2,3,0",
            "FILETYPE 3",
            "FILESUBTYPE 7",
            "VALUE \"OriginalFilename\", \"x.sys\"",
            "VALUE \"FileDescription\", \"a driver\"",
            "VALUE \"FileVersion\", \"1.2.3\"",
        ] {
            assert!(script.contains(part), "{script}");
        }
    }
    #[test]
    fn strings_are_listed_with_their_ids() {
        let table = string_table(&[(100, "% Used"), (102, "a \"b\" \\ c")]);
        let lines: Vec<&str> = table.lines().collect();
        let wanted = [
            "LANGUAGE 9, 1",
            "STRINGTABLE",
            "BEGIN",
            "  100 \"% Used\"",
            r#"  102 "a ""b"" \\ c""#,
            "END",
        ];
        assert_eq!(lines, wanted);
    }
}

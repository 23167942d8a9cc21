//! Import libraries from lists of names.
//!
//! A `.names` file has one exported name a line, `DATA` after the name of a variable, and `#`
//! comments. The rule: a name that is not in the list does not link.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::command::Tool;
use crate::error::{Error, IoContext, Result};

/// What an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// A routine.
    Code,
    /// A variable.
    Data,
}

/// The exports of one image.
#[derive(Debug, Clone, Default)]
pub struct Names {
    exports: BTreeMap<String, Export>,
}

impl Names {
    /// Reads a `.names` file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).on("read", path)?;
        Self::parse(&text).map_err(|problem| Error::Malformed { file: path.to_path_buf(), problem })
    }

    /// Whether the image exports this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.exports.contains_key(name)
    }

    /// Makes `library`, which imports these names from `image`.
    pub fn make_library(&self, image: &str, library: &Path) -> Result<()> {
        let definition = library.with_extension("def");
        fs::write(&definition, self.definition(image)).on("write", &definition)?;
        Tool::new(format!("making the import library of {image}"), "llvm-dlltool-19")
            .args(["-m", "i386:x86-64", "-d"])
            .arg(&definition)
            .args(["-D", image, "-l"])
            .arg(library)
            .run()
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut exports = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace();
            let Some(name) = words.next() else { continue };
            let export = match (words.next(), words.next()) {
                (None, _) => Export::Code,
                (Some("DATA"), None) => Export::Data,
                _ => return Err(format!("line {}: expected `name` or `name DATA`", index + 1)),
            };
            if exports.insert(name.to_owned(), export).is_some() {
                return Err(format!("line {}: {name} is listed twice", index + 1));
            }
        }
        Ok(Self { exports })
    }

    fn definition(&self, image: &str) -> String {
        let mut text = format!("LIBRARY {image}\nEXPORTS\n");
        for (name, export) in &self.exports {
            // CONSTANT also defines the plain name, which is how bindings name an imported
            // variable.
            let kind = if *export == Export::Data { " CONSTANT" } else { "" };
            let _ = writeln!(text, "    {name}{kind}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routines_variables_and_comments_are_told_apart() {
        let names = Names::parse("# all\nKeSetEvent\n\nIoFileObjectType DATA # a pointer\n");
        let names = names.expect("well-formed");
        assert!(names.contains("KeSetEvent"));
        assert!(!names.contains("ExAllocatePool2"));
        let expected = "LIBRARY nt.exe\nEXPORTS\n    IoFileObjectType CONSTANT\n    KeSetEvent\n";
        assert_eq!(names.definition("nt.exe"), expected);
    }

    #[test]
    fn a_name_listed_twice_or_with_a_stray_word_is_refused_with_its_line() {
        assert_eq!(Names::parse("A\nA\n").expect_err("twice"), "line 2: A is listed twice");
        assert!(Names::parse("A B\n").expect_err("stray").starts_with("line 1"));
    }
}

//! Microsoft's wdk-build crate, made to run on a Linux host.
//!
//! The crate looks its kit up in the Windows registry and refuses any other host; everything else
//! that it does (include paths, link arguments, bindgen settings) is what we want unchanged. So the
//! copy that cargo fetched is copied once more and a few places are replaced. The rule: each
//! replacement matches exactly as often as it says, else the task stops; none of the crate's source
//! is kept in this repository.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use crate::build::pe;
use crate::console::{Outcome, Progress};
use crate::error::{Error, IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;
use crate::stamp::{Fingerprint, Stamp};

const CRATE: &str = "wdk-build";

struct Replacement {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    times: usize,
}

const REPLACEMENTS: &[Replacement] = &[
    Replacement {
        name: "the `windows` crate is a dependency on Windows only",
        file: "Cargo.toml",
        from: "\n[dependencies.windows]\n",
        to: "\n[target.\"cfg(windows)\".dependencies.windows]\n",
        times: 1,
    },
    Replacement {
        name: "the registry is imported on Windows only",
        file: "src/utils.rs",
        from: "\nuse windows::{\n",
        to: "\n#[cfg(windows)]\nuse windows::{\n",
        times: 1,
    },
    Replacement {
        name: "the registry is searched on Windows only",
        file: "src/utils.rs",
        from: "\n    if let Some(path) = read_registry_key_string_value(\n",
        to: "\n    #[cfg(windows)]\n    if let Some(path) = read_registry_key_string_value(\n",
        times: 2,
    },
    Replacement {
        name: "the registry is read on Windows only",
        file: "src/utils.rs",
        from: "\nfn read_registry_key_string_value(\n",
        to: "\n#[cfg(windows)]\nfn read_registry_key_string_value(\n",
        times: 1,
    },
    Replacement {
        name: "the cargo-make helpers fail when they are called, not when they are compiled",
        file: "src/utils.rs",
        from: "    compile_error!(\n",
        to: "    panic!(\n",
        times: 2,
    },
    Replacement {
        name: "a symbolic link is made in the host's way",
        file: "src/cargo_make.rs",
        from: "std::os::windows::fs::symlink_file(",
        to: "std::os::unix::fs::symlink(",
        times: 2,
    },
    Replacement {
        name: "the driver's manifest can be named",
        file: "src/lib.rs",
        from: "pub fn find_top_level_cargo_manifest() -> PathBuf {\n",
        to: "pub fn find_top_level_cargo_manifest() -> PathBuf {\n    \
             if let Some(manifest) = env::var_os(\"SNAPLESS_WDK_MANIFEST\") {\n        \
             return PathBuf::from(manifest);\n    }\n",
        times: 1,
    },
    Replacement {
        name: "what only Windows uses is not warned about",
        file: "src/lib.rs",
        from: "//! models (WDM, KMDF, UMDF).\n",
        to: "//! models (WDM, KMDF, UMDF).\n\n#![allow(warnings)]\n",
        times: 1,
    },
];

/// Makes the copy that builds here.
pub fn patch(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let copy = layout.wdk_build();
    let stamp = current_stamp(layout);
    if stamp.is_current() && copy.is_dir() {
        return Ok(Outcome::AlreadyThere);
    }
    stamp.clear()?;
    remove_folder(&copy)?;
    let source = source_folder(layout)?;
    progress.detail(&source.display().to_string());
    copy_tree(&source, &copy)?;
    for replacement in REPLACEMENTS {
        replacement.apply(&copy)?;
    }
    // Looking for the source has written a lock file where there was none.
    current_stamp(layout).set()?;
    Ok(Outcome::Done)
}

fn current_stamp(layout: &Layout) -> Stamp {
    let mut inputs = Fingerprint::of_recipe(include_str!("wdk_build.rs"));
    inputs.text(&locked_version(&layout.driver().join("Cargo.lock")));
    Stamp::new(layout, CRATE, &inputs)
}

/// The folder of the wdk-build that the driver's lock file names, where cargo unpacked it; cargo
/// fetches it first where that is needed.
fn source_folder(layout: &Layout) -> Result<PathBuf> {
    let manifest = layout.driver().join("Cargo.toml");
    let json = pe::cargo("reading the driver's metadata")
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()?;
    let malformed = |problem: &str| Error::Malformed {
        file: manifest.clone(),
        problem: format!("cargo metadata {problem}"),
    };
    let metadata: Value =
        serde_json::from_str(&json).map_err(|error| malformed(&error.to_string()))?;
    metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == CRATE))
        .and_then(|package| package["manifest_path"].as_str())
        .and_then(|manifest| Path::new(manifest).parent())
        .map(Path::to_path_buf)
        .ok_or_else(|| malformed("names no wdk-build: is it a build dependency of the driver?"))
}

/// What a lock file says of the crate: version, source and checksum; nothing where there is none
/// yet.
fn locked_version(lock: &Path) -> String {
    let text = fs::read_to_string(lock).unwrap_or_default();
    let entry = format!("name = \"{CRATE}\"\n");
    text.split("[[package]]").find(|package| package.contains(&entry)).unwrap_or("").to_owned()
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(std::io::Error::from).on("list", from)?;
        let relative = entry.path().strip_prefix(from).unwrap_or(entry.path());
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).on("create", &target)?;
        } else if relative != Path::new("Cargo.lock") {
            fs::copy(entry.path(), &target).on("write", &target)?;
        }
    }
    Ok(())
}

impl Replacement {
    fn apply(&self, folder: &Path) -> Result<()> {
        let path = folder.join(self.file);
        // The crate is published from Windows, with that system's line ends.
        let text = fs::read_to_string(&path).on("read", &path)?.replace("\r\n", "\n");
        let found = text.matches(self.from).count();
        if found != self.times {
            return Err(Error::Replacement {
                crate_name: CRATE,
                replacement: self.name,
                file: path,
                expected: self.times,
                found,
            });
        }
        fs::write(&path, text.replace(self.from, self.to)).on("write", &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::pe::MANIFEST_VARIABLE;

    #[test]
    fn a_replacement_that_does_not_match_exactly_stops_with_its_name() {
        let folder = std::env::temp_dir().join(format!("xtask-replace-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("created");
        fs::write(folder.join("file"), "one one").expect("written");
        let mut replacement =
            Replacement { name: "numbers", file: "file", from: "one", to: "two", times: 1 };

        let message = replacement.apply(&folder).expect_err("matches twice").to_string();
        assert!(message.contains("`numbers`"), "{message}");
        assert!(message.contains("2 times instead of 1"), "{message}");
        assert_eq!(fs::read_to_string(folder.join("file")).expect("readable"), "one one");

        replacement.times = 2;
        replacement.apply(&folder).expect("matches twice");
        assert_eq!(fs::read_to_string(folder.join("file")).expect("readable"), "two two");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn the_manifest_variable_is_the_one_that_the_replacement_reads() {
        assert!(REPLACEMENTS.iter().any(|replacement| replacement.to.contains(MANIFEST_VARIABLE)));
    }
}

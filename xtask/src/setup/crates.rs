//! The crates that all builds need, those of the standard library included.
//!
//! The rule: builds never use the network. Everything is fetched here, again only when a manifest
//! or a lock file has changed.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::build::{pe, programs};
use crate::console::{Outcome, Progress};
use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::stamp::{Fingerprint, Stamp};

/// Fetches what is missing.
pub fn fetch(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let stamp = Stamp::new(layout, "crates", &inputs(layout)?);
    if stamp.is_current() {
        return Ok(Outcome::AlreadyThere);
    }
    for workspace in pe::Workspace::all(layout) {
        progress.detail(workspace.name());
        workspace.fetch(layout, progress)?;
    }
    progress.detail("programs");
    programs::fetch(layout, progress)?;
    // Fetching may have completed a lock file.
    Stamp::new(layout, "crates", &inputs(layout)?).set()?;
    Ok(Outcome::Done)
}

/// All manifests and lock files, and where cargo keeps what it fetched.
fn inputs(layout: &Layout) -> Result<Fingerprint> {
    let mut inputs = Fingerprint::of_recipe(include_str!("crates.rs"));
    inputs.text(&std::env::var("CARGO_HOME").unwrap_or_default());
    for file in manifests(layout.root())? {
        inputs.file(&file)?;
    }
    Ok(inputs)
}

fn manifests(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let walk = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        !(entry.file_type().is_dir() && (name == "target" || name.starts_with('.')))
            || entry.depth() == 0
    });
    for entry in walk {
        let entry = entry.map_err(std::io::Error::from).on("list", root)?;
        if entry.file_name() == "Cargo.toml" || entry.file_name() == "Cargo.lock" {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_of_every_workspace_are_inputs_and_nothing_below_target_is() {
        let layout = Layout::of_this_repository();
        let files = manifests(layout.root()).expect("readable");
        for expected in [layout.root().join("Cargo.toml"), layout.driver().join("Cargo.toml")] {
            assert!(files.contains(&expected), "{}", expected.display());
        }
        assert!(!files.iter().any(|file| file.starts_with(layout.target())));
    }
}

//! Stamps: how a step knows that its work is already done.
//!
//! A step gathers everything that its result depends on in a [`Fingerprint`]; the finished step
//! leaves a [`Stamp`] with that value. The rule: equal inputs, no work; any other input, all of the
//! step's work again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::files::files_below;
use crate::layout::Layout;

/// A digest of a step's inputs.
#[derive(Default)]
pub struct Fingerprint {
    hasher: DefaultHasher,
}

impl Fingerprint {
    /// A digest that also covers `recipe`: the source of the step itself, so that a changed step
    /// runs again.
    #[must_use]
    pub fn of_recipe(recipe: &str) -> Self {
        let mut fingerprint = Self::default();
        recipe.hash(&mut fingerprint.hasher);
        fingerprint
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        text.hash(&mut self.hasher);
        self
    }

    /// Adds a file: its name and its content.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self> {
        let content = fs::read(path).on("read", path)?;
        path.hash(&mut self.hasher);
        content.hash(&mut self.hasher);
        Ok(self)
    }

    /// Adds every file below a folder.
    pub fn folder(&mut self, path: &Path) -> Result<&mut Self> {
        for file in files_below(path)? {
            self.file(&file)?;
        }
        Ok(self)
    }

    fn finish(&self) -> String {
        format!("{:016x}\n", self.hasher.finish())
    }
}

/// The mark that a finished step leaves.
pub struct Stamp {
    path: PathBuf,
    value: String,
}

impl Stamp {
    /// The mark of the step called `name` for these inputs.
    #[must_use]
    pub fn new(layout: &Layout, name: &str, inputs: &Fingerprint) -> Self {
        Self { path: layout.stamps().join(format!("{name}.stamp")), value: inputs.finish() }
    }

    /// Whether the step has run to its end with the same inputs.
    #[must_use]
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.value)
    }

    /// Takes the mark away before the work begins, so that work broken off is not taken for done.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).on("remove", &self.path)
            }
            _ => Ok(()),
        }
    }

    /// Leaves the mark.
    pub fn set(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).on("create", folder)?;
        }
        fs::write(&self.path, &self.value).on("write", &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_current_only_for_the_inputs_that_it_was_set_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(folder.path().to_path_buf());
        let one = Stamp::new(&layout, "step", Fingerprint::of_recipe("recipe").text("one"));
        let other = Stamp::new(&layout, "step", Fingerprint::of_recipe("recipe").text("other"));
        assert!(!one.is_current());

        one.set().expect("written");
        assert!(one.is_current());
        assert!(!other.is_current());

        one.clear().expect("removed");
        assert!(!one.is_current());
        one.clear().expect("nothing left to remove");
    }

    #[test]
    fn a_changed_file_changes_the_fingerprint_of_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let digest = |content: &str| {
            fs::write(folder.path().join("file"), content).expect("written");
            let mut inputs = Fingerprint::default();
            inputs.folder(folder.path()).expect("readable").finish()
        };
        assert_eq!(digest("one"), digest("one"));
        assert_ne!(digest("one"), digest("two"));
    }
}

//! `cargo xtask check`: rules about the repository itself, which no compiler checks.
//!
//! Each check reads the files of a [`Tree`] and returns one line per violation, with its place. A
//! check comes with a test that shows a violation which it finds.
//!
//! | check | what holds |
//! | --- | --- |
//! | [`imports`] | no modules of a crate import each other in a circle |
//! | [`sources`] | `unsafe` in its two folders only; cited rules exist; comments end at column 100 |
//! | [`pages`] | files, tests, tasks and headings that a page names exist |
//! | [`tools`] | what other programs check: spelling, crates, workflows |

pub mod imports;
pub mod pages;
pub mod sources;
pub mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::console::{Outcome, Steps};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// The files of a repository that the checks look at.
#[derive(Debug, Default)]
pub struct Tree {
    /// Every file, relative to the root.
    files: Vec<PathBuf>,
    /// The text of each Rust source file and each page.
    texts: Vec<Text>,
}

/// A file's text.
#[derive(Debug)]
pub(crate) struct Text {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Tree {
    /// Reads the repository without what builds make and what git keeps.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let walk = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
            let name = entry.file_name();
            entry.depth() == 0 || (name != "target" && name != ".git")
        });
        for entry in walk {
            let entry = entry.map_err(std::io::Error::from).on("list", root)?;
            if !entry.file_type().is_file() {
                continue;
            }
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(path).to_path_buf();
            if has_extension(path, "rs") || has_extension(path, "md") {
                let text = fs::read_to_string(path).on("read", path)?;
                tree.texts.push(Text { path: relative.clone(), text });
            }
            tree.files.push(relative);
        }
        Ok(tree)
    }

    /// A repository that a test makes up.
    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let text = |&(path, text): &(&str, &str)| Text { path: path.into(), text: text.to_owned() };
        Self {
            files: files.iter().map(|(path, _)| PathBuf::from(path)).collect(),
            texts: files.iter().map(text).collect(),
        }
    }

    /// The texts whose names end so.
    pub(crate) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a Text> {
        self.texts.iter().filter(move |text| has_extension(&text.path, extension))
    }

    fn text(&self, path: &Path) -> Option<&str> {
        self.texts.iter().find(|text| text.path == path).map(|text| text.text.as_str())
    }

    /// Whether a file or a folder is there.
    fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.starts_with(path))
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// A check: what must hold, and a function that returns a line for each violation.
type Check = (&'static str, fn(&Tree) -> Vec<String>);

const CHECKS: [Check; 5] = [
    ("imports between modules", imports::violations),
    ("unsafe code of the driver", sources::unsafe_outside),
    ("citations of rules", sources::unknown_rules),
    ("width of comments", sources::wide_comments),
    ("files, tests and tasks named by pages", pages::violations),
];

/// How many steps [`add_to`] takes.
pub const STEPS: usize = CHECKS.len() + tools::STEPS;

/// Runs the task.
pub fn run(layout: &Layout, quick: bool) -> Result<()> {
    let mut failed = 0;
    let judge = |_: &str, ended: Result<()>| {
        if let Err(error) = ended {
            crate::console::say(&error.to_string());
            failed += 1;
        }
        Ok(())
    };
    if quick {
        own(&Steps::new(CHECKS.len()), layout, judge)?;
    } else {
        add_to(&Steps::new(STEPS), layout, judge)?;
    }
    if failed == 0 { Ok(()) } else { Err(Error::Tests { failed }) }
}

/// Runs every check as a step of a longer task; `judge` gets the name and the result of each.
pub fn add_to(
    steps: &Steps,
    layout: &Layout,
    mut judge: impl FnMut(&str, Result<()>) -> Result<()>,
) -> Result<()> {
    own(steps, layout, &mut judge)?;
    tools::add_to(steps, layout, judge)
}

/// Runs the checks that need no other program.
fn own(
    steps: &Steps,
    layout: &Layout,
    mut judge: impl FnMut(&str, Result<()>) -> Result<()>,
) -> Result<()> {
    let tree = Tree::read(layout.root())?;
    for (name, check) in CHECKS {
        let ended = steps.run(name, |_| {
            let violations = check(&tree);
            if violations.is_empty() {
                return Ok(Outcome::Done);
            }
            Err(Error::Tree { check: name, violations })
        });
        judge(name, ended)?;
    }
    Ok(())
}

//! Whatever a page names is there.
//!
//! In back-quotes: a path (with a slash, or with the extension of a source file), from the root or
//! from the page's folder; `path/file.rs::name`, a test or another function of that file; `cargo
//! xtask TASK`. In links: a file, and a heading in it. `target/` and paths with a word in capitals
//! for the reader to fill in are not looked for.

use std::path::{Component, Path, PathBuf};

use clap::CommandFactory;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::{Text, Tree, has_extension};
use crate::arguments::Arguments;

/// These name files of other projects as well.
const EXEMPT: [&str; 2] = ["tests/wine/kernel/kmdf/CONFORMANCE.md", "xtask/wdk/README.md"];

const EXTENSIONS: [&str; 5] = ["rs", "md", "toml", "inx", "sh"];

/// What the pages name that is not there, a line each.
pub fn violations(tree: &Tree) -> Vec<String> {
    let tasks = Arguments::command();
    let tasks: Vec<&str> = tasks.get_subcommands().map(clap::Command::get_name).collect();
    let mut found = Vec::new();
    let pages = tree.with_extension("md");
    for page in pages.filter(|page| !EXEMPT.iter().any(|exempt| page.path == Path::new(exempt))) {
        for event in Parser::new(&page.text) {
            let problem = match &event {
                Event::Code(code) => named(tree, page, code, &tasks),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    linked(tree, page, dest_url)
                }
                _ => None,
            };
            found.extend(problem.map(|problem| format!("{}: {problem}", page.path.display())));
        }
    }
    found
}

/// What is wrong with words in back-quotes.
fn named(tree: &Tree, page: &Text, code: &str, tasks: &[&str]) -> Option<String> {
    if let Some(task) = code.strip_prefix("cargo xtask ") {
        let task = task.split_whitespace().next().unwrap_or_default();
        let is_there = task.starts_with('-') || tasks.contains(&task) || is_placeholder(task);
        return (!is_there).then(|| format!("there is no task `{task}`"));
    }
    if let Some((file, name)) = code.split_once(".rs::") {
        let path = resolve(tree, page, &format!("{file}.rs"));
        let text = path.and_then(|path| tree.text(&path));
        let name = name.rsplit("::").next().unwrap_or(name);
        let is_there = text.is_some_and(|text| text.contains(&format!("fn {name}(")));
        return (!is_there).then(|| format!("there is no `{code}`"));
    }
    let is_path = code.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
        && (code.contains('/') || EXTENSIONS.iter().any(|it| has_extension(Path::new(code), it)))
        && !code.starts_with(['/', '.'])
        && !code.starts_with("target/")
        && !code.split('/').any(has_placeholder);
    (is_path && resolve(tree, page, code).is_none()).then(|| format!("there is no `{code}`"))
}

/// True for a name with a word to fill in; README.md is none.
fn has_placeholder(name: &str) -> bool {
    let is_source = EXTENSIONS.iter().any(|extension| has_extension(Path::new(name), extension));
    is_placeholder(name) || !is_source && name.split('.').any(is_placeholder)
}

/// What is wrong with a link.
fn linked(tree: &Tree, page: &Text, url: &str) -> Option<String> {
    if url.contains("://") || url.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = url.split_once('#').unwrap_or((url, ""));
    let path = if file.is_empty() { Some(page.path.clone()) } else { resolve(tree, page, file) };
    let Some(path) = path else { return Some(format!("a link to {file}, which is not there")) };
    let is_there = anchor.is_empty()
        || tree.text(&path).is_some_and(|text| headings(text).iter().any(|it| it == anchor));
    (!is_there).then(|| format!("a link to {url}: there is no such heading"))
}

/// `NAME`, `N`: for the reader to fill in. `README.md` is none.
fn is_placeholder(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase())
}

/// The file or folder that a page means: from its own folder, or from the root; one without a
/// folder may be anywhere.
fn resolve(tree: &Tree, page: &Text, name: &str) -> Option<PathBuf> {
    let beside = page.path.parent().unwrap_or(Path::new("")).join(name);
    // A page beside a manifest is about the sources in `src`.
    let source = page.path.parent().unwrap_or(Path::new("")).join("src").join(name);
    let places = [normal(&beside), normal(&source), normal(Path::new(name))];
    let found = places.into_iter().find(|place| tree.has(place));
    let anywhere = || tree.files.iter().find(|file| file.file_name() == Some(name.as_ref()));
    found.or_else(|| anywhere().cloned())
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// The anchors of a page's headings: lower case, hyphens for spaces, no punctuation.
pub fn headings(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(page) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(text) | Event::Code(text), Some(heading)) => heading.push_str(&text),
            (Event::End(TagEnd::Heading(_)), _) => {
                anchors.extend(heading.take().map(|it| anchor(&it)));
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(page: &str) -> Vec<String> {
        violations(&Tree::of(&[
            ("docs/page.md", page),
            ("docs/rules.md", "# The rules\n## T0\n"),
            ("engine/src/table.rs", "#[test]\nfn it_holds() {}"),
        ]))
    }

    #[test]
    fn names_of_existing_things_are_accepted() {
        let page = "`engine/` `engine/src/table.rs` `table.rs` `rules.md` `cargo xtask test --quick` \
                    `engine/src/table.rs::it_holds` [a](rules.md#t0) [b](../engine/src/table.rs) \
                    [c](https://x.y/z) `target/e2e/` `VOLUME/x.y` `no_std` `/dev/null` `Session::x`\n\n    \
                    `no/such/file` in a block of code";
        assert_eq!(of(page), Vec::<String>::new());
    }

    #[test]
    fn names_of_missing_things_are_reported() {
        for (page, problem) in [
            ("`engine/src/gone.rs`", "there is no `engine/src/gone.rs`"),
            ("`gone.toml`", "there is no `gone.toml`"),
            ("`engine/src/table.rs::gone`", "there is no `engine/src/table.rs::gone`"),
            ("`cargo xtask gone`", "there is no task `gone`"),
            ("[a](gone.md)", "a link to gone.md, which is not there"),
            ("[a](page.md#gone)", "a link to page.md#gone: there is no such heading"),
        ] {
            assert_eq!(of(page), [format!("docs/page.md: {problem}")]);
        }
    }
}

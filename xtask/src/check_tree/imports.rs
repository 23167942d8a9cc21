//! No modules of a crate import each other in a circle: each can be read after those that it
//! imports.
//!
//! An import is a `use`, or a path in code, that begins with `crate`, `self` or `super`, or a `use`
//! that begins with a child module. A `mod` item and a re-export of a child (`pub use child::Item`)
//! are none: they are the table of contents of the parent. A path through a re-export leads to the
//! module that has the item. Code under `#[cfg(test)]` is left out, and so are the crates of
//! [`EXEMPT`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility};

use super::Tree;
use crate::graph;

/// The functions of the rig's KMDF call each other as those of the real one do.
const EXEMPT: [&str; 1] = ["tests/wine/kernel"];

/// The path of a module: `["crate", "session", "write"]`.
type Module = Vec<String>;

/// The circles of every crate of the repository, a line each.
pub fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for text in tree.with_extension("rs") {
        let is_root = text.path.ends_with("src/lib.rs") || text.path.ends_with("src/main.rs");
        if !is_root || EXEMPT.iter().any(|folder| text.path.starts_with(folder)) {
            continue;
        }
        let mut modules = Modules { tree, known: BTreeMap::new(), problems: Vec::new() };
        modules.read(&text.path, &vec!["crate".to_owned()]);
        found.append(&mut modules.problems);
        let circles = modules.circles();
        found.extend(circles.map(|circle| format!("{}: {circle}", text.path.display())));
    }
    found
}

struct Modules<'a> {
    tree: &'a Tree,
    known: BTreeMap<Module, Imports>,
    /// Files that could not be read.
    problems: Vec<String>,
}

/// What a module says about others.
#[derive(Default)]
struct Imports {
    children: BTreeSet<String>,
    /// How many modules of this file stand around the item that is visited.
    depth: usize,
    /// Paths as they are written.
    paths: Vec<Vec<String>>,
    /// Names that the module passes on, with where they come from.
    exports: BTreeMap<String, Vec<String>>,
}

impl Modules<'_> {
    /// Reads a file and the files of its child modules.
    fn read(&mut self, path: &Path, module: &Module) {
        let Some(text) = self.tree.text(path) else {
            self.problems.push(format!("{}: there is no such file", path.display()));
            return;
        };
        let file: File = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => {
                self.problems.push(format!("{}: {error}", path.display()));
                return;
            }
        };
        let mut imports = Imports::default();
        let children = file.items.iter().filter_map(child);
        imports.children.extend(children.map(|item| item.ident.to_string()));
        imports.visit_file(&file);
        let children = imports.children.clone();
        self.known.insert(module.clone(), imports);
        for name in children {
            let mut child = module.clone();
            child.push(name.clone());
            if let Some(path) = self.file_of(path, &name) {
                self.read(&path, &child);
            }
        }
    }

    /// Where a child module's file is; none if the module stands in its parent's.
    fn file_of(&self, parent: &Path, child: &str) -> Option<PathBuf> {
        let stem = parent.file_stem().unwrap_or_default();
        let mut folder = parent.parent()?.to_path_buf();
        if !["lib", "main", "mod"].iter().any(|name| stem == *name) {
            folder.push(stem);
        }
        let places = [folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs")];
        places.into_iter().find(|place| self.tree.text(place).is_some())
    }

    /// The module that a path in `from` leads to, if it is one of the crate's.
    fn target(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut place = match path.first()?.as_str() {
            "crate" => vec!["crate".to_owned()],
            "self" => from.clone(),
            "super" => from[..from.len() - 1].to_vec(),
            child if self.known[from].children.contains(child) => {
                return self.descend(from.clone(), path);
            }
            _ => return None,
        };
        let mut rest = &path[1..];
        while rest.first().is_some_and(|name| name == "super") {
            place.pop();
            rest = &rest[1..];
        }
        self.descend(place, rest)
    }

    fn descend(&self, mut place: Module, path: &[String]) -> Option<Module> {
        for (index, name) in path.iter().enumerate() {
            let imports = self.known.get(&place)?;
            if let Some(origin) = imports.exports.get(name) {
                let whole = [origin.as_slice(), &path[index + 1..]].concat();
                return self.target(&place, &whole).or(Some(place));
            }
            place.push(name.clone());
            if !self.known.contains_key(&place) {
                place.pop();
                break;
            }
        }
        self.known.contains_key(&place).then_some(place)
    }

    fn circles(&self) -> impl Iterator<Item = String> {
        let edges: BTreeMap<&Module, BTreeSet<&Module>> = self
            .known
            .iter()
            .map(|(from, imports)| {
                let targets = imports.paths.iter().filter_map(|path| self.target(from, path));
                let known = targets.filter_map(|target| Some(self.known.get_key_value(&target)?.0));
                (from, known.filter(|target| *target != from).collect())
            })
            .collect();
        let next = |module: &&Module| edges[module].iter().copied().collect::<Vec<_>>();
        let mut circles = BTreeMap::new();
        for module in edges.keys() {
            if let Some(circle) = graph::path(module, module, next) {
                let members: BTreeSet<&Module> = circle.iter().copied().collect();
                let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
                circles.entry(members).or_insert_with(|| names.join(" → "));
            }
        }
        circles.into_values()
    }
}

impl Imports {
    fn import(&mut self, mut path: Vec<String>) {
        if path.first().is_none_or(|first| first != "crate") && self.depth > 0 {
            let supers = path.iter().take_while(|name| *name == "super").count();
            if supers <= self.depth {
                return;
            }
            path.drain(..self.depth);
        }
        self.paths.push(path);
    }
}

impl Visit<'_> for Imports {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item(&mut self, item: &Item) {
        let attributes = match item {
            Item::Use(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        let mut names = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut names);
        for (name, path) in names {
            let first = path.first().map_or("", String::as_str);
            let child = if first == "self" { path.get(1) } else { path.first() };
            let is_child = child.is_some_and(|child| self.children.contains(child));
            if is_child && !matches!(item.vis, Visibility::Inherited) {
                self.exports.insert(name, path);
            } else {
                self.import(path);
            }
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if ["crate", "self", "super"].contains(&names[0].as_str()) && names.len() > 1 {
            self.import(names);
        }
        visit::visit_path(self, path);
    }

    /// `pub(in path)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}
}

fn child(item: &Item) -> Option<&ItemMod> {
    match item {
        Item::Mod(item) if !is_for_tests(&item.attrs) => Some(item),
        _ => None,
    }
}

/// Whether an item is there in tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Ok(list) = attribute.meta.require_list() else { return false };
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all (test"))
    })
}

/// Every name of a `use`, with its whole path.
fn flatten(tree: &UseTree, path: &mut Vec<String>, names: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            flatten(&inner.tree, path, names);
            path.pop();
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|item| flatten(item, path, names));
        }
        UseTree::Glob(_) => names.push(("*".to_owned(), path.clone())),
        UseTree::Name(name) if name.ident == "self" => {
            names.push((path.last().cloned().unwrap_or_default(), path.clone()));
        }
        UseTree::Name(name) => {
            names.push((
                name.ident.to_string(),
                [path.as_slice(), &[name.ident.to_string()]].concat(),
            ));
        }
        UseTree::Rename(name) => {
            names.push((
                name.rename.to_string(),
                [path.as_slice(), &[name.ident.to_string()]].concat(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        violations(&Tree::of(files))
    }

    #[test]
    fn two_modules_that_import_each_other_are_a_circle() {
        let found = circles(&[
            ("a/src/lib.rs", "mod one; mod two;"),
            ("a/src/one.rs", "use crate::two::Two;"),
            ("a/src/two.rs", "fn f() { super::one::g() }"),
        ]);
        assert_eq!(found, ["a/src/lib.rs: crate::one → crate::two → crate::one"]);
    }

    #[test]
    fn a_parent_and_a_child_that_import_each_other_are_a_circle() {
        let child = ("a/src/one/two.rs", "use super::One;");
        let root = ("a/src/lib.rs", "mod one;");
        let found = circles(&[root, ("a/src/one.rs", "mod two; use two::Two;"), child]);
        assert_eq!(found, ["a/src/lib.rs: crate::one → crate::one::two → crate::one"]);
        let re_export = ("a/src/one.rs", "mod two; pub use self::two::Two; struct One;");
        assert_eq!(circles(&[root, re_export, child]), Vec::<String>::new());
    }

    #[test]
    fn an_import_through_a_re_export_leads_to_the_module_that_has_the_item() {
        let found = circles(&[
            ("a/src/lib.rs", "mod one; mod two; pub use one::One; pub use two::{Two as Deux};"),
            ("a/src/one.rs", "use crate::Deux;"),
            ("a/src/two.rs", "use crate::One;"),
        ]);
        assert_eq!(found, ["a/src/lib.rs: crate::one → crate::two → crate::one"]);
    }

    #[test]
    fn a_module_inside_a_file_belongs_to_it() {
        let found = circles(&[
            ("a/src/lib.rs", "mod one; use one::One;"),
            ("a/src/one.rs", "mod inner { use super::One; } pub struct One;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn tests_may_import_what_they_test() {
        let found = circles(&[
            ("a/src/main.rs", "mod one; mod two;"),
            ("a/src/one.rs", "use crate::two::Two; #[cfg(test)] mod tests { use super::*; }"),
            ("a/src/two.rs", "#[cfg(test)] use crate::one::One;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_a_violation() {
        assert_eq!(circles(&[("a/src/lib.rs", "mod")]).len(), 1);
    }
}

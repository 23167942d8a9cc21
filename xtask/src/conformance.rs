//! Whether the page that says which behaviour of KMDF the rig reproduces has a row for each
//! function that it has.
//!
//! The rule: index and name of a row are those of the function table and of the framework's
//! published list.

use std::collections::BTreeMap;

/// What is wrong with the page, a line each.
fn problems(page: &str, table: &str, indices: &str) -> Vec<String> {
    let implemented = implemented(table);
    let names = names(indices);
    let mut rows = BTreeMap::new();
    let mut problems = Vec::new();
    for row in page.lines().filter_map(Row::parse) {
        let index = row.index;
        if !implemented.contains(&index) {
            problems.push(format!("{index} {}: a row without a function", row.name));
        }
        if names.get(&index).is_none_or(|name| *name != row.name) {
            problems.push(format!("{index} {}: not the name of this index", row.name));
        }
        if row.cells.iter().any(|cell| cell.is_empty()) {
            problems.push(format!("{index} {}: an empty cell", row.name));
        }
        if rows.insert(index, row.name).is_some() {
            problems.push(format!("{index}: two rows"));
        }
    }
    let missing = implemented.iter().filter(|index| !rows.contains_key(index));
    problems.extend(missing.map(|index| format!("{index}: a function without a row")));
    problems
}

struct Row<'a> {
    index: usize,
    name: &'a str,
    /// Where, what is reproduced, what differs.
    cells: [&'a str; 3],
}

impl<'a> Row<'a> {
    /// A row that begins with an index; none for every other line.
    fn parse(line: &'a str) -> Option<Self> {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
        let cells: Vec<&str> = cells.collect();
        let index = cells.first()?.parse().ok()?;
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        Some(Self { index, name: cell(1).trim_matches('`'), cells: [cell(2), cell(3), cell(4)] })
    }
}

/// The indices in the lines `(13, module::function as …),` of the function table.
fn implemented(table: &str) -> Vec<usize> {
    let entry = |line: &str| line.trim().strip_prefix('(')?.split_once(',')?.0.parse().ok();
    table.lines().filter(|line| line.contains(" as *const c_void),")).filter_map(entry).collect()
}

/// The names in the lines `WdfCollectionCreateTableIndex = 13,` of the framework's list.
fn names(indices: &str) -> BTreeMap<usize, &str> {
    let entries = indices.lines().filter_map(|line| {
        let (name, index) = line.trim().trim_end_matches(',').split_once("TableIndex = ")?;
        Some((index.parse().ok()?, name))
    });
    entries.collect()
}

#[test]
fn every_function_of_the_rigs_kmdf_has_a_row_and_every_row_a_function() {
    let root = crate::layout::Layout::of_this_repository();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("a file of ours");
    let kmdf = root.rig_kernel().join("kmdf");
    let table = read(kmdf.join("src/table.rs"));
    // The table says itself how many entries it has: all of them were found.
    let length =
        format!("const IMPLEMENTED: [(usize, *const c_void); {}]", implemented(&table).len());
    assert!(table.contains(&length), "{length}");
    let indices = read(root.wdk_sources().join("kmdf/wdf_functions.h"));
    let found = problems(&read(kmdf.join("CONFORMANCE.md")), &table, &indices);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_way_to_be_wrong_is_named() {
    let table = "    (13, collection::create as *const c_void),\n    (14, b::c as *const c_void),";
    let indices = "WdfATableIndex = 13,\n WdfBTableIndex = 14,\n WdfCTableIndex = 15,";
    let page = |rows: &[&str]| problems(&rows.join("\n"), table, indices);
    let (a, b) = ("| 13 | `WdfA` | f | x | – |", "| 14 | `WdfB` | f | x | – |");
    assert_eq!(page(&["| index |", a, b]), Vec::<String>::new());
    assert_eq!(page(&[a]), ["14: a function without a row"]);
    assert_eq!(page(&[a, b, b]), ["14: two rows"]);
    assert_eq!(page(&[a, b, "| 15 | `WdfC` | f | x | – |"]), ["15 WdfC: a row without a function"]);
    assert_eq!(page(&[a, "| 14 | `WdfC` | f | x | – |"]), ["14 WdfC: not the name of this index"]);
    assert_eq!(page(&[a, "| 14 | `WdfB` | | x | – |"]), ["14 WdfB: an empty cell"]);
}

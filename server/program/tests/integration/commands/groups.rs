//! `group`: the groups of volumes that get common bookmarks.

use std::fs;

use serde_json::json;
use snapless_server::groups::GROUPS_FILE;

use super::{assert_done, assert_fails, filled, json, run, text};
use crate::common::{self, VOLUME};

#[test]
fn a_group_is_set_listed_and_removed() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let list = || run(&["group", "list"], &root, &[]);
    assert!(text(&list().stdout).contains("no groups yet"));
    let volume = VOLUME.to_string();
    let set = run(&["group", "set"], &root, &["sql", &volume, "--json"]);
    let group = json!({"group": "sql", "volumes": [volume]});
    assert_eq!(json(&set), group);
    assert_eq!(json(&run(&["group", "list"], &root, &["--json"])), json!([group]));
    assert!(text(&list().stdout).contains(&format!("group sql\n  volume {volume}")));
    assert_done(&run(&["group", "remove"], &root, &["sql"]));
    assert_fails(&run(&["group", "remove"], &root, &["sql"]), 1, "no group sql");
}

#[test]
fn what_is_no_group_changes_nothing() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let volume = VOLUME.to_string();
    let unknown = "71a27cdd-812a-11d0-bec7-08002be2092f";
    let set = |words: &[&str]| run(&["group", "set"], &root, words);
    assert_fails(&set(&["sql", unknown]), 1, unknown);
    assert_fails(&set(&["sql", &volume, &volume]), 1, "twice");
    assert_fails(&set(&["a b", &volume]), 2, "letters");
    assert_fails(&set(&["sql"]), 2, "VOLUME");
    assert!(!root.join(GROUPS_FILE).exists());
    fs::write(root.join(GROUPS_FILE), "[group]\nsql = 7").unwrap();
    assert_fails(&set(&["sql", &volume]), 1, GROUPS_FILE);
}

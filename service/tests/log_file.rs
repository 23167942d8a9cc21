//! The log files: one with a fixed name, a few older ones, bounded in size and number.

use std::fs;

use snapless_service::logging::{self, Audience, FILE_LEN_MAX, FILES_KEPT};

#[test]
fn the_log_has_a_fixed_name_and_a_bounded_size() {
    let folder = tempfile::tempdir().unwrap();
    let log = logging::start(folder.path(), Audience::FileOnly).unwrap();
    let line = "x".repeat(8 << 10);
    let lines = (FILES_KEPT as u64 + 3) * FILE_LEN_MAX / line.len() as u64;
    for number in 0..lines {
        log::info!("{number} {line}");
    }
    log::info!("the last line");
    log.shutdown();

    let current = fs::read_to_string(folder.path().join("service.log")).unwrap();
    assert!(current.ends_with("INFO  the last line\n"), "the newest lines are in service.log");
    let sizes: Vec<u64> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), FILES_KEPT + 1, "old files are removed");
    let bound = FILE_LEN_MAX + 2 * line.len() as u64;
    assert!(sizes.iter().all(|size| *size <= bound), "{sizes:?}");
}

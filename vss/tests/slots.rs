//! The table of `IVssBackupComponents` is in the order of the header of mingw-w64.

use std::fs;

/// Of Debian's package `mingw-w64-common`.
const HEADER: &str = "/usr/share/mingw-w64/include/vsbackup.h";
const TABLE: &str = include_str!("../src/windows/backup.rs");

#[test]
fn the_methods_stand_in_the_order_of_the_header() {
    let ours: Vec<_> = TABLE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub unsafe fn ")?.split('(').next())
        .collect();
    let header = fs::read_to_string(HEADER)
        .unwrap_or_else(|why| panic!("{HEADER}: {why}: apt-get install mingw-w64-common"));
    let (_, class) = header.split_once("IVssBackupComponents : public IUnknown").unwrap();
    let (class, _) = class.split_once("};").unwrap();
    let theirs: Vec<_> = class
        .lines()
        .filter_map(|line| line.trim().strip_prefix("virtual HRESULT STDMETHODCALLTYPE "))
        .filter_map(|line| line.split('(').next())
        .collect();
    assert!(ours.len() > 30 && theirs.starts_with(&ours), "{ours:?}\nis not\n{theirs:?}");
}

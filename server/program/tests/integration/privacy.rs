//! What the server makes is its owner's alone.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{self, Driver, LENGTH, VOLUME};
use snapless_server::repository::WritableRepository;

/// Runs the program under the loosest umask.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0 && exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_snapless-server")).args(arguments);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done
}

/// Every file and folder from here on.
fn walk(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    found.push((path.to_owned(), metadata.permissions().mode() & 0o777));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn serve_warns_of_a_repository_that_others_can_read() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    drop(WritableRepository::init(&root).unwrap());
    let warning = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapless-server"));
        // Without an authority it ends at once.
        command.args(["serve", "--listen", "127.0.0.1:0", "--repository"]).arg(&root);
        let done = command.output().unwrap();
        String::from_utf8_lossy(&done.stderr).contains("chmod -R go=")
    };
    assert!(!warning());
    for open in [&root, &root.join("volumes")] {
        assert!(!warning());
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(warning());
}

#[test]
fn what_the_program_makes_is_its_owners_alone_whatever_the_umask() {
    let dir = common::scratch();
    let (above, image) = (dir.path().join("above"), dir.path().join("image"));
    let root = above.join("repository");
    let at = root.to_str().unwrap();
    run(&["init", at]);
    run(&["ca", "init", "--repository", at]);
    run(&["token", "create", "--repository", at]);
    // Files of sessions are made by the same code in this process, under its umask.
    common::ingest(&root, LENGTH, 1 << 10, &[Driver::default().first_sync()]);
    let (volume, to) = (VOLUME.to_string(), image.to_str().unwrap());
    run(&["restore", "--repository", at, "--volume", &volume, "--at", "t0", "--to", to]);
    let export = dir.path().join("export");
    run(&["export", "--all", "--repository", at, "--to", export.to_str().unwrap()]);
    let mut found = Vec::new();
    walk(&above, &mut found);
    walk(&image, &mut found);
    walk(&export, &mut found);
    assert!(found.len() > 15, "{found:?}");
    let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "{open:?}");
}

//! `restore` to virtual disks, by the `qemu-img` of this machine and by stand-ins for it.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{assert_done, assert_fails, filled, filled_image, json, restore, run, text};
use crate::common::{self, BLOCK, Driver, LENGTH, SESSION, VOLUME, program};

const FORMATS: [(&str, &str); 5] =
    [("qcow2", "qcow2"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("vmdk", "vmdk"), ("vdi", "vdi")];

/// The real program, which `cargo xtask setup` installs.
fn qemu_img() -> Command {
    let found = Command::new("qemu-img").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok(), "qemu-img is not installed: `cargo xtask setup` installs qemu-utils");
    Command::new("qemu-img")
}

/// The bytes of a virtual disk.
fn content(disk: &Path, driver: &str) -> Vec<u8> {
    let raw = disk.with_extension("raw");
    let mut convert = qemu_img();
    convert.args(["convert", "-f", driver, "-O", "raw"]).arg(disk).arg(&raw);
    assert!(convert.status().unwrap().success());
    fs::read(raw).unwrap()
}

/// A repository, and a folder for images.
fn begin(dir: &Path) -> (PathBuf, PathBuf) {
    let folder = dir.join("images");
    fs::create_dir(&folder).unwrap();
    (dir.join("repository"), folder)
}

#[test]
fn a_virtual_disk_of_each_format_is_the_point() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    filled(&root);
    for (extension, driver) in FORMATS {
        let to = folder.join(format!("disk.{extension}"));
        let done = restore(&root, "latest", &to, &["--json"]);
        assert_done(&done);
        let report = json(&done);
        assert_eq!((&report["format"], &report["compared"]), (&extension.into(), &true.into()));
        assert_eq!(
            (&report["bytes"], &report["session"]),
            (&LENGTH.into(), &SESSION.to_string().into())
        );
        assert_eq!(report["bytes_written"], fs::metadata(&to).unwrap().len());
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let content = content(&to, driver);
        let (volume, rest) = content.split_at(filled_image().len());
        assert!(volume == filled_image() && rest.iter().all(|&byte| byte == 0), "{extension}");
    }
    // The name says nothing where --format does.
    let to = folder.join("disk.img");
    assert_done(&restore(&root, "t0", &to, &["--format", "qcow2", "--no-compare"]));
    assert!(content(&to, "qcow2") == common::base_image());
    let to = folder.join("raw.vhdx");
    assert_done(&restore(&root, "t0", &to, &["--format", "raw"]));
    assert!(fs::read(to).unwrap() == common::base_image());
}

#[test]
fn a_disk_replaces_a_file_only_with_force_and_keeps_its_mode() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    filled(&root);
    let to = folder.join("disk.qcow2");
    fs::write(&to, "old").unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o640)).unwrap();
    assert_fails(&restore(&root, "t0", &to, &[]), 1, "--force");
    assert_eq!(fs::read(&to).unwrap(), b"old");
    let done = restore(&root, "t0", &to, &["--force"]);
    assert_done(&done);
    assert!(text(&done.stdout).contains("compared with the point: the same"), "{done:?}");
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(content(&to, "qcow2") == common::base_image());
    fs::remove_file(to.with_extension("raw")).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn damage_and_holes_have_their_exit_codes() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    let mut driver = Driver::default();
    let mut records = vec![driver.start(), driver.blocks(0..1), driver.unreadable(BLOCK, BLOCK)];
    records.extend([driver.blocks(2..5), driver.base_complete(), driver.epoch_end()]);
    common::ingest(&root, LENGTH, 1 << 20, &[records.concat()]);
    let to = folder.join("disk.qcow2");
    let done = restore(&root, "t0", &to, &["--json"]);
    assert_eq!(done.status.code(), Some(5), "{}", text(&done.stderr));
    assert_eq!(json(&done)["unreadable"][0]["offset"], BLOCK);
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let other = folder.join("other.qcow2");
    assert_fails(&restore(&root, "t0", &other, &[]), 4, "snapless-server verify");
    assert_fails(&restore(&root, "t0", &other, &["--salvage"]), 1, "--format raw");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing half done is left");
}

/// A restore with a script in place of `qemu-img`; `None` for none at all.
fn restore_with(script: Option<&str>, dir: &Path, root: &Path, to: &Path) -> Output {
    let folder = dir.join("bin");
    fs::create_dir_all(&folder).unwrap();
    if let Some(script) = script {
        let path = folder.join("qemu-img");
        // Not the writer's own handle: a file that is open for writing cannot be run.
        let mut put = Command::new("sh");
        put.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&path).arg(script);
        assert!(put.status().unwrap().success());
    }
    let volume = VOLUME.to_string();
    let fixed = ["restore", "--volume", &volume, "--at", "latest", "--to", to.to_str().unwrap()];
    let mut command = program();
    command.args(fixed).arg("--repository").arg(root).env("PATH", folder);
    command.output().unwrap()
}

#[test]
fn a_qemu_img_that_is_missing_old_or_wrong_is_named() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    filled(&root);
    let to = folder.join("disk.vhdx");
    let with = |script: &str| restore_with(Some(script), dir.path(), &root, &to);
    assert_fails(&restore_with(None, dir.path(), &root, &to), 1, "install QEMU's tools");
    let script = |version: &str, then: &str| {
        let begin = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'qemu-img version ";
        format!("{begin}{version}'; exit 0; fi\n{then}\n")
    };
    assert_fails(&with(&script("2.11.1", "exit 0")), 1, "too old");
    assert_fails(&with("#!/bin/sh\necho hello\n"), 1, "calls itself \"hello\"");
    let fails = script("8.0.0", "echo 'no room on the moon' >&2; exit 1");
    assert_fails(&with(&fails), 1, "no room on the moon");
    let differs = "if [ \"$1\" = compare ]; then echo 'Content mismatch at offset 7!'; exit 1; fi";
    assert_fails(&with(&script("8.0.0", differs)), 1, "mismatch at offset 7!");
    // It puts a file of its own into the disk's place.
    let replaces = "for last; do :; done\n\
                    [ \"$1\" = compare ] || { : > \"$last.x\"; /bin/mv \"$last.x\" \"$last\"; }";
    assert_fails(&with(&script("8.0.0", replaces)), 1, "another program");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing half done is left");
}

#[test]
fn a_stop_ends_qemu_img_and_leaves_nothing() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    filled(&root);
    let to = folder.join("disk.qcow2");
    // It never ends by itself, and asks for the stop when it has begun.
    let script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'qemu-img version 8.0.0'; exit 0; fi\n\
                  kill -TERM $PPID\nwhile :; do :; done\n";
    let stopped = restore_with(Some(script), dir.path(), &root, &to);
    assert_fails(&stopped, 130, "stopped");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_point_that_is_none_and_a_wrong_format_are_refused_first() {
    let dir = common::scratch();
    let (root, folder) = begin(dir.path());
    filled(&root);
    let to = folder.join("disk.qcow2");
    assert_fails(&restore(&root, "2019-01-01T00:00:00Z", &to, &[]), 3, "2020-01-01");
    let inside = root.join("disk.qcow2");
    assert_fails(&restore(&root, "t0", &inside, &[]), 1, "lies in the repository");
    assert_fails(&restore(&root, "t0", &to, &["--format", "iso"]), 2, "vhdx");
    let help = run(&["restore", "--help"], &root, &[]);
    assert!(text(&help.stdout).contains("--format"), "{help:?}");
}

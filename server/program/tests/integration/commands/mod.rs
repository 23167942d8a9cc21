//! The commands of an administrator who works with points.

mod bookmarks;
mod disks;
mod groups;
mod points;
mod stat;
mod verify;

use std::path::Path;
use std::process::Output;

use crate::common::{self, BLOCK, Driver, LENGTH, VOLUME, program};
use serde_json::Value;

fn run(command: &[&str], root: &Path, more: &[&str]) -> Output {
    program().args(command).arg("--repository").arg(root).args(more).output().unwrap()
}

/// [`run`] for the test volume.
fn run_for_volume(command: &[&str], root: &Path, more: &[&str]) -> Output {
    let volume = VOLUME.to_string();
    run(command, root, &[&["--volume", &volume], more].concat())
}

fn restore(root: &Path, at: &str, to: &Path, more: &[&str]) -> Output {
    let fixed = ["--at", at, "--to", to.to_str().unwrap()];
    run_for_volume(&["restore"], root, &[&fixed, more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

#[track_caller]
fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// Asserts a failure's exit code, and that its message contains `part`.
#[track_caller]
fn assert_fails(output: &Output, code: i32, part: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(part), "{message}");
}

/// Stores a first sync and one write of 0xee to block 1; returns the driver after that.
fn filled(root: &Path) -> Driver {
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let second = [driver.write(BLOCK, 512, 0xee), driver.epoch_end()].concat();
    common::ingest(root, LENGTH, 1 << 20, &[first, second]);
    driver
}

/// The image of [`filled`] after its write.
fn filled_image() -> Vec<u8> {
    let mut image = common::base_image();
    common::patch(&mut image, BLOCK, 512, 0xee);
    image
}

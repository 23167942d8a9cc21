//! `restore`, to a file and to a device.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Kind, kills, on_repository, seeded, text};
use crate::common::VOLUME;
use crate::common::traced::{self, Kill};
use crate::devices::{self, Loop};
use crate::resumed;
use snapless_server::timeline::At;

fn restore(dir: &Path, to: &Path) -> Command {
    let mut command = on_repository(dir, &["restore", "--at", "t0"]);
    command.args(["--volume", &VOLUME.to_string(), "--to"]).arg(to);
    command
}

#[test]
fn a_restore_to_a_file_goes_on_wherever_it_ended() {
    let kind = Kind {
        name: "restore to a file",
        prepare: |dir| {
            resumed::store(&dir.join("repository"));
            fs::create_dir(dir.join("images")).unwrap();
        },
        command: |dir| restore(dir, &dir.join("images/image")),
        killed: |dir| {
            // The name, once it is there, stands for the whole image.
            if let Ok(found) = fs::read(dir.join("images/image")) {
                assert!(found == resumed::image(At::T0));
            }
        },
        is_done: "exists: choose another name",
        done: |dir, _| {
            assert!(fs::read(dir.join("images/image")).unwrap() == resumed::image(At::T0));
            assert_eq!(fs::read_dir(dir.join("images")).unwrap().count(), 1, "nothing is left");
        },
    };
    kind.kill();
}

#[test]
fn a_restore_to_a_device_goes_on_wherever_it_ended() {
    let _alone = devices::alone();
    let dir = tempfile::tempdir().unwrap();
    resumed::store(&dir.path().join("repository"));
    let Some(device) = Loop::new(resumed::LENGTH + 4096, 4096, 512) else { return };
    let command = || {
        let mut command = restore(dir.path(), &device.device);
        command.arg("--force");
        command
    };
    let Some(whole) = traced::run(&command(), None) else { return };
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let (mut rng, mut resumed) = (seeded(), 0);
    let want = resumed::image(At::T0);
    for number in 0..kills() {
        device.write(0, &[9; 4096]);
        let kill = Kill::draw(&mut rng, whole.calls);
        println!("kill {number}: {kill:?} of {} calls", whole.calls);
        let ended = traced::run(&command(), Some(kill)).unwrap();
        let begin = device.content(0, 4096);
        let is_whole = begin == want[..4096];
        assert!(is_whole || begin == [9; 4096] || device.is_marked(), "{}", ended.stderr);
        let again = command().output().unwrap();
        assert!(again.status.success(), "{}", text(&again));
        resumed += usize::from(text(&again).contains("were there already"));
        assert!(device.content(0, want.len()) == want, "the image is exact");
    }
    println!("{resumed} of {} went on", kills());
}

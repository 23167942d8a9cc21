//! Reports that cannot be printed: to a full disk, a closed pipe, a reader that does not read. No
//! command panics, its work is whole, and its exit code and standard error say what became of the
//! report.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Driver, Process, SESSION, Stored, VOLUME, base_image, program};
use snapless_server::format::repository::session_dir;

/// A bound against hangs only.
const PATIENCE: Duration = Duration::from_mins(1);

/// Each command that prints a report and changes nothing.
const READING: [&[&str]; 11] = [
    &["list"],
    &["list", "--json"],
    &["verify"],
    &["verify", "--json"],
    &["stat"],
    &["stat", "--json"],
    &["gc", "--dry-run"],
    &["retention", "show"],
    &["bookmark", "list"],
    &["points", "VOLUME"],
    &["diff", "--volume", "VOLUME", "--from", "t0", "--to", "latest"],
];

/// Those that print a report of what they have changed. The first ones make what others need.
fn changing(stored: &Stored) -> Vec<Vec<String>> {
    let (root, volume) = (stored.root.to_str().unwrap(), VOLUME.to_string());
    let at = |name: &str| stored.dir.path().join(name).to_str().unwrap().to_owned();
    let [made, export, image] = ["made", "export", "image"].map(at);
    let lines = [
        format!("init {made}"),
        format!("ca init --repository {root}"),
        format!("token create --repository {root}"),
        format!("machines --repository {root}"),
        format!("bookmark add --repository {root} --volume {volume} name"),
        format!("retention set --repository {root} --keep-all 30d"),
        format!("compact --repository {root} --all"),
        format!("upgrade --repository {root}"),
        format!("export --all --repository {root} --to {export}"),
        format!("restore --repository {root} --volume {volume} --at t0 --to {image}"),
    ];
    lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn command(root: &Path, words: &[&str]) -> Command {
    let volume = VOLUME.to_string();
    let mut command = program();
    command.args(words.iter().map(|word| if *word == "VOLUME" { volume.as_str() } else { *word }));
    command.arg("--repository").arg(root).stderr(Stdio::piped());
    command
}

fn stored() -> Stored {
    Stored::new(&[Driver::default().first_sync()])
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// Runs a command to its end; returns its exit code and its lines on standard error.
fn ended(mut command: Command) -> (Option<i32>, Vec<String>) {
    let done = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    (done.status.code(), said.lines().map(str::to_owned).collect())
}

/// Neither takes what is printed: a full disk, and a pipe that nothing reads.
fn nowhere() -> [OwnedFd; 2] {
    [full().into(), pipe().unwrap().1.into()]
}

#[test]
fn a_report_to_a_full_disk_or_a_closed_pipe_is_an_error_of_one_line() {
    let stored = stored();
    for words in READING {
        for to in nowhere() {
            let mut command = command(&stored.root, words);
            command.stdout(to);
            let (code, said) = ended(command);
            let [line] = &said[..] else { panic!("{words:?}: {code:?}, {said:?}") };
            assert_eq!(code, Some(1), "{words:?}: {line}");
            assert!(line.starts_with("error: cannot print the report"), "{words:?}: {line}");
        }
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_an_error_and_the_work_is_whole() {
    for (turn, to) in nowhere().into_iter().enumerate() {
        let stored = stored();
        for words in changing(&stored) {
            let mut command = program();
            command.args(&words).stdout(to.try_clone().unwrap()).stderr(Stdio::piped());
            let (code, said) = ended(command);
            assert_eq!(code, Some(1), "{turn} {words:?}: {said:?}");
            let is_said = |line: &String| line.contains("cannot print the report");
            assert!(said.iter().any(is_said), "{turn} {words:?}: {said:?}");
            assert!(!said.iter().any(|line| line.contains("panicked")), "{turn} {said:?}");
        }
        assert_eq!(fs::read(stored.dir.path().join("image")).unwrap(), base_image());
        assert!(stored.dir.path().join("export/export.snapless").exists());
    }
}

#[test]
fn help_that_cannot_be_printed_is_an_error_too() {
    for words in [&["--help"][..], &["restore", "--help"], &["--version"]] {
        for to in nowhere() {
            let mut command = program();
            command.args(words).stdout(to).stderr(Stdio::piped());
            let (code, said) = ended(command);
            assert_eq!((code, said.len()), (Some(1), 1), "{words:?}: {said:?}");
            assert!(said[0].contains("cannot print the report"), "{words:?}: {said:?}");
        }
    }
}

#[test]
fn the_verdict_outlives_its_report() {
    let stored = stored();
    let segment = stored.root.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for words in [&["verify"][..], &["verify", "--json"]] {
        let mut command = command(&stored.root, words);
        command.stdout(full());
        let (code, said) = ended(command);
        assert_eq!(code, Some(4), "{said:?}");
        assert!(said.iter().any(|line| line.contains("cannot print")), "{said:?}");
        // Nor can it be said that it cannot be printed.
        let mut command = self::command(&stored.root, words);
        assert_eq!(command.stdout(full()).stderr(full()).status().unwrap().code(), Some(4));
    }
}

#[test]
fn an_error_that_cannot_be_said_keeps_its_exit_code() {
    let stored = stored();
    let to = stored.dir.path().join("image");
    for (at, code) in [("2019-12-31T23:59:59Z", 3), ("t0", 0)] {
        let mut restore = command(&stored.root, &["restore", "--volume", "VOLUME", "--at", at]);
        restore.arg("--to").arg(&to).stdout(Stdio::null()).stderr(full());
        assert_eq!(restore.status().unwrap().code(), Some(code), "{at}");
    }
}

/// True if the process is in a system call that writes.
fn is_writing(id: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{id}/syscall")).unwrap_or_default();
    let write = if cfg!(target_arch = "x86_64") { "1 " } else { "64 " };
    call.starts_with(write)
}

#[test]
fn a_command_whose_reader_does_not_read_hears_sigterm() {
    let stored = stored();
    for words in [&["list"][..], &["verify", "--json"]] {
        let (mut reader, mut writer) = pipe().unwrap();
        // All that a pipe holds.
        writer.write_all(&vec![b'.'; 64 << 10]).unwrap();
        let mut command = command(&stored.root, words);
        let mut running = Process(command.stdout(writer).spawn().unwrap());
        drop(command);
        let id = running.0.id();
        let begun = Instant::now();
        while !is_writing(id) {
            assert!(begun.elapsed() < PATIENCE, "{words:?}: it prints its report");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
        assert_eq!(running.0.wait().unwrap().code(), Some(130), "{words:?}");
        let mut printed = Vec::new();
        reader.read_to_end(&mut printed).unwrap();
    }
}

//! Reports that cannot be printed: to a full disk, a closed pipe, a reader that does not read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Driver, Process, SESSION, Stored, VOLUME, program};
use snapless_server::format::repository::session_dir;

/// A bound against hangs only.
const PATIENCE: Duration = Duration::from_mins(1);

/// Each command that prints a report and changes nothing.
const COMMANDS: [&[&str]; 10] = [
    &["list"],
    &["list", "--json"],
    &["verify"],
    &["verify", "--json"],
    &["stat"],
    &["gc", "--dry-run"],
    &["retention", "show"],
    &["bookmark", "list"],
    &["points", "VOLUME"],
    &["diff", "--volume", "VOLUME", "--from", "t0", "--to", "latest"],
];

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

#[test]
fn a_report_to_a_full_disk_or_a_closed_pipe_is_an_error_of_one_line() {
    let stored = stored();
    for words in COMMANDS {
        for is_full in [true, false] {
            let mut command = command(&stored.root, words);
            if is_full {
                command.stdout(full());
            } else {
                command.stdout(pipe().unwrap().1);
            }
            let (code, said) = ended(command);
            let [line] = &said[..] else { panic!("{words:?}: {code:?}, {said:?}") };
            assert_eq!(code, Some(1), "{words:?}: {line}");
            assert!(line.starts_with("error: cannot print the report"), "{words:?}: {line}");
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

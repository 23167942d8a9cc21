//! Where images go: links, names, files of others, two restores at once, what killed ones leave.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{self, Driver, LENGTH, Process, SESSION, Stored, VOLUME, base_image};
use serde_json::Value;
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::repository::Repository;
use snapless_server::restore::{Report, Request, Source, restore};
use snapless_server::stop::StopFlag;
use snapless_server::target::{Demand, FileTarget, Target};
use snapless_server::timeline::At;
use snapless_server::writer::SessionWriter;
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::record::Records;

/// A repository whose latest image has one byte everywhere, unlike the one at t0.
fn stored() -> Stored {
    let mut driver = Driver::default();
    Stored::new(&[
        driver.start(),
        driver.blocks(0..5),
        driver.base_complete(),
        driver.write(0, LENGTH, 0xee),
        driver.epoch_end(),
    ])
}

fn latest_image() -> Vec<u8> {
    vec![0xee; usize::try_from(LENGTH).unwrap()]
}

fn restored(stored: &Stored, at: At, to: &Path, force: bool) -> Result<Report, Error> {
    let source = Source { volume: VOLUME, session: None, at };
    let request = Request { source, to: to.to_owned(), force, other_sector_size: false };
    restore(&Repository::open(&stored.root)?, &request, &StopFlag::default(), |_| {})
}

/// Runs the program's `restore --at t0`.
fn run(stored: &Stored, to: &Path, more: &[&str]) -> Output {
    restore_to(stored, to, more).output().unwrap()
}

/// The program's `restore --at t0`.
fn restore_to(stored: &Stored, to: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapless-server"));
    command.args(["restore", "--volume", &VOLUME.to_string(), "--at", "t0", "--repository"]);
    command.arg(&stored.root).arg("--to").arg(to).args(more);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_finished_image_replaces_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, "old").unwrap();
    let stop = StopFlag::default();
    let demand =
        |force| Demand { length: 16_384, sector_size: Some(512), force, other_sector_size: false };
    let refused = FileTarget::open(&path, &demand(false), &stop);
    assert!(matches!(refused, Err(Error::TargetExists(_))));
    let mut target = FileTarget::open(&path, &demand(true), &stop).unwrap();
    target.write_first(0, &[1; 4096]).unwrap();
    target.write(8192, &[2; 8192]).unwrap();
    target.zero(8192, 4096).unwrap();
    target.zero_first(4096, 4096).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    target.finish().unwrap();
    let image = fs::read(&path).unwrap();
    assert_eq!(image, [[1; 4096], [0; 4096], [0; 4096], [2; 4096]].concat());
    assert_eq!(names(dir.path()), ["image"]);
}

#[test]
fn a_link_is_followed_and_stays_and_one_to_nothing_is_refused() {
    use std::os::unix::fs::symlink;
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("big")).unwrap();
    symlink("big/vm.img", at("second")).unwrap();
    symlink("second", at("image")).unwrap();
    for force in [false, true] {
        let refused = restored(&stored, At::T0, &at("image"), force).unwrap_err().to_string();
        assert!(refused.contains("which does not exist"), "{refused}");
    }
    fs::write(at("big/vm.img"), "old").unwrap();
    let refused = restored(&stored, At::T0, &at("image"), false);
    assert!(matches!(refused, Err(Error::TargetExists(_))));
    let report = restored(&stored, At::T0, &at("image"), true).unwrap();
    assert_eq!(*report.file, at("image"));
    assert_eq!(fs::read(at("big/vm.img")).unwrap(), base_image());
    assert!(fs::symlink_metadata(at("image")).unwrap().is_symlink());
    assert_eq!(names(dir.path()), ["big", "image", "second"]);
    assert_eq!(names(&at("big")), ["vm.img"]);
}

#[test]
fn any_legal_name_works_and_is_printed_whole() {
    use std::os::unix::ffi::OsStringExt;
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsString::from_vec(b"jim\xffg \"\\\n".to_vec());
    let done = run(&stored, &dir.path().join(odd), &["--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(report["file"].as_str().unwrap().ends_with("jim\u{fffd}g \"\\\n"), "{report}");
    assert!(report["file_bytes"].as_str().unwrap().ends_with("6a696dff6720225c0a"), "{report}");
    assert_eq!(report["sector_size"], 512);

    for name in ["n".repeat(255), "ü".repeat(127), "-".into(), " ".into(), ".partial".into()] {
        let to = dir.path().join(&name);
        let done = run(&stored, &to, &["--json"]);
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["file"], to.to_str().unwrap());
        assert!(report.get("file_bytes").is_none(), "{report}");
        assert_eq!(fs::read(&to).unwrap(), base_image());
    }
    let done = run(&stored, Path::new(""), &[]);
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
}

#[test]
fn a_repository_of_any_name_is_listed_and_verified_as_json() {
    use std::os::unix::ffi::OsStringExt;
    let mut stored = stored();
    let odd = stored.dir.path().join(std::ffi::OsString::from_vec(b"odd\xff".to_vec()));
    fs::rename(&stored.root, &odd).unwrap();
    stored.root = odd;
    let sessions = stored.root.join("sessions.snapless");
    fs::write(sessions, [7; 64]).unwrap();
    for (command, code) in [("list", 0), ("verify", 4)] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_snapless-server"));
        let done =
            program.args([command, "--json", "--repository"]).arg(&stored.root).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{}", text(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        if command == "verify" {
            assert!(report["damage"][0]["file_bytes"].is_string(), "{report}");
        }
    }
}

#[test]
fn no_file_that_another_account_puts_there_is_written_through() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    // What a name that can be foreseen would be.
    let foreseen = dir.path().join(format!(".image.partial-{}", std::process::id()));
    std::os::unix::fs::symlink(&precious, &foreseen).unwrap();
    restored(&stored, At::T0, &dir.path().join("image"), false).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert!(foreseen.is_symlink());
}

#[test]
fn restores_at_once_into_one_folder_each_have_their_own_image() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let (stored, dir) = (&stored, dir.path());
            scope.spawn(move || {
                for round in 0..4 {
                    let (at, want) = match turn % 2 {
                        0 => (At::T0, base_image()),
                        _ => (At::Latest, latest_image()),
                    };
                    let to = dir.join(format!("image-{turn}-{round}"));
                    restored(stored, at, &to, false).unwrap();
                    assert!(fs::read(&to).unwrap() == want, "{turn}, {round}");
                }
            });
        }
    });
    assert_eq!(names(dir.path()).len(), 32);
}

#[test]
fn of_restores_at_once_to_one_name_one_is_done_and_the_others_are_refused() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("image");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let restore = |at| {
            let (stored, to) = (&stored, &to);
            scope.spawn(move || (at, restored(stored, at, to, false)))
        };
        let threads: Vec<_> = [At::T0, At::Latest, At::T0, At::Latest].map(restore).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let done: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).collect();
    let [(at, _)] = done[..] else { panic!("{outcomes:?}") };
    let want = if *at == At::T0 { base_image() } else { latest_image() };
    assert!(fs::read(&to).unwrap() == want, "the image is that of the one that was done");
    for (_, outcome) in &outcomes {
        assert!(matches!(outcome, Ok(_) | Err(Error::TargetExists(_))), "{outcome:?}");
    }
    assert_eq!(names(dir.path()), ["image"]);
}

#[test]
fn what_killed_restores_left_is_removed_or_named() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let left = |system: &str, name: &str| -> PathBuf {
        let path = dir.path().join(format!(".snapless-{system}-{name}.partial"));
        fs::write(&path, "half").unwrap();
        path
    };
    let dead = left(&boot[..8], "deaddeaddead");
    let live = left(&boot[..8], "livelivelive");
    let far = left("0badcafe", "farfarfarfar");
    let lock = fs::File::open(&live).unwrap();
    lock.lock().unwrap();
    let done = run(&stored, &dir.path().join("image"), &["--json"]);
    let notes = text(&done.stderr);
    assert!(done.status.success(), "{notes}");
    assert!(notes.contains(&format!("removed {}", dead.display())), "{notes}");
    assert!(notes.contains(&format!("{} is a restore's", far.display())), "{notes}");
    assert!(!notes.contains("livelivelive"), "{notes}");
    assert!(!dead.exists() && live.exists() && far.exists());
    drop(lock);
}

/// A repository whose stream is in two segments, with the state kept: a restore finds its point
/// without the first one.
fn in_two_segments(root: &Path) {
    let repository = common::repository(root);
    let (header, stop) = (common::header(LENGTH), StopFlag::default());
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &header, 1 << 10, &stop).unwrap();
    let mut driver = Driver::default();
    let second = |driver: &mut Driver| [driver.write(0, 512, 7), driver.epoch_end()].concat();
    for payload in [driver.first_sync(), second(&mut driver)] {
        for record in Records::new(&payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, &payload).unwrap(), &payload).unwrap();
        let last = state.last().unwrap();
        writer.commit(last.epoch, last.seq).unwrap();
    }
    writer.keep_state_at_end(&state);
}

#[test]
fn a_restore_that_is_killed_leaves_a_file_that_the_next_one_removes() {
    let dir = common::scratch();
    let (root, folder) = (dir.path().join("repository"), dir.path().join("images"));
    fs::create_dir(&folder).unwrap();
    in_two_segments(&root);
    let stored = Stored { dir, root };
    let to = folder.join("image");
    // The system kills it when its file becomes longer than a file may be.
    let command = restore_to(&stored, &to, &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -c 0; ulimit -f 1; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    let killed = limited.output().unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let [left] = &names(&folder)[..] else { panic!("one file") };
    let done = run(&stored, &to, &[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains(left), "{}", text(&done.stderr));
    assert_eq!(names(&folder), ["image"]);
    assert_eq!(fs::read(&to).unwrap(), base_image());
}

#[test]
fn a_name_that_only_a_folder_can_have_is_no_target() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    for to in [dir.path().to_owned(), dir.path().join("new/"), dir.path().join("..")] {
        let refused = restored(&stored, At::T0, &to, true);
        assert!(matches!(refused, Err(Error::TargetKind(_))), "{}", to.display());
    }
    assert_eq!(names(dir.path()).len(), 0);
}

#[test]
fn a_file_with_other_names_is_replaced_with_force_only_and_that_is_said() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let (to, other) = (dir.path().join("image"), dir.path().join("other"));
    fs::write(&to, "old").unwrap();
    fs::hard_link(&to, &other).unwrap();
    for name in ["image", "link"] {
        let refused = run(&stored, &dir.path().join(name), &[]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains("hard links"), "{said}");
        assert_eq!(fs::read(&to).unwrap(), b"old");
        if name == "image" {
            std::os::unix::fs::symlink("image", dir.path().join("link")).unwrap();
        }
    }
    let done = run(&stored, &to, &["--force"]);
    let said = text(&done.stderr);
    assert!(done.status.success() && said.contains("hard links"), "{said}");
    assert_eq!(fs::read(&to).unwrap(), base_image());
    assert_eq!(fs::read(&other).unwrap(), b"old");
}

#[test]
fn what_is_neither_a_file_nor_a_disk_is_no_target_and_nothing_waits_for_it() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("fifo", at("link")).unwrap();
    for to in [at("fifo"), at("socket"), at("link"), "/dev/full".into(), "/dev/null".into()] {
        for more in [&[][..], &["--force"], &["--force", "--salvage"]] {
            let refused = run(&stored, &to, more);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{}: {said}", to.display());
            assert!(said.contains("neither a file nor a block device"), "{said}");
        }
    }
    assert_eq!(names(dir.path()), ["fifo", "link", "socket"]);
}

/// A bind mount; unmounted when it is dropped.
struct Bound(PathBuf);

impl Bound {
    /// The folder under another name; `None`, with a word, where this account may not mount.
    fn new(folder: &Path, name: PathBuf) -> Option<Self> {
        use std::io::Write;
        fs::create_dir(&name).unwrap();
        let mounted = Command::new("mount").arg("--bind").arg(folder).arg(&name).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(name));
        }
        // Past the harness, which shows nothing of a test that passes.
        drop(writeln!(std::io::stderr(), "skipped: nothing can be mounted here"));
        None
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn the_repository_is_no_target_under_another_name_either() {
    let stored = stored();
    let dir = tempfile::tempdir().unwrap();
    let session = session_dir(VOLUME, SESSION);
    let segment = "segment-00000001.slseg";
    let before = fs::read(stored.root.join(&session).join(segment)).unwrap();
    for (turn, below) in ["", "volumes", session.to_str().unwrap()].into_iter().enumerate() {
        let bound = Bound::new(&stored.root.join(below), dir.path().join(turn.to_string()));
        let Some(Bound(bound)) = &bound else { return };
        let inside = session.strip_prefix(below).unwrap();
        for to in [bound.join(inside).join(segment), bound.join("new")] {
            let refused = run(&stored, &to, &["--force"]);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{}: {said}", to.display());
            assert!(said.contains("lies in the repository"), "{said}");
        }
    }
    assert_eq!(fs::read(stored.root.join(&session).join(segment)).unwrap(), before);
    // Another name of one file: that name is replaced, and the repository keeps its own.
    let linked = stored.dir.path().join("linked");
    fs::hard_link(stored.root.join(&session).join(segment), &linked).unwrap();
    assert!(!run(&stored, &linked, &[]).status.success());
    assert!(run(&stored, &linked, &["--force"]).status.success());
    assert_eq!(fs::read(stored.root.join(&session).join(segment)).unwrap(), before);
    assert_eq!(fs::read(&linked).unwrap(), base_image());
}

#[test]
fn a_mount_takes_over_a_killed_ones_socket_and_makes_none_in_the_repository() {
    use std::io::{BufRead, BufReader};
    let stored = stored();
    let mount = |socket: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapless-server"));
        command.args(["mount", "--volume", &VOLUME.to_string(), "--at", "t0", "--repository"]);
        command.arg(&stored.root).arg("--socket").arg(socket);
        command
    };
    let socket = stored.dir.path().join("s");
    for _ in 0..2 {
        let mut command = mount(&socket);
        let mut child = Process(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it listens");
        let refused = mount(&socket).output().unwrap();
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains("another program listens"), "{said}");
        child.kill();
        assert!(socket.exists(), "it was killed");
    }
    let inside = stored.root.join("s");
    let refused = mount(&inside).output().unwrap();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("lies in the repository"), "{said}");
    assert!(!inside.exists());
}

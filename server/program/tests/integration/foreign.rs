//! What is no regular file, in the place of each file of a repository: nothing waits for it,
//! nothing follows it, and it is named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{self, Driver, LENGTH, SESSION, VOLUME, base_image, patch, program, scratch};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use snapless_server::bookmarks::new_name;
use snapless_server::error::Error;
use snapless_server::format::bookmark::{Bookmark, Making};
use snapless_server::format::repository::{session_dir, volume_dir};
use snapless_server::list::{Content, list};
use snapless_server::point::keep::keep;
use snapless_server::points::{self, points};
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::retention::folds::Folds;
use snapless_server::retention::gc;
use snapless_server::retention::minimum::{Minimum, Minimums};
use snapless_server::retention::policy::Policies;
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::{FileTime, VolumeGuid};
use snapless_wire::record::Records;

/// A bound against hangs only.
const PATIENCE: Duration = Duration::from_mins(2);
const OTHER: VolumeGuid = VolumeGuid([0x77; 16]);

/// A repository with a file of each kind.
fn stored(root: &Path) {
    let repository = common::repository(root);
    let (header, stop) = (common::header(LENGTH), StopFlag::default());
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &header, 1 << 10, &stop).unwrap();
    let mut driver = Driver::default();
    let change = |driver: &mut Driver| [driver.write(0, 512, 7), driver.epoch_end()].concat();
    for payload in [driver.first_sync(), change(&mut driver), change(&mut driver)] {
        for record in Records::new(&payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, &payload).unwrap(), &payload).unwrap();
        let last = state.last().unwrap();
        writer.commit(last.epoch, last.seq).unwrap();
    }
    let last = state.last().unwrap();
    let time = FileTime::new(last.time().get() + 10);
    let watermark = Watermark::new(last.seq, time, time.get() - common::T0);
    state.mark(&watermark).unwrap();
    writer.mark(&watermark).unwrap();
    writer.keep_state_at_end(&state);
    drop(writer);
    let repository = repository.repository();
    let reader = SessionReader::open(repository.store(), header).unwrap();
    assert!(keep(&reader, 1, &stop).unwrap() > 0);
    repository.add_bookmark(&bookmark()).unwrap();
    Policies::default().write(repository.store()).unwrap();
    Minimum::new(1, Policies::default(), FileTime::new(1)).add(repository.store()).unwrap();
}

fn bookmark() -> Bookmark {
    Bookmark {
        name: new_name("name").unwrap(),
        volume: VOLUME,
        session: SESSION,
        created: FileTime::new(1),
        time: FileTime::new(common::T0),
        cut: Cut::Base,
        keep: None,
        making: Making::default(),
    }
}

fn latest_image() -> Vec<u8> {
    let mut image = base_image();
    patch(&mut image, 0, 512, 7);
    image
}

#[derive(Clone, Copy, Debug)]
enum Other {
    Fifo,
    Socket,
    Directory,
    /// To the file that was there.
    Link,
    /// To a device without end.
    Zero,
    Dangling,
}

const OTHERS: [Other; 6] =
    [Other::Fifo, Other::Socket, Other::Directory, Other::Link, Other::Zero, Other::Dangling];

impl Other {
    /// Puts it in the place of a file, which goes aside.
    fn take_place(self, path: &Path, aside: &Path) {
        fs::rename(path, aside).unwrap();
        match self {
            Self::Fifo => {
                mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            Self::Socket => {
                mknodat(CWD, path, FileType::Socket, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::Link => symlink(aside, path).unwrap(),
            Self::Zero => symlink("/dev/zero", path).unwrap(),
            Self::Dangling => symlink("nowhere", path).unwrap(),
        }
    }
}

/// Files of a folder and those below it.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// What every command says: the files that are named as damaged.
fn named(root: &Path) -> Vec<PathBuf> {
    let mut named = Vec::new();
    let stop = StopFlag::default();
    let mut note = |what: &str, outcome: Result<(), Error>| match outcome {
        Ok(()) => {}
        Err(Error::Damaged { path, .. }) => named.push(path),
        // A temporary file, or a lock: nothing that is stored.
        Err(Error::File { path, source, .. }) if source.to_string().contains("regular file") => {
            named.push(path);
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let policy = |store| {
        Policies::read(store)?;
        Minimums::read(store, FileTime::new(0)).map(drop)
    };
    let opened = Repository::open(root);
    match opened {
        Err(error) => note("open", Err(error)),
        Ok(repository) => {
            note("policy", policy(repository.store()));
            note("list", list(&repository, &stop).map(drop));
            let request = points::Request { volume: VOLUME, session: None, quiet: true };
            note("points", points(&repository, &request, &stop, |_, _| {}).map(drop));
            note("stat", stat(&repository, None, &stop, |_, _| {}).map(drop));
            note("gc", gc::collect(&repository, &Folds, None, &stop).map(drop));
            note("bookmark", repository.bookmark(VOLUME, &new_name("name").unwrap()).map(drop));
            match verify(&repository, &stop, |_| {}) {
                Ok(report) => {
                    named.extend(report.damage.iter().map(|found| found.file.to_path_buf()));
                }
                Err(error) => note("verify", Err(error)),
            }
        }
    }
    named
}

/// Restores; the image, if there is one, is right.
fn check_image(root: &Path) -> Result<(), Error> {
    for (at, want) in [(At::T0, base_image()), (At::Latest, latest_image())] {
        let to = root.with_extension("img");
        let source = Source { volume: VOLUME, session: None, at };
        common::restore_to(root, source, &to)?;
        assert!(fs::read(&to).unwrap() == want, "{at:?}");
    }
    Ok(())
}

/// Opens the session as a server does when its service connects.
fn open_writer(root: &Path) -> Result<(), Error> {
    let repository = WritableRepository::open(root)?;
    let stop = StopFlag::default();
    SessionWriter::open(&repository, &common::header(LENGTH), 1 << 10, &stop).map(drop)
}

/// Runs this on another thread, and not for ever.
fn in_time<T: Send + 'static>(what: String, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (say, said) = mpsc::channel();
    let thread = thread::spawn(move || drop(say.send(run())));
    match said.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: it waits"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
    }
}

#[test]
fn what_is_no_file_in_a_files_place_is_named_and_neither_followed_nor_waited_for() {
    let dir = scratch();
    let template = dir.path().join("template");
    stored(&template);
    let mut all = Vec::new();
    files(&template, &mut all);
    assert!(all.len() >= 13, "{all:?}");
    for (file, other) in all.iter().flat_map(|file| OTHERS.map(|other| (file, other))) {
        let name = file.strip_prefix(&template).unwrap();
        let case = format!("{} in the place of {}", other_name(other), name.display());
        let turn = tempfile::tempdir_in(dir.path()).unwrap();
        let root = turn.path().join("repository");
        copy(&template, &root);
        let (path, aside) = (root.join(name), turn.path().join("aside"));
        other.take_place(&path, &aside);
        let before = fs::read(&aside).unwrap();
        let at = root.clone();
        let found = in_time(case.clone(), move || {
            let mut found = named(&at);
            match check_image(&at) {
                Ok(()) => {}
                Err(Error::Damaged { path, .. }) => found.push(path),
                Err(error) => assert!(!found.is_empty(), "{error}"),
            }
            // What the server does about it is its matter; it ends.
            if let Err(Error::Damaged { path, .. } | Error::File { path, .. }) = open_writer(&at) {
                found.push(path);
            }
            found
        });
        assert!(found.contains(&path), "{case}: {found:?}");
        assert_eq!(fs::read(&aside).unwrap(), before, "{case}: what a link leads to stays");
    }
}

fn other_name(other: Other) -> String {
    format!("{other:?}").to_lowercase()
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named_and_the_others_are_listed() {
    let dir = scratch();
    let root = dir.path().join("repository");
    stored(&root);
    // Of a volume that is not known, of one that is, and of a session of it.
    let known = root.join(volume_dir(VOLUME));
    let of_session = root.join(session_dir(VOLUME, SESSION));
    let stop = StopFlag::default();
    for (place, volume) in
        [(root.join(volume_dir(OTHER)), OTHER), (known, VOLUME), (of_session, VOLUME)]
    {
        let aside = dir.path().join("aside");
        let is_moved = fs::rename(&place, &aside).is_ok();
        fs::write(&place, "no folder").unwrap();
        let repository = Repository::open(&root).unwrap();
        let listed = list(&repository, &stop).unwrap();
        let of = |volume: VolumeGuid| {
            listed.iter().find(|it| it.volume == volume.to_string()).expect("it is listed")
        };
        let is_damaged = |session: &snapless_server::list::Session| {
            matches!(session.content, Content::Damaged { .. })
        };
        let found = of(volume);
        assert!(found.error.is_some() || found.sessions.iter().any(is_damaged), "{found:?}");
        if volume == OTHER {
            assert!(found.error.as_ref().unwrap().contains("no directory"), "{found:?}");
            assert!(of(VOLUME).latest.is_some(), "{listed:?}");
            check_image(&root).unwrap();
        }
        let damage = verify(&repository, &stop, |_| {}).unwrap().damage;
        assert!(damage.iter().any(|it| it.file.starts_with(&place)), "{damage:?}");
        stat(&repository, None, &stop, |_, _| {}).unwrap();
        gc::collect(&repository, &Folds, None, &stop).unwrap();
        for (command, code) in [("list", 0), ("stat", 4), ("verify", 4)] {
            let mut program = program();
            let done = program.args([command, "--repository"]).arg(&root).output().unwrap();
            let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
            assert_eq!(done.status.code(), Some(code), "{command}: {said}");
            assert!(said.contains(place.to_str().unwrap()), "{command}: {said}");
        }
        fs::remove_file(&place).unwrap();
        if is_moved {
            fs::rename(&aside, &place).unwrap();
        }
    }
    assert_eq!(verify(&Repository::open(&root).unwrap(), &stop, |_| {}).unwrap().damage, []);
}

#[test]
fn something_else_in_the_place_of_a_file_that_is_written_to_ends_the_acknowledging() {
    let dir = scratch();
    for other in OTHERS {
        let turn = tempfile::tempdir_in(dir.path()).unwrap();
        let root = turn.path().join("repository");
        let repository = common::repository(&root);
        let (header, stop) = (common::header(LENGTH), StopFlag::default());
        let (mut writer, _) = SessionWriter::open(&repository, &header, 1 << 20, &stop).unwrap();
        let mut driver = Driver::default();
        let payload = driver.first_sync();
        let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
        writer.append(&frame, &payload).unwrap();
        let segment = root.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
        other.take_place(&segment, &turn.path().join("aside"));
        let last = Records::new(&payload).last().unwrap().unwrap().header;
        let outcome = in_time(format!("{other:?}"), move || {
            writer.commit(last.epoch(), last.seq()).map(drop)
        });
        assert!(matches!(outcome, Err(Error::Moved(_))), "{other:?}: {outcome:?}");
    }
}

//! Each command that writes is killed outright at a system call that changes a file, before it, in
//! the midst of it or after it: nothing that was there or was acknowledged is lost, and the same
//! command again does what was asked.
//!
//! `SNAPLESS_KILLS` says how often of each kind; the call is drawn by a seed, which is printed.

mod folds;
mod ingest;
mod making;
mod restores;
mod transfers;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::traced::{self, Kill};
use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, VOLUME, program};
use fastrand::Rng;
use snapless_server::format::session::SessionHeader;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_wire::id::{FileTime, SessionId};

/// Kills of each kind in a test run.
const KILLS: usize = 5;
const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;

fn kills() -> usize {
    std::env::var("SNAPLESS_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

fn seeded() -> Rng {
    let seed = std::env::var("SNAPLESS_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    println!("SNAPLESS_SEED={seed}");
    Rng::with_seed(seed)
}

/// A command that writes, and what must hold.
struct Kind {
    name: &'static str,
    /// Makes what the command works on, in an empty folder.
    prepare: fn(&Path),
    /// The command, in such a folder.
    command: fn(&Path) -> Command,
    /// Checks what a kill has left.
    killed: fn(&Path),
    /// What the same command may say in place of doing it again.
    is_done: &'static str,
    /// Compares what there is at the end with a folder in which the command was not disturbed.
    done: fn(&Path, &Path),
}

impl Kind {
    /// Kills the command again and again, each time on what was prepared.
    fn kill(&self) {
        let dir = common::scratch();
        let [template, reference, work] =
            ["template", "reference", "work"].map(|name| dir.path().join(name));
        fs::create_dir(&template).unwrap();
        (self.prepare)(&template);
        copy(&template, &reference);
        let Some(whole) = traced::run(&(self.command)(&reference), None) else { return };
        assert_eq!(whole.code, Some(0), "{}: {}", self.name, whole.stderr);
        (self.done)(&reference, &reference);
        let mut rng = seeded();
        for number in 0..kills() {
            copy(&template, &work);
            let kill = Kill::draw(&mut rng, whole.calls);
            println!("{}, kill {number}: {kill:?} of {} calls", self.name, whole.calls);
            let ended = traced::run(&(self.command)(&work), Some(kill)).unwrap();
            if ended.code.is_none() {
                (self.killed)(&work);
            }
            let again = (self.command)(&work).output().unwrap();
            let said = text(&again);
            let is_done = !self.is_done.is_empty() && said.contains(self.is_done);
            assert!(again.status.success() || is_done, "{}: {said}", self.name);
            (self.done)(&work, &reference);
            fs::remove_dir_all(&work).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// What a command printed.
fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

/// `COMMAND --repository DIR/repository`.
fn on_repository(dir: &Path, command: &[&str]) -> Command {
    let mut program = program();
    program.args(command).arg("--repository").arg(dir.join("repository"));
    program
}

/// What a command that must succeed printed.
#[track_caller]
fn says(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Asserts that `verify` finds nothing.
#[track_caller]
fn sound(root: &Path) {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

fn header(session: SessionId, begin: u64) -> SessionHeader {
    let created = FileTime::new(common::T0 + begin * DAY);
    SessionHeader { session, created, ..common::header(LENGTH) }
}

/// Stores a session that begins on a day and goes on for some, with a point each day.
fn session(repository: &WritableRepository, session: SessionId, begin: u64, days: u64) {
    let mut driver = Driver { time: common::T0 + begin * DAY, ..Driver::default() };
    let mut frames = vec![driver.first_sync()];
    for number in 0..days {
        (driver.time, driver.monotonic) = (driver.time + DAY, driver.monotonic + DAY);
        let byte = 0x80 + u8::try_from(number).unwrap();
        frames.push([driver.write(BLOCK, SECTOR, byte), driver.epoch_end()].concat());
    }
    common::ingest_into(repository, &header(session, begin), 20_000, &frames);
}

/// Of a repository of [`session`]s, the image of each day that can be restored.
fn images(root: &Path, session: SessionId, days: u64) -> Vec<Option<Vec<u8>>> {
    let repository = Repository::open(root).unwrap();
    let stop = StopFlag::default();
    let image = |at| {
        let source = Source { volume: VOLUME, session: Some(session), at };
        let found = Found::find(&repository, &source, &stop).ok()?;
        let mut image = vec![0xcc; usize::try_from(LENGTH).unwrap()];
        found.open(&stop, |_| {}).unwrap().read(0, &mut image).unwrap();
        Some(image)
    };
    let instants = (0..days).map(|day| At::Time(FileTime::new(common::T0 + day * DAY + DAY / 2)));
    [At::T0, At::Latest].into_iter().chain(instants).map(image).collect()
}

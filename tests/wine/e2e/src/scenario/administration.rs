//! Everything by commands, as an administrator does it, from the MSI to its removal: a service that
//! has nothing to do, `protect` under load, `pause` and `resume`, `bookmark` and `points` of the
//! volume and of its group, of this machine and of the server's, a `restore` over the network, a
//! service that is killed and starts again, `unprotect`. No gap, and every image is right, those of
//! the bookmarks too.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use protocol::names::VOLUME_DEVICE;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::run::Run;
use crate::server;
use crate::service::{self, ServiceSettings};
use crate::summary::Summary;

/// A fast volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Bytes per second of the load: with the defaults, a slow machine must not fill the queue.
const RATE: u64 = 2 << 20;
/// Writes while the volume is paused.
const PAUSED_WRITES: u64 = 50;
/// Writes after an instant that gets a name: more than are ever under way.
const MORE_WRITES: u64 = 50;
/// How long `predict` measures.
const PREDICTED_SECONDS: &str = "5";
/// The name.
const BOOKMARK: &str = "before-the-crash";
/// The volume's group, and the name of an instant of it.
const GROUP: &str = "sql";
const COMMON: &str = "of-the-group";
/// The same of a group of the server's, as one of several machines.
const MET: &str = "of-the-meeting";
const LIMIT: Duration = Duration::from_mins(1);

/// The file that an instant is restored to.
const RESTORED: &str = r"C:\restored.img";
const RESTORED_ON_C: &str = "restored.img";
/// Its image.
const OVER_NETWORK: &str = "over-network";
/// The name of an instant between scripts.
const BETWEEN_SCRIPTS: &str = "between-scripts";
/// A script, and where it notes what it was told.
const SCRIPT: &str = "script.cmd";
const NOTED: &str = "script.txt";

/// Events of the service (`docs/events.md`).
const CONFIGURATION_CHANGED: u16 = 103;
const NOT_CONSISTENT: u16 = 330;
const SESSION_ENDED: u16 = 204;

/// What the command line says of a request to the service.
#[derive(Deserialize)]
struct Answer {
    volume: String,
    changed: bool,
}

/// What it says of an instant that has got a name.
#[derive(Deserialize)]
struct Bookmarked {
    name: String,
    time: Timestamp,
}

/// What it says of an instant of all volumes of a group.
#[derive(Deserialize)]
struct GroupBookmarked {
    time: Timestamp,
    volumes: Vec<GroupSession>,
}

/// A volume of it.
#[derive(Deserialize)]
struct GroupSession {
    machine: Option<String>,
    volume: String,
}

/// What it says of a restore.
#[derive(Deserialize)]
struct Restored {
    same_bytes: u64,
    fetched_bytes: u64,
    written_bytes: u64,
    compared: bool,
}

/// How it says that an instant was made.
#[derive(Deserialize)]
struct Made {
    consistency: String,
    notes: Vec<String>,
}

/// What it says can be restored.
#[derive(Deserialize)]
struct Points {
    latest: Option<Timestamp>,
    sessions: Vec<Session>,
    bookmarks: Vec<Bookmarked>,
}

/// What it says can be restored of all volumes of a group at once.
#[derive(Deserialize)]
struct GroupPoints {
    volumes: Vec<GroupVolume>,
    first: Option<Timestamp>,
    latest: Option<Timestamp>,
    bookmarks: Vec<Bookmarked>,
}

/// A volume of a group, by its GUID at the server.
#[derive(Deserialize)]
struct GroupVolume {
    volume: String,
}

/// What it says of a volume before protection.
#[derive(Deserialize)]
struct Prediction {
    writes_error: Option<String>,
    disk: Option<serde_json::Value>,
}

/// What it says of a session.
#[derive(Deserialize)]
struct Session {
    state: String,
    t0_restorable: bool,
    gaps: Vec<serde_json::Value>,
}

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    // The file is not used: the service makes its own.
    let service = ServiceSettings::holding(64);
    let setting = &Setting { rate: RATE.min(setting.rate), ..setting.clone() };
    let mut run = Run::prepare(setting, &service, VOLUME_JITTER_US, console)?;
    run.load()?;
    begin_with_nothing(&mut run)?;
    let mut name = String::new();
    let begun = run.begin_by(true, |rig| {
        let answer: Answer = ask(rig, &["protect", VOLUME, "--group", GROUP])?;
        ensure!(answer.changed, Rule, "`protect` has changed nothing");
        name = answer.volume;
        Ok(())
    })?;
    run.folder.guid = name;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    run.disturbed = true;
    pause(&mut run)?;
    let named = bookmark(&mut run)?;
    let common = common_bookmark(&mut run)?;
    let met = meeting(&mut run)?;
    restore(&mut run)?;
    prepare_applications(&mut run)?;
    let moment = run.live_on()?;
    come_again(&mut run)?;
    let last = run.come_to_rest()?;
    ensure!(last.gaps == 0, Rule, "LOSS: {} gaps", last.gaps);
    unprotect(&mut run)?;
    run.shut_down()?;
    // `protect`, `pause`, `resume`, `reload`
    run.rig.must_have_logged(CONFIGURATION_CHANGED, 4)?;
    run.rig.service_logged(&[SESSION_ENDED, NOT_CONSISTENT])?;
    step(run.console, "uninstall the product", |_| run.rig.uninstall_product())?;
    run.folder.discard_machine()?;

    run.restore_both()?;
    run.restore(BOOKMARK)?;
    run.restore(COMMON)?;
    run.restore(MET)?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(&begun, &evidence, true)?;
    run.compare_moment(BOOKMARK, named.clone(), &evidence)?;
    run.compare_moment(OVER_NETWORK, named, &evidence)?;
    run.compare_moment(COMMON, common, &evidence)?;
    run.compare_moment(MET, met, &evidence)?;
    let files = run.check_ntfs("latest")?;
    run.mount(&moment, &evidence)?;
    run.folder.discard_images_unless(setting.repository_stays)?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

/// The volume, as the commands name it.
const VOLUME: &str = VOLUME_DEVICE;

/// What the service answers to a command.
fn ask<T: DeserializeOwned>(rig: &Rig, words: &[&str]) -> Result<T, E2eError> {
    let said = rig.command_line(&[words, &["--json"]].concat())?;
    parse(&words.join(" "), &said)
}

fn parse<T: DeserializeOwned>(command: &str, said: &str) -> Result<T, E2eError> {
    serde_json::from_str(said).map_err(|error| E2eError::said(command, said, error.to_string()))
}

/// Whether a command for the volume has changed anything.
fn changes(rig: &Rig, verb: &str) -> Result<bool, E2eError> {
    Ok(ask::<Answer>(rig, &[verb, VOLUME])?.changed)
}

/// The service runs without a configuration, and refuses what it cannot do.
fn begin_with_nothing(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "start the service with nothing configured", |_| {
        rig.forget_configuration()?;
        rig.start_service()?;
        wait_until("the service to listen", LIMIT, || {
            Ok(rig.command_line(&["reload"]).is_ok().then_some(()))
        })?;
        let refused = rig.command_line(&["unprotect", VOLUME]).is_err();
        ensure!(refused, Rule, "a volume that is not protected was taken out");
        ensure!(rig.status()?.is_none(), Rule, "there is a session that nobody asked for");
        let found = rig.command_line(&["doctor"])?;
        let is_told = found.contains("no volume is configured");
        ensure!(is_told, Rule, "`doctor` found:\n{found}");
        // Wine counts no writes of a volume: that is said, and the rest is measured.
        let words = ["predict", VOLUME, "--seconds", PREDICTED_SECONDS];
        let predicted: Prediction = ask(rig, &words)?;
        let is_said = predicted.writes_error.is_some_and(|why| why.contains("DISK_PERFORMANCE"));
        let is_measured = is_said && predicted.disk.is_some();
        ensure!(is_measured, Rule, "`predict` has not measured the disk");
        Ok(())
    })
}

/// An instant under load gets a name, and the server says what can be restored. Returns how many
/// entries of the journal the image may have.
fn bookmark(run: &mut Run<'_>) -> Result<RangeInclusive<u64>, E2eError> {
    let rig = &mut run.rig;
    step(run.console, "name the present instant under load", |_| {
        let entries_before = rig.agent().counters()?.applied;
        let made: Bookmarked = ask(rig, &["bookmark", VOLUME, BOOKMARK])?;
        let taken = rig.command_line(&["bookmark", VOLUME, BOOKMARK]).is_err();
        ensure!(taken, Rule, "a second instant got the same name");
        // Those under way at the instant have been applied by then.
        rig.written_to(MORE_WRITES)?;
        let entries_after = rig.agent().counters()?.applied;
        let points: Points = ask(rig, &["points", VOLUME])?;
        let [session] = &points.sessions[..] else {
            return Err(E2eError::Rule(format!("{} sessions", points.sessions.len())));
        };
        let is_whole = session.state == "complete" && session.t0_restorable;
        ensure!(is_whole && session.gaps.is_empty(), Rule, "the session is {}", session.state);
        let [listed] = &points.bookmarks[..] else {
            return Err(E2eError::Rule(format!("{} bookmarks", points.bookmarks.len())));
        };
        let is_listed = (&*listed.name, listed.time) == (BOOKMARK, made.time);
        let is_past = points.latest.is_some_and(|latest| latest >= made.time);
        ensure!(is_listed && is_past && made.name == BOOKMARK, Rule, "another bookmark is listed");
        Ok(entries_before..=entries_after)
    })
}

/// An instant under load of all volumes of a group gets a name: here the group has one. Returns how
/// many entries of the journal the image may have.
fn common_bookmark(run: &mut Run<'_>) -> Result<RangeInclusive<u64>, E2eError> {
    let rig = &mut run.rig;
    step(run.console, "name the present instant of a group under load", |_| {
        let entries_before = rig.agent().counters()?.applied;
        let made: GroupBookmarked = ask(rig, &["bookmark", "--group", GROUP, COMMON])?;
        rig.written_to(MORE_WRITES)?;
        let entries_after = rig.agent().counters()?.applied;
        is_listed(rig, COMMON, made.time)?;
        Ok(entries_before..=entries_after)
    })
}

/// The same of a group that the server's administrator has made: the real driver holds the writes
/// that arrive around the instant.
fn meeting(run: &mut Run<'_>) -> Result<RangeInclusive<u64>, E2eError> {
    let (rig, folder) = (&mut run.rig, &run.folder);
    let server = &run.setting.programs.server;
    step(run.console, "name an instant of a group that the server's administrator has made", |_| {
        let points: GroupPoints = ask(rig, &["points", "--group", GROUP])?;
        let [GroupVolume { volume }] = &points.volumes[..] else {
            return Err(E2eError::Rule(format!("{} volumes in the group", points.volumes.len())));
        };
        server::set_group(server, folder, GROUP, volume)?;
        let held_before = held(rig)?;
        let entries_before = rig.agent().counters()?.applied;
        let made: GroupBookmarked = ask(rig, &["bookmark", "--group", GROUP, MET])?;
        rig.written_to(MORE_WRITES)?;
        let entries_after = rig.agent().counters()?.applied;
        let is_of_server = made.volumes.iter().all(|it| it.machine.is_some());
        let is_it = made.volumes.len() == 1 && made.volumes[0].volume == *volume;
        ensure!(is_of_server && is_it, Rule, "the server has made it of other volumes");
        ensure!(held(rig)? > held_before, Rule, "HANG: no write has waited for the cut");
        is_listed(rig, MET, made.time)?;
        Ok(entries_before..=entries_after)
    })
}

/// How many writes have waited.
fn held(rig: &mut Rig) -> Result<u64, E2eError> {
    let status = rig.status()?.ok_or_else(|| E2eError::Rule("no session".to_owned()))?;
    Ok(status.writes_held)
}

/// The group has this bookmark, among what can be restored.
fn is_listed(rig: &Rig, name: &str, time: Timestamp) -> Result<(), E2eError> {
    let points: GroupPoints = ask(rig, &["points", "--group", GROUP])?;
    let is_between = points.first.is_some_and(|first| first < time)
        && points.latest.is_some_and(|latest| latest >= time);
    let is_it = |it: &Bookmarked| (&*it.name, it.time) == (name, time);
    let is_listed = points.bookmarks.iter().any(is_it);
    ensure!(is_between && is_listed, Rule, "the group's bookmark {name} is not listed");
    Ok(())
}

/// The bookmark is restored over the network to a file of the machine, twice: the second time
/// nothing is sent.
fn restore(run: &mut Run<'_>) -> Result<(), E2eError> {
    let (rig, folder) = (&mut run.rig, &run.folder);
    let server = &run.setting.programs.server;
    step(run.console, "restore the named instant over the network", |_| {
        let words = ["--at", BOOKMARK, "--to", RESTORED];
        ensure!(rig.restore(&words).is_err(), Rule, "the machine has read back what it may not");
        server::allow_restore(server, folder)?;
        let first: Restored = parse("restore", &rig.restore(&words)?)?;
        ensure!(first.compared && first.same_bytes == 0, Rule, "the file was not made anew");
        ensure!(rig.restore(&words).is_err(), Rule, "a file was overwritten without --force");
        let second = rig.restore(&[&words[..], &["--force"]].concat())?;
        let second: Restored = parse("restore", &second)?;
        let is_same = second.fetched_bytes == 0 && second.written_bytes == 0;
        ensure!(is_same, Rule, "{} bytes came twice", second.fetched_bytes);
        let in_place = rig.restore(&["--at", "t0", "--to", VOLUME, "--force"]);
        ensure!(in_place.is_err(), Rule, "a protected volume was overwritten");
        rig.take_from_c(RESTORED_ON_C, &folder.restored(OVER_NETWORK))
    })
}

/// Scripts run around an instant. Wine has no VSS: that is said, and nothing gets a name.
fn prepare_applications(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "name an instant between scripts, and one with frozen applications", |_| {
        let script =
            format!("@echo off\r\necho %SNAPLESS_STEP% %SNAPLESS_BOOKMARK% %1>>C:\\{NOTED}\r\n");
        rig.write_on_c(SCRIPT, &script)?;
        let words = format!(r"['C:\{SCRIPT}', 'sales']");
        let text = rig.read_on_c(service::CONFIG_ON_C)?;
        let scripts = format!("{text}\n[scripts]\nbefore = {words}\nafter = {words}\n");
        rig.write_on_c(service::CONFIG_ON_C, &scripts)?;
        rig.command_line(&["reload"])?;
        let made: Made =
            ask(rig, &["bookmark", VOLUME, BETWEEN_SCRIPTS, "--consistency", "scripts"])?;
        let is_noted = &*made.consistency == "scripts" && made.notes.is_empty();
        ensure!(is_noted, Rule, "the server has noted {}: {:?}", made.consistency, made.notes);
        let noted = rig.read_on_c(NOTED)?;
        let lines: Vec<_> = noted.lines().map(str::trim_end).collect();
        let of = |step: &str| format!("{step} {BETWEEN_SCRIPTS} sales");
        ensure!(lines == [of("before"), of("after")], Rule, "the scripts have noted:\n{noted}");

        let frozen = ["bookmark", VOLUME, "frozen", "--consistency", "application"];
        let refused = rig.command_line(&frozen).err().map(|error| error.to_string());
        let is_said = refused.as_ref().is_some_and(|why| why.contains("VSS"));
        ensure!(is_said, Rule, "without VSS an application-consistent bookmark: {refused:?}");
        let made: Made = ask(rig, &[&frozen[..], &["--or-crash"]].concat())?;
        let is_noted = &*made.consistency == "crash" && made.notes.len() == 1;
        ensure!(is_noted, Rule, "instead of it {}: {:?}", made.consistency, made.notes);
        Ok(())
    })
}

/// While a volume is paused the driver captures, and nothing is sent.
fn pause(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "pause the volume under load, and resume it", |_| {
        ensure!(changes(rig, "pause")?, Rule, "`pause` has changed nothing");
        ensure!(!changes(rig, "pause")?, Rule, "`pause` was carried out twice");
        let is_detached =
            |rig: &mut Rig| Ok(rig.status()?.filter(|status| status.phase == "detached"));
        let before = wait_until("the service to let go", LIMIT, || is_detached(rig))?;
        rig.written_to(PAUSED_WRITES)?;
        let after = wait_until("records that are not sent", LIMIT, || {
            Ok(is_detached(rig)?.filter(|status| status.last_seq > before.last_seq))
        })?;
        let is_sent = after.acknowledged_seq > before.acknowledged_seq;
        ensure!(!is_sent, Rule, "records were sent while the volume was paused");
        ensure!(changes(rig, "resume")?, Rule, "`resume` has changed nothing");
        wait_until("what was captured to arrive", LIMIT, || {
            rig.must_run()?;
            let arrived = rig.status()?.filter(|now| now.acknowledged_seq >= after.last_seq);
            Ok(arrived.map(|_| ()))
        })
    })
}

/// What was asked for counts after a crash of the service.
fn come_again(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "kill the service and start it", |_| {
        rig.kill_service()?;
        let sick = rig.command_line(&["doctor"]).is_err();
        ensure!(sick, Rule, "`doctor` found nothing wrong without a service");
        rig.start_service()?;
        wait_until("the service to go on", LIMIT, || {
            let live = rig.status()?.filter(|status| status.phase == "live");
            Ok(live.map(|_| ()))
        })?;
        let found = rig.command_line(&["doctor"])?;
        let is_healthy = !found.contains("FAIL") && !found.contains("WARN");
        ensure!(is_healthy, Rule, "`doctor` found:\n{found}");
        let bundled = rig.command_line(&["support-bundle", "--to", r"C:\support.zip"])?;
        let is_whole = !bundled.contains("could not be had");
        ensure!(is_whole, Rule, "`support-bundle`:\n{bundled}");
        // Wine registers a provider with its sets, and nothing there reads them.
        let log = rig.read_on_c(service::LOG_ON_C)?;
        let are_counted = !log.contains("performance counters are missing");
        ensure!(are_counted, Rule, "the service has no performance counters:\n{log}");
        let again = changes(rig, "protect")?;
        ensure!(!again, Rule, "`protect` began anew with a volume that is protected");
        Ok(())
    })
}

/// The session ends, and the configuration has no volume.
fn unprotect(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "protect the volume no longer", |_| {
        ensure!(changes(rig, "unprotect")?, Rule, "`unprotect` changed nothing");
        wait_until("the session to end", LIMIT, || Ok(rig.status()?.is_none().then_some(())))?;
        let text = rig.read_on_c(service::CONFIG_ON_C)?;
        ensure!(!text.contains("[[volumes]]"), Rule, "the configuration still has:\n{text}");
        Ok(())
    })
}

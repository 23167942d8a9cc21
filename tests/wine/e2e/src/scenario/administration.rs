//! Everything by commands, as an administrator does it: a service that has nothing to do,
//! `protect` under load, `pause` and `resume`, a service that is killed and starts again,
//! `unprotect`. No gap, and every image is right.

use std::time::Duration;

use protocol::names::VOLUME_DEVICE;
use serde::Deserialize;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::run::Run;
use crate::service::{self, ServiceSettings};
use crate::summary::Summary;

/// A fast volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Bytes per second of the load: with the defaults, a slow machine must not fill the queue.
const RATE: u64 = 2 << 20;
/// Writes while the volume is paused.
const PAUSED_WRITES: u64 = 50;
const LIMIT: Duration = Duration::from_mins(1);

/// Events of the service (`docs/events.md`).
const CONFIGURATION_CHANGED: u16 = 103;
const SESSION_STARTED: u16 = 200;
const SESSION_ENDED: u16 = 204;

/// What the command line says of a request to the service.
#[derive(Deserialize)]
struct Answer {
    volume: String,
    changed: bool,
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
        let answer = ask(rig, &["protect", VOLUME])?;
        ensure!(answer.changed, Rule, "`protect` has changed nothing");
        name = answer.volume;
        Ok(())
    })?;
    run.folder.guid = name;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    run.disturbed = true;
    pause(&mut run)?;
    let moment = run.live_on()?;
    come_again(&mut run)?;
    let last = run.come_to_rest()?;
    ensure!(last.gaps == 0, Rule, "LOSS: {} gaps", last.gaps);
    unprotect(&mut run)?;
    run.shut_down()?;
    // `protect`, `pause`, `resume`
    run.rig.must_have_logged(CONFIGURATION_CHANGED, 3)?;
    run.rig.service_logged(&[SESSION_STARTED, SESSION_ENDED])?;
    run.folder.discard_machine()?;

    run.restore_both()?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(&begun, &evidence, true)?;
    let files = run.check_ntfs("latest")?;
    run.mount(&moment, &evidence)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

/// The volume, as the commands name it.
const VOLUME: &str = VOLUME_DEVICE;

/// What the service answers to a command.
fn ask(rig: &Rig, words: &[&str]) -> Result<Answer, E2eError> {
    let said = rig.command_line(&[words, &["--json"]].concat())?;
    let parsed = serde_json::from_str(&said);
    parsed.map_err(|error| E2eError::said(&words.join(" "), &said, error.to_string()))
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
        Ok(())
    })
}

/// While a volume is paused the driver captures, and nothing is sent.
fn pause(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "pause the volume under load, and resume it", |_| {
        ensure!(ask(rig, &["pause", VOLUME])?.changed, Rule, "`pause` has changed nothing");
        ensure!(!ask(rig, &["pause", VOLUME])?.changed, Rule, "`pause` was carried out twice");
        let is_detached =
            |rig: &mut Rig| Ok(rig.status()?.filter(|status| status.phase == "detached"));
        let before = wait_until("the service to let go", LIMIT, || is_detached(rig))?;
        rig.written_to(PAUSED_WRITES)?;
        let after = wait_until("records that are not sent", LIMIT, || {
            Ok(is_detached(rig)?.filter(|status| status.last_seq > before.last_seq))
        })?;
        let is_sent = after.acknowledged_seq > before.acknowledged_seq;
        ensure!(!is_sent, Rule, "records were sent while the volume was paused");
        ensure!(ask(rig, &["resume", VOLUME])?.changed, Rule, "`resume` has changed nothing");
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
        let again = ask(rig, &["protect", VOLUME])?;
        ensure!(!again.changed, Rule, "`protect` began anew with a volume that is protected");
        Ok(())
    })
}

/// The session ends, and the configuration has no volume.
fn unprotect(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "protect the volume no longer", |_| {
        ensure!(ask(rig, &["unprotect", VOLUME])?.changed, Rule, "`unprotect` changed nothing");
        wait_until("the session to end", LIMIT, || Ok(rig.status()?.is_none().then_some(())))?;
        let text = rig.read_on_c(service::CONFIG_ON_C)?;
        ensure!(!text.contains("[[volumes]]"), Rule, "the configuration still has:\n{text}");
        Ok(())
    })
}

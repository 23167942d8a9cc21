//! Alarms: each is raised once when its condition begins, and told once more when it has ended.
//!
//! A condition that ends and begins again within [`CALM_MS`] is the same alarm. Alarms that last
//! are kept in a file, so that a restart raises none of them again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snapless_trust::files;

use crate::clock::in_ms;
use crate::model::{Alarm, AlarmKind, Level, MachineId, Overview, Server, State, VolumeId};
use crate::settings::Settings;

/// The file of alarms that last.
const ALARMS_FILE: &str = "alarms.json";
/// So long must a condition be gone before its alarm ends.
const CALM_MS: u64 = 60_000;
/// After a restart a volume or machine that is not seen for so long is gone.
const RETURN_MS: u64 = 3_600_000;
/// Alarms that ended and are still told.
const ENDED_MAX: usize = 200;

/// The alarms of a console.
#[derive(Debug)]
pub struct Alarms {
    file: PathBuf,
    lasting: BTreeMap<String, Lasting>,
    /// The newest first.
    ended: VecDeque<Alarm>,
    /// Volumes of which a job found damage.
    damaged: HashMap<VolumeId, String>,
    /// That has changed since it was kept.
    is_noted: bool,
}

#[derive(Clone, Debug)]
struct Lasting {
    alarm: Alarm,
    /// When its condition was there last.
    seen_ms: u64,
    /// It is from before a restart, and what it is about has not been seen since.
    is_reloaded: bool,
}

impl Lasting {
    /// What it is about can be seen: its condition is there, or is not.
    fn is_known(&self, overview: &Overview, server: Option<&Server>) -> bool {
        let Alarm { volume, machine, .. } = &self.alarm;
        match (volume, machine) {
            (Some(volume), _) => overview.volumes.iter().any(|line| line.volume == *volume),
            (None, Some(machine)) => overview.machines.iter().any(|it| it.machine == *machine),
            (None, None) => server.is_some(),
        }
    }
}

/// What is kept of an alarm over a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    alarm: String,
    since_ms: u64,
    text: String,
    /// The damage that a job found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<String>,
}

/// A condition that is there now.
struct Condition {
    kind: AlarmKind,
    level: Level,
    volume: Option<VolumeId>,
    machine: Option<MachineId>,
    /// What sets it apart from others of its kind.
    about: String,
    text: String,
}

impl Alarms {
    /// The alarms, with those that lasted when the console was stopped.
    pub fn new(folder: &std::path::Path) -> Self {
        let file = folder.join(ALARMS_FILE);
        let kept: Vec<Kept> = fs::read(&file)
            .ok()
            .and_then(|bytes| {
                let parsed = serde_json::from_slice(&bytes);
                parsed.inspect_err(|why| log::warn!("{}: {why}", file.display())).ok()
            })
            .unwrap_or_default();
        let mut damaged = HashMap::new();
        let lasting = kept.into_iter().filter_map(|kept| {
            let (kind, about) = kept.alarm.split_once(' ')?;
            let kind = AlarmKind::ALL.into_iter().find(|it| it.name() == kind)?;
            let volume = VolumeId::parse(about).ok();
            damaged.extend(volume.clone().zip(kept.found));
            let alarm = Alarm {
                kind,
                level: Level::Warning,
                volume,
                machine: MachineId::parse(about).ok(),
                text: kept.text,
                since_ms: kept.since_ms,
                ended_ms: None,
                alarm: kept.alarm.clone(),
            };
            Some((kept.alarm, Lasting { alarm, seen_ms: 0, is_reloaded: true }))
        });
        let lasting = lasting.collect();
        Self { file, lasting, ended: VecDeque::new(), damaged, is_noted: false }
    }

    /// Alarms that last and those that ended, the newest first.
    pub fn all(&self) -> Vec<Alarm> {
        let mut lasting: Vec<_> = self.lasting.values().map(|it| it.alarm.clone()).collect();
        lasting.sort_by_key(|alarm| std::cmp::Reverse(alarm.since_ms));
        lasting.extend(self.ended.iter().cloned());
        lasting
    }

    /// Alarms that last, by kind.
    pub fn lasting(&self) -> impl Iterator<Item = &Alarm> {
        self.lasting.values().map(|it| &it.alarm)
    }

    /// A check of a volume has found this; nothing if it found no damage.
    pub fn note_check(&mut self, volume: &VolumeId, damage: Option<String>) {
        match damage {
            Some(damage) => _ = self.damaged.insert(volume.clone(), damage),
            None => _ = self.damaged.remove(volume),
        }
        self.is_noted = true;
    }

    /// Looks at everything. Returns the alarms that began, and those that ended.
    pub fn look(
        &mut self,
        overview: &Overview,
        server: Option<&Server>,
        settings: &Settings,
    ) -> Vec<Alarm> {
        let now_ms = overview.now_ms;
        let mut told = Vec::new();
        for condition in self.conditions(overview, server, settings) {
            let id = format!("{} {}", condition.kind.name(), condition.about);
            if let Some(lasting) = self.lasting.get_mut(&id) {
                lasting.seen_ms = now_ms;
                lasting.is_reloaded = false;
                lasting.alarm.text = condition.text;
                lasting.alarm.level = condition.level;
                continue;
            }
            let Condition { kind, level, volume, machine, text, .. } = condition;
            let (alarm, since_ms, ended_ms) = (id.clone(), now_ms, None);
            let alarm = Alarm { alarm, kind, level, volume, machine, text, since_ms, ended_ms };
            told.push(alarm.clone());
            self.lasting.insert(id, Lasting { alarm, seen_ms: now_ms, is_reloaded: false });
        }
        for lasting in self.lasting.values_mut().filter(|it| it.is_reloaded) {
            let is_known = lasting.is_known(overview, server);
            if is_known || lasting.seen_ms == 0 {
                lasting.seen_ms = now_ms;
            }
            lasting.is_reloaded = !is_known;
        }
        let is_over = |it: &Lasting| {
            let calm = if it.is_reloaded { RETURN_MS } else { CALM_MS };
            now_ms.saturating_sub(it.seen_ms) >= calm
        };
        for (_, Lasting { mut alarm, .. }) in self.lasting.extract_if(.., |_, it| is_over(it)) {
            alarm.ended_ms = Some(now_ms);
            told.push(alarm.clone());
            self.ended.push_front(alarm);
        }
        self.ended.truncate(ENDED_MAX);
        if !told.is_empty() || std::mem::take(&mut self.is_noted) {
            self.keep();
        }
        told
    }

    fn conditions(
        &self,
        overview: &Overview,
        server: Option<&Server>,
        settings: &Settings,
    ) -> Vec<Condition> {
        let mut found = Vec::new();
        let limits = &settings.alarms;
        let machines: HashMap<_, _> =
            overview.machines.iter().map(|it| (&it.machine, it.name.as_str())).collect();
        for line in &overview.volumes {
            let machine = line.machine.as_ref().and_then(|machine| machines.get(machine));
            let place = machine.map_or_else(String::new, |name| format!(" of {name}"));
            let mut add = |kind, level, text: String| {
                found.push(Condition {
                    kind,
                    level,
                    volume: Some(line.volume.clone()),
                    machine: line.machine.clone(),
                    about: line.volume.to_string(),
                    text: format!("volume {}{place}: {text}", line.name.trim_end_matches(':')),
                });
            };
            if let Some((rpo, target)) = line.rpo_seconds.zip(line.rpo_target_seconds)
                && line.state != State::Ended
                && rpo > target
            {
                let text = match line.latest_ms {
                    Some(_) => format!("the latest point is {rpo} s old, more than {target} s"),
                    None => format!("there is no point after {rpo} s, more than {target} s"),
                };
                add(AlarmKind::RpoMissed, Level::Warning, text);
            }
            if let Some(gap) = &line.gap
                && overview.now_ms.saturating_sub(gap.from_ms) >= in_ms(limits.gap.0)
            {
                add(AlarmKind::Gap, Level::Warning, format!("a gap lasts: {}", gap.reason_text));
            }
            let damage = self.damaged.get(&line.volume).map(String::as_str);
            let is_damaged = line.state == State::Damaged;
            if let Some(damage) = damage.or(is_damaged.then_some(&line.state_text)) {
                add(AlarmKind::Damage, Level::Critical, damage.to_owned());
            }
        }
        for machine in &overview.machines {
            let Some(expires_ms) = machine.expires_ms.filter(|_| !machine.revoked) else {
                continue;
            };
            if let Some(text) = expiry(expires_ms, overview.now_ms, settings) {
                found.push(Condition {
                    kind: AlarmKind::CertificateExpiring,
                    level: Level::Warning,
                    volume: None,
                    machine: Some(machine.machine.clone()),
                    about: machine.machine.to_string(),
                    text: format!("{}: the machine's certificate {text}", machine.name),
                });
            }
        }
        found.extend(server.into_iter().flat_map(|server| of_server(server, overview, settings)));
        found
    }

    /// What is not kept is raised again after a restart; no alarm is lost.
    fn keep(&self) {
        let kept = self.lasting.values().map(|it| Kept {
            alarm: it.alarm.alarm.clone(),
            since_ms: it.alarm.since_ms,
            text: it.alarm.text.clone(),
            found: it
                .alarm
                .volume
                .as_ref()
                .filter(|_| it.alarm.kind == AlarmKind::Damage)
                .and_then(|volume| self.damaged.get(volume).cloned()),
        });
        let kept = kept.collect::<Vec<_>>();
        let text = serde_json::to_vec(&kept).map_err(|error| error.to_string());
        let written = text
            .and_then(|text| files::replace(&self.file, &text).map_err(|error| error.to_string()));
        if let Err(why) = written {
            log::warn!("{}: {why}: after a restart alarms are sent again", self.file.display());
        }
    }
}

fn of_server(server: &Server, overview: &Overview, settings: &Settings) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |kind, level, text| {
        let (volume, machine, about) = (None, None, "server".to_owned());
        found.push(Condition { kind, level, volume, machine, about, text });
    };
    let percent = u128::from(settings.alarms.disk_free.0);
    if let Some(shortage) = &server.shortage {
        add(AlarmKind::DiskFilling, Level::Critical, shortage.clone());
    } else if let Some((free, space)) = server.free_bytes.zip(server.space_bytes)
        && u128::from(free) * 100 < u128::from(space) * percent
    {
        let text = format!("the repository's disk has {free} of {space} bytes free");
        add(AlarmKind::DiskFilling, Level::Warning, text);
    }
    if let Some(expires_ms) = server.certificate_expires_ms
        && let Some(text) = expiry(expires_ms, overview.now_ms, settings)
    {
        let text = format!("the server's certificate {text}");
        add(AlarmKind::CertificateExpiring, Level::Warning, text);
    }
    found
}

/// What to say of a certificate that expires soon.
fn expiry(expires_ms: u64, now_ms: u64, settings: &Settings) -> Option<String> {
    let left_ms = expires_ms.saturating_sub(now_ms);
    if left_ms > in_ms(settings.alarms.certificate.0) {
        return None;
    }
    let days = left_ms / (24 * 3600 * 1000);
    Some(if left_ms == 0 { "has expired".to_owned() } else { format!("expires in {days} days") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gap, MachineLine, VolumeLine};

    const DAY_MS: u64 = 24 * 3600 * 1000;

    fn overview(now_ms: u64) -> Overview {
        let volume = VolumeLine {
            volume: VolumeId::parse("71a27cdd-812a-11d0-bec7-08002be2092f").unwrap(),
            name: "D:".to_owned(),
            machine: None,
            group: None,
            state: State::Protected,
            state_text: "protected".to_owned(),
            level: Level::Ok,
            attention: None,
            length: None,
            rpo_seconds: Some(1),
            rpo_target_seconds: Some(900),
            latest_ms: None,
            first_sync: None,
            receive_rate: None,
            gap: None,
            stored_bytes: None,
            connected: true,
        };
        let machine = MachineLine {
            machine: MachineId::parse("0a1b2c3d4e5f60718293a4b5c6d7e8f9").unwrap(),
            name: "web-1".to_owned(),
            role: "client".to_owned(),
            connected: true,
            enrolled_ms: None,
            expires_ms: Some(now_ms + 90 * DAY_MS),
            revoked: false,
            volumes: 1,
        };
        Overview { now_ms, machines: vec![machine], volumes: vec![volume] }
    }

    fn server() -> Server {
        Server {
            name: String::new(),
            version: String::new(),
            now_ms: 0,
            repository: String::new(),
            stored_bytes: None,
            free_bytes: Some(50),
            space_bytes: Some(100),
            shortage: None,
            certificate_expires_ms: None,
            restore_folders: Vec::new(),
            restore_formats: Vec::new(),
            features: Vec::new(),
        }
    }

    fn kinds(told: &[Alarm]) -> Vec<(AlarmKind, bool)> {
        told.iter().map(|alarm| (alarm.kind, alarm.ended_ms.is_some())).collect()
    }

    #[test]
    fn each_alarm_is_raised_once_and_told_once_when_it_ends_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let mut alarms = Alarms::new(folder.path());
        let mut now = 1_000_000;
        assert!(alarms.look(&overview(now), Some(&server()), &settings).is_empty());

        let late = |now| {
            let mut late = overview(now);
            late.volumes[0].rpo_seconds = Some(901);
            late
        };
        let told = alarms.look(&late(now), Some(&server()), &settings);
        assert_eq!(kinds(&told), [(AlarmKind::RpoMissed, false)]);
        for _ in 0..3 {
            now += 1000;
            assert!(alarms.look(&late(now), Some(&server()), &settings).is_empty());
        }

        let mut alarms = Alarms::new(folder.path());
        assert!(alarms.look(&late(now), Some(&server()), &settings).is_empty());
        // Gone for a moment, and there again: the same alarm.
        assert!(alarms.look(&overview(now + 1000), Some(&server()), &settings).is_empty());
        now += CALM_MS;
        assert!(alarms.look(&late(now), Some(&server()), &settings).is_empty());
        now += CALM_MS;
        let told = alarms.look(&overview(now), Some(&server()), &settings);
        assert_eq!(kinds(&told), [(AlarmKind::RpoMissed, true)]);
        assert!(alarms.look(&overview(now + 1), Some(&server()), &settings).is_empty());
        assert_eq!(alarms.all().len(), 1);
    }

    #[test]
    fn a_volume_that_waits_for_its_first_point_is_late_and_one_that_ended_is_not() {
        let settings = Settings::default();
        let mut all = overview(1_000_000);
        all.volumes[0].rpo_seconds = Some(901);
        for (state, raised) in [(State::Ended, 0), (State::Waiting, 1), (State::FirstSync, 1)] {
            all.volumes[0].state = state;
            let folder = tempfile::tempdir().unwrap();
            let mut alarms = Alarms::new(folder.path());
            assert_eq!(alarms.look(&all, None, &settings).len(), raised, "{state:?}");
        }
    }

    #[test]
    fn damage_that_a_check_found_lasts_over_a_restart_until_a_check_finds_none() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let (mut now, volume) = (1_000_000, overview(0).volumes[0].volume.clone());
        let mut alarms = Alarms::new(folder.path());
        alarms.note_check(&volume, Some("a segment is damaged".to_owned()));
        assert_eq!(alarms.look(&overview(now), None, &settings).len(), 1);

        // The volumes come late: until then nothing is known to have ended.
        let mut alarms = Alarms::new(folder.path());
        let nothing = |now_ms| Overview { now_ms, machines: Vec::new(), volumes: Vec::new() };
        for _ in 0..3 {
            now += CALM_MS;
            assert!(alarms.look(&nothing(now), None, &settings).is_empty());
        }
        for _ in 0..3 {
            now += CALM_MS;
            assert!(alarms.look(&overview(now), None, &settings).is_empty());
        }
        alarms.note_check(&volume, None);
        now += CALM_MS;
        let told = alarms.look(&overview(now), None, &settings);
        assert_eq!(kinds(&told), [(AlarmKind::Damage, true)]);

        // A volume that never comes back is gone.
        alarms.note_check(&volume, Some("again".to_owned()));
        assert_eq!(alarms.look(&overview(now), None, &settings).len(), 1);
        let mut alarms = Alarms::new(folder.path());
        assert!(alarms.look(&nothing(now), None, &settings).is_empty());
        let told = alarms.look(&nothing(now + RETURN_MS), None, &settings);
        assert_eq!(kinds(&told), [(AlarmKind::Damage, true)]);
    }

    #[test]
    fn every_kind_has_its_condition() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let mut alarms = Alarms::new(folder.path());
        let now = 1_000_000;
        let mut all = overview(now);
        let volume = &mut all.volumes[0];
        volume.rpo_seconds = Some(1000);
        volume.gap = Some(Gap {
            from_ms: now - 60_000,
            to_ms: None,
            reason: "queue_full".to_owned(),
            reason_text: "the queue was full".to_owned(),
        });
        all.machines[0].expires_ms = Some(now + DAY_MS);
        alarms.note_check(&all.volumes[0].volume.clone(), Some("a segment is damaged".to_owned()));
        let full = Server { free_bytes: Some(9), certificate_expires_ms: Some(now), ..server() };
        let told = alarms.look(&all, Some(&full), &settings);
        let mut kinds: Vec<_> = told.iter().map(|alarm| alarm.kind).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds, AlarmKind::ALL);
        // Of the machine and of the server.
        assert_eq!(told.len(), 6);
        let damage = told.iter().find(|alarm| alarm.kind == AlarmKind::Damage).unwrap();
        assert_eq!(damage.text, "volume D: a segment is damaged");
    }
}

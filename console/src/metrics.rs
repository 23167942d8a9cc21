//! The estate for Prometheus, in its text format.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::alarms::Alarms;
use crate::fault::{Fault, Result};
use crate::model::{AlarmKind, Job, JobKind, Live, Overview, Server, State, VolumeId, VolumeLine};

/// The type of the answer.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// A number that may be a fraction.
type Number = Gauge<f64, AtomicU64>;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfVolume {
    volume: String,
    name: String,
    machine: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfState {
    volume: String,
    name: String,
    machine: String,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfMachine {
    machine: String,
    name: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfVersion {
    version: String,
}

/// What is told.
pub struct Told<'a> {
    /// The server.
    pub server: &'a Server,
    /// Machines and volumes.
    pub overview: &'a Overview,
    /// What machines reported.
    pub live: &'a dyn Fn(&VolumeId) -> Option<Live>,
    /// Alarms that last.
    pub alarms: &'a Alarms,
    /// Jobs that run.
    pub jobs: &'a [Job],
}

/// The metrics as text.
///
/// # Errors
/// A label cannot be written.
pub fn text(told: &Told<'_>) -> Result<String> {
    let mut registry = Registry::with_prefix("snapless");
    add_server(&mut registry, told.server);
    add_volumes(&mut registry, told);
    add_machines(&mut registry, told.overview);
    let alarms = family(&mut registry, "alarms", "Alarms that last");
    for kind in AlarmKind::ALL {
        let count = told.alarms.lasting().filter(|alarm| alarm.kind == kind).count();
        set(&alarms, OfKind { kind: kind.name() }, Some(count as u64));
    }
    let jobs = family(&mut registry, "jobs", "Jobs that run");
    for kind in [JobKind::Mount, JobKind::Restore, JobKind::Verify] {
        let runs = |job: &&Job| job.kind == kind && job.ended_ms.is_none();
        let count = told.jobs.iter().filter(runs).count();
        set(&jobs, OfKind { kind: kind.name() }, Some(count as u64));
    }
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(Fault::internal)?;
    Ok(text)
}

fn add_server(registry: &mut Registry, server: &Server) {
    let info = family(registry, "server_info", "The release of the server");
    set(&info, OfVersion { version: server.version.clone() }, Some(1));
    let numbers = [
        ("server_stored_bytes", "Bytes in the repository", server.stored_bytes),
        ("server_disk_free_bytes", "Bytes free on the repository's disk", server.free_bytes),
        ("server_disk_bytes", "Bytes of the repository's disk", server.space_bytes),
        (
            "server_certificate_expiry_seconds",
            "When the console's certificate expires, since 1970",
            server.certificate_expires_ms.map(|at| at / 1000),
        ),
        (
            "server_short_of_space",
            "1 if the server takes nothing more for want of space",
            Some(u64::from(server.shortage.is_some())),
        ),
    ];
    for (name, help, value) in numbers {
        let Some(value) = value else { continue };
        let gauge = Number::default();
        gauge.set(float(value));
        registry.register(name, help, gauge);
    }
}

type OfLine = fn(&VolumeLine) -> Option<u64>;
type OfLive = fn(&Live) -> Option<u64>;

fn add_volumes(registry: &mut Registry, told: &Told<'_>) {
    let volumes = &told.overview.volumes;
    let states = family(registry, "volume_state", "1 for the state that the volume is in");
    for line in volumes {
        let OfVolume { volume, name, machine } = labels(line);
        for state in State::ALL {
            let (volume, name, machine) = (volume.clone(), name.clone(), machine.clone());
            let labels = OfState { volume, name, machine, state: state.name() };
            set(&states, labels, Some(u64::from(line.state == state)));
        }
    }
    let of_lines: [(&str, &str, OfLine); 8] = [
        ("volume_rpo_seconds", "Age of the latest point, or else of the first session", |line| {
            line.rpo_seconds
        }),
        ("volume_rpo_target_seconds", "What it should be at most", |line| line.rpo_target_seconds),
        ("volume_bytes", "Bytes of the volume", |line| line.length),
        ("volume_stored_bytes", "Bytes stored of the volume", |line| line.stored_bytes),
        ("volume_receive_bytes_per_second", "What the server receives", |line| line.receive_rate),
        ("volume_connected", "1 if its machine is connected", |line| Some(line.connected.into())),
        ("volume_in_gap", "1 if writes are not captured", |line| Some(line.gap.is_some().into())),
        ("volume_first_sync_done_bytes", "How far the first sync is", |line| {
            line.first_sync.as_ref().map(|it| it.done)
        }),
    ];
    for (name, help, value) in of_lines {
        let numbers = family(registry, name, help);
        for line in volumes {
            set(&numbers, labels(line), value(line));
        }
    }
    let of_live: [(&str, &str, OfLive); 6] = [
        ("volume_queue_used_bytes", "Bytes in the driver's queue", |it| Some(it.queue?.used)),
        ("volume_queue_bytes", "What the driver's queue takes", |it| Some(it.queue?.capacity)),
        ("volume_drained_bytes_per_second", "What the driver captures", |it| it.rates.drained),
        ("volume_writes_waiting", "Writes held now", |it| Some(it.holds.as_ref()?.now)),
        ("volume_writes_held", "Writes held since the session began", |it| {
            Some(it.holds.as_ref()?.held)
        }),
        ("volume_hold_longest_microseconds", "The longest hold of the session", |it| {
            Some(it.holds.as_ref()?.longest_us)
        }),
    ];
    let lives: Vec<_> =
        volumes.iter().filter_map(|line| Some((line, (told.live)(&line.volume)?))).collect();
    for (name, help, value) in of_live {
        let numbers = family(registry, name, help);
        for (line, live) in &lives {
            set(&numbers, labels(line), value(live));
        }
    }
}

fn add_machines(registry: &mut Registry, overview: &Overview) {
    let connected = family(registry, "machine_connected", "1 if the machine is connected");
    let help = "When the machine's certificate expires, since 1970";
    let expiry = family(registry, "machine_certificate_expiry_seconds", help);
    for machine in overview.machines.iter().filter(|machine| !machine.revoked) {
        let labels = OfMachine { machine: machine.machine.to_string(), name: machine.name.clone() };
        set(&connected, labels.clone(), Some(machine.connected.into()));
        set(&expiry, labels, machine.expires_ms.map(|at| at / 1000));
    }
}

fn labels(line: &VolumeLine) -> OfVolume {
    let machine = line.machine.as_ref().map(ToString::to_string).unwrap_or_default();
    OfVolume { volume: line.volume.to_string(), name: line.name.clone(), machine }
}

trait Labels: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync {}
impl<T: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync> Labels
    for T
{
}

fn family<L: Labels + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<L, Number> {
    let family = Family::<L, Number>::default();
    registry.register(name, help, family.clone());
    family
}

fn set<L: Labels>(family: &Family<L, Number>, labels: L, value: Option<u64>) {
    if let Some(value) = value {
        family.get_or_create(&labels).set(float(value));
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn float(value: u64) -> f64 {
    value as f64
}

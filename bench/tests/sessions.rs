//! Sessions under load: the sinks get the volume's content.

mod common;

use std::net::SocketAddr;

use common::{Bench, MIB, Running, assert_same, fio, qemu_io, wait_for};
use snapless_bench::control::Client;
use snapless_bench::protocol::Report;
use snapless_bench::spec::{LogSpec, SessionSpec, SinkSpec};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Request, Source, restore};
use snapless_server::serve::Server;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_wire::id::VolumeGuid;
use snapless_wire::state_area;

const SIZE: usize = 64;

fn drained(report: &Report) -> bool {
    report.is_drained() && report.writes_holding == 0
}

/// A sweep so slow that writes meet unsynced blocks.
fn slow_sweep(sink: SinkSpec) -> SessionSpec {
    SessionSpec {
        sweep_kib_per_second: 24 << 10,
        read_kib: 256,
        depth: 4,
        // Writers wait for a slow sink, so that no gap opens.
        overflow_hold: true,
        ..SessionSpec::new(sink)
    }
}

fn load(bench: &Bench, uri: &str, options: &[&str]) -> Running {
    let mut fio = fio(uri, bench.folder.path());
    fio.args(["--size=64m", "--time_based", "--runtime=4", "--bsrange=512-64k", "--randseed=5"]);
    Running(fio.args(options).stdout(std::process::Stdio::null()).spawn().unwrap())
}

#[test]
fn images_of_a_first_sync_under_load_equal_the_volume() {
    let (bench, host) = Bench::hosted(SIZE, &[]);
    let (latest, t0) = (bench.path("latest.img"), bench.path("t0.img"));
    let truth_at_t0 = bench.content();
    let mut control = host.control().unwrap();
    let sink = SinkSpec::Image { latest: latest.clone(), t0: Some(t0.clone()) };
    control.start("v", &slow_sweep(sink)).unwrap();

    let mut writers = load(&bench, &host.uri("v"), &["--numjobs=2"]);
    // Clearings at both ends of the volume during the sweep.
    let said = qemu_io(
        &host.uri("v"),
        &["discard 63M 512k", "write -z 62M 256k", "write -P 0x77 63M 64k", "write -z -u 512 1M"],
    );
    assert!(said.status.success());
    let busy = wait_for(&mut control, |report| report.writes_held > 100);
    assert!(busy.blocks_synced < busy.blocks_total, "the load runs during the sync");
    assert!(writers.0.wait().unwrap().success());

    let done = wait_for(&mut control, drained);
    assert!(done.blocks_by_hold > 0 && done.blocks_by_sweep > 0, "{done:?}");
    assert_eq!((done.gaps, done.writes_uncaptured), (0, 0), "{done:?}");
    control.stop("v").unwrap();
    assert_same("the t0 image", &std::fs::read(t0).unwrap(), &truth_at_t0);
    assert_same("the latest image", &std::fs::read(latest).unwrap(), &bench.content());
    host.quit().unwrap();
}

#[test]
fn the_server_restores_t0_and_the_latest_state() {
    let (bench, host) = Bench::hosted(SIZE, &[]);
    let root = bench.path("repository");
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    drop(WritableRepository::init(&root).unwrap());
    let server = Server::bind(listen, &root).unwrap();
    let (address, stopper) = (server.address(), server.stopper());
    let serving = std::thread::spawn(move || server.run());
    let guid = VolumeGuid::parse("8a4bb2f1-74b5-4c4e-9d57-2b1f4b5f6a01").unwrap();

    let truth_at_t0 = bench.content();
    let mut control = host.control().unwrap();
    let sink =
        SinkSpec::Server { address: address.to_string(), volume: guid.to_string(), token: None };
    control.start("v", &slow_sweep(sink)).unwrap();
    assert!(load(&bench, &host.uri("v"), &[]).0.wait().unwrap().success());
    let done = wait_for(&mut control, drained);
    assert!(done.writes_held > 0 && done.gaps == 0, "{done:?}");
    control.stop("v").unwrap();

    for (at, truth) in [(At::T0, truth_at_t0), (At::Latest, bench.content())] {
        let to = bench.path("restored.img");
        let source = Source { volume: guid, session: None, at };
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        let repository = Repository::open(&root).unwrap();
        restore(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        assert_same("restored", &std::fs::read(to).unwrap(), &truth);
    }
    stopper.stop();
    serving.join().unwrap();
    host.quit().unwrap();
}

#[test]
fn a_slow_sink_opens_a_gap_and_the_resync_closes_it() {
    let (bench, host) = Bench::hosted(SIZE, &[]);
    let mut control = host.control().unwrap();
    let sink = SinkSpec::Throttled { bytes_per_second: 16 << 20, latency_ms: 20, digest: true };
    let spec = SessionSpec { queue_mib: 4, hold_limit_ms: 20, ..SessionSpec::new(sink) };
    control.start("v", &spec).unwrap();
    let mut writers = load(&bench, &host.uri("v"), &[]);
    let report = wait_for(&mut control, |report| report.gaps > 0);
    assert!(report.writes_uncaptured > 0);
    assert!(writers.0.wait().unwrap().success());
    let whole = |report: &Report| {
        report.consistent && report.blocks_dirty == 0 && report.sink_seq >= report.last_seq
    };
    let done = wait_for(&mut control, whole);
    assert_eq!(done.blocks_synced, done.blocks_total);
    let found = control.verify("v").unwrap();
    assert_eq!((found.different, found.sectors), (0, (SIZE * MIB / 512) as u64), "{found:?}");
    host.quit().unwrap();
}

#[test]
fn sessions_start_and_stop_under_writes_and_skip_holes() {
    let bench = Bench::new(SIZE);
    let file = std::fs::File::options().write(true).open(&bench.disk).unwrap();
    file.set_len(0).unwrap();
    file.set_len((SIZE * MIB) as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![3; MIB], 8 * MIB as u64).unwrap();
    let host = bench.host(&["--engine", "session"]);
    let mut control = host.control().unwrap();
    assert!(control.start("v", &SessionSpec::new(SinkSpec::Null { digest: false })).is_err());
    let mut writers = load(&bench, &host.uri("v"), &["--offset=32m", "--size=32m"]);
    let spec =
        SessionSpec { skip_holes: true, ..SessionSpec::new(SinkSpec::Null { digest: true }) };
    for round in 0..4 {
        control.stop("v").unwrap();
        assert!(control.status("v").is_err());
        control.start("v", &spec).unwrap();
        let report = wait_for(&mut control, |report| report.base_complete);
        assert!(round > 0 || report.blocks_unallocated > 16 * (SIZE as u64 - 34), "{report:?}");
    }
    assert!(writers.0.wait().unwrap().success());
    wait_for(&mut control, drained);
    assert_eq!(control.verify("v").unwrap().different, 0);
    host.quit().unwrap();
}

#[test]
fn holes_that_are_filled_while_a_session_begins_are_not_skipped() {
    let (bench, host) = Bench::hosted(SIZE, &["--engine", "session"]);
    let mut control = host.control().unwrap();
    let spec =
        SessionSpec { skip_holes: true, ..SessionSpec::new(SinkSpec::Null { digest: true }) };
    for _ in 0..4 {
        control.stop("v").unwrap();
        assert!(qemu_io(&host.uri("v"), &["discard 0 64M"]).status.success());
        let written = |control: &mut Client| control.statistics().unwrap()[0].writes;
        let before = written(&mut control);
        let mut writers = load(&bench, &host.uri("v"), &["--runtime=1", "--bs=4k"]);
        while written(&mut control) == before {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        control.start("v", &spec).unwrap();
        assert!(writers.0.wait().unwrap().success());
        let done = wait_for(&mut control, drained);
        assert!(done.blocks_unallocated > 0 && done.gaps == 0, "{done:?}");
        let found = control.verify("v").unwrap();
        assert_eq!(found.different, 0, "{found:?}");
    }
    host.quit().unwrap();
}

#[test]
fn a_host_without_the_engine_refuses_sessions() {
    let (_bench, host) = Bench::hosted(4, &["--engine", "off"]);
    let mut control = host.control().unwrap();
    let refused = control.start("v", &SessionSpec::new(SinkSpec::Null { digest: false }));
    assert!(refused.unwrap_err().to_string().contains("compiled out"));
    assert!(qemu_io(&host.uri("v"), &["write 0 4k"]).status.success());
    host.quit().unwrap();
}

#[test]
fn with_a_write_intent_log_each_write_is_in_the_log_and_in_the_stream() {
    let (bench, host) = Bench::hosted(SIZE, &[]);
    let area = bench.path("log.area");
    let mut control = host.control().unwrap();
    let log = Some(LogSpec { area: area.clone(), region_kib: 0 });
    let spec = SessionSpec { log, ..SessionSpec::new(SinkSpec::Null { digest: true }) };
    control.start("v", &spec).unwrap();
    // The regions of the area and of the stamp, which is at the begin, keep their marks.
    wait_for(&mut control, |report| {
        drained(report) && report.log.is_live && report.log.marked == 2
    });

    let regions: Vec<u64> = (0..40).map(|number| number * 9 + 5).collect();
    let command = |region: &u64| format!("write -P 0x5a {} 4k", region * (64 << 10) + 8192);
    let commands: Vec<_> = regions.iter().map(command).collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    assert!(qemu_io(&host.uri("v"), &commands).status.success());
    let found = std::fs::read(&area).unwrap();
    let newest = state_area::newest(&found, state_area::area_id(&found).unwrap()).unwrap();
    let is_marked = |region: u64| {
        let region = usize::try_from(region).unwrap();
        newest.map()[region / 8] >> (region % 8) & 1 == 1
    };
    assert!(newest.stamp_hash().is_some() && regions.iter().all(|region| is_marked(*region)));
    assert!((1..1000).filter(|region| !regions.contains(region)).all(|it| !is_marked(it)));

    let report = wait_for(&mut control, drained);
    assert_eq!(report.log.waits, 40, "each write is the first to its region");
    assert!(qemu_io(&host.uri("v"), &commands).status.success());
    assert_eq!(control.status("v").unwrap().log.waits, 40, "none waits any more");
    assert_eq!(control.verify("v").unwrap().different, 0);
    control.stop("v").unwrap();
    host.quit().unwrap();
}

#[test]
fn a_sink_with_a_thread_takes_no_log() {
    let (bench, host) = Bench::hosted(SIZE, &[]);
    let log = Some(LogSpec { area: bench.path("log.area"), region_kib: 0 });
    let sink = SinkSpec::Image { latest: bench.path("latest.img"), t0: None };
    let refused =
        host.control().unwrap().start("v", &SessionSpec { log, ..SessionSpec::new(sink) });
    assert!(refused.unwrap_err().to_string().contains("write-intent log"));
    host.quit().unwrap();
}

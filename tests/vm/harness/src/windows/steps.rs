//! The steps of docs/windows-test-plan.md, carried out.
//!
//! The rule: a step of the plan is here by its number, or in [`super::by_hand`] with the reason; a
//! test compares both with the page.

use std::time::Duration;

use vm_protocol::message::{Command, Deed};

use crate::machine::Bus;
use crate::matrix::{Case, Protected};
use crate::measure::{self, Driver};
use crate::plan::{Doing, Plan, Step};
use crate::routines;
use crate::windows::answers::FOLDER;
use crate::windows::scripts::{self, powershell};

/// What a run of Windows is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The MSI's file name.
    pub msi: String,
    /// `host:port` of the server, as the guest reaches it.
    pub server: String,
    /// The token with which the guest enrols.
    pub token: String,
    /// Certificates on the medium that signed for tests.
    pub certificates: Vec<String>,
    /// True if the driver was signed by Microsoft: test signing stays off.
    pub is_signed: bool,
    /// True if diskspd.exe is on the medium.
    pub measures: bool,
}

/// The name of the data disk in QEMU.
pub const DATA: &str = "data";
const SHORT: Duration = Duration::from_mins(2);
const MEDIUM: Duration = Duration::from_mins(15);
const LONG: Duration = Duration::from_hours(2);
/// The file in the root of the volume that is written to during steps.
pub const LOAD_FILE: &str = "load.bin";
/// The seed of those writes.
pub const LOAD_SEED: u64 = 1;
/// The name of the point at which the first load has ended.
pub const TRUTH: &str = "truth";
/// The writer's log of that load.
pub const TRUTH_LOG: &str = "truth.log";
/// What is done with both once the machine is off.
pub const TRUTH_STEP: &str = "117 the file in the restored image is what the writer's log says";
/// The judgement on the traces.
pub const ROUTINES_STEP: &str = "116 no DPC or ISR of snapless.sys takes more than 100 µs";
/// What the tracing program is called among the programs that go on.
const TRACE: &str = "trace";
/// Bytes of the file.
const LOAD_BYTES: u64 = 2 << 30;
/// Sessions that are started and stopped under load.
const SESSIONS: u32 = 1000;
/// Special pool, IRQL, pool tracking, I/O, deadlocks, security, miscellaneous and DDI compliance.
const VERIFIER: &str = "0x209BB";
/// The same with low resources simulation.
const LOW_RESOURCES: &str = "0x209BF";
const COUNTERS: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Perflib\_V2Providers\{6b7572b3-cc9d-406e-bc1a-0b7b9ca85976}";
const EVENTS: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\SnaplessService";

/// The steps of a case.
pub fn plan(case: &Case, given: &Given) -> Plan {
    let mut list = List { volume: case.volume(), steps: Vec::new() };
    list.prepare(case, given);
    if given.measures {
        let fill = scripts::fill(&case.volume()[..1], measure::FILE, measure::FILE_BYTES);
        list.run("112 the file", powershell(&fill), MEDIUM);
        list.measure(Driver::Absent);
    }
    list.install(given);
    if given.measures {
        list.measure(Driver::Attached);
        if case.takes_shadow_copies() {
            list.measure_beside_shadow_copies();
        }
    }
    list.protect(case, given);
    list.verifier(case, given);
    list.power(case);
    list.remove(given);
    let afterwards = vec![
        step("115 logs", Deed::Run(powershell(scripts::EXPORT_LOGS)), MEDIUM),
        step(
            "115 dumps, logs and traces",
            Deed::Collect {
                paths: [
                    r"C:\Windows\MEMORY.DMP",
                    r"C:\Windows\Minidump",
                    r"C:\Windows\INF\setupapi.dev.log",
                    r"C:\ProgramData\Snapless\logs",
                    &format!(r"{FOLDER}\logs"),
                    &format!(r"{FOLDER}\writes.log"),
                ]
                .map(str::to_owned)
                .into(),
            },
            MEDIUM,
        ),
    ];
    Plan { steps: list.steps, afterwards }
}

struct List {
    volume: &'static str,
    steps: Vec<Step>,
}

impl List {
    fn run(&mut self, name: &str, command: Command, limit: Duration) {
        self.steps.push(step(name, Deed::Run(command), limit));
    }

    fn restart(&mut self, name: &str) {
        self.steps.push(step(name, Deed::Restart, MEDIUM));
    }

    fn start_load(&mut self) {
        let (file, seed) = (format!(r"{}\{LOAD_FILE}", self.volume), LOAD_SEED.to_string());
        let arguments = ["--device", &file, "--regions", "regions.txt", "--log", "writes.log"];
        let more = ["--seed", &seed, "--rate", "33554432"];
        let writer = Command::new("snapless-writer.exe", &[&arguments[..], &more[..]].concat());
        let deed = Deed::Start { name: "load".to_owned(), command: writer };
        self.steps.push(step("the load begins", deed, SHORT));
    }

    fn stop_load(&mut self) {
        let deed = Deed::Stop { name: "load".to_owned() };
        self.steps.push(step("the load ends", deed, SHORT));
    }

    /// The copy at the server is compared with the volume.
    fn verify(&mut self, name: &str) {
        let verify = Command::new("snapless.exe", &["verify", self.volume, "--wait"]);
        self.run(name, verify, LONG);
    }

    fn wait_until_live(&mut self, name: &str) {
        self.run(name, powershell(&scripts::wait_until_live(1)), LONG);
    }

    fn prepare(&mut self, case: &Case, given: &Given) {
        // Programs and MSI are signed for tests also where the driver is not.
        for certificate in &given.certificates {
            for store in ["Root", "TrustedPublisher"] {
                let trust = Command::new("certutil.exe", &["-addstore", store, certificate]);
                self.run("a test certificate is trusted", trust, SHORT);
            }
        }
        if !given.is_signed {
            let testing = Command::new("bcdedit.exe", &["/set", "testsigning", "on"]);
            self.run("test signing", testing, SHORT);
        }
        if case.bit_locker {
            let script = "Install-WindowsFeature BitLocker";
            self.run("the feature BitLocker", powershell(script), MEDIUM);
        }
        self.restart("restart");
        if case.protected == Protected::Data {
            self.run("the data volume", powershell(&scripts::make_volume(case)), MEDIUM);
        }
        if case.bit_locker {
            self.run("BitLocker", powershell(scripts::ENCRYPT), LONG);
        }
        let fill = scripts::fill(&self.volume[..1], LOAD_FILE, LOAD_BYTES);
        self.run("the file of the load", powershell(&fill), MEDIUM);
    }

    fn install(&mut self, given: &Given) {
        let msi = Command {
            codes: vec![3010],
            ..Command::new("msiexec.exe", &["/i", &given.msi, "/qn", "/l*v", r"logs\install.log"])
        };
        self.run("2 logs of the installation", powershell("mkdir -Force logs"), SHORT);
        self.run("2 the MSI", msi, MEDIUM);
        self.restart("3 restart");
        self.run("3 fltmc", Command::new("fltmc.exe", &["volumes"]), SHORT);
        self.run("3 volumes", Command::new("snapless.exe", &["volumes"]), SHORT);
        let status = Command::new(r"C:\Program Files\Snapless\snapless-setup.exe", &["status"]);
        let sound = Command { never_says: vec!["warning".into(), "DANGER".into()], ..status };
        self.run("19 status", sound.clone(), SHORT);
        self.run("19 the provider", Command::new("reg.exe", &["query", COUNTERS]), SHORT);
        let query = "*[System[Provider[@Name='SnaplessService'] and EventID=100]]";
        let events = Command::new(
            "wevtutil.exe",
            &["qe", "Application", "/c:1", "/rd:true", "/f:RenderedXml", &format!("/q:{query}")],
        );
        let events = Command { says: vec!["Meaning: the service is running.".into()], ..events };
        self.run("15 the event of the start", events, SHORT);
        let repair = Command {
            codes: vec![3010],
            ..Command::new("msiexec.exe", &["/fa", &given.msi, "/qn"])
        };
        self.run("8 repair", repair, MEDIUM);
        self.restart("8 restart");
        self.run("8 status", sound, SHORT);
    }

    fn protect(&mut self, case: &Case, given: &Given) {
        let enroll = ["enroll", &given.server, "--token", &given.token];
        self.run("101 enrol", Command::new("snapless.exe", &enroll), SHORT);
        self.start_load();
        let protect = Command::new("snapless.exe", &["protect", self.volume]);
        self.run("101 protect under load", protect, SHORT);
        self.wait_until_live("101 first sync under load");
        let counters = Command::new("typeperf.exe", &["-qx", "Snapless Volume"]);
        let counters = Command { says: vec!["RPO Seconds".into()], ..counters };
        self.run("20 counters", counters, SHORT);
        let sample = [r"\Snapless Volume(*)\*", "-si", "1", "-sc", "10"];
        let sample = Command::new("typeperf.exe", &sample);
        self.run(
            "21 counters count",
            Command { save_as: Some("counters.csv".into()), ..sample },
            SHORT,
        );
        if case.shadow_copy {
            let volume = self.volume;
            let script = format!(
                "vssadmin create shadow /for={volume}; if ($LASTEXITCODE) {{ throw 'vssadmin' }}"
            );
            self.run("102 a shadow copy beside the session", powershell(&script), MEDIUM);
        }
        self.stop_load();
        let bookmark = Command::new("snapless.exe", &["bookmark", self.volume, TRUTH]);
        self.run("117 a bookmark", bookmark, MEDIUM);
        let copy = powershell(&format!("Copy-Item writes.log {TRUTH_LOG}"));
        self.run("117 the writer's log", copy, SHORT);
        let paths = vec![format!(r"{FOLDER}\{TRUTH_LOG}")];
        self.steps.push(step("117 the log is collected", Deed::Collect { paths }, MEDIUM));
        self.verify("101 the copy is the volume");
        if case.trim {
            let letter = &self.volume[..1];
            let trim = format!("Optimize-Volume -DriveLetter {letter} -ReTrim");
            self.run("103 trims", powershell(&trim), MEDIUM);
            self.verify("103 the copy is the volume");
        }
        if given.measures {
            self.measure(Driver::Protecting);
            let pause = powershell("sc.exe stop SnaplessService; Start-Sleep 120");
            self.run("112 pass-through: a gap begins", pause, MEDIUM);
            self.measure(Driver::PassThrough);
            self.run(
                "112 the service runs again",
                powershell("Start-Service SnaplessService"),
                SHORT,
            );
            self.wait_until_live("112 the gap ends");
            let writers = powershell("Measure-Command { vssadmin list writers } | Out-String");
            let writers = Command { save_as: Some("writers.txt".into()), ..writers };
            self.run("114 latency of the writers", writers, MEDIUM);
        }
    }

    /// Under Driver Verifier, twice.
    fn verifier(&mut self, case: &Case, given: &Given) {
        let wdf = r"HKLM\SYSTEM\CurrentControlSet\Services\snapless\Parameters\Wdf";
        let kmdf = Command::new(
            "reg.exe",
            &["add", wdf, "/v", "VerifierOn", "/t", "REG_DWORD", "/d", "1", "/f"],
        );
        self.run("106 KMDF verifier", kmdf, SHORT);
        for (number, flags) in [("104", VERIFIER), ("105", LOW_RESOURCES)] {
            let on = Command {
                // 2: a restart is due.
                codes: vec![0, 2],
                ..Command::new("verifier.exe", &["/flags", flags, "/driver", "snapless.sys"])
            };
            self.run(&format!("{number} Driver Verifier {flags}"), on, SHORT);
            self.restart(&format!("{number} restart"));
            let query = Command::new("verifier.exe", &["/query"]);
            let query = Command { says: vec!["snapless.sys".into()], ..query };
            self.run(&format!("{number} the driver is verified"), query, SHORT);
            self.start_load();
            self.wait_until_live(&format!("{number} the session goes on"));
            self.run(
                &format!("{number} {SESSIONS} starts and stops under load"),
                powershell(&scripts::start_and_stop(self.volume, SESSIONS)),
                LONG * 3,
            );
            let protect = Command::new("snapless.exe", &["protect", self.volume]);
            self.run(&format!("{number} protect"), protect, SHORT);
            self.wait_until_live(&format!("{number} first sync"));
            self.stop_load();
            self.verify(&format!("{number} the copy is the volume"));
        }
        if case.protected == Protected::Data {
            self.start_load();
            self.run("110 paging pressure", powershell(scripts::PAGING_PRESSURE), LONG);
            self.stop_load();
        }
        if given.measures {
            // Figures under Driver Verifier are of no use.
            let off = Command { codes: vec![0, 2], ..Command::new("verifier.exe", &["/reset"]) };
            self.run("104 Driver Verifier off", off, SHORT);
        }
    }

    fn power(&mut self, case: &Case) {
        self.start_load();
        self.restart("107 restart under load");
        self.wait_until_live("107 the session goes on");
        self.verify("107 the copy is the volume");
        self.start_load();
        self.steps.push(Step::new("108 power cut under load", Doing::PowerCut, MEDIUM));
        self.wait_until_live("108 the session goes on");
        self.verify("108 the copy is the volume");
        let allow = Command::new("powercfg.exe", &["/hibernate", "on"]);
        self.run("109 hibernation is allowed", allow, SHORT);
        self.start_load();
        self.steps.push(step("109 hibernation under load", Deed::Hibernate, MEDIUM));
        self.stop_load();
        self.wait_until_live("109 the session goes on");
        self.verify("109 the copy is the volume");
        self.start_load();
        self.steps.push(Step::new("111 crash under load", Doing::Crash, MEDIUM));
        let dump = powershell(r"Get-Item C:\Windows\MEMORY.DMP | Out-String");
        self.run("111 the dump", Command { save_as: Some("dump.txt".into()), ..dump }, SHORT);
        self.wait_until_live("111 the session goes on");
        self.verify("111 the copy is the volume");
        if case.data_bus == Bus::Usb {
            let pulled = Doing::Unplug { disk: DATA.to_owned() };
            self.steps.push(Step::new("113 the disk is pulled out", pulled, MEDIUM));
            self.run("113 the machine goes on", Command::new("snapless.exe", &["status"]), SHORT);
            self.restart("113 restart without the disk");
        }
    }

    fn remove(&mut self, given: &Given) {
        let off = Command { codes: vec![0, 2], ..Command::new("verifier.exe", &["/reset"]) };
        self.run("104 Driver Verifier off", off, SHORT);
        let remove = Command {
            codes: vec![3010],
            ..Command::new("msiexec.exe", &["/x", &given.msi, "/qn"])
        };
        self.run("8 removal", remove, MEDIUM);
        self.restart("8 restart");
        let drivers = Command::new("pnputil.exe", &["/enum-drivers"]);
        let drivers = Command { never_says: vec!["snapless.inf".into()], ..drivers };
        self.run("8 the driver store", drivers, SHORT);
        for (name, key) in
            [("18 the event source is gone", EVENTS), ("24 the provider is gone", COUNTERS)]
        {
            let query = Command { codes: vec![1], ..Command::new("reg.exe", &["query", key]) };
            self.run(name, query, SHORT);
        }
    }

    fn measure(&mut self, driver: Driver) {
        self.start_trace(driver);
        for depth in measure::DEPTHS {
            self.measure_at(depth, driver);
        }
        self.stop_trace(driver);
    }

    fn measure_at(&mut self, depth: u32, driver: Driver) {
        let command = measure::command(self.volume, depth, driver);
        self.run(&format!("112 diskspd at depth {depth}, {driver}"), command, MEDIUM);
    }

    /// A shadow copy costs the first write of each of its blocks, so each depth has one of its own.
    fn measure_beside_shadow_copies(&mut self) {
        let (driver, volume) = (Driver::ShadowCopy, self.volume);
        let room = powershell(&scripts::shadow_storage(volume, true));
        self.run("112 room for shadow copies", room, SHORT);
        self.start_trace(driver);
        for depth in measure::DEPTHS {
            let make = powershell(&scripts::make_shadow_copy(volume));
            self.run(&format!("112 a shadow copy for depth {depth}"), make, MEDIUM);
            self.measure_at(depth, driver);
            let delete = Command {
                save_as: Some(measure::shadow_copy_file(depth)),
                ..powershell(&scripts::delete_shadow_copy())
            };
            self.run(&format!("112 the shadow copy for depth {depth} is deleted"), delete, MEDIUM);
        }
        self.stop_trace(driver);
        let room = powershell(&scripts::shadow_storage(volume, false));
        self.run("112 no more room for shadow copies", room, SHORT);
    }

    fn start_trace(&mut self, driver: Driver) {
        let deed = Deed::Start { name: TRACE.to_owned(), command: routines::command(driver) };
        let name = format!("116 the trace of DPCs and ISRs begins, {driver}");
        self.steps.push(step(&name, deed, SHORT));
    }

    fn stop_trace(&mut self, driver: Driver) {
        let name = format!("116 the trace of DPCs and ISRs ends, {driver}");
        self.steps.push(step(&name, Deed::Stop { name: TRACE.to_owned() }, MEDIUM));
    }
}

fn step(name: &str, deed: Deed, limit: Duration) -> Step {
    Step::guest(name, deed, limit)
}

/// The file that tells the load where it may write.
pub fn regions() -> String {
    format!("0\t{LOAD_BYTES}\n")
}

/// The number of the plan that a step's name begins with.
pub fn number_of(name: &str) -> Option<u32> {
    name.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::matrix::CASES;
    use crate::windows::by_hand::BY_HAND;

    fn given() -> Given {
        Given {
            msi: "snapless-x64.msi".into(),
            server: "10.0.2.2:4850".into(),
            token: "snapless-token".into(),
            certificates: vec!["snapless-test.cer".into()],
            is_signed: false,
            measures: true,
        }
    }

    fn numbers_of_the_page() -> BTreeSet<u32> {
        let page = include_str!("../../../../../docs/windows-test-plan.md");
        let first = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse().ok();
        page.lines().filter_map(first).collect()
    }

    fn numbers_of_steps() -> BTreeSet<u32> {
        let plans = CASES.iter().map(|case| plan(case, &given()));
        let steps = plans.flat_map(|plan| plan.steps.into_iter().chain(plan.afterwards));
        steps.filter_map(|step| number_of(&step.name)).collect()
    }

    #[test]
    fn each_step_of_the_page_is_carried_out_or_by_hand_with_a_reason() {
        let by_hand: BTreeSet<u32> =
            BY_HAND.iter().flat_map(|(numbers, _)| numbers.clone()).collect();
        let carried_out = numbers_of_steps();
        assert_eq!(by_hand.intersection(&carried_out).collect::<Vec<_>>(), Vec::<&u32>::new());
        let both: BTreeSet<u32> = by_hand.union(&carried_out).copied().collect();
        assert_eq!(both, numbers_of_the_page());
        assert!(BY_HAND.iter().all(|(_, reason)| !reason.is_empty()));
    }

    #[test]
    fn a_load_that_begins_ends_before_the_next_one_unless_the_machine_goes_down() {
        for case in &CASES {
            let mut runs = false;
            for step in plan(case, &given()).steps {
                match step.doing {
                    Doing::Guest(Deed::Start { .. }) => {
                        assert!(!runs, "{}: {} while a load runs", case.name, step.name);
                        runs = true;
                    }
                    Doing::Guest(Deed::Stop { .. }) => {
                        assert!(runs, "{}: nothing to stop", case.name);
                        runs = false;
                    }
                    Doing::PowerCut | Doing::Crash | Doing::Guest(Deed::Restart) => runs = false,
                    Doing::Guest(_) | Doing::Unplug { .. } => {}
                }
            }
            assert!(!runs, "{}: the load has no end", case.name);
        }
    }

    #[test]
    fn each_state_is_measured_within_a_trace_and_each_shadow_copy_is_for_one_depth() {
        for case in &CASES {
            let (mut traced, mut has_copy, mut measured) = (false, false, Vec::new());
            for step in plan(case, &given()).steps {
                match (&step.doing, step.name.split_once(", ")) {
                    (Doing::Guest(Deed::Start { name, .. }), _) => traced = name == TRACE,
                    (Doing::Guest(Deed::Stop { .. }), _) => traced = false,
                    (_, Some((name, driver))) if name.starts_with("112 diskspd") => {
                        assert!(traced, "{}", step.name);
                        assert_eq!(has_copy, driver == "shadow-copy", "{}", step.name);
                        measured.push(driver.to_owned());
                    }
                    _ if step.name.starts_with("112 a shadow copy") => has_copy = true,
                    _ if step.name.ends_with("is deleted") => has_copy = false,
                    _ => {}
                }
            }
            assert!(!has_copy, "{}", case.name);
            let states: BTreeSet<_> = measured.iter().collect();
            assert_eq!(states.len(), if case.takes_shadow_copies() { 5 } else { 4 });
            assert_eq!(measured.len(), states.len() * measure::DEPTHS.len());
        }
    }

    #[test]
    fn with_a_signed_driver_test_signing_stays_off() {
        let given = Given { is_signed: true, measures: false, ..given() };
        let steps = plan(&CASES[0], &given).steps;
        let says = |step: &Step| format!("{:?}", step.doing).contains("testsigning");
        assert!(!steps.iter().any(says));
    }
}

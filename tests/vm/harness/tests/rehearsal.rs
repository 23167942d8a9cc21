//! The harness with a Linux guest in the place of Windows: each verdict, restarts, power cuts, and
//! both ways by which results come back. QEMU emulates, so that no KVM is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use snapless_vm::machine::{Accelerator, Firmware};
use snapless_vm::matrix::CASES;
use snapless_vm::plan::{Doing, Plan, Step};
use snapless_vm::rehearsal::Parts;
use snapless_vm::report;
use snapless_vm::runner::{Found, Patience, Run};
use snapless_vm::session::{self, Setting};
use snapless_vm::verdict::Verdict;
use snapless_vm::vm::Vm;
use vm_protocol::message::{Command, Deed, Outcome};

/// Generous: other tests run at the same time. Nothing waits this long unless it fails.
const LONG: Duration = Duration::from_mins(10);
const PATIENCE: Patience = Patience {
    first_boot: LONG,
    restart: LONG,
    silence: Duration::from_secs(30),
    press_return: Duration::ZERO,
};

/// A run in a folder of its own, which is kept if it fails.
struct Rehearsal {
    folder: PathBuf,
    firmware: Firmware,
    mood: &'static str,
    patience: Patience,
}

impl Rehearsal {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/vm/runs");
        let folder = root.join(name);
        let _ = fs::remove_dir_all(&folder);
        Self { folder, firmware: Firmware::Bios, mood: "", patience: PATIENCE }
    }

    fn run(&self, steps: Vec<Step>) -> Found {
        let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/vm");
        let made = Parts::in_folder(&vm).machine(&self.folder, self.firmware, self.mood);
        let (machine, results) = made.expect("`cargo xtask test` makes the parts of the guest");
        let afterwards = vec![guest("what is left", Deed::Collect { paths: vec!["/init".into()] })];
        let run = Run {
            machine: &machine,
            plan: &Plan { steps, afterwards },
            patience: self.patience,
            results: &results,
            folder: &self.folder,
        };
        let found = run.carry_out(&mut |step| eprintln!("{step}")).expect("the host works");
        report::write(&self.folder, "rehearsal", &found, "").expect("the page");
        found
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).is_file()
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn guest(name: &str, deed: Deed) -> Step {
    Step::guest(name, deed, LONG)
}

fn shell(script: &str) -> Command {
    Command::new("sh", &["-c", script])
}

fn sh(script: &str) -> Step {
    guest(script, Deed::Run(shell(script)))
}

#[test]
fn steps_restarts_power_cuts_and_files_make_a_run_that_passes() {
    let rehearsal = Rehearsal::new("passed");
    let save = Command { save_as: Some("kernel.txt".into()), ..shell("uname -r; echo ready") };
    let save = Command { says: vec!["ready".into()], ..save };
    // 5 MiB do not go over the line.
    let large = "dd if=/dev/zero of=/tmp/MEMORY.DMP bs=1048576 count=5";
    let found = rehearsal.run(vec![
        guest("a program's words", Deed::Run(save)),
        guest("begin a load", Deed::Start { name: "load".into(), command: shell("cat") }),
        guest("hibernate", Deed::Hibernate),
        guest("end the load", Deed::Stop { name: "load".into() }),
        guest("restart", Deed::Restart),
        sh(large),
        guest("collect", Deed::Collect { paths: vec!["/tmp/MEMORY.DMP".into(), "/no".into()] }),
        Step::new("a disk is pulled out", Doing::Unplug { disk: "data".into() }, LONG),
        Step::new("power cut", Doing::PowerCut, LONG),
        Step::new("crash", Doing::Crash, LONG),
        sh("echo alive"),
    ]);
    assert_eq!(found.verdict, Verdict::Passed, "{found:#?}");
    assert_eq!(found.system.as_deref().map(|it| it.starts_with("Linux")), Some(true));
    assert!(rehearsal.has("files/kernel.txt") && rehearsal.has("results/kernel.txt"));
    assert!(rehearsal.has("files/init") && rehearsal.has("index.md"));
    assert!(!rehearsal.has("files/MEMORY.DMP"));
    let dump = fs::metadata(rehearsal.folder.join("results/MEMORY.DMP")).expect("the dump");
    assert_eq!(dump.len(), 5 << 20);
    // All steps of the guest, and the collection at the end.
    assert_eq!(found.kept.len(), 9);
    assert!(found.kept.iter().all(|kept| kept.outcome == Outcome::Passed));
}

#[test]
fn uefi_starts_the_guest_too() {
    let mut rehearsal = Rehearsal::new("uefi");
    rehearsal.firmware = Firmware::Uefi;
    let found = rehearsal.run(vec![sh("ls /sys/firmware/efi")]);
    assert_eq!(found.verdict, Verdict::Passed, "{found:#?}");
}

#[test]
fn a_step_that_finds_something_else_fails_and_the_next_ones_are_not_begun() {
    let rehearsal = Rehearsal::new("failed");
    let found = rehearsal.run(vec![sh("echo no driver; exit 3"), sh("echo never")]);
    let Verdict::Failed { why } = &found.verdict else { panic!("{found:#?}") };
    assert!(why.contains("code 3") && why.contains("no driver"), "{why}");
    assert_eq!(found.steps[1].verdict, None);
    assert_eq!(found.steps[2].verdict, Some(Verdict::Passed));
    assert!(rehearsal.has("files/init"), "what is left is collected");
}

#[test]
fn a_guest_that_cannot_hibernate_fails_and_so_does_one_that_starts_anew_in_its_place() {
    let rehearsal = Rehearsal::new("not-hibernated");
    let refuse = sh("mount -o bind /proc/version /sys/power/state");
    let found = rehearsal.run(vec![refuse, guest("hibernate", Deed::Hibernate)]);
    let Verdict::Failed { why } = &found.verdict else { panic!("{found:#?}") };
    assert!(why.contains("code 1"), "{why}");
    assert!(rehearsal.has("files/init"), "what is left is collected");

    // It goes off when it is to hibernate, and has saved nothing.
    let off = "while [ ! -s /tmp/state ]; do sleep 1; done; poweroff -f";
    let script = format!(
        "touch /tmp/state && mount -o bind /tmp/state /sys/power/state && \
         {{ ({off}) >/dev/null 2>&1 & }}"
    );
    let rehearsal = Rehearsal::new("started-anew");
    let found = rehearsal.run(vec![sh(&script), guest("hibernate", Deed::Hibernate)]);
    let Verdict::Failed { why } = &found.verdict else { panic!("{found:#?}") };
    assert!(why.contains("started anew"), "{why}");
    assert!(rehearsal.has("files/init"), "what is left is collected");
}

#[test]
fn a_step_without_an_end_is_timed_out_and_the_guest_is_made_to_crash_and_tell() {
    let rehearsal = Rehearsal::new("timed-out");
    let endless = Step::guest("endless", Deed::Run(shell("sleep 900")), Duration::from_secs(5));
    let found = rehearsal.run(vec![endless]);
    assert_eq!(found.verdict, Verdict::TimedOut, "{found:#?}");
    assert!(rehearsal.has("files/init"), "what is left is collected after the crash");
}

#[test]
fn a_kernel_that_panics_in_a_step_has_crashed() {
    let rehearsal = Rehearsal::new("crashed");
    let found = rehearsal.run(vec![sh("echo c > /proc/sysrq-trigger; sleep 900")]);
    let Verdict::Crashed { what } = &found.verdict else { panic!("{found:#?}") };
    assert!(what.contains("panic"), "{what}");
    assert!(rehearsal.has("files/init"), "what is left is collected after the restart");
}

#[test]
fn a_guest_that_switches_itself_off_in_a_step_has_crashed() {
    let found = Rehearsal::new("off").run(vec![sh("poweroff -f; sleep 900")]);
    assert!(matches!(found.verdict, Verdict::Crashed { .. }), "{found:#?}");
}

#[test]
fn a_guest_without_a_sign_of_life_hangs_though_its_step_has_time_left() {
    let rehearsal = Rehearsal::new("hung");
    let found = rehearsal.run(vec![sh("kill -STOP $PPID; sleep 900")]);
    assert_eq!(found.verdict, Verdict::Hung, "{found:#?}");
    assert!(rehearsal.has("files/init"), "what is left is collected after the crash");
}

#[test]
fn a_guest_that_never_says_hello_has_never_booted() {
    let mut rehearsal = Rehearsal::new("never-booted");
    rehearsal.mood = "rehearse=mute";
    rehearsal.patience.first_boot = Duration::from_secs(25);
    let found = rehearsal.run(vec![sh("echo never")]);
    assert_eq!(found.verdict, Verdict::NeverBooted, "{found:#?}");
    assert_eq!(found.system, None);
}

#[test]
fn noise_on_the_line_breaks_the_protocol_and_the_result_disk_has_what_was_done() {
    let noise = sh("echo noise > /dev/ttyS1; sleep 900");
    let found = Rehearsal::new("broken").run(vec![sh("echo done"), noise]);
    assert!(matches!(found.verdict, Verdict::ProtocolBroken { .. }), "{found:#?}");
    assert_eq!(found.kept.len(), 1, "the first step's outcome came by the disk: {found:#?}");
}

#[test]
fn qemu_begins_the_machine_of_every_case() {
    let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/vm");
    let dir = tempfile::tempdir().expect("a folder");
    let iso = dir.path().join("server.iso");
    fs::write(&iso, vec![0; 1 << 20]).expect("written");
    let setting = Setting {
        iso: iso.clone(),
        virtio: Some(iso),
        folder: dir.path().to_path_buf(),
        qemu: Parts::in_folder(&vm).qemu,
        accelerator: Accelerator::Tcg,
        memory_mib: 256,
        package: dir.path().to_path_buf(),
        programs: Vec::new(),
        server: PathBuf::new(),
        image_index: 1,
        product_key: None,
        is_signed: true,
        certificates: Vec::new(),
    };
    for case in &CASES {
        let folder = dir.path().join(case.name);
        fs::create_dir_all(&folder).expect("a folder");
        let machine = session::machine(&setting, case, &folder, None).expect("its disks");
        for image in ["medium.img", "results.img"] {
            fs::write(folder.join(image), vec![0; 1 << 20]).expect("written");
        }
        let mut vm = Vm::start(&machine, &folder).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        vm.monitor.happened().unwrap_or_else(|e| panic!("{}: {e}", case.name));
        vm.monitor.press_return().unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

//! A case from its files to its page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::VmError;
use crate::helpers::{self, Server};
use crate::machine::{Accelerator, Disk, Machine, Qemu};
use crate::matrix::{Case, FileSystem, Protected};
use crate::measure;
use crate::medium::{self, Content};
use crate::report;
use crate::routines;
use crate::runner::{Found, Patience, Run};
use crate::truth::{Truth, read_log};
use crate::verdict::{StepEnd, Verdict};
use crate::windows::answers::Answers;
use crate::windows::scripts::DATA_BYTES;
use crate::windows::steps::{self, DATA, Given, LOAD_FILE, LOAD_SEED, TRUTH};

/// What the runs of all cases have in common.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The ISO of Windows Server.
    pub iso: PathBuf,
    /// The ISO of virtio's drivers.
    pub virtio: Option<PathBuf>,
    /// Where runs have their folders.
    pub folder: PathBuf,
    /// The emulator.
    pub qemu: Qemu,
    /// How instructions are run.
    pub accelerator: Accelerator,
    /// MiB of memory.
    pub memory_mib: u32,
    /// The folder that `cargo xtask package` makes.
    pub package: PathBuf,
    /// Programs for the guest: `snapless-e2e.exe` and `snapless-writer.exe`, diskspd.exe if there
    /// is one.
    pub programs: Vec<PathBuf>,
    /// `snapless-server` for this host.
    pub server: PathBuf,
    /// Which image of the ISO is installed.
    pub image_index: u32,
    /// The key of a release that is no evaluation.
    pub product_key: Option<String>,
    /// True if the package's driver was signed by Microsoft.
    pub is_signed: bool,
    /// Certificates that the guest has to trust besides the package's own.
    pub certificates: Vec<PathBuf>,
}

/// Bytes of the boot disk, which takes what is written to it.
const BOOT_BYTES: u64 = 48 << 30;
/// Bytes of the result disk: a kernel's dump fits.
const RESULT_BYTES: u64 = 4 << 30;
/// The installation takes most of it.
const PATIENCE: Patience = Patience {
    first_boot: Duration::from_hours(2),
    restart: Duration::from_mins(30),
    silence: Duration::from_mins(3),
    press_return: Duration::from_secs(30),
};
/// The folder on virtio's ISO; Windows loads what fits.
const VIRTIO_DRIVERS: &str = r"viostor\2k22\amd64";

/// Why a case cannot be run with this setting.
pub fn obstacle(setting: &Setting, case: &Case) -> Option<&'static str> {
    if case.needs_signed_driver() && !setting.is_signed {
        return Some("it needs a driver that Microsoft has signed (--signed-driver)");
    }
    if case.needs_virtio() && setting.virtio.is_none() {
        return Some("it needs the ISO of virtio's drivers (--virtio)");
    }
    None
}

/// Installs Windows, carries out the plan, and writes the page; returns what was found and where.
pub fn run(
    setting: &Setting,
    case: &Case,
    tell: &mut dyn FnMut(&str),
) -> Result<(Found, PathBuf), VmError> {
    let release = setting.iso.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = setting.folder.join(format!("{release}-{}", case.name));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(VmError::file("remove", &folder))?;
    }
    fs::create_dir_all(&folder).map_err(VmError::file("create", &folder))?;

    let server = Server::start(&setting.server, &folder)?;
    let tpm = helpers::tpm(&folder)?;
    let machine = machine(setting, case, &folder, tpm.as_ref().map(|(_, socket)| socket.clone()))?;
    let package = msi(&setting.package)?;
    let given = Given {
        msi: name_of(&package),
        // Where QEMU's network has the host.
        server: format!("10.0.2.2:{}", server.port),
        token: server.token.clone(),
        certificates: certificates(setting).iter().map(|path| name_of(path)).collect(),
        is_signed: setting.is_signed,
        measures: setting.programs.iter().any(|program| program.ends_with("diskspd.exe")),
    };
    make_media(setting, case, &folder, &package)?;
    let plan = steps::plan(case, &given);
    let results = folder.join("results.img");
    let run = Run {
        machine: &machine,
        plan: &plan,
        patience: PATIENCE,
        results: &results,
        folder: &folder,
    };
    let mut found = run.carry_out(tell)?;
    if case.protected == Protected::Boot || case.file_system == FileSystem::Ntfs {
        tell(steps::TRUTH_STEP);
        compare(setting, &folder, &mut found)?;
    }
    let files = folder.join("files");
    if let Some(verdict) = routines::verdict(&files) {
        judge(&mut found, steps::ROUTINES_STEP, verdict, Duration::ZERO);
    }
    let title = format!("{release}, {}", case.name);
    let tables = format!("{}\n{}", measure::table(&files), routines::table(&files));
    let page = report::write(&folder, &title, &found, tables.trim())?;
    Ok((found, page))
}

/// Compares the file of the load in a restored image with the writer's log. A run that has not come
/// so far has no log.
fn compare(setting: &Setting, folder: &Path, found: &mut Found) -> Result<(), VmError> {
    let log = folder.join("results").join(steps::TRUTH_LOG);
    if !log.is_file() {
        return Ok(());
    }
    let started = Instant::now();
    let image = folder.join("restored.img");
    let restored = helpers::restore(&setting.server, &folder.join("repository"), TRUTH, &image);
    let agreement = match restored {
        Ok(()) => Truth::new(read_log(&log)?, LOAD_SEED).check(&image, LOAD_FILE)?,
        Err(error) => Err(error.to_string()),
    };
    let verdict = match agreement {
        Ok(_) => Verdict::Passed,
        Err(why) => Verdict::Failed { why },
    };
    judge(found, steps::TRUTH_STEP, verdict, started.elapsed());
    Ok(())
}

/// Adds a step of the host's to a run that has ended.
fn judge(found: &mut Found, step: &str, verdict: Verdict, took: Duration) {
    if found.verdict == Verdict::Passed {
        found.verdict = verdict.clone();
    }
    let (name, seconds) = (step.to_owned(), took.as_secs());
    found.steps.push(StepEnd { name, verdict: Some(verdict), seconds });
}

/// The machine of a case, with its empty disks in a folder.
pub fn machine(
    setting: &Setting,
    case: &Case,
    folder: &Path,
    tpm: Option<PathBuf>,
) -> Result<Machine, VmError> {
    let image = |name: &str| folder.join(format!("{name}.img"));
    medium::empty_disk(&image("boot"), BOOT_BYTES)?;
    medium::empty_disk(&image(DATA), DATA_BYTES)?;
    let data = Disk {
        sectors: case.sectors,
        trim: case.trim,
        ..Disk::new(DATA, &image(DATA), case.data_bus)
    };
    let usb = crate::machine::Bus::Usb;
    let mut discs = vec![setting.iso.clone()];
    discs.extend(setting.virtio.clone());
    Ok(Machine {
        qemu: setting.qemu.clone(),
        accelerator: setting.accelerator,
        firmware: case.firmware,
        variables: folder.join("variables.fd"),
        memory_mib: setting.memory_mib,
        processors: 4,
        disks: vec![
            Disk::new("boot", &image("boot"), case.bus),
            data,
            Disk::new("medium", &image("medium"), usb),
            Disk::new("results", &image("results"), usb),
        ],
        discs,
        tpm,
        kernel: None,
        network: true,
        hyper_v: true,
    })
}

fn make_media(setting: &Setting, case: &Case, folder: &Path, msi: &Path) -> Result<(), VmError> {
    let answers = Answers {
        firmware: case.firmware,
        image_index: setting.image_index,
        product_key: setting.product_key.clone(),
        drivers: case.needs_virtio().then(|| VIRTIO_DRIVERS.to_owned()),
    };
    let mut contents = vec![
        Content::text("autounattend.xml", answers.text()?),
        Content::text("regions.txt", steps::regions()),
        Content::file(msi),
    ];
    contents.extend(setting.programs.iter().map(|program| Content::file(program)));
    contents.extend(certificates(setting).iter().map(|path| Content::file(path)));
    medium::make(&folder.join("medium.img"), &contents)?;
    medium::make_results(&folder.join("results.img"), RESULT_BYTES)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The certificates that the guest has to trust: the package's own, and those that were named.
fn certificates(setting: &Setting) -> Vec<PathBuf> {
    let entries = fs::read_dir(&setting.package).into_iter().flatten().flatten();
    let own = entries.map(|entry| entry.path().join("snapless-test.cer")).filter(|it| it.is_file());
    own.chain(setting.certificates.iter().cloned()).collect()
}

/// The MSI of a package.
fn msi(package: &Path) -> Result<PathBuf, VmError> {
    let entries = fs::read_dir(package).map_err(VmError::file("list", package))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = files.filter(|path| path.extension().is_some_and(|it| it == "msi"));
    let missing = || {
        VmError::Unusable(format!("{} has no MSI: run `cargo xtask package`", package.display()))
    };
    found.next().ok_or_else(missing)
}

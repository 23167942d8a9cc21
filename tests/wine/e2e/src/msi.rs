//! The MSI on the rig: Wine's Windows Installer installs, upgrades, repairs and removes the
//! product, with the driver loaded by the rig's KMDF.
//!
//! The rule: each stage looks at what is there, not at what the installer said; what must not
//! succeed (an old Windows, a driver that does not load, a downgrade) leaves nothing.
//!
//! Wine's `RemoveExistingProducts` does not tell the older product that it is being upgraded
//! (`UPGRADINGPRODUCTCODE`), as Windows does. The upgrade is therefore made of its two halves, each
//! with what Windows gives it. docs/windows-test-plan.md has the rest.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::agent::Agent;
use crate::error::{E2eError, ensure};
use crate::prefix::{DRIVERS, Prefix, RESTART, windows_path};
use crate::process::check_interrupt;
use crate::run_folder::RunFolder;

/// The files under test, and the rig's own.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The Wine prefix that the setup made.
    pub template: PathBuf,
    /// Where the run's folder is made.
    pub folder: PathBuf,
    /// `wdfldr.sys`: KMDF for Wine.
    pub framework: PathBuf,
    /// `snapless-rig-agent.exe`
    pub agent: PathBuf,
    /// `snapless-setup.exe`, to ask for the state.
    pub installer: PathBuf,
    /// Two versions of the MSI.
    pub older: Package,
    /// The later one.
    pub newer: Package,
}

/// An MSI.
#[derive(Clone, Debug)]
pub struct Package {
    /// The file.
    pub file: PathBuf,
    /// With braces.
    pub product_code: String,
    /// Three numbers.
    pub version: String,
}

/// `ERROR_INSTALL_FAILURE`
const FAILED: u16 = 1603;
/// What Wine logs if a launch condition does not hold; the condition's message it only shows.
const REFUSED: &str = "LaunchConditions. Return value 0.";

/// Where the MSI puts its files, relative to drive C.
const PROGRAMS: &str = "Program Files/Snapless";
/// What it puts there.
const FILES: [&str; 9] = [
    "snapless-setup.exe",
    "snapless-service.exe",
    "snapless.exe",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "driver/snapless.sys",
    "driver/snapless.inf",
    "driver/snapless.cat",
];
/// Where it puts the PowerShell module, relative to drive C.
const MODULE: &str = "Program Files/WindowsPowerShell/Modules/Snapless";
/// What it puts there.
const MODULE_FILES: [&str; 4] =
    ["Snapless.psd1", "Snapless.psm1", "Snapless.Format.ps1xml", "en-US/about_Snapless.help.txt"];
/// Where Windows publishes INFs, relative to drive C.
const INFS: &str = "windows/inf";
/// What an administrator and the service write, relative to drive C.
const KEPT: [&str; 2] =
    ["ProgramData/Snapless/service.toml", "ProgramData/Snapless/state/volume.session.json"];
/// The list of Windows' settings page.
const PRODUCTS: &str = r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall";
/// Where the machine's PATH is.
const ENVIRONMENT: &str = r"HKLM\System\CurrentControlSet\Control\Session Manager\Environment";
/// Where the rig keeps a setup program of its own.
const OWN_FOLDER: &str = "snapless-rig";

/// What `snapless-setup status --json` says.
#[derive(Debug, Deserialize)]
struct Status {
    filter_registered: bool,
    driver: String,
    driver_file_present: bool,
    service: String,
    boots: bool,
}

/// Runs every stage; `entered` is called with the name of each.
pub fn run(setting: &Setting, mut entered: impl FnMut(&str)) -> Result<(), E2eError> {
    let folder = RunFolder::create(&setting.folder)?;
    let mut rig = Rig::start(setting, &folder)?;
    for (name, stage) in STAGES {
        check_interrupt()?;
        entered(name);
        stage(&mut rig, setting).map_err(|error| E2eError::Step(name.into(), Box::new(error)))?;
    }
    rig.finish()?;
    folder.discard_images()
}

type Stage = (&'static str, fn(&mut Rig, &Setting) -> Result<(), E2eError>);

const STAGES: [Stage; 8] = [
    ("an old Windows is refused", old_windows),
    ("a driver that does not load fails the installation", no_framework),
    ("installation", installation),
    ("the older version is upgraded: its removal", upgrade_removal),
    ("the older version is upgraded: the newer one", upgrade_installation),
    ("a downgrade is refused", downgrade),
    ("repair", repair),
    ("removal", removal),
];

fn old_windows(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    rig.prefix.run("winecfg", &["-v", "win7"])?;
    let log =
        rig.prefix.msiexec("old-windows", &["/i", &windows_path(&setting.older.file)], FAILED)?;
    ensure!(log.contains(REFUSED), Rule, "it did not fail by its conditions");
    rig.nothing_is_there(&setting.older)?;
    rig.prefix.run("winecfg", &["-v", "win10"]).map(drop)
}

fn no_framework(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    let log =
        rig.prefix.msiexec("no-framework", &["/i", &windows_path(&setting.older.file)], FAILED)?;
    let reason = "Snapless setup failed: Windows does not load the driver";
    ensure!(log.contains(reason), Rule, "the log does not have what the setup said");
    rig.nothing_is_there(&setting.older)?;
    ensure!(!rig.driver_file().exists(), Rule, "the driver's file was left");
    rig.prefix.install(&setting.framework, DRIVERS).map(drop)
}

fn installation(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    rig.prefix.msiexec("install", &["/i", &windows_path(&setting.older.file)], RESTART)?;
    rig.is_there(&setting.older)?;
    for file in KEPT.map(|file| rig.prefix.on_c(file)) {
        let folder = file.parent().unwrap_or(&file);
        fs::create_dir_all(folder).map_err(E2eError::file("create", folder))?;
        fs::write(&file, "kept").map_err(E2eError::file("write", &file))?;
    }
    Ok(())
}

fn upgrade_removal(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    let by = format!("UPGRADINGPRODUCTCODE={}", setting.newer.product_code);
    let code = &setting.older.product_code;
    rig.prefix.msiexec("upgrade-removal", &["/x", code, &by], RESTART)?;
    ensure!(!rig.prefix.on_c(PROGRAMS).exists(), Rule, "the older version's files were left");
    let status = rig.status()?;
    let driver_stays = status.filter_registered && status.driver == "stopped" && status.boots;
    ensure!(driver_stays, Rule, "an upgrade took the driver away: {status:?}");
    ensure!(status.service == "stopped", Rule, "an upgrade took the service away: {status:?}");
    Ok(())
}

fn upgrade_installation(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    rig.prefix.msiexec("upgrade", &["/i", &windows_path(&setting.newer.file)], RESTART)?;
    ensure!(!rig.is_listed(&setting.older)?, Rule, "the older version is listed as installed");
    rig.is_there(&setting.newer)
}

fn downgrade(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    let log =
        rig.prefix.msiexec("downgrade", &["/i", &windows_path(&setting.older.file)], FAILED)?;
    ensure!(log.contains(REFUSED), Rule, "it did not fail by its conditions");
    rig.is_there(&setting.newer)
}

fn repair(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    let lost = [rig.driver_file(), rig.prefix.on_c(PROGRAMS).join("snapless.exe")];
    for file in &lost {
        fs::remove_file(file).map_err(E2eError::file("remove", file))?;
    }
    // What `/fa` means, which Wine does not take.
    let all = ["REINSTALL=ALL", "REINSTALLMODE=amus"];
    let code = ["/i", &setting.newer.product_code];
    rig.prefix.msiexec("repair", &[code, all].concat(), RESTART)?;
    rig.is_there(&setting.newer)
}

fn removal(rig: &mut Rig, setting: &Setting) -> Result<(), E2eError> {
    let [own, other] = rig.publish_infs()?;
    rig.prefix.msiexec("remove", &["/x", &setting.newer.product_code], RESTART)?;
    rig.nothing_is_there(&setting.newer)?;
    ensure!(!own.exists(), Rule, "{} was left", own.display());
    ensure!(other.exists(), Rule, "{} was removed", other.display());
    for file in KEPT.map(|file| rig.prefix.on_c(file)) {
        let text = fs::read_to_string(&file).map_err(E2eError::file("read", &file))?;
        ensure!(text == "kept", Rule, "{} was changed", file.display());
    }
    Ok(())
}

/// Wine with an MSI in it. Fields are dropped in this order: the agent first, Wine's server last.
struct Rig {
    agent: Agent,
    prefix: Prefix,
}

impl Rig {
    fn start(setting: &Setting, folder: &RunFolder) -> Result<Self, E2eError> {
        let prefix = Prefix::copy_of(&setting.template, &folder.prefix, &folder.logs)?;
        prefix.install(&setting.installer, OWN_FOLDER)?;
        // As long as it runs, Wine keeps its drivers.
        let agent = Agent::start(&prefix, &windows_path(&setting.agent))?;
        Ok(Self { agent, prefix })
    }

    fn finish(&mut self) -> Result<(), E2eError> {
        self.agent.finish()?;
        self.prefix.stop()
    }

    /// Checks that this version is installed, whole and alone.
    fn is_there(&self, package: &Package) -> Result<(), E2eError> {
        let programs = FILES.map(|file| self.prefix.on_c(PROGRAMS).join(file));
        let module = MODULE_FILES.map(|file| self.prefix.on_c(MODULE).join(file));
        for file in programs.iter().chain(&module) {
            ensure!(file.is_file(), Rule, "{} is not there", file.display());
        }
        ensure!(self.is_listed(package)?, Rule, "{} is not listed", package.version);
        ensure!(self.is_on_path()?, Rule, "the programs are not on the PATH");
        let status = self.status()?;
        let Status { filter_registered, driver, driver_file_present, service, boots } = &status;
        let in_place = *filter_registered && *driver_file_present && *boots;
        let stopped = driver == "stopped" && service == "stopped";
        ensure!(in_place && stopped, Rule, "driver and service are not in place: {status:?}");
        Ok(())
    }

    /// Checks that no version is installed. The restart deletes the driver's file.
    fn nothing_is_there(&self, package: &Package) -> Result<(), E2eError> {
        for folder in [PROGRAMS, MODULE].map(|folder| self.prefix.on_c(folder)) {
            ensure!(!folder.exists(), Rule, "{} was left", folder.display());
        }
        ensure!(!self.is_listed(package)?, Rule, "{} is listed", package.version);
        ensure!(!self.is_on_path()?, Rule, "the PATH has the programs' folder");
        let status = self.status()?;
        let absent = status.driver == "absent" && status.service == "absent";
        let gone = absent && !status.filter_registered && status.boots;
        ensure!(gone, Rule, "driver, filter or service were left: {status:?}");
        Ok(())
    }

    /// True if Windows' list of products has it with its version.
    fn is_listed(&self, package: &Package) -> Result<bool, E2eError> {
        let key = format!(r"{PRODUCTS}\{}", package.product_code);
        match self.prefix.run("reg", &["query", &key, "/v", "DisplayVersion"]) {
            Ok(said) => Ok(said.contains(&package.version)),
            Err(E2eError::Exit { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn is_on_path(&self) -> Result<bool, E2eError> {
        let said = self.prefix.run("reg", &["query", ENVIRONMENT, "/v", "PATH"])?;
        Ok(said.contains(r"Program Files\Snapless"))
    }

    fn status(&self) -> Result<Status, E2eError> {
        let program = format!(r"C:\{OWN_FOLDER}\snapless-setup.exe");
        let said = self.prefix.run(&program, &["status", "--json"])?;
        serde_json::from_str(&said).map_err(|error| E2eError::Said {
            program: "snapless-setup status".into(),
            said,
            why: error.to_string(),
        })
    }

    /// Publishes the driver's INF, as the driver store of Windows does, and another driver's.
    fn publish_infs(&self) -> Result<[PathBuf; 2], E2eError> {
        let packaged = self.prefix.on_c(PROGRAMS).join("driver/snapless.inf");
        let own = fs::read_to_string(&packaged).map_err(E2eError::file("read", &packaged))?;
        let other = own.replace("AddService = snapless,", "AddService = other,");
        ensure!(own != other, Rule, "the INF adds no service of the driver");
        let files = ["oem7.inf", "oem8.inf"].map(|name| self.prefix.on_c(INFS).join(name));
        for (file, text) in files.iter().zip([own, other]) {
            fs::write(file, text).map_err(E2eError::file("write", file))?;
        }
        Ok(files)
    }

    fn driver_file(&self) -> PathBuf {
        self.prefix.on_c(DRIVERS).join("snapless.sys")
    }
}

//! The rig's self-test: shows that its KMDF reports a driver that breaks a rule. A driver that
//! breaks one rule a run, and none in the control run, is loaded into Wine; the rig must end each
//! run with a report of that rule and no other.
//!
//! The rule: a check counts only if a case shows that it works; the control run shows that the rig
//! reports no correct driver.

use std::path::PathBuf;

use protocol::names::framework;
use protocol::selftest::{CASE, CASES, Case, GIVE_BACK_LIMIT_MS, SERVICE};
use protocol::violations;

use crate::agent::Agent;
use crate::error::E2eError;
use crate::prefix::{DRIVERS, Prefix, windows_path};
use crate::process;
use crate::run_folder::{RunFolder, read_if_there};

/// The files and folders of the self-test.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The Wine prefix that the setup made.
    pub template: PathBuf,
    /// Where the run's folder is made.
    pub folder: PathBuf,
    /// `wdfldr.sys`: the KMDF that is tested.
    pub framework: PathBuf,
    /// `snapless-rig-selftest.sys`: the driver that breaks the rules.
    pub driver: PathBuf,
    /// `snapless-rig-agent.exe`
    pub agent: PathBuf,
}

/// How a case ended.
#[derive(Debug)]
pub struct Verdict {
    /// The case.
    pub case: &'static Case,
    /// The rig's report in a line, or what is wrong with it.
    pub outcome: Result<String, String>,
}

/// Runs every case; `ended` is called with each verdict.
pub fn run(setting: &Setting, mut ended: impl FnMut(&Verdict)) -> Result<Vec<Verdict>, E2eError> {
    let folder = RunFolder::create(&setting.folder)?;
    let selftest = Selftest::start(setting, &folder)?;
    let mut verdicts = Vec::with_capacity(CASES.len());
    for case in &CASES {
        process::check_interrupt()?;
        let verdict = Verdict { case, outcome: selftest.run(case)? };
        ended(&verdict);
        verdicts.push(verdict);
    }
    selftest.finish()?;
    if verdicts.iter().all(|verdict| verdict.outcome.is_ok()) {
        folder.discard_images()?;
    }
    Ok(verdicts)
}

/// Wine with the self-test driver in it.
struct Selftest {
    agent: Agent,
    prefix: Prefix,
    log: PathBuf,
    image: String,
}

/// The observations of one run of the driver.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    started: bool,
    stopped: bool,
    /// The rig's log of violations.
    log: &'a str,
}

impl Selftest {
    fn start(setting: &Setting, folder: &RunFolder) -> Result<Self, E2eError> {
        let prefix = Prefix::copy_of(&setting.template, &folder.prefix, &folder.logs)?;
        prefix.install(&setting.framework, DRIVERS)?;
        let image = prefix.install(&setting.driver, DRIVERS)?;
        // As long as it runs, Wine keeps its drivers.
        let agent = Agent::start(&prefix, &windows_path(&setting.agent))?;
        let log = folder.prefix.join(violations::LOG_IN_PREFIX);
        Ok(Self { agent, prefix, log, image })
    }

    /// Loads the driver with a case, unloads it if it still runs, and checks the result.
    fn run(&self, case: &Case) -> Result<Result<String, String>, E2eError> {
        // The log of the run before; there is none if nothing was reported.
        let _ = std::fs::remove_file(&self.log);
        // A service of its own: the process of the run before may still be ending.
        let service = format!("{SERVICE}-{}", case.name);
        let prefix = &self.prefix;
        prefix.sc(&["create", &service, "type=", "kernel", "binpath=", &self.image])?;
        prefix.set_parameter(&service, CASE, "REG_SZ", case.name)?;
        let limit = GIVE_BACK_LIMIT_MS.to_string();
        prefix.set_parameter(&service, framework::GIVE_BACK_LIMIT_MS, "REG_DWORD", &limit)?;

        let started = self.succeeds(&["start", &service])?;
        let stopped = started && self.succeeds(&["stop", &service])?;
        let log = read_if_there(&self.log)?;
        Ok(check(case, Seen { started, stopped, log: &log }))
    }

    fn finish(mut self) -> Result<(), E2eError> {
        self.agent.finish()?;
        self.prefix.stop()
    }

    /// Whether the service manager's tool succeeds: it fails where the rig has ended the driver's
    /// process.
    fn succeeds(&self, arguments: &[&str]) -> Result<bool, E2eError> {
        match self.prefix.sc(arguments) {
            Ok(()) => Ok(true),
            Err(E2eError::Exit { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

/// Compares the observations with the case.
fn check(case: &Case, seen: Seen<'_>) -> Result<String, String> {
    let reports: Vec<&str> =
        seen.log.lines().filter_map(|line| line.strip_prefix(violations::PREFIX)).collect();
    let is_about = |report: &str, rule: &str| report.split(' ').next() == Some(rule);
    match (case.rule, reports.as_slice()) {
        (_, []) if !seen.started => Err("the driver does not start, without a report".to_owned()),
        (None, []) if seen.stopped => Ok("nothing to report".to_owned()),
        (None, []) => Err("the driver does not stop, without a report".to_owned()),
        (None, said) => Err(format!("nothing was broken, but reported was {}", said.join(" | "))),
        (Some(rule), []) => Err(format!("not caught: {rule} should have been reported")),
        (Some(rule), [report]) if is_about(report, rule) => Ok(report.trim_end().to_owned()),
        (Some(rule), said) => {
            Err(format!("{rule} was broken, but reported was {}", said.join(" | ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: Case = Case { name: "mdl-leak", rule: Some("Leak") };
    const CLEAN: Case = Case { name: "clean", rule: None };
    const LEAK: &str = "KMDF RIG: violation: Leak in WdfVersionUnbind: 1 Mdl\n    at x.sys+0x1\n";
    const POOL: &str = "KMDF RIG: violation: Pool in ExFreePool: freed before\n";

    fn seen(started: bool, stopped: bool, log: &str) -> Seen<'_> {
        Seen { started, stopped, log }
    }

    #[test]
    fn a_misuse_passes_only_with_one_report_of_its_rule() {
        let said = check(&BREAKS, seen(true, false, LEAK)).unwrap();
        assert!(said.starts_with("Leak in WdfVersionUnbind"), "{said}");
        assert!(check(&BREAKS, seen(true, true, "")).unwrap_err().contains("not caught"));
        assert!(check(&BREAKS, seen(true, true, POOL)).unwrap_err().contains("Pool"));
        let both = format!("{LEAK}{POOL}");
        assert!(check(&BREAKS, seen(true, true, &both)).unwrap_err().contains(" | "));
        assert!(check(&BREAKS, seen(false, false, "")).unwrap_err().contains("does not start"));
    }

    #[test]
    fn the_control_passes_only_without_any_report() {
        assert!(check(&CLEAN, seen(true, true, "")).is_ok());
        assert!(check(&CLEAN, seen(true, true, LEAK)).is_err());
        assert!(check(&CLEAN, seen(true, false, "")).is_err());
        assert!(check(&CLEAN, seen(false, false, "")).is_err());
    }

    #[test]
    fn there_is_a_control_and_no_case_twice() {
        assert_eq!(CASES.iter().filter(|case| case.rule.is_none()).count(), 1);
        let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }
}

//! `snapless verify`: begins or ends a verification of a volume's copy, waits for its outcome, and
//! repairs what differs.

mod outcome;
mod repair;

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use snapless_driver_client::{Driver, DriverPort};
use snapless_service::report;
use snapless_service::verification::Verification;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::Verify;

use super::common::{print_json, session_of};
use crate::arguments::VerifyArguments;
use crate::error::CliError;
use crate::format;
use outcome::{Look, Waiting};

/// How often the driver and the service are asked how far it is.
const POLL: Duration = Duration::from_millis(500);

/// What was asked of the driver, for scripts.
#[derive(Debug, Serialize)]
struct Begun {
    volume: String,
    session: String,
    verifying: bool,
    /// `null` without a limit of its own.
    rate_bytes_per_second: Option<u64>,
    /// What came of it; `null` if nothing was compared, or it was not waited for.
    outcome: Option<Verification>,
    /// Bytes that were read again, as they or some of them differed; `null` if nothing was.
    repaired_bytes: Option<u64>,
}

/// Begins a verification, or ends the one under way.
pub(crate) fn run(
    arguments: &VerifyArguments,
    driver: &dyn Driver,
    state_dir: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let port = driver.open()?;
    let (name, rate) = (&arguments.volume, arguments.rate);
    let session = session_of(driver, &*port, name)?;
    let verify = if arguments.stop {
        Verify::End
    } else {
        Verify::Begin { bytes_per_second: rate.unwrap_or(0) }
    };
    let passes = port.status(session)?.counters.verify_passes;
    port.verify(session, verify)?;
    let waits = arguments.wait || arguments.repair;
    let outcome = if waits { wait(&*port, session, passes, state_dir)? } else { None };
    let differing = outcome.as_ref().filter(|it| it.differing_bytes > 0 && arguments.repair);
    let repaired = differing.map(|found| repair::repair(&*port, session, found)).transpose()?;
    let begun = Begun {
        volume: name.to_string(),
        session: session.to_string(),
        verifying: !arguments.stop && !waits,
        rate_bytes_per_second: rate,
        outcome,
        repaired_bytes: repaired,
    };
    begun.end(arguments, out)
}

impl Begun {
    /// What was found counts for more than a report that cannot be printed.
    fn end(&self, arguments: &VerifyArguments, out: &mut dyn Write) -> Result<(), CliError> {
        let printed = self.print(arguments, out);
        self.verdict().and(printed)
    }

    fn print(&self, arguments: &VerifyArguments, out: &mut dyn Write) -> Result<(), CliError> {
        let name = &self.volume;
        if arguments.json {
            return print_json(self, out);
        }
        if arguments.stop {
            writeln!(out, "no verification of {name} is under way")?;
        } else if self.verifying {
            writeln!(
                out,
                "the verification of {name} has begun: `snapless status` shows how far it is and \
                 what differs"
            )?;
        } else {
            writeln!(out, "{}", outcome::text(self.outcome.as_ref()))?;
        }
        if let Some(bytes) = self.repaired_bytes {
            let bytes = format::bytes(bytes);
            writeln!(
                out,
                "{bytes} were read again: the copy is repaired from now on, and instants from \
                 before have what differed"
            )?;
        }
        Ok(())
    }

    fn verdict(&self) -> Result<(), CliError> {
        match &self.outcome {
            Some(found) if found.differing_bytes > 0 && self.repaired_bytes.is_none() => {
                Err(CliError::Differs)
            }
            Some(found) if found.damaged => Err(CliError::NotCompared),
            _ => Ok(()),
        }
    }
}

/// Waits until the driver has come to the end of the volume, and the server has compared all that
/// was read.
fn wait(
    port: &dyn DriverPort,
    session: SessionId,
    passes: u64,
    state_dir: &Path,
) -> Result<Option<Verification>, CliError> {
    let mut waiting = Waiting::new(passes);
    let reports = |source| CliError::Reports { folder: state_dir.to_owned(), source };
    loop {
        let status = port.status(session)?;
        let name = session.to_string();
        let all = report::read_all(state_dir).map_err(reports)?.sound;
        let of_session = all.into_iter().find(|it| it.session.as_ref() == Some(&name));
        match waiting.look(&status, of_session.as_ref())? {
            Look::UnderWay => thread::sleep(POLL),
            Look::Nothing => return Ok(None),
            Look::Outcome(found) => return Ok(Some(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_driver::{SESSION, TestDriver};
    use crate::test_output::Full;

    fn arguments() -> VerifyArguments {
        let volume = "D:".parse().unwrap();
        VerifyArguments { volume, rate: None, wait: false, repair: false, stop: false, json: false }
    }

    fn verify(driver: &TestDriver, change: impl FnOnce(&mut VerifyArguments)) -> String {
        let mut arguments = arguments();
        change(&mut arguments);
        let mut out = Vec::new();
        run(&arguments, driver, Path::new("absent"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_verification_begins_at_a_rate_and_ends() {
        let driver = TestDriver::protecting();
        assert!(verify(&driver, |_| ()).contains("has begun"));
        let json = verify(&driver, |it| (it.rate, it.json) = (Some(1 << 20), true));
        let begun = crate::schema::parse("verify", &json);
        assert_eq!((&begun["session"], &begun["verifying"]), (&SESSION.into(), &true.into()));
        assert_eq!(begun["rate_bytes_per_second"], 1 << 20);
        verify(&driver, |it| it.stop = true);
        let at = |bytes_per_second| Verify::Begin { bytes_per_second };
        let asked = [at(0), at(1 << 20), Verify::End];
        let session = SessionId::parse(SESSION).unwrap();
        assert_eq!(driver.verified(), asked.map(|verify| (session, verify)));
    }

    #[test]
    fn what_a_verification_found_is_in_the_schema() {
        let found = Verification::of(&snapless_wire::verified::Verified::default());
        let begun = Begun {
            volume: "D:".into(),
            session: SESSION.into(),
            verifying: false,
            rate_bytes_per_second: Some(1 << 20),
            outcome: Some(found),
            repaired_bytes: Some(512),
        };
        crate::schema::check("verify", &serde_json::to_value(begun).unwrap());
    }

    #[test]
    fn the_verdict_outlives_its_report() {
        let found = |differing| {
            Verification::of(&snapless_wire::verified::Verified { differing, ..Default::default() })
        };
        let begun = |differing| Begun {
            volume: "D:".into(),
            session: SESSION.into(),
            verifying: false,
            rate_bytes_per_second: None,
            outcome: Some(found(differing)),
            repaired_bytes: None,
        };
        let ended = |begun: Begun| begun.end(&arguments(), &mut Full);
        assert!(matches!(ended(begun(512)), Err(CliError::Differs)));
        assert!(matches!(ended(begun(0)), Err(CliError::Output(_))));
    }

    #[test]
    fn a_volume_without_a_session_cannot_be_verified() {
        let mut out = Vec::new();
        let error = run(&arguments(), &TestDriver::idle(), Path::new("absent"), &mut out);
        assert!(matches!(error, Err(CliError::NotProtected(_))));
    }
}

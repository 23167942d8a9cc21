//! `snapless verify`: begins or ends a verification of a volume's copy.

use std::io::Write;

use serde::Serialize;
use snapless_driver_client::Driver;
use snapless_wire::ioctl::Verify;

use super::common::session_of;
use crate::arguments::VerifyArguments;
use crate::error::CliError;

/// What was asked of the driver, for scripts.
#[derive(Debug, Serialize)]
struct Begun {
    volume: String,
    session: String,
    verifying: bool,
    /// `null` without a limit of its own.
    rate_bytes_per_second: Option<u64>,
}

/// Begins a verification, or ends the one under way.
pub(crate) fn run(
    arguments: &VerifyArguments,
    driver: &dyn Driver,
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
    port.verify(session, verify)?;
    if arguments.json {
        let (volume, session) = (name.to_string(), session.to_string());
        let verifying = !arguments.stop;
        let begun = Begun { volume, session, verifying, rate_bytes_per_second: rate };
        serde_json::to_writer(&mut *out, &begun)?;
        writeln!(out)?;
    } else if arguments.stop {
        writeln!(out, "no verification of {name} is under way now")?;
    } else {
        writeln!(
            out,
            "the verification of {name} has begun: `snapless status` shows how far it is, and \
             `snapless-server verify` on the server compares"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use snapless_wire::id::SessionId;

    use super::*;
    use crate::test_driver::{SESSION, TestDriver};

    fn verify(driver: &TestDriver, change: impl FnOnce(&mut VerifyArguments)) -> String {
        let volume = "D:".parse().unwrap();
        let mut arguments = VerifyArguments { volume, rate: None, stop: false, json: false };
        change(&mut arguments);
        let mut out = Vec::new();
        run(&arguments, driver, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_verification_begins_at_a_rate_and_ends() {
        let driver = TestDriver::protecting();
        assert!(verify(&driver, |_| ()).contains("has begun"));
        let json = verify(&driver, |it| (it.rate, it.json) = (Some(1 << 20), true));
        let begun: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&begun["session"], &begun["verifying"]), (&SESSION.into(), &true.into()));
        assert_eq!(begun["rate_bytes_per_second"], 1 << 20);
        verify(&driver, |it| it.stop = true);
        let begin = |bytes_per_second| Verify::Begin { bytes_per_second };
        let asked = [begin(0), begin(1 << 20), Verify::End];
        let session = SessionId::parse(SESSION).unwrap();
        assert_eq!(driver.verified(), asked.map(|verify| (session, verify)));
    }

    #[test]
    fn a_volume_without_a_session_cannot_be_verified() {
        let arguments =
            VerifyArguments { volume: "D:".parse().unwrap(), rate: None, stop: false, json: false };
        let error = run(&arguments, &TestDriver::idle(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, CliError::NotProtected(_)));
    }
}

//! `snapless stop`: ends a session.

use std::io::Write;

use serde::Serialize;
use snapless_driver_client::Driver;

use super::common::{print_json, session_of};
use crate::arguments::StopArguments;
use crate::error::CliError;

/// What is printed for scripts.
#[derive(Serialize)]
struct Ended {
    session: String,
    /// As it was named; `null` if the session was.
    volume: Option<String>,
}

/// Ends the session that the arguments name.
pub(crate) fn run(
    arguments: &StopArguments,
    driver: &dyn Driver,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let port = driver.open()?;
    let name = &arguments.session;
    let session = match (name.id, &name.volume) {
        (Some(session), _) => session,
        (None, Some(name)) => session_of(driver, &*port, name)?,
        (None, None) => unreachable!("the arguments' group requires one of the two"),
    };
    port.stop(session)?;
    if arguments.json {
        let volume = name.volume.as_ref().map(ToString::to_string);
        return print_json(&Ended { session: session.to_string(), volume }, out);
    }
    writeln!(out, "session {session} has ended; its volume is no longer protected")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use snapless_wire::id::SessionId;

    use super::*;
    use crate::arguments::SessionName;
    use crate::test_driver::{DEVICE, SESSION, TestDriver};

    fn stop(driver: &TestDriver, arguments: &StopArguments) -> Result<String, CliError> {
        let mut out = Vec::new();
        run(arguments, driver, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn by_volume(name: &str) -> StopArguments {
        let session = SessionName { id: None, volume: Some(name.parse().unwrap()) };
        StopArguments { session, json: false }
    }

    #[test]
    fn a_session_is_found_by_its_volume_or_its_id() {
        let session = SessionName { id: SessionId::parse(SESSION), volume: None };
        let by_session = StopArguments { session, json: false };
        for arguments in [by_volume(DEVICE), by_volume("D:"), by_session] {
            let driver = TestDriver::protecting();
            assert!(stop(&driver, &arguments).unwrap().contains(SESSION));
            assert_eq!(driver.stopped(), [SessionId::parse(SESSION).unwrap()]);
        }
    }

    #[test]
    fn a_script_gets_the_session_that_has_ended() {
        let arguments = StopArguments { json: true, ..by_volume("D:") };
        let said = stop(&TestDriver::protecting(), &arguments).unwrap();
        let json = crate::schema::parse("stop", &said);
        assert_eq!(json, serde_json::json!({"session": SESSION, "volume": "D:"}));
    }

    #[test]
    fn an_error_names_the_volume_without_a_session() {
        let error = stop(&TestDriver::idle(), &by_volume("D:")).unwrap_err();
        assert!(matches!(error, CliError::NotProtected(name) if name == "D:"));
        let error = stop(&TestDriver::protecting(), &by_volume(r"\Device\Other")).unwrap_err();
        assert!(matches!(error, CliError::NotFiltered(_)));
    }
}

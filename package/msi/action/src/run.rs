//! Runs a task and reports it.

use std::io;

use crate::task::Task;

/// `ERROR_SUCCESS`
pub const DONE: u32 = 0;
/// `ERROR_INSTALL_FAILURE`
pub const FAILED: u32 = 1603;
/// `ERROR_SUCCESS_REBOOT_REQUIRED`: done; the MSI asks for the restart by itself.
const RESTART: i32 = 3010;

/// An installation under way.
pub trait Session {
    /// The text that the package gives this action.
    fn data(&mut self) -> Result<String, String>;

    /// Adds a line to the log.
    fn log(&mut self, line: &str);

    /// Adds an error to the log, and shows it if there is a window.
    fn fail(&mut self, message: &str);
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs the session's task by `launch`; returns the action's result.
pub fn run(session: &mut dyn Session, launch: impl FnOnce(&Task) -> io::Result<Ended>) -> u32 {
    match attempt(session, launch) {
        Ok(()) => DONE,
        Err(message) => {
            session.fail(&format!("Snapless setup failed: {message}"));
            FAILED
        }
    }
}

fn attempt(
    session: &mut dyn Session,
    launch: impl FnOnce(&Task) -> io::Result<Ended>,
) -> Result<(), String> {
    let task = Task::parse(&session.data()?)?;
    let program = task.program.display().to_string();
    session.log(&format!("Snapless: {program} {}", task.arguments));
    let ended = launch(&task).map_err(|error| format!("cannot run {program}: {error}"))?;
    for line in ended.output.lines().chain(ended.errors.lines()) {
        session.log(&format!("Snapless: {}", line.trim_end()));
    }
    match ended.code {
        Some(0 | RESTART) => Ok(()),
        code => Err(ended.last_words(code)),
    }
}

impl Ended {
    /// What the program said of its failure.
    fn last_words(&self, code: Option<i32>) -> String {
        let said = self.errors.trim();
        if said.is_empty() {
            let code = code.map_or("none".to_owned(), |code| code.to_string());
            return format!("it ended with exit code {code} and said nothing");
        }
        said.strip_prefix("snapless-setup: ").unwrap_or(said).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct TestSession {
        data: String,
        log: Vec<String>,
        failures: Vec<String>,
    }

    impl Session for TestSession {
        fn data(&mut self) -> Result<String, String> {
            Ok(self.data.clone())
        }

        fn log(&mut self, line: &str) {
            self.log.push(line.to_owned());
        }

        fn fail(&mut self, message: &str) {
            self.failures.push(message.to_owned());
        }
    }

    fn session() -> TestSession {
        TestSession { data: "setup.exe|uninstall".into(), ..TestSession::default() }
    }

    fn ended(code: Option<i32>, errors: &str) -> Ended {
        Ended { code, output: "filters   none\r\n".into(), errors: errors.into() }
    }

    #[test]
    fn success_with_or_without_a_restart_is_success_and_is_logged() {
        for code in [0, RESTART] {
            let mut session = session();
            assert_eq!(run(&mut session, |_| Ok(ended(Some(code), ""))), DONE);
            assert_eq!(session.log, ["Snapless: setup.exe uninstall", "Snapless: filters   none"]);
            assert!(session.failures.is_empty());
        }
    }

    #[test]
    fn a_failure_fails_the_installation_with_what_the_setup_said() {
        let mut session = session();
        let failed = ended(Some(1), "snapless-setup: the list is damaged\r\n");
        assert_eq!(run(&mut session, |_| Ok(failed)), FAILED);
        assert_eq!(session.failures, ["Snapless setup failed: the list is damaged"]);
        assert!(session.log.contains(&"Snapless: snapless-setup: the list is damaged".to_owned()));
    }

    #[test]
    fn a_setup_that_says_nothing_fails_with_its_exit_code() {
        for (code, name) in [(Some(5), "code 5"), (None, "code none")] {
            let mut session = session();
            assert_eq!(run(&mut session, |_| Ok(ended(code, ""))), FAILED);
            assert!(session.failures[0].contains(name), "{:?}", session.failures);
        }
    }

    #[test]
    fn a_setup_that_is_not_there_and_a_damaged_package_fail() {
        let mut missing = session();
        let launch = |_: &Task| Err(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(run(&mut missing, launch), FAILED);
        assert!(missing.failures[0].contains("cannot run setup.exe"), "{:?}", missing.failures);
        let mut damaged = TestSession::default();
        assert_eq!(run(&mut damaged, |_| Ok(ended(Some(0), ""))), FAILED);
        assert!(damaged.failures[0].contains("damaged"), "{:?}", damaged.failures);
    }
}

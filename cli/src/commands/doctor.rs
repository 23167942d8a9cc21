//! `snapless doctor`: looks at all that protection needs, and says what is wrong and what to do.
//!
//! Nothing changes. Parts that cannot be looked at because another one is missing are left out.

mod finding;
mod volumes;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use snapless_control::channel::{PIPE, connect};
use snapless_driver_client::{Driver, DriverPort, paths};
use snapless_link::client::LinkLimits;
use snapless_service::config::{Config, ConfigError};
use snapless_service::connector::Connector;
use snapless_trust::audit::text_of;

use super::common::restart_needed;
use crate::error::CliError;
use finding::{Finding, print};

/// How long the server may take to answer.
const SERVER_LIMIT: Duration = Duration::from_secs(5);
/// A certificate that is valid no longer than this has not been renewed when it was due.
const VALID_MIN: Duration = Duration::from_hours(30 * 24);

/// Where a machine's parts are.
struct Machine<'a> {
    driver: &'a dyn Driver,
    config: PathBuf,
    channel: PathBuf,
    now: SystemTime,
}

/// Prints what is found on this machine.
///
/// # Errors
/// [`CliError::Unhealthy`] if something is wrong.
pub(crate) fn run(json: bool, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    let (config, channel) = (paths::config_file(), PIPE.into());
    let machine = Machine { driver, config, channel, now: SystemTime::now() };
    print(&machine.findings(), json, out)
}

impl Machine<'_> {
    fn findings(&self) -> Vec<Finding> {
        let (port, driver) = self.driver();
        let (config, configuration) = self.configuration();
        let mut findings = vec![driver, self.service(), configuration];
        if let Some(config) = &config {
            for connector in config.connectors() {
                let is_main = config.server.as_deref() == Some(connector.server());
                let of = if is_main { String::new() } else { format!(" {}", connector.server()) };
                findings.push(self.identity(format!("identity{of}"), &connector));
                findings.push(server(format!("server{of}"), &connector));
            }
            if let Some(port) = &port {
                findings.extend(volumes::look(self.driver, &**port, config, self.now));
            }
        }
        findings
    }

    fn driver(&self) -> (Option<Box<dyn DriverPort>>, Finding) {
        const PART: &str = "driver";
        match self.driver.open() {
            Err(error) => (None, Finding::failed(PART, error.to_string())),
            Ok(port) => {
                let finding = if restart_needed(&*port) {
                    let text = "the loaded driver is older than this program: restart the machine";
                    Finding::warning(PART, text)
                } else {
                    Finding::ok(PART, format!("running, interface version {}", port.version()))
                };
                (Some(port), finding)
            }
        }
    }

    fn service(&self) -> Finding {
        const PART: &str = "service";
        match connect(&self.channel) {
            Ok(_) => Finding::ok(PART, "running"),
            Err(error) => Finding::failed(
                PART,
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                        CliError::NoService.to_string()
                    }
                    ErrorKind::PermissionDenied => CliError::ServiceDenied.to_string(),
                    _ => format!("its pipe cannot be opened: {error}"),
                },
            ),
        }
    }

    fn configuration(&self) -> (Option<Config>, Finding) {
        const PART: &str = "configuration";
        let nothing = "no volume is configured: `snapless enroll`, then `snapless protect D:`";
        match Config::load(&self.config) {
            Err(error) if error.is_missing() => (None, Finding::warning(PART, nothing)),
            Err(error) => (None, Finding::failed(PART, unusable(&error))),
            Ok(config) if config.volumes.is_empty() => {
                (Some(config), Finding::warning(PART, nothing))
            }
            Ok(config) => {
                let (count, servers) = (config.volumes.len(), config.servers().join(", "));
                (Some(config), Finding::ok(PART, format!("{count} volume(s), server {servers}")))
            }
        }
    }

    fn identity(&self, part: String, connector: &Connector) -> Finding {
        let credentials = match connector.identity() {
            Ok(None) => {
                return Finding::warning(part, "none: `insecure` is set, which is for tests only");
            }
            Ok(Some(store)) => store.load(),
            Err(error) => Err(error),
        };
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(error) => return Finding::failed(part, error.to_string()),
        };
        let (name, to) = (&credentials.certified.identity.name, credentials.certified.validity.to);
        match to.duration_since(self.now) {
            Err(_) => Finding::failed(
                part,
                format!(
                    "the certificate of {name} expired at {}: enrol again, with a token of \
                     `snapless-server token create --machine`",
                    text_of(to)
                ),
            ),
            Ok(left) if left < VALID_MIN => Finding::warning(
                part,
                format!(
                    "the certificate of {name} expires at {} and was not renewed when that was \
                     due: `snapless enroll --renew {}`",
                    text_of(to),
                    connector.server()
                ),
            ),
            Ok(_) => Finding::ok(part, format!("{name}, valid until {}", text_of(to))),
        }
    }
}

fn unusable(error: &ConfigError) -> String {
    format!("{error}; the service does not start with it, and one that runs does not follow it")
}

fn server(part: String, connector: &Connector) -> Finding {
    let limits = LinkLimits { connect: SERVER_LIMIT, welcome: SERVER_LIMIT, send: SERVER_LIMIT };
    match connector.connect(&limits, &|| false) {
        Ok(_) => Finding::ok(part, format!("{} answers, and is trusted", connector.server())),
        Err(error) => Finding::failed(part, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use snapless_control::channel::Channel;
    use snapless_control::message::{Answer, Refusal, RefusalKind};

    use super::finding::Verdict;
    use super::*;
    use crate::test_driver::{GUID, TestDriver};

    /// The verdict and the text of a part; what `doctor` does not look at is `None`.
    fn look(machine: &Machine<'_>, part: &str) -> Option<(Verdict, String)> {
        let findings = machine.findings().into_iter();
        let mut found = findings.filter(|it| it.part == part).map(|it| (it.verdict, it.text));
        let first = found.next();
        assert!(found.next().is_none(), "{part} twice");
        first
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(config: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            if !config.is_empty() {
                let state = folder.0.path().join("state");
                let text = format!("state_dir = '{}'\n{config}", state.display());
                std::fs::write(folder.0.path().join("service.toml"), text).unwrap();
            }
            folder
        }

        fn machine<'a>(&self, driver: &'a TestDriver) -> Machine<'a> {
            let at = |name| self.0.path().join(name);
            let (config, channel) = (at("service.toml"), at("control"));
            Machine { driver, config, channel, now: SystemTime::now() }
        }
    }

    fn insecure(server: &str) -> String {
        format!("insecure = true\nserver = \"{server}\"\n[[volumes]]\nvolume = \"{{{GUID}}}\"\n")
    }

    #[test]
    fn a_machine_on_which_nothing_is_configured_is_told_how() {
        let (folder, driver) = (Folder::new(""), TestDriver::idle());
        let machine = folder.machine(&driver);
        assert_eq!(look(&machine, "driver").unwrap().0, Verdict::Ok);
        let (verdict, text) = look(&machine, "configuration").unwrap();
        assert!(verdict == Verdict::Warning && text.contains("snapless protect"), "{text}");
        let (verdict, text) = look(&machine, "service").unwrap();
        assert!(verdict == Verdict::Failed && text.contains("sc start"), "{text}");
        assert_eq!((look(&machine, "identity"), look(&machine, "server")), (None, None));
    }

    #[test]
    fn an_older_driver_and_a_broken_configuration_are_named() {
        let (folder, driver) = (Folder::new("server = 7\n"), TestDriver::idle().older());
        let machine = folder.machine(&driver);
        let (verdict, text) = look(&machine, "driver").unwrap();
        assert!(verdict == Verdict::Warning && text.contains("restart"), "{text}");
        let (verdict, text) = look(&machine, "configuration").unwrap();
        assert!(verdict == Verdict::Failed && text.contains("line 2"), "{text}");
    }

    #[test]
    fn a_service_that_listens_runs() {
        let (folder, driver) = (Folder::new(""), TestDriver::idle());
        let machine = folder.machine(&driver);
        let channel = Channel::open(&machine.channel).unwrap();
        let refused = || Answer::Refused(Refusal::new(RefusalKind::Other, "no"));
        thread::spawn(move || channel.serve(move |_| refused()));
        assert_eq!(look(&machine, "service").unwrap().0, Verdict::Ok);
    }

    #[test]
    fn a_server_that_answers_is_told_from_one_that_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (folder, driver) = (Folder::new(&insecure(&address)), TestDriver::protecting());
        let machine = folder.machine(&driver);
        assert_eq!(look(&machine, "server").unwrap().0, Verdict::Ok);
        assert_eq!(look(&machine, "identity").unwrap().0, Verdict::Warning, "insecure");
        drop(listener);
        let (verdict, text) = look(&machine, "server").unwrap();
        assert!(verdict == Verdict::Failed && text.contains(&address), "{text}");
    }

    #[test]
    fn each_server_is_looked_at() {
        let config = insecure("127.0.0.1:9").replace("insecure = true", "insecure = false");
        let folder = Folder::new(&format!("{config}server = \"127.0.0.1:8\"\n"));
        let driver = TestDriver::protecting();
        let machine = folder.machine(&driver);
        let (_, text) = look(&machine, "configuration").unwrap();
        assert!(text.contains("127.0.0.1:9, 127.0.0.1:8"), "{text}");
        for part in ["identity 127.0.0.1:8", "server 127.0.0.1:8"] {
            let (verdict, text) = look(&machine, part).unwrap();
            let is_told = text.contains("snapless enroll 127.0.0.1:8");
            assert!(verdict == Verdict::Failed && is_told, "{text}");
        }
    }

    #[test]
    fn a_machine_that_has_not_enrolled_is_told_so() {
        let config = insecure("127.0.0.1:9").replace("insecure = true", "insecure = false");
        let (folder, driver) = (Folder::new(&config), TestDriver::protecting());
        let machine = folder.machine(&driver);
        for part in ["identity", "server"] {
            let (verdict, text) = look(&machine, part).unwrap();
            assert!(verdict == Verdict::Failed && text.contains("snapless enroll"), "{text}");
        }
    }
}

//! `snapless enroll`: gets this machine its identity at a server, or renews it.
//!
//! The key is made on this machine and does not leave it. The token names the server's authority,
//! so that the token is sent to no other server.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use snapless_link::client::LinkLimits;
use snapless_link::tls::enrol::{enrol, renew};
use snapless_trust::TrustError;
use snapless_trust::audit::text_of;
use snapless_trust::keystore::{Applicant, Credentials, KeyStore};
use snapless_trust::token::Token;
use snapless_trust::{private, text};

use super::common::print_json;
use crate::arguments::EnrollArguments;
use crate::error::CliError;

/// The longest token that is read from standard input, in bytes.
const TOKEN_MAX: u64 = 1024;

/// What is printed for scripts.
#[derive(Serialize)]
struct Enrolled<'a> {
    machine: String,
    /// The machine's name, for people.
    name: &'a str,
    server: &'a str,
    /// RFC 3339.
    valid_until: String,
    /// False for a new identity.
    renewed: bool,
}

/// Enrols this machine, or renews its certificate; `state_dir` is the service's.
pub(crate) fn run(
    arguments: &EnrollArguments,
    state_dir: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let state_dir: PathBuf = arguments.state_dir.clone().unwrap_or_else(|| state_dir.to_owned());
    let limits = LinkLimits::default();
    let (store, credentials) = if arguments.renew {
        let store = match &arguments.server {
            Some(server) => KeyStore::for_main_server(&state_dir, server)?,
            None => KeyStore::new(&state_dir),
        };
        let known = store.load()?;
        let server = arguments.server.as_ref().unwrap_or(&known.server);
        let renewed = renew(&known, server, &limits, &|| false)?;
        (store, renewed)
    } else {
        first(arguments, &state_dir, &limits)?
    };
    if !state_dir.is_dir() {
        private::create_folders(&state_dir)
            .map_err(|source| CliError::StateDir { folder: state_dir, source })?;
    }
    store.save(&credentials)?;
    let (identity, validity) = (&credentials.certified.identity, credentials.certified.validity);
    let valid_until = text_of(validity.to);
    if arguments.json {
        let (machine, name, server) =
            (identity.machine.to_string(), &identity.name, &credentials.server);
        let renewed = arguments.renew;
        return print_json(&Enrolled { machine, name, server, valid_until, renewed }, out);
    }
    let done = if arguments.renew { "renewed" } else { "enrolled" };
    writeln!(out, "{done}: {identity}, valid until {valid_until}")?;
    Ok(())
}

/// A new identity, and where it goes.
fn first(
    arguments: &EnrollArguments,
    state_dir: &Path,
    limits: &LinkLimits,
) -> Result<(KeyStore, Credentials), CliError> {
    let token: Token = token_text(arguments)?.parse()?;
    let server = arguments.server.as_deref().ok_or(CliError::NoServer)?;
    let (store, known) = KeyStore::for_enrolment(state_dir, server, &token)?;
    if let Some(server) = known.filter(|_| !arguments.force) {
        return Err(TrustError::Enrolled { file: store.file(), server }.into());
    }
    let name = arguments.name.clone().unwrap_or_else(own_name);
    let enrolled = enrol(Applicant::new(&token, &name, server)?, server, limits)?;
    Ok((store, enrolled))
}

/// The token; `-` stands for standard input, so that it is in no list of processes.
fn token_text(arguments: &EnrollArguments) -> Result<String, CliError> {
    match arguments.token.as_deref() {
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().take(TOKEN_MAX).read_to_end(&mut bytes).map_err(CliError::Input)?;
            let text = text::decode(&bytes).map_err(|_| TrustError::NotAToken)?;
            Ok(text.as_str().to_owned())
        }
        Some(text) => Ok(text.to_owned()),
        None => Err(TrustError::NotAToken.into()),
    }
}

fn own_name() -> String {
    let variable = if cfg!(windows) { "COMPUTERNAME" } else { "HOSTNAME" };
    std::env::var(variable).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::SystemTime;

    use snapless_link::server::ServerLink;
    use snapless_trust::identity::Role;
    use snapless_trust::server::ServerTrust;
    use snapless_trust::token::{Grant, LIFETIME_DEFAULT};

    struct Site {
        trust: Arc<ServerTrust>,
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let trust = ServerTrust::create(&dir.path().join("trust"), SystemTime::now()).unwrap();
            Self { trust: Arc::new(trust), dir }
        }

        fn token(&self) -> String {
            let grant = Grant { role: Role::Client, name: None, machine: None };
            let now = SystemTime::now();
            self.trust.make_token(&grant, LIFETIME_DEFAULT, now).unwrap().text()
        }

        /// A server that takes one connection.
        fn serve(&self) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            self.answer(listener);
            address
        }

        fn answer(&self, listener: TcpListener) {
            let trust = Arc::clone(&self.trust);
            thread::spawn(move || {
                let (stream, peer) = listener.accept().unwrap();
                // The client says how it went.
                drop(ServerLink::accept_tls(stream, peer, &trust, &|| false));
            });
        }

        fn state_dir(&self) -> PathBuf {
            self.dir.path().join("state")
        }

        fn run(&self, arguments: &EnrollArguments) -> Result<String, String> {
            let mut out = Vec::new();
            run(arguments, &self.state_dir(), &mut out).map_err(|error| error.to_string())?;
            Ok(String::from_utf8(out).unwrap())
        }

        fn identity(&self) -> Credentials {
            KeyStore::new(&self.state_dir()).load().unwrap()
        }
    }

    fn arguments(server: Option<String>, token: Option<String>) -> EnrollArguments {
        EnrollArguments {
            server,
            token,
            name: Some("web-1".into()),
            renew: false,
            force: false,
            state_dir: None,
            json: false,
        }
    }

    #[test]
    fn a_machine_enrols_once_renews_and_is_replaced_only_by_force() {
        let site = Site::new();
        let first = arguments(Some(site.serve()), Some(site.token()));
        let said = site.run(&first).unwrap();
        assert!(said.starts_with("enrolled: web-1"), "{said}");
        let identity = site.identity();

        let refused = site.run(&arguments(Some(site.serve()), Some(site.token()))).unwrap_err();
        assert!(refused.contains("--renew") && refused.contains("--force"), "{refused}");

        let renew = EnrollArguments { renew: true, ..arguments(Some(site.serve()), None) };
        assert!(site.run(&renew).unwrap().starts_with("renewed: web-1"));
        let renewed = site.identity();
        assert_eq!(renewed.certified.identity, identity.certified.identity);
        assert_ne!(renewed.certified.serial, identity.certified.serial);

        let token = Some(site.token());
        let force = EnrollArguments { force: true, ..arguments(Some(site.serve()), token) };
        let force = EnrollArguments { json: true, ..force };
        let said = crate::schema::parse("enroll", &site.run(&force).unwrap());
        let other = site.identity().certified.identity.machine;
        assert_eq!(said["machine"], other.to_string());
        assert_eq!((&said["name"], &said["renewed"]), (&"web-1".into(), &false.into()));
        assert_ne!(other, identity.certified.identity.machine);
    }

    #[test]
    fn a_machine_has_an_identity_for_each_server() {
        let (site, other) = (Site::new(), Site::new());
        let (at, further) = (site.serve(), other.serve());
        site.run(&arguments(Some(at.clone()), Some(site.token()))).unwrap();
        let first = site.identity().certified;
        site.run(&arguments(Some(further.clone()), Some(other.token()))).unwrap();
        assert_eq!(site.identity().certified, first, "it stays");
        let for_other = |server: &str| {
            let store = KeyStore::for_other_server(&site.state_dir(), server).unwrap();
            store.load().map(|it| it.certified).map_err(|error| error.to_string())
        };
        let second = for_other(&further).unwrap();
        assert_ne!(second.identity.machine, first.identity.machine);
        assert_eq!(for_other(&at).unwrap(), first, "where the machine enrolled first");
        let unknown = for_other("third:1").unwrap_err();
        assert!(unknown.contains("snapless enroll third:1"), "{unknown}");

        // A server is known by its authority, under whatever address.
        for (site_of, known) in [(&site, &at), (&other, &further)] {
            let alias = arguments(Some(site_of.serve()), Some(site_of.token()));
            let refused = site.run(&alias).unwrap_err();
            assert!(refused.contains(&format!("calls {known}")), "{refused}");
        }
        let renew = EnrollArguments { renew: true, ..arguments(Some(further.clone()), None) };
        let listener = TcpListener::bind(&*further).unwrap();
        other.answer(listener);
        site.run(&renew).unwrap();
        assert_ne!(for_other(&further).unwrap().serial, second.serial);
        assert_eq!(site.identity().certified, first);
    }

    #[test]
    fn a_refused_token_leaves_nothing_behind_and_says_why() {
        let (site, other) = (Site::new(), Site::new());
        let foreign = arguments(Some(site.serve()), Some(other.token()));
        let refused = site.run(&foreign).unwrap_err();
        assert!(refused.contains("another authority"), "{refused}");
        let refused = site.run(&arguments(Some("127.0.0.1:1".into()), Some("x".into())));
        assert!(refused.unwrap_err().contains("whole line"));
        assert!(!site.state_dir().exists());
    }

    #[test]
    fn a_machine_that_has_not_enrolled_cannot_renew() {
        let site = Site::new();
        let renew = EnrollArguments { renew: true, ..arguments(None, None) };
        assert!(site.run(&renew).unwrap_err().contains("not enrolled"));
    }
}

//! The service renews the machine's certificate by itself, in time and only then.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use snapless_link::client::LinkLimits;
use snapless_link::server::ServerLink;
use snapless_service::connector::Connector;
use snapless_service::renewal::renew_if_due;
use snapless_service::stop::StopSignal;
use snapless_trust::identity::Role;
use snapless_trust::keystore::{Applicant, KeyStore};
use snapless_trust::revocation::Subject;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT};

const DAY: Duration = Duration::from_hours(24);

struct Site {
    trust: Arc<ServerTrust>,
    dir: tempfile::TempDir,
}

impl Site {
    /// A machine whose certificate was issued so long ago.
    fn enrolled(age: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let then = SystemTime::now() - age;
        let trust = ServerTrust::create(&dir.path().join("trust"), then).unwrap();
        let grant = Grant { role: Role::Client, name: None, machine: None };
        let token = trust.make_token(&grant, LIFETIME_DEFAULT, then).unwrap();
        let applicant = Applicant::new(&token, "machine", "here:1").unwrap();
        let answer = trust.answer(&applicant.request, None, "here", then);
        let credentials = applicant.accept(answer).unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        KeyStore::new(&dir.path().join("state")).save(&credentials).unwrap();
        Self { trust: Arc::new(trust), dir }
    }

    fn store(&self) -> KeyStore {
        KeyStore::new(&self.dir.path().join("state"))
    }

    fn renew_at(&self, server: &str) -> Result<Option<String>, String> {
        let connector = Connector::tls(server, &self.dir.path().join("state"));
        let limits = LinkLimits::default();
        renew_if_due(&connector, &limits, &StopSignal::new()).map_err(|error| error.to_string())
    }

    /// A server that takes one connection.
    fn serve(&self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let trust = Arc::clone(&self.trust);
        let thread = thread::spawn(move || {
            let (stream, peer) = listener.accept().unwrap();
            // The client says how it went.
            drop(ServerLink::accept_tls(stream, peer, &trust, &|| false));
        });
        (address, thread)
    }
}

#[test]
fn a_certificate_past_two_thirds_of_its_time_is_renewed_and_stored() {
    let site = Site::enrolled(250 * DAY);
    let before = site.store().load().unwrap().certified;
    let (server, thread) = site.serve();
    assert!(site.renew_at(&server).unwrap().is_some());
    thread.join().unwrap();
    let after = site.store().load().unwrap().certified;
    assert_eq!(after.identity, before.identity);
    assert!(after.validity.to > before.validity.to + 200 * DAY);
    // It is not due any more: no server is asked.
    assert_eq!(site.renew_at("127.0.0.1:1"), Ok(None));
}

#[test]
fn a_certificate_that_is_not_due_is_left_alone() {
    let site = Site::enrolled(200 * DAY);
    assert_eq!(site.renew_at("127.0.0.1:1"), Ok(None));
}

#[test]
fn a_renewal_that_fails_keeps_the_certificate_and_says_why() {
    let site = Site::enrolled(250 * DAY);
    let before = site.store().load().unwrap().certified;
    assert!(site.renew_at("127.0.0.1:1").unwrap_err().contains("cannot be reached"));
    let subject = Subject::Machine(before.identity.machine);
    site.trust.revoke(&subject, SystemTime::now()).unwrap();
    let (server, thread) = site.serve();
    assert!(site.renew_at(&server).unwrap_err().contains("revoked"));
    thread.join().unwrap();
    assert_eq!(site.store().load().unwrap().certified, before);
}

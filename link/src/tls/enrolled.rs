//! A server's trust and a machine that has enrolled at it, for this crate's own tests.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use snapless_trust::config::Purpose;
use snapless_trust::identity::Role;
use snapless_trust::keystore::Applicant;
use snapless_trust::rustls::ClientConfig;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT};

/// The trust, in `folder`, and how the machine links to its server.
pub(super) fn enrolled(folder: &Path, now: SystemTime) -> (ServerTrust, Arc<ClientConfig>) {
    let trust = ServerTrust::create(&folder.join("trust"), now).unwrap();
    let grant = Grant { role: Role::Client, name: None, machine: None };
    let token = trust.make_token(&grant, LIFETIME_DEFAULT, now).unwrap();
    let applicant = Applicant::new(&token, "machine", "here:1").unwrap();
    let answer = trust.answer(&applicant.request, None, "here", now);
    let config = applicant.accept(answer).unwrap().config(Purpose::Link).unwrap();
    (trust, config)
}

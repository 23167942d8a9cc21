//! A machine gets its certificate, renews it, moves it, and loses it, without a network.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use snapless_trust::TrustError;
use snapless_trust::authority::CERTIFICATE_LIFETIME;
use snapless_trust::config::Purpose;
use snapless_trust::enrolment::{Answer, Request};
use snapless_trust::identity::{MachineId, Role};
use snapless_trust::keystore::{Applicant, Credentials, KeyStore};
use snapless_trust::revocation::Subject;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT, Token};

const SERVER: &str = "backup:4850";
const PEER: &str = "192.0.2.1:5";

struct Site {
    trust: ServerTrust,
    now: SystemTime,
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let trust = ServerTrust::create(&dir.path().join("trust"), now).unwrap();
        Self { trust, now, dir }
    }

    fn token(&self, machine: Option<MachineId>) -> Result<Token, TrustError> {
        let machine = machine.map(|machine| machine.to_string());
        let grant = Grant { role: Role::Client, name: None, machine };
        self.trust.make_token(&grant, LIFETIME_DEFAULT, self.now)
    }

    fn enrol(&self, token: &Token) -> Result<Credentials, TrustError> {
        let applicant = Applicant::new(token, "web-1", SERVER)?;
        let answer = self.trust.answer(&applicant.request, None, PEER, self.now);
        applicant.accept(answer)
    }

    fn enrolled(&self) -> Credentials {
        self.enrol(&self.token(None).unwrap()).unwrap()
    }

    fn renew(&self, of: &Credentials) -> Result<Credentials, TrustError> {
        let request = of.renewal()?;
        of.renewed(self.trust.answer(&request, Some(&of.certified), PEER, self.now))
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn acts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.trust.audit().path()).unwrap();
        let act = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
        text.lines().map(|line| act(line)["act"].as_str().unwrap().to_owned()).collect()
    }
}

fn refusal(result: Result<Credentials, TrustError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_machine_enrols_with_a_token_and_finds_its_identity_again() {
    let site = Site::new();
    let credentials = site.enrolled();
    let identity = &credentials.certified.identity;
    assert_eq!((identity.name.as_str(), identity.role), ("web-1", Role::Client));
    std::fs::create_dir(site.state_dir()).unwrap();
    let store = KeyStore::new(&site.state_dir());
    assert!(matches!(store.load(), Err(TrustError::NotEnrolled(_))));
    store.save(&credentials).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.certified, credentials.certified);
    assert_eq!(loaded.server, SERVER);
    assert!(loaded.config(Purpose::Link).is_ok());
    let machines = site.trust.machines().unwrap();
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].0.machine, identity.machine.to_string());
    assert_eq!(site.acts(), ["authority-made", "token-made", "enrolled"]);
}

#[cfg(unix)]
#[test]
fn the_identity_s_file_is_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    std::fs::create_dir(site.state_dir()).unwrap();
    let store = KeyStore::new(&site.state_dir());
    store.save(&site.enrolled()).unwrap();
    let mode = std::fs::metadata(store.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn a_replayed_token_enrols_nothing_and_the_server_writes_it_down() {
    let site = Site::new();
    let token = site.token(None).unwrap();
    site.enrol(&token).unwrap();
    let why = refusal(site.enrol(&token));
    assert!(why.contains("used before"), "{why}");
    assert_eq!(site.trust.machines().unwrap().len(), 1);
    assert_eq!(site.acts().last().unwrap(), "enrol-refused");
}

#[test]
fn a_token_of_another_server_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    let why = refusal(site.enrol(&other.token(None).unwrap()));
    assert!(why.contains("not valid"), "{why}");
}

#[test]
fn a_machine_does_not_take_an_answer_that_is_not_for_its_key_or_authority() {
    let (site, other) = (Site::new(), Site::new());
    let apply = |site: &Site| {
        let token = site.token(None).unwrap();
        let applicant = Applicant::new(&token, "a", SERVER).unwrap();
        let answer = site.trust.answer(&applicant.request, None, PEER, site.now);
        (applicant, answer)
    };
    let ((mine, _), (_, theirs), (_, foreign)) = (apply(&site), apply(&site), apply(&other));
    assert!(matches!(mine.accept(theirs), Err(TrustError::Certificate(_))));
    let (mine, _) = apply(&site);
    assert!(matches!(mine.accept(foreign), Err(TrustError::OtherAuthority)));
    let (mine, _) = apply(&site);
    let garbage = Answer::Granted { certificate: "zz".into(), authority: String::new() };
    assert!(matches!(mine.accept(garbage), Err(TrustError::Garbled)));
}

#[test]
fn a_certificate_is_renewed_for_the_same_machine_when_two_thirds_of_its_time_are_over() {
    let site = Site::new();
    let first = site.enrolled();
    assert!(!first.is_renewal_due(site.now));
    assert!(
        first.is_renewal_due(site.now + CERTIFICATE_LIFETIME / 3 * 2 + Duration::from_hours(1))
    );
    let second = site.renew(&first).unwrap();
    assert_eq!(second.certified.identity, first.certified.identity);
    assert_ne!(second.certified.serial, first.certified.serial);
    assert_eq!(site.acts().last().unwrap(), "renewed");
    // Another machine's answer is not taken.
    let other = site.enrolled();
    let answer =
        site.trust.answer(&other.renewal().unwrap(), Some(&other.certified), PEER, site.now);
    assert!(first.renewed(answer).is_err());
}

#[test]
fn renewal_needs_a_certificate() {
    let site = Site::new();
    let request = site.enrolled().renewal().unwrap();
    assert!(matches!(site.trust.answer(&request, None, PEER, site.now), Answer::Refused(_)));
}

#[test]
fn a_revoked_machine_is_not_renewed_and_gets_no_token() {
    let site = Site::new();
    let machine = site.enrolled();
    let id = machine.certified.identity.machine;
    assert!(site.trust.revoke(&Subject::Machine(id), site.now).unwrap());
    assert!(!site.trust.revoke(&Subject::Machine(id), site.now).unwrap());
    let why = refusal(site.renew(&machine));
    assert!(why.contains("revoked"), "{why}");
    assert!(site.token(Some(id)).unwrap_err().to_string().contains("revoked"));
    assert!(site.trust.machines().unwrap()[0].1);
    let unknown = Subject::Machine(MachineId([9; 16]));
    assert!(matches!(site.trust.revoke(&unknown, site.now), Err(TrustError::NoMachine(_))));
}

#[test]
fn an_identity_that_moves_to_another_installation_is_at_one_place_only() {
    let site = Site::new();
    let before = site.enrolled();
    let id = before.certified.identity.machine;
    let after = site.enrol(&site.token(Some(id)).unwrap()).unwrap();
    assert_eq!(after.certified.identity.machine, id);
    assert!(site.trust.revocations().covers(&before.certified));
    assert!(!site.trust.revocations().covers(&after.certified));
    assert!(refusal(site.renew(&before)).contains("revoked"));
    assert!(site.renew(&after).is_ok());
    assert_eq!(site.trust.machines().unwrap().len(), 1);
}

#[test]
fn a_token_for_an_unknown_machine_is_not_made() {
    let site = Site::new();
    let error = site.token(Some(MachineId([1; 16]))).unwrap_err();
    assert!(matches!(error, TrustError::NoMachine(_)), "{error}");
}

#[test]
fn the_server_s_own_troubles_are_not_told_to_the_network() {
    let site = Site::new();
    let token = site.token(None).unwrap();
    let Request::Enrol { proof, .. } = Applicant::new(&token, "a", SERVER).unwrap().request else {
        panic!("another request");
    };
    let number = proof.number().unwrap();
    let file = site.trust.folder().join("tokens").join(format!("{number}.json"));
    std::fs::write(file, "x").unwrap();
    let why = refusal(site.enrol(&token));
    assert!(why.contains("its log") && !why.contains("tokens"), "{why}");
}

#[test]
fn what_is_written_does_not_show_a_secret() {
    let site = Site::new();
    let token = site.token(None).unwrap();
    let credentials = site.enrol(&token).unwrap();
    let shown = format!("{token:?} {credentials:?} {:?}", site.trust);
    let text = token.text();
    let secret = text.split('-').nth(2).unwrap();
    assert!(!shown.contains(secret));
    let audit = std::fs::read_to_string(site.trust.audit().path()).unwrap();
    assert!(!audit.contains(secret));
}

//! The server over TLS: who may send, about which volumes, and for how long.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{self, Driver, LENGTH, SECTOR, SESSION, VOLUME};
use serde_json::Value;
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::question::{Consistency, Question, RefusedKind, Reply};
use snapless_server::list::list;
use snapless_server::repository::Repository;
use snapless_server::security::{Security, trust_dir};
use snapless_server::serve::{Limits, Server, Stopper};
use snapless_server::stop::StopFlag;
use snapless_trust::config::Purpose;
use snapless_trust::identity::Role;
use snapless_trust::keystore::{Applicant, Credentials};
use snapless_trust::revocation::Subject;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::Token;
use snapless_wire::frame::{FrameKind, Welcome};
use tempfile::TempDir;

const ANY: &str = "127.0.0.1:0";

/// A server over TLS on a thread of its own; stopped when dropped.
struct Site {
    address: SocketAddr,
    root: PathBuf,
    trust: Arc<ServerTrust>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        common::ingest(&root, LENGTH, 1 << 20, &[]);
        let trust = ServerTrust::create(&trust_dir(&root), SystemTime::now()).unwrap();
        let trust = Arc::new(trust);
        let security = Security::Tls(Arc::clone(&trust));
        let address = ANY.parse().unwrap();
        let server = Server::bind_secured(address, &root, Limits::default(), security).unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let thread = Some(std::thread::spawn(move || server.run()));
        Self { address, root, trust, stopper, thread, _dir: dir }
    }

    fn enrol(&self, role: Role) -> Credentials {
        common::enrol(&self.trust, role, self.address)
    }

    fn connect(&self, machine: &Credentials) -> Link {
        let config = machine.config(Purpose::Link).unwrap();
        let limits = LinkLimits::default();
        Link::connect_tls(&self.address.to_string(), &limits, &config, &|| false).unwrap()
    }

    /// A link that has said Hello, for the same volume and session as every other.
    fn greeted(&self, machine: &Credentials) -> (Link, Welcome) {
        let mut link = self.connect(machine);
        let welcome =
            link.greet(&common::hello(LENGTH), &LinkLimits::default(), &|| false).unwrap();
        (link, welcome)
    }

    fn sessions(&self) -> usize {
        let repository = Repository::open(&self.root).unwrap();
        let volumes = list(&repository, &StopFlag::default()).unwrap();
        volumes.iter().map(|volume| volume.sessions.len()).sum()
    }

    fn acts(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.trust.audit().path()).unwrap();
        let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .map(|line: Value| (field(&line, "act"), field(&line, "about")))
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn send(link: &mut Link, records: &[u8]) -> (u64, u64) {
    link.sender.send(FrameKind::Records, records).unwrap();
    match link.receiver.receive().unwrap() {
        Some(Message::Acknowledge(ack)) => (ack.epoch().get(), ack.seq().get()),
        other => panic!("want an acknowledgement, heard {other:?}"),
    }
}

#[test]
fn an_enrolled_machine_sends_over_tls_and_goes_on_after_a_cut() {
    let site = Site::new();
    let machine = site.enrol(Role::Client);
    let (mut link, welcome) = site.greeted(&machine);
    assert_eq!(welcome.durable_seq().get(), 0);
    let mut driver = Driver::default();
    assert_eq!(send(&mut link, &driver.first_sync()), (1, 8));
    drop(link);
    let (mut link, welcome) = site.greeted(&machine);
    assert_eq!(welcome.durable_seq().get(), 8);
    let records = [driver.write(0, SECTOR, 7), driver.epoch_end()].concat();
    assert_eq!(send(&mut link, &records), (2, 10));
}

#[test]
fn two_machines_with_the_same_volume_and_session_never_meet() {
    let site = Site::new();
    let (first, second) = (site.enrol(Role::Client), site.enrol(Role::Client));
    let (mut one, _) = site.greeted(&first);
    assert_eq!(send(&mut one, &Driver::default().first_sync()), (1, 8));
    // The second one names the first one's volume and session, by chance or not.
    let (mut two, welcome) = site.greeted(&second);
    assert_eq!(welcome.durable_seq().get(), 0, "nothing of the first one's is there for it");
    assert_eq!(send(&mut two, &Driver::default().first_sync()), (1, 8));
    // Neither takes the other one's session over.
    let mut driver = Driver { seq: 8, epoch: 2, monotonic: 1000, ..Driver::default() };
    driver.time += 1000;
    let records = [driver.write(0, SECTOR, 7), driver.epoch_end()].concat();
    assert_eq!(send(&mut one, &records), (2, 10));

    let volumes = list(&Repository::open(&site.root).unwrap(), &StopFlag::default()).unwrap();
    assert_eq!(volumes.len(), 2);
    assert!(volumes.iter().any(|volume| volume.volume == VOLUME.to_string()));
    let bound = site.acts().into_iter().filter(|(act, _)| act == "volume-bound");
    assert_eq!(bound.count(), 2);
}

#[test]
fn a_machine_that_is_revoked_while_it_is_connected_is_cut_off_with_the_reason() {
    let site = Site::new();
    let machine = site.enrol(Role::Client);
    let (mut link, _) = site.greeted(&machine);
    send(&mut link, &Driver::default().first_sync());
    // As by another process.
    let elsewhere = ServerTrust::open(&trust_dir(&site.root)).unwrap();
    let subject = Subject::Machine(machine.certified.identity.machine);
    elsewhere.revoke(&subject, SystemTime::now()).unwrap();
    let begun = Instant::now();
    let Some(Message::Refused(text)) = link.receiver.receive().unwrap() else {
        panic!("want the reason")
    };
    assert!(text.contains("revoked") && text.contains("enroll --force"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let mut again = site.connect(&machine);
    let refused =
        again.greet(&common::hello(LENGTH), &LinkLimits::default(), &|| false).unwrap_err();
    assert!(matches!(refused, LinkError::Untrusted(_)), "{refused}");
    let refusals = site.acts().into_iter().filter(|(act, _)| act == "connect-refused");
    assert!(refusals.count() >= 1);
}

#[test]
fn a_machine_asks_about_its_own_volumes_only_and_its_bookmarks_are_noted() {
    let site = Site::new();
    let (first, second) = (site.enrol(Role::Client), site.enrol(Role::Client));
    let (mut one, _) = site.greeted(&first);
    let mut driver = Driver::default();
    assert_eq!(send(&mut one, &driver.first_sync()), (1, 8));
    let limits = LinkLimits::default();
    let ask = |machine: &Credentials, question: &Question| {
        site.connect(machine).ask(question, &limits, &|| false)
    };
    let (volume, session) = (VOLUME.to_string(), SESSION.to_string());
    let points = Question::Points { volume: volume.clone() };
    let time = driver.time - driver.tick;
    let bookmark = Question::Bookmark {
        volume,
        session,
        time,
        name: "mine".to_owned(),
        consistency: Consistency::Crash,
        writers: 0,
    };
    // The second machine has sent nothing of a volume that it calls so, and gets no name for it.
    for question in [&points, &bookmark] {
        let Reply::Refused(refused) = ask(&second, question).unwrap() else { panic!() };
        assert_eq!(refused.kind, RefusedKind::NoSuchVolume, "{}", refused.text);
    }
    let bound = || site.acts().into_iter().filter(|(act, _)| act == "volume-bound").count();
    assert_eq!(bound(), 1);
    assert!(matches!(ask(&first, &points), Ok(Reply::Points(_))));
    assert!(matches!(ask(&first, &bookmark), Ok(Reply::Bookmarked(_))));
    let acts = site.acts();
    let noted: Vec<_> = acts.iter().filter(|(act, _)| act == "bookmark-added").collect();
    assert!(noted.len() == 1 && noted[0].1.contains("as mine"), "{noted:?}");

    // What it has sent it reads back only while that is allowed.
    let (volume, at) = (VOLUME.to_string(), "latest".to_owned());
    let restore = Question::Restore { volume, session: None, at, is_key: false };
    let id = first.certified.identity.machine;
    let refusal = |machine: &Credentials| match ask(machine, &restore).unwrap() {
        Reply::Refused(refused) => (refused.kind, refused.text),
        other => panic!("{other:?}"),
    };
    let (kind, why) = refusal(&first);
    assert_eq!(kind, RefusedKind::NotAllowed, "{why}");
    assert!(why.contains("allow-restore") && why.contains(&id.to_string()), "{why}");
    let allow = |words: &[&str]| {
        let id = id.to_string();
        run(&[&["allow-restore", "--machine", &id], words].concat(), &site.root)
    };
    assert!(text(&allow(&[]).stdout).contains("until"));
    let Reply::Opened(opened) = ask(&first, &restore).unwrap() else { panic!() };
    assert_eq!((opened.length, opened.sector_size), (LENGTH, 512));
    assert_eq!(refusal(&second).0, RefusedKind::NoSuchVolume, "another machine's volume");
    assert!(text(&allow(&["--end"]).stdout).contains("no longer"));
    assert_eq!(refusal(&first).0, RefusedKind::NotAllowed);
    let acts = site.acts();
    for (act, about) in [
        ("restores-allowed", id.to_string()),
        ("point-read", SESSION.to_string()),
        ("restores-ended", id.to_string()),
    ] {
        let noted: Vec<_> = acts.iter().filter(|(noted, _)| noted == act).collect();
        assert!(noted.len() == 1 && noted[0].1.contains(&about), "{act}: {noted:?}");
    }

    let operator = site.enrol(Role::Operator);
    let refused = ask(&operator, &points).unwrap_err().to_string();
    assert!(refused.contains("operator's certificate may not send"), "{refused}");
}

#[test]
fn an_operator_sends_nothing() {
    let site = Site::new();
    let operator = site.enrol(Role::Operator);
    let mut link = site.connect(&operator);
    let refused =
        link.greet(&common::hello(LENGTH), &LinkLimits::default(), &|| false).unwrap_err();
    assert!(refused.to_string().contains("operator's certificate may not send"), "{refused}");
    assert!(site.acts().iter().any(|(act, _)| act == "connect-refused"));
}

#[test]
fn without_a_certificate_no_byte_reaches_the_repository() {
    let site = Site::new();
    let before = site.sessions();
    let limits = LinkLimits::default();
    let mut plain = Link::connect(&site.address.to_string(), &limits, &|| false).unwrap();
    let refused = plain.greet(&common::hello(LENGTH), &limits, &|| false).unwrap_err().to_string();
    assert!(refused.contains("TLS only"), "{refused}");
    assert_eq!(site.sessions(), before);
    // The connection is kept for a moment, so that the other end takes the reason.
    let begun = Instant::now();
    let is_noted = |(act, about): &(String, String)| {
        act == "connect-refused" && about.contains("does not speak TLS")
    };
    while !site.acts().iter().any(is_noted) {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program.
fn run(words: &[&str], root: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_snapless-server");
    Command::new(program).args(words).arg("--repository").arg(root).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_administrator_makes_an_authority_tokens_and_revocations_at_the_command_line() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    // Not where no repository is, such as an unmounted directory.
    let refused = run(&["ca", "init"], &root);
    assert!(text(&refused.stderr).contains("not a Snapless repository"));
    common::ingest(&root, LENGTH, 1 << 20, &[]);
    let refused = run(&["serve", "--listen", ANY], &root);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("ca init"), "{}", text(&refused.stderr));
    let refused = run(&["token", "create"], &root);
    assert!(text(&refused.stderr).contains("ca init"));

    let made = run(&["ca", "init"], &root);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let shown = text(&run(&["ca", "show"], &root).stdout);
    assert!(text(&made.stdout).ends_with(&shown) && shown.trim().len() == 64);
    assert!(text(&run(&["ca", "init"], &root).stderr).contains("already"));

    let made = run(&["token", "create", "--name", "web-1", "--valid", "15m"], &root);
    let token: Token = text(&made.stdout).parse().unwrap();
    assert!(text(&made.stderr).contains("snapless enroll"));
    let trust = ServerTrust::open(&trust_dir(&root)).unwrap();
    let applicant = Applicant::new(&token, "other", "here:1").unwrap();
    let answer = trust.answer(&applicant.request, None, "here", SystemTime::now());
    let machine = applicant.accept(answer).unwrap().certified.identity;
    assert_eq!(machine.name, "web-1");

    let listed = run(&["machines", "--json"], &root);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["machine"], machine.machine.to_string());
    assert_eq!(listed[0]["revoked"], false);
    let id = machine.machine.to_string();
    let revoked = run(&["revoke", "--machine", &id], &root);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(text(&run(&["machines"], &root).stdout).contains("revoked"));
    let refused = run(&["revoke", "--machine", &"0".repeat(32)], &root);
    assert!(text(&refused.stderr).contains("machines"));
    assert_eq!(run(&["revoke"], &root).status.code(), Some(2));
}

#[test]
fn without_tls_no_other_machine_may_reach_the_server() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let refused = run(&["serve", "--insecure", "--listen", "0.0.0.0:0"], &root);
    assert_eq!(refused.status.code(), Some(1));
    let message = text(&refused.stderr);
    assert!(message.contains("--insecure") && message.contains("127.0.0.1"), "{message}");
    assert!(!root.exists(), "nothing was made");
}

#[test]
fn a_restore_is_in_the_audit_log() {
    let site = Site::new();
    let machine = site.enrol(Role::Client);
    let (mut link, _) = site.greeted(&machine);
    send(&mut link, &Driver::default().first_sync());
    let (volume, to) = (VOLUME.to_string(), site.root.with_extension("img"));
    let to = to.to_str().unwrap();
    let words = ["restore", "--volume", &volume, "--at", "t0", "--to", to];
    let done = run(&words, &site.root);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let salvaged = run(&[&words[..], &["--salvage", "--force"]].concat(), &site.root);
    assert!(salvaged.status.success(), "{}", text(&salvaged.stderr));
    let acts = site.acts();
    let restored: Vec<_> = acts.iter().filter(|(act, _)| act == "restored").collect();
    assert_eq!(restored.len(), 2, "the salvaged one too: {acts:?}");
    for (_, about) in restored {
        assert!(about.contains(&volume) && about.contains(to), "{about}");
    }
}

//! What administrators ask for by the channel: a running service follows, and its file says the
//! same.

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::civil::{DateTime, date};
use snapless_control::channel::connect;
use snapless_control::exchange::ask;
use snapless_control::message::{Answer, Done, Made, Refusal, RefusalKind, Request, Scheduled};
use snapless_driver_client::Driver;
use snapless_driver_client::identity::volume_of_device;
use snapless_link::client::LinkLimits;
use snapless_link::question::{Bookmarked, Consistency, Points, Question, RefusedKind, Reply};
use snapless_service::report::{Activity, read_all};
use snapless_service::runner;
use snapless_service::settings_file::SettingsFile;
use snapless_service::stop::StopSignal;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{Protection, SweepLimits};
use tempfile::TempDir;

use support::driver::{FakeDriver, Seen};
use support::server::FakeServer;
use support::{DEVICE, limits, wait_until};

/// A machine with a driver, a server and a service that runs.
struct Machine {
    driver: Arc<FakeDriver>,
    server: FakeServer,
    folder: TempDir,
    /// The local time.
    clock: Arc<Mutex<DateTime>>,
    service: Option<(StopSignal, JoinHandle<()>)>,
}

impl Machine {
    /// With a service whose configuration is `text`, and that may use the server without TLS.
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (driver, server) = (FakeDriver::new(DEVICE), FakeServer::new());
        let clock = Arc::new(Mutex::new(at(12, 0)));
        let mut machine = Self { driver, server, folder, clock, service: None };
        let dirs = format!(
            "insecure = true\nstate_dir = '{}'\nlog_dir = '{0}'\n",
            machine.folder.path().join("state").display()
        );
        machine.write(&format!("{dirs}{text}"));
        machine.start();
        machine
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("service.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn start(&mut self) {
        let (settings, channel) =
            (SettingsFile::named(self.file()), self.folder.path().join("control"));
        let driver = Arc::clone(&self.driver) as Arc<dyn Driver>;
        let limits = limits(LinkLimits::default(), Duration::from_mins(1));
        let stop = StopSignal::new();
        let (stopped, time) = (stop.clone(), Arc::clone(&self.clock));
        let clock = Arc::new(move || *time.lock().unwrap());
        _ = std::fs::remove_file(&channel);
        let thread = thread::spawn(move || {
            let config = settings.config().unwrap();
            runner::run(settings, config, &channel, &driver, limits, clock, &stopped).unwrap();
        });
        self.service = Some((stop, thread));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.service.take() {
            stop.set();
            thread.join().unwrap();
        }
    }

    fn ask(&self, request: &Request) -> Answer {
        let channel = self.folder.path().join("control");
        wait_until("the service listens", || connect(&channel).is_ok());
        ask(&mut connect(&channel).unwrap(), request).unwrap()
    }

    fn done(&self, request: &Request) -> Done {
        match self.ask(request) {
            Answer::Done(done) => done,
            other => panic!("{request:?} was not done: {other:?}"),
        }
    }

    fn refused(&self, request: &Request) -> Refusal {
        match self.ask(request) {
            Answer::Refused(refusal) => refusal,
            other => panic!("{request:?} was carried out: {other:?}"),
        }
    }

    fn protect(&self) -> Request {
        Self::protect_at(self.server.address())
    }

    fn protect_at(server: &str) -> Request {
        Request::Protect { volume: DEVICE.into(), server: Some(server.into()), group: None }
    }

    /// A volume that is protected, and its session.
    fn protected() -> (Self, SessionId) {
        let machine = Self::with("");
        assert!(machine.done(&machine.protect()).changed);
        let session = machine.session();
        (machine, session)
    }

    #[track_caller]
    fn session(&self) -> SessionId {
        wait_until("a session", || self.driver.session().is_some());
        self.driver.session().unwrap()
    }

    /// What is written arrives at the server.
    #[track_caller]
    fn streams(&self, session: SessionId) {
        self.driver.write(4096, &[7; 8]);
        let last = self.driver.end_epoch();
        wait_until("it arrives", || {
            let arrived = self.server.arrived(session);
            arrived.last().is_some_and(|record| record.header.seq().get() >= last)
        });
    }

    fn activity(&self) -> Option<Activity> {
        let reports = read_all(&self.folder.path().join("state")).unwrap();
        reports.sound.first().map(|report| report.activity)
    }

    fn has_seen(&self, seen: Seen) -> bool {
        self.driver.seen().contains(&seen)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A time of Monday, 30 November 2026.
fn at(hour: i8, minute: i8) -> DateTime {
    date(2026, 11, 30).at(hour, minute, 0, 0)
}

fn volume() -> String {
    DEVICE.to_owned()
}

fn unprotect() -> Request {
    Request::Unprotect { volume: volume() }
}

#[test]
fn a_volume_is_protected_and_no_longer_and_the_file_says_so() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let (server, before) = (machine.server.address().to_owned(), machine.text());
    assert!(before.contains(&format!("server = \"{server}\"")), "{before}");
    assert!(before.ends_with(&format!("\n[[volumes]]\ndevice = '{DEVICE}'\n")), "{before}");
    let again = machine.done(&machine.protect());
    let guid = format!("{{{}}}", volume_of_device(DEVICE));
    let volume = Some(guid);
    assert_eq!(
        again,
        Done {
            volume: volume.clone(),
            server: Some(server),
            changed: false,
            paused: false,
            volumes: 1,
            schedule: None,
        }
    );
    assert_eq!((machine.text(), machine.driver.session()), (before, Some(session)));

    let ended = machine.done(&unprotect());
    assert_eq!((ended.volume, ended.changed, ended.volumes), (volume, true, 0));
    assert!(machine.has_seen(Seen::Stopped(session)) && machine.driver.session().is_none());
    assert!(!machine.text().contains("volumes"), "{}", machine.text());
    assert_eq!(machine.activity(), None, "no report");
    let refused = machine.refused(&unprotect());
    assert_eq!(refused.kind, RefusalKind::NoSuchVolume);
    // Another session begins: nothing is remembered.
    assert!(machine.done(&machine.protect()).changed);
    assert_ne!(machine.session(), session);
}

#[test]
fn what_was_asked_for_counts_after_a_restart_of_the_service() {
    let (mut machine, session) = Machine::protected();
    machine.streams(session);
    machine.stop();
    machine.start();
    wait_until("the session goes on", || machine.has_seen(Seen::Resumed(session)));
    machine.streams(session);
    machine.done(&unprotect());
    machine.stop();
    machine.start();
    assert_eq!(machine.done(&Request::Reload).volumes, 0);
    assert_eq!(machine.driver.session(), None);
}

#[test]
fn a_paused_volume_keeps_its_session_and_nothing_is_sent_of_it() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    assert!(machine.done(&Request::Pause { volume: volume() }).changed);
    assert!(!machine.done(&Request::Pause { volume: volume() }).changed);
    let protected = machine.done(&machine.protect());
    assert!(protected.paused && !protected.changed, "it stays paused");
    wait_until("the report says so", || machine.activity() == Some(Activity::Paused));
    assert_eq!(machine.driver.session(), Some(session));
    let arrived = machine.server.arrived(session).len();
    machine.driver.write(0, &[1; 8]);
    machine.driver.end_epoch();
    assert!(machine.driver.queued() > 0, "the driver goes on");
    assert_eq!(machine.server.arrived(session).len(), arrived);
    assert!(machine.done(&Request::Resume { volume: volume() }).changed);
    machine.streams(session);
    assert!(machine.has_seen(Seen::Resumed(session)) && !machine.has_seen(Seen::Stopped(session)));
}

#[test]
fn a_change_by_hand_is_followed_and_a_session_goes_on_with_it() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    assert!(!machine.done(&Request::Reload).changed);
    machine.write(&format!("{}resend_window = \"32 MiB\"\n", machine.text()));
    assert!(machine.done(&Request::Reload).changed);
    wait_until("the session goes on", || machine.has_seen(Seen::Resumed(session)));
    machine.streams(session);
    assert!(!machine.has_seen(Seen::Stopped(session)));
    // What is no configuration changes nothing.
    machine.write("server = 7\n");
    for request in [Request::Reload, unprotect(), Request::Pause { volume: volume() }] {
        let refused = machine.refused(&request);
        assert_eq!(refused.kind, RefusalKind::Configuration, "{refused}");
        assert!(refused.text.contains("line 1"), "{refused}");
    }
    assert_eq!(machine.text(), "server = 7\n");
    machine.streams(session);
}

#[test]
fn a_rate_of_sending_is_kept_and_taken_away_without_a_new_link() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let limit = |bytes_per_second| machine.done(&Request::Throttle { bytes_per_second }).changed;
    assert!(limit(Some(1 << 20)) && !limit(Some(1 << 20)));
    assert!(machine.text().contains("send_rate = \"1 MiB\""));
    let begun = Instant::now();
    // 32 MiB, of which 16 go at once.
    for block in 0..512_u64 {
        machine.driver.write(block * 65_536, &[7; 128]);
    }
    let last = machine.driver.end_epoch();
    let arrived = || machine.server.arrived(session);
    let bytes = || arrived().iter().map(|record| record.payload.len()).sum::<usize>();
    wait_until("some of it arrives", || bytes() > 1 << 20);
    let seen = bytes();
    let allowed = (18 + begun.elapsed().as_secs()) << 20;
    assert!((seen as u64) < allowed, "{seen} bytes");
    assert!(limit(None));
    wait_until("all of it arrives", || arrived().last().unwrap().header.seq().get() >= last);
    assert!(!machine.has_seen(Seen::Resumed(session)), "the claim was never given up");
}

#[test]
fn a_running_service_follows_the_schedule_of_its_rate_by_the_clock() {
    let schedule = "# by day others need the link\n[[send_rates]]\ndays = [\"mon\"]\n\
                    from = \"08:00\"\nto = \"18:00\"\nrate = \"5 MiB\"\n\
                    [[send_rates]]\nfrom = \"17:00\"\nto = \"19:00\"\nrate = \"none\"\n";
    let mut machine = Machine::with(&format!("send_rate = \"100 MiB\"\n{schedule}"));
    let ask = |machine: &Machine, request: &Request| machine.done(request).schedule.unwrap();
    let now = |machine: &Machine| ask(machine, &Request::Reload);
    let scheduled = |entry, bytes_per_second| Scheduled { entry, bytes_per_second };
    assert_eq!(now(&machine), scheduled(Some(0), Some(5 << 20)), "at noon");
    let (by_day, evening) = (scheduled(Some(0), Some(5 << 20)), scheduled(Some(1), None));
    for (time, expected) in
        [(at(18, 0), evening), (at(19, 0), scheduled(None, Some(100 << 20))), (at(17, 59), by_day)]
    {
        *machine.clock.lock().unwrap() = time;
        wait_until("it is followed", || now(&machine) == expected);
    }
    // By command the rate outside of the schedule is set.
    let throttle = Request::Throttle { bytes_per_second: Some(50 << 20) };
    assert_eq!(ask(&machine, &throttle), by_day);
    let text = machine.text();
    assert!(text.contains("send_rate = \"50 MiB\"") && text.ends_with(schedule), "{text}");
    *machine.clock.lock().unwrap() = at(20, 0);
    wait_until("it counts", || now(&machine) == scheduled(None, Some(50 << 20)));
    // It counts from the start on, and with the next change by hand.
    machine.stop();
    *machine.clock.lock().unwrap() = at(18, 30);
    machine.start();
    assert_eq!(now(&machine), evening);
    machine.write(&machine.text().replace("\"none\"", "\"7 MiB\""));
    assert_eq!(now(&machine), scheduled(Some(1), Some(7 << 20)));
}

#[test]
fn the_server_is_told_of_another_group_and_of_a_pause() {
    let machine = Machine::with("");
    machine.server.behave(|manners| manners.takes_reports = true);
    assert!(machine.done(&machine.protect()).changed);
    machine.session();
    wait_until("it is told", || !machine.server.reports().is_empty());
    assert_eq!(machine.server.reports()[0].group, None);
    let (volume, group) = (DEVICE.to_owned(), Some("sales".to_owned()));
    assert!(machine.done(&Request::Protect { volume, server: None, group: group.clone() }).changed);
    let last = || machine.server.reports().pop().unwrap();
    wait_until("it is told of the group", || last().group == group);
    assert!(!last().is_paused);
    assert!(machine.done(&Request::Pause { volume: DEVICE.into() }).changed);
    assert!(last().is_paused, "the last report says why nothing follows");
}

#[test]
fn a_running_session_gets_other_limits_of_its_sweep_by_the_file_and_by_the_clock() {
    let machine =
        Machine::with("[[sweep_rates]]\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"20 MiB\"\n");
    assert!(machine.done(&machine.protect()).changed);
    let session = machine.session();
    let follows = |mib: u64, latency_ms| {
        let wanted = SweepLimits { bytes_per_second: mib << 20, latency_ms };
        wait_until("the driver has them", || machine.driver.sweep() == Some(wanted));
    };
    follows(20, 20);
    let write = |lines: &str| {
        machine.write(&format!("{}{lines}", machine.text()));
        assert!(machine.done(&Request::Reload).changed);
    };
    write("sweep_latency_ms = 7\n");
    follows(20, 7);
    write("sweep_rate = \"50 MiB\"\n");
    *machine.clock.lock().unwrap() = at(18, 0);
    follows(50, 7);
    *machine.clock.lock().unwrap() = at(8, 0);
    follows(20, 7);
    machine.streams(session);
    let starts = |it: &&Seen| matches!(it, Seen::Started(_) | Seen::Resumed(_));
    assert_eq!(machine.driver.seen().iter().filter(starts).count(), 1, "one claim");
}

#[test]
fn an_older_driver_keeps_to_its_limits_and_is_told_of_others_once() {
    let machine = Machine::with("");
    machine.driver.make_older();
    assert!(machine.done(&machine.protect()).changed);
    let session = machine.session();
    wait_until("it was told", || machine.driver.limits_asked() == 1);
    machine.write(&format!("{}sweep_rate = \"50 MiB\"\n", machine.text()));
    assert!(machine.done(&Request::Reload).changed);
    machine.streams(session);
    assert_eq!(machine.driver.sweep(), Some(SweepLimits::DEFAULT));
    assert_eq!(machine.driver.limits_asked(), 1);
}

#[test]
fn a_session_that_was_ended_begins_anew_when_protection_is_asked_for() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    machine.driver.stop_session();
    wait_until("it is over", || machine.activity() == Some(Activity::Ended));
    assert!(machine.done(&machine.protect()).changed);
    assert_ne!(machine.session(), session);
    assert!(!machine.done(&machine.protect()).changed);
}

#[test]
fn what_cannot_be_protected_is_refused_in_words_and_nothing_changes() {
    let machine = Machine::with("");
    let text = machine.text();
    let server = Some(machine.server.address().to_owned());
    let refused = |volume: &str, server: &Option<String>| {
        let (volume, server) = (volume.into(), server.clone());
        machine.refused(&Request::Protect { volume, server, group: None })
    };
    let none = refused(DEVICE, &None);
    assert_eq!(none.kind, RefusalKind::Configuration);
    assert!(none.text.contains("--to") && none.text.contains("snapless enroll"), "{none}");
    let nowhere = refused(DEVICE, &Some("nowhere".into()));
    assert!(nowhere.text.contains("host:port"), "{nowhere}");
    assert_eq!(refused("D", &server).kind, RefusalKind::Request);
    assert_eq!(refused(r"\Device\Other", &server).kind, RefusalKind::NoSuchVolume);
    machine.driver.set_protection(Protection::Dax);
    assert_eq!(refused(DEVICE, &server).kind, RefusalKind::Unprotectable);
    machine.driver.set_present(false);
    assert_eq!(refused(DEVICE, &server).kind, RefusalKind::Driver);
    assert_eq!((machine.text(), machine.driver.session()), (text, None));
    let refused = machine.refused(&Request::Resume { volume: volume() });
    assert!(refused.text.contains("snapless protect"), "{refused}");
}

#[test]
fn a_volume_does_not_change_its_server_by_itself_and_a_new_address_is_a_change_of_the_file() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let refused = machine.refused(&Machine::protect_at("127.0.0.1:9"));
    assert_eq!(refused.kind, RefusalKind::Configuration);
    assert!(refused.text.contains("snapless reload"), "{refused}");
    let moved = FakeServer::new();
    machine.write(&machine.text().replace(machine.server.address(), moved.address()));
    assert!(machine.done(&Request::Reload).changed);
    // The other server has nothing of the session: a new one begins there.
    wait_until("it goes there", || !moved.hellos().is_empty());
}

#[test]
fn a_volume_is_taken_out_without_a_driver_too() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    machine.driver.set_present(false);
    assert!(machine.done(&unprotect()).changed);
    assert!(!machine.text().contains("volumes"));
}

#[test]
fn a_session_of_an_earlier_configuration_is_ended_too() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let text = machine.text();
    machine.write(&text[..text.find("[[volumes]]").unwrap()]);
    assert!(machine.done(&Request::Reload).changed);
    assert_eq!(machine.driver.session(), Some(session), "the driver keeps it");
    let ended = machine.done(&unprotect());
    assert_eq!((ended.volume, ended.changed), (None, true));
    assert_eq!(machine.driver.session(), None);
}

#[test]
fn folders_change_with_the_next_start_and_until_then_nothing_is_written_that_does_not_run() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let moved = machine.text().replace("state'", "moved'");
    assert_ne!(moved, machine.text());
    machine.write(&moved);
    let pause = Request::Pause { volume: volume() };
    let throttle = Request::Throttle { bytes_per_second: Some(1 << 20) };
    for request in [Request::Reload, pause, throttle, unprotect()] {
        let refused = machine.refused(&request);
        assert_eq!(refused.kind, RefusalKind::Configuration, "{request:?}");
        assert!(refused.text.contains("started again"), "{refused}");
        assert_eq!(machine.text(), moved, "{request:?}");
    }
    machine.streams(session);
}

fn points() -> Request {
    Request::Points { volume: volume() }
}

fn bookmark(name: &str) -> Request {
    consistent(name, Consistency::Crash, false)
}

fn consistent(name: &str, consistency: Consistency, or_crash: bool) -> Request {
    Request::Bookmark { volume: volume(), name: name.to_owned(), consistency, or_crash }
}

/// What the server says of an instant that it has named.
fn named(consistency: Option<Consistency>) -> Bookmarked {
    let [volume, session, name, time] = ["v", "s", "now", "t"].map(str::to_owned);
    Bookmarked { volume, session, name, time, consistency }
}

#[test]
fn what_can_be_restored_is_told_as_the_server_says_it() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let told = Points {
        volume: "v".to_owned(),
        latest: None,
        sessions: Vec::new(),
        bookmarks: Vec::new(),
        left_out: 1,
    };
    machine.server.behave(|manners| manners.reply = Some(Reply::Points(told.clone())));
    assert_eq!(machine.ask(&points()), Answer::Points(told));
    let asked = Question::Points { volume: volume_of_device(DEVICE).to_string() };
    assert_eq!(machine.server.questions(), [asked]);
    // Of a volume that is paused too. Nothing arrives of that, and so no instant gets a name.
    machine.done(&Request::Pause { volume: volume() });
    assert!(matches!(machine.ask(&points()), Answer::Points(_)));
    let paused = machine.refused(&bookmark("now"));
    assert!(paused.text.contains("snapless resume"), "{paused}");
    assert_eq!(machine.driver.session(), Some(session));
}

#[test]
fn the_present_instant_gets_a_name_once_the_server_has_it() {
    let (machine, session) = Machine::protected();
    machine.streams(session);
    let early = machine.refused(&bookmark("early"));
    assert_eq!(early.kind, RefusalKind::NotRestorable);
    assert!(early.text.contains("first sync"), "{early}");
    machine.driver.complete_base(0);
    machine.driver.end_epoch();
    let made = named(Some(Consistency::Crash));
    machine.server.behave(|manners| manners.reply = Some(Reply::Bookmarked(made.clone())));
    machine.driver.write(0, &[1; 8]);
    machine.driver.end_epoch();
    let at = machine.driver.pass(0);
    let made = Made { named: made, writers: Vec::new(), notes: Vec::new() };
    assert_eq!(machine.ask(&bookmark("now")), Answer::Bookmarked(Box::new(made)));
    let [Question::Bookmark { session: of, time, name, .. }] = &machine.server.questions()[..]
    else {
        panic!("one question")
    };
    assert_eq!((of, &**name), (&session.to_string(), "now"));
    assert!(*time >= at.get(), "what was written before belongs to it");
    let arrived = machine.server.arrived(session);
    assert!(arrived.iter().all(|record| record.header.time().get() <= *time));

    machine.driver.sleep_and_change();
    let gap = machine.refused(&bookmark("gap"));
    assert_eq!(gap.kind, RefusalKind::NotRestorable);
    assert!(gap.text.contains("in a gap"), "{gap}");
}

#[test]
fn what_the_server_refuses_is_said_in_its_words() {
    let (machine, session) = Machine::protected();
    machine.driver.complete_base(0);
    machine.streams(session);
    let older = machine.refused(&points());
    assert_eq!(older.kind, RefusalKind::Server);
    assert!(older.text.contains("older release"), "{older}");
    for (said, heard) in [
        (RefusedKind::NoSuchVolume, RefusalKind::NoSuchVolume),
        (RefusedKind::NotRestorable, RefusalKind::NotRestorable),
        (RefusedKind::Name, RefusalKind::Name),
        (RefusedKind::Other, RefusalKind::Server),
    ] {
        let reply = Reply::refused(said, "the reason");
        machine.server.behave(|manners| manners.reply = Some(reply));
        let refused = machine.refused(&bookmark("name"));
        assert_eq!(refused.kind, heard);
        assert!(refused.text.contains("the reason"), "{refused}");
    }
    machine.server.behave(|manners| manners.refuse = Some("busy".into()));
    for unknown in [r"\Device\Other", "D:"] {
        let request = Request::Points { volume: unknown.to_owned() };
        assert_eq!(machine.refused(&request).kind, RefusalKind::NoSuchVolume, "{unknown}");
    }
    machine.done(&unprotect());
    assert_eq!(machine.refused(&points()).kind, RefusalKind::NoSuchVolume);
}

/// A machine of which instants can be restored, with these lines of its configuration.
fn streaming(lines: &str) -> (Machine, SessionId) {
    let machine = Machine::with(lines);
    machine.done(&machine.protect());
    let session = machine.session();
    machine.driver.complete_base(0);
    machine.streams(session);
    (machine, session)
}

/// How the server was told that instants were made.
fn told(machine: &Machine) -> Vec<Consistency> {
    let told = machine.server.questions().into_iter().map(|question| match question {
        Question::Bookmark { consistency, .. } => consistency,
        other => panic!("{other:?}"),
    });
    told.collect()
}

#[cfg(unix)]
#[test]
fn scripts_run_around_the_instant_and_one_before_that_fails_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refuse = folder.path().join("refuse");
    let script = folder.path().join("script.sh");
    let text = format!(
        "echo \"$SNAPLESS_STEP $SNAPLESS_BOOKMARK\" >> '{}'\n\
         [ $SNAPLESS_STEP = after ] || [ ! -e '{}' ] || {{ echo no; exit 1; }}\n",
        out.display(),
        refuse.display()
    );
    std::fs::write(&script, text).unwrap();
    let run = format!("['/bin/sh', '{}']", script.display());
    let (machine, session) = streaming(&format!("[scripts]\nbefore = {run}\nafter = {run}\n"));
    let reply = Reply::Bookmarked(named(Some(Consistency::Scripts)));
    machine.server.behave(|manners| manners.reply = Some(reply));
    let said = || std::fs::read_to_string(&out).unwrap();

    let Answer::Bookmarked(made) = machine.ask(&consistent("one", Consistency::Scripts, false))
    else {
        panic!("it is made")
    };
    assert_eq!((made.named.consistency, made.notes), (Some(Consistency::Scripts), Vec::new()));
    assert_eq!(said(), "before one\nafter one\n");
    machine.ask(&bookmark("plain"));
    assert_eq!(said(), "before one\nafter one\n", "none for a crash-consistent one");

    std::fs::write(&refuse, "").unwrap();
    let refused = machine.refused(&consistent("two", Consistency::Scripts, false));
    assert_eq!(refused.kind, RefusalKind::NotConsistent);
    assert!(refused.text.contains("script.sh") || refused.text.contains("/bin/sh"), "{refused}");
    assert!(refused.text.contains("exit status: 1: no"), "{refused}");
    assert!(said().ends_with("before two\nafter two\n"), "{}", said());
    assert_eq!(told(&machine), [Consistency::Scripts, Consistency::Crash]);

    let asked = machine.ask(&consistent("three", Consistency::Scripts, true));
    let Answer::Bookmarked(made) = asked else { panic!("{asked:?}") };
    assert!(made.notes[0].contains("crash-consistent only"), "{made:?}");
    assert_eq!(told(&machine).last(), Some(&Consistency::Crash));
    machine.streams(session);
}

#[test]
fn without_vss_or_scripts_a_consistent_instant_is_refused_in_words() {
    let (machine, _) = streaming("");
    let refused = machine.refused(&consistent("one", Consistency::Scripts, true));
    assert_eq!(refused.kind, RefusalKind::Configuration);
    assert!(refused.text.contains("[scripts]"), "{refused}");
    let refused = machine.refused(&consistent("one", Consistency::Application, false));
    assert_eq!(refused.kind, RefusalKind::NotConsistent);
    assert!(machine.server.questions().is_empty(), "no bookmark is made");
    machine.driver.sleep_and_change();
    let gap = machine.refused(&consistent("one", Consistency::Application, true));
    assert_eq!(gap.kind, RefusalKind::NotRestorable, "{gap}");
}

#[cfg(unix)]
#[test]
fn a_server_that_does_not_note_how_an_instant_was_made_names_it_all_the_same() {
    let (machine, _) = streaming("[scripts]\nbefore = ['/bin/true']\n");
    let reply = Reply::refused(RefusedKind::Question, "unknown field `consistency`");
    machine.server.behave(|manners| manners.reply = Some(reply));
    machine.refused(&consistent("one", Consistency::Scripts, false));
    assert_eq!(told(&machine), [Consistency::Scripts, Consistency::Crash]);
    let reply = Reply::Bookmarked(named(None));
    machine.server.behave(|manners| manners.reply = Some(reply));
    let asked = machine.ask(&consistent("one", Consistency::Scripts, false));
    let Answer::Bookmarked(made) = asked else { panic!("{asked:?}") };
    assert!(made.notes[0].contains("older release"), "{made:?}");
}

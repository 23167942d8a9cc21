//! The program as an administrator sees it: output, exit codes, signals, a server killed outright.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::{self, BLOCK, Client, Driver, SECTOR, SESSION, Said, Served, VOLUME, program};
use serde_json::Value;
use snapless_types::{GapReason, Seq};
use snapless_wire::frame::{FrameKind, Watermark};
use snapless_wire::id::{FileTime, SessionId};
use zerocopy::IntoBytes;

#[cfg(unix)]
fn signal(mut server: Served, name: &str) -> std::process::ExitStatus {
    let id = server.child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    server.child.wait().unwrap()
}

fn run(command: &str, root: &Path, more: &[&str]) -> Output {
    program().args([command, "--repository"]).arg(root).args(more).output().unwrap()
}

fn restore(root: &Path, at: &str, to: &Path, more: &[&str]) -> Output {
    let volume = VOLUME.to_string();
    let fixed = ["--volume", &volume, "--at", at, "--to", to.to_str().unwrap()];
    run("restore", root, &[&fixed, more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts a failure's exit code, and that its message contains `part`.
#[track_caller]
fn assert_fails(output: &Output, code: i32, part: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(part), "{message}");
}

/// A repository with a first sync and one write after it.
fn filled(root: &Path) {
    let server = Served::start(root);
    let (mut client, ..) = Client::resume(server.address);
    let mut driver = Driver::default();
    client.records(&driver.first_sync());
    let records = [driver.write(BLOCK, SECTOR, 0xee), driver.epoch_end()].concat();
    client.records(&records);
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
}

#[test]
fn list_tells_what_can_be_restored_and_restore_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    filled(&root);

    let listed = run("list", &root, &["--json"]);
    assert!(listed.status.success());
    let json = json(&listed);
    let session = &json[0]["sessions"][0];
    assert_eq!(json[0]["volume"], VOLUME.to_string());
    assert_eq!(session["session"], SESSION.to_string());
    assert_eq!(session["state"], "complete");
    assert_eq!(session["t0"], "2020-01-01T00:00:00Z");
    assert_eq!(session["last_epoch"], 2);
    let latest = session["latest"].as_str().unwrap();
    let human = text(&run("list", &root, &[]).stdout);
    assert!(human.contains("complete") && human.contains(latest), "{human}");
    assert!(!human.contains('\x1b'), "colour only on a terminal: {human}");

    let to = dir.path().join("t0.img");
    let done = restore(&root, "t0", &to, &[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(std::fs::read(&to).unwrap(), common::base_image());

    let to = dir.path().join("latest.img");
    let done = restore(&root, latest, &to, &["--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["time"], latest);
    assert_eq!(report["bytes"], common::LENGTH);
    let mut want = common::base_image();
    common::patch(&mut want, BLOCK, SECTOR, 0xee);
    assert_eq!(std::fs::read(&to).unwrap(), want);

    assert_fails(&restore(&root, "latest", &to, &[]), 1, "--force");
    assert!(restore(&root, "latest", &to, &["--force"]).status.success());
}

#[test]
fn list_names_the_reason_of_each_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let bridged = [driver.gap_for(GapReason::QueueFull), driver.resync(0, 1), driver.consistent()];
    let open = driver.gap_for(GapReason::WriteFailed);
    let last = driver.time - driver.tick;
    let gaps = [bridged.concat(), open, driver.epoch_end()].concat();
    common::ingest(dir.path(), common::LENGTH, 1 << 20, &[first, gaps]);

    let listed = run("list", dir.path(), &["--json"]);
    let json = json(&listed);
    let session = &json[0]["sessions"][0];
    assert_eq!(session["state"], "gap");
    let gaps = session["gaps"].as_array().unwrap();
    let reasons: Vec<_> = gaps.iter().map(|gap| gap["reason"].as_u64().unwrap()).collect();
    assert_eq!(reasons, [1, 6]);
    assert!(gaps[0]["to"].is_string() && gaps[1]["to"].is_null(), "{gaps:?}");
    assert_eq!(gaps[1]["from"], snapless_server::time::to_text(FileTime::new(last)));
    let human = text(&run("list", dir.path(), &[]).stdout);
    for reason in [GapReason::QueueFull, GapReason::WriteFailed] {
        assert!(human.contains(reason.name()), "{human}");
    }
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    assert_eq!(run("list", &root, &[]).status.code(), Some(1));
    filled(&root);
    let to = dir.path().join("image");
    assert_fails(&restore(&root, "2026-11-23", &to, &[]), 2, "RFC 3339");
    let early = restore(&root, "2019-12-31T23:59:59Z", &to, &[]);
    assert_fails(&early, 3, "2020-01-01T00:00:00Z");
    assert_eq!(run("verify", &root, &[]).status.code(), Some(0));

    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = run("verify", &root, &["--json"]);
    assert_eq!(found.status.code(), Some(4));
    assert_eq!(json(&found)["damage"].as_array().unwrap().len(), 1);
    assert_fails(&restore(&root, "t0", &to, &[]), 4, "snapless-server verify");
    assert_fails(&restore(&root, "t0", &to, &[]), 4, "--salvage");
    assert!(!to.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half done is left");
    let salvaged = restore(&root, "t0", &to, &["--salvage"]);
    assert_eq!(salvaged.status.code(), Some(4), "{}", text(&salvaged.stderr));
    assert!(text(&salvaged.stdout).contains("is put right"), "{}", text(&salvaged.stdout));
    assert_eq!(std::fs::metadata(&to).unwrap().len(), common::LENGTH);
}

#[test]
fn holes_are_told_by_every_command_and_have_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut records = vec![driver.start(), driver.blocks(0..1), driver.unreadable(BLOCK, BLOCK)];
    records.extend([driver.blocks(2..5), driver.base_complete(), driver.epoch_end()]);
    records.extend([driver.write(BLOCK, BLOCK, 7), driver.epoch_end()]);
    common::ingest(&root, common::LENGTH, 1 << 20, &[records[..6].concat(), records[6..].concat()]);

    let listed = run("list", &root, &["--json"]);
    let session = &json(&listed)[0]["sessions"][0];
    assert_eq!([&session["blocks_with_holes"], &session["blocks_with_holes_at_t0"]], [0, 1]);
    let human = text(&run("list", &root, &[]).stdout);
    assert!(human.contains("holes     0 block(s)") && human.contains(", 1 of the t0"), "{human}");
    let verified = run("verify", &root, &["--json"]);
    assert_eq!(verified.status.code(), Some(0), "what is stored is sound");
    assert_eq!(json(&verified)["holes"][0]["blocks_at_t0"], 1);
    assert!(text(&run("verify", &root, &[]).stdout).contains("holes: session"));

    let to = dir.path().join("image");
    let done = restore(&root, "t0", &to, &["--json"]);
    assert_eq!(done.status.code(), Some(5), "{}", text(&done.stderr));
    assert_eq!(json(&done)["unreadable"][0]["len"], BLOCK);
    let done = restore(&root, "t0", &to, &["--force", "--salvage"]);
    assert_eq!(done.status.code(), Some(5), "{}", text(&done.stderr));
    let done = restore(&root, "latest", &to, &["--force"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("sectors of 512 bytes"), "{}", text(&done.stdout));
}

#[test]
fn only_init_makes_a_repository_and_serve_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    for _ in 0..2 {
        let refused = run("serve", &root, &["--listen", "127.0.0.1:0"]);
        assert_fails(&refused, 1, "snapless-server init");
        assert_eq!(std::fs::read_dir(&root).map_or(0, Iterator::count), 0);
        std::fs::create_dir_all(&root).unwrap();
    }
    std::fs::create_dir(root.join("System Volume Information")).unwrap();
    let init = || program().arg("init").arg(&root).output().unwrap();
    let made = init();
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_fails(&init(), 1, "already");
    drop(Served::start(&root));
    std::fs::remove_file(root.join("repository.snapless")).unwrap();
    filled(&dir.path().join("other"));
    let volumes = dir.path().join("other/volumes").join(VOLUME.to_string());
    std::fs::rename(volumes, root.join("volumes").join(VOLUME.to_string())).unwrap();
    assert_fails(&init(), 1, "volumes/");
    let of_something_else = program().arg("init").arg(dir.path()).output().unwrap();
    assert_fails(&of_something_else, 1, "it holds");
}

#[test]
fn a_session_that_was_removed_is_missed_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    filled(&root);
    // A server that runs knows the session, and goes on.
    let server = Served::start(&root);
    let (volume, session) = (VOLUME.to_string(), SESSION.to_string());
    let forget = || run("forget", &root, &["--volume", &volume, "--session", &session]);
    let folder = root.join("volumes").join(&volume).join(&session);
    assert_fails(&forget(), 1, folder.to_str().unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let missed = run("verify", &root, &[]);
    assert_eq!(missed.status.code(), Some(4));
    assert!(text(&missed.stdout).contains("snapless-server forget"), "{}", text(&missed.stdout));
    assert!(forget().status.success());
    assert_eq!(run("verify", &root, &[]).status.code(), Some(0));
    assert_eq!(text(&run("list", &root, &[]).stdout), format!("volume {volume}\n"));
    assert_fails(&forget(), 1, "has no session");
    // Should it come again, it is missed again.
    let (mut client, ..) = Client::resume(server.address);
    client.records(&Driver::default().first_sync());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop((client, server));
    assert_eq!(json(&run("list", &root, &["--json"]))[0]["sessions"][0]["state"], "complete");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(run("verify", &root, &[]).status.code(), Some(4));
}

#[test]
fn two_servers_do_not_share_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Served::start(dir.path());
    let second = run("serve", dir.path(), &["--insecure", "--listen", "127.0.0.1:0"]);
    assert_fails(&second, 1, "another snapless-server");
}

#[test]
fn two_hundred_sessions_stream_side_by_side_in_little_memory() {
    let dir = common::scratch();
    // With a low limit of open files, as systems start programs.
    let command = if cfg!(target_os = "linux") {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""]);
        command.arg(env!("CARGO_BIN_EXE_snapless-server"));
        command
    } else {
        program()
    };
    let server = Served::start_by(command, &dir.path().join("repository"));
    let mut clients: Vec<_> = (1..=200_u8)
        .map(|number| {
            let mut client = Client::connect(server.address);
            client.hello(SessionId([number; 16]));
            assert_eq!(client.hear(), Said::Welcome { epoch: 0, seq: 0 }, "session {number}");
            (client, Driver::default())
        })
        .collect();
    for epoch in 1..=3 {
        for (client, driver) in &mut clients {
            let records = match epoch {
                1 => driver.first_sync(),
                _ => [driver.write(0, BLOCK, 7), driver.epoch_end()].concat(),
            };
            client.records(&records);
        }
        for (client, driver) in &mut clients {
            let seq = driver.seq;
            assert_eq!(client.hear(), Said::Acknowledge { epoch, seq });
        }
    }
    let peak = server.peak();
    assert!(peak < 200 << 20, "{peak} bytes");
    println!("200 sessions: {} KiB", peak >> 10);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_the_server_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["-TERM", "-INT"] {
        let server = Served::start(dir.path());
        let (mut client, ..) = Client::resume(server.address);
        let listening = std::thread::spawn(move || client.hear());
        let status = signal(server, name);
        assert!(status.success(), "{name}: {status}");
        let Said::Error(text) = listening.join().unwrap() else { panic!("expected an error") };
        assert!(text.contains("stopped"), "{name}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_server_killed_outright_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut want = common::base_image();
    let mut acknowledged = (0, 0);
    for round in 1..=5_u8 {
        let server = Served::start(&root);
        let (mut client, epoch, seq) = Client::resume(server.address);
        assert_eq!((epoch, seq), acknowledged, "round {round}");
        if round == 1 {
            client.records(&driver.first_sync());
        } else {
            client.records(&driver.bridged_gap(round));
            common::patch(&mut want, 0, BLOCK, round);
        }
        let Said::Acknowledge { epoch, seq } = client.hear() else { panic!("round {round}") };
        acknowledged = (epoch, seq);
        // Under way when the server dies.
        client.records(&driver.write(BLOCK, SECTOR, 0xff));
        driver.epoch += 1;
        signal(server, "-KILL");
        let to = dir.path().join("image");
        let done = restore(&root, "latest", &to, &["--force"]);
        assert!(done.status.success(), "round {round}: {}", text(&done.stderr));
        assert_eq!(std::fs::read(&to).unwrap(), want, "round {round}");
    }
}

#[test]
fn an_hour_without_a_write_can_be_restored_also_after_the_server_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, to) = (dir.path().join("repository"), dir.path().join("image"));
    let server = Served::start(&root);
    let (mut client, ..) = Client::resume(server.address);
    let mut driver = Driver::default();
    client.records(&driver.first_sync());
    let acknowledged = client.hear();
    let quiet = |minutes: u64| {
        let ticks = minutes * 60 * FileTime::TICKS_PER_SECOND;
        Watermark::new(Seq::new(driver.seq), FileTime::new(common::T0 + ticks), ticks)
    };
    for minutes in 1..=60 {
        client.send(FrameKind::Watermark, quiet(minutes).as_bytes());
        assert_eq!(client.hear(), acknowledged);
    }
    let check = || {
        for at in ["2020-01-01T00:30:30Z", "2020-01-01T01:00:00Z", "latest"] {
            let done = restore(&root, at, &to, &["--force"]);
            assert!(done.status.success(), "{at}: {}", text(&done.stderr));
            assert_eq!(std::fs::read(&to).unwrap(), common::base_image(), "{at}");
        }
        let late = restore(&root, "2020-01-01T01:00:01Z", &to, &["--force"]);
        assert_fails(&late, 3, "the last point is 2020-01-01T01:00:00Z");
        let listed = json(&run("list", &root, &["--json"]));
        assert_eq!(listed[0]["latest"]["time"], "2020-01-01T01:00:00Z");
        let rpo = &listed[0]["latest"]["rpo_seconds"];
        assert!(rpo.as_u64().unwrap() > 100_000_000, "{rpo}");
        assert!(listed[0]["sessions"][0]["rpo_seconds"].is_u64(), "{listed}");
        let human = text(&run("list", &root, &[]).stdout);
        let latest = human.lines().find(|line| line.contains("latest  ")).unwrap();
        assert!(latest.contains("2020-01-01T01:00:00Z, ") && latest.ends_with(" ago"), "{human}");
    };
    check();
    drop(server);
    check();
    let server = Served::start(&root);
    let (client, ..) = Client::resume(server.address);
    assert_eq!(client.latest, Some(quiet(60).time()));
}

#[test]
fn help_has_examples_and_exit_codes() {
    let top = text(&program().arg("--help").output().unwrap().stdout);
    assert!(top.contains("Exit codes"), "{top}");
    for command in ["init", "serve", "restore", "list", "verify", "forget"] {
        let help = text(&program().args([command, "--help"]).output().unwrap().stdout);
        assert!(help.contains("Examples:\n  snapless-server"), "{help}");
    }
}

/// What `init` prints for an encrypted repository, which has the first sync of [`filled`].
fn filled_encrypted(root: &Path, key: &str) -> String {
    let options = ["init", "--encryption", key, "--compression", "zstd"];
    let made = program().args(options).arg(root).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut command = program();
    command.env("SNAPLESS_KEY_FILE", key.split_once('=').unwrap().1);
    let server = Served::start_by(command, root);
    let (mut client, ..) = Client::resume(server.address);
    let mut driver = Driver::default();
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    text(&made.stdout)
}

#[test]
fn an_encrypted_repository_wants_its_key_and_gets_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let [root, key, passphrase, to] =
        ["repository", "key", "passphrase", "image"].map(|name| dir.path().join(name));
    let inside = format!("key-file={}", root.join("key").display());
    let refused = program().args(["init", "--encryption", &inside]).arg(&root).output().unwrap();
    assert_fails(&refused, 1, "keep the key elsewhere");
    let printed = filled_encrypted(&root, &format!("key-file={}", key.display()));
    assert!(printed.contains("all content of the repository is lost"), "{printed}");

    assert_fails(&run("list", &root, &[]), 1, "--key-file");
    assert_fails(&restore(&root, "t0", &to, &[]), 1, "--key-file");
    let mut serve = program();
    serve.args(["serve", "--insecure", "--listen", "127.0.0.1:0", "--repository"]);
    let refused = serve.arg(&root).output().unwrap();
    assert_fails(&refused, 1, "--key-file");
    let verified = run("verify", &root, &[]);
    assert!(verified.status.success());
    let printed = text(&verified.stdout);
    assert!(printed.contains("without its key") && printed.contains("sound"), "{printed}");
    assert_eq!(json(&run("verify", &root, &["--json"]))["without_key"], true);

    let key_file = ["--key-file", key.to_str().unwrap()];
    assert_eq!(
        json(&run("verify", &root, &[&key_file[..], &["--json"]].concat()))["damage"],
        serde_json::json!([])
    );
    assert!(restore(&root, "t0", &to, &key_file).status.success());
    assert!(std::fs::read(&to).unwrap() == common::base_image());

    let volume = VOLUME.to_string();
    let against = ["--at", "before", "--against", to.to_str().unwrap(), "--volume", &volume];
    for (words, more) in [
        (&["stat"][..], &[][..]),
        (&["points"], &[&*volume]),
        (&["bookmark", "add"], &["--volume", &volume, "before"]),
        (&["verify"], &against),
    ] {
        let run = |key: &[&str]| {
            let mut command = program();
            command.args(words).arg("--repository").arg(&root);
            command.args(more).args(key).output().unwrap()
        };
        assert_fails(&run(&[]), 1, "--key-file");
        let done = run(&key_file);
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
    }

    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let passphrase_file = ["--passphrase-file", passphrase.to_str().unwrap()];
    let new = format!("passphrase-file={}", passphrase.display());
    let rekeyed = run("rekey", &root, &[&key_file[..], &["--to", &new]].concat());
    assert!(rekeyed.status.success(), "{}", text(&rekeyed.stderr));
    assert_fails(&run("list", &root, &key_file), 1, "--passphrase-file");
    assert!(run("list", &root, &passphrase_file).status.success());
    std::fs::write(&passphrase, "another\n").unwrap();
    assert_fails(&run("list", &root, &passphrase_file), 1, "is not the passphrase");
}

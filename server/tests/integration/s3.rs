//! The program with a repository in S3: a server of that protocol, with signatures, in this
//! process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use snapless_server::format::session::SessionHeader;
use snapless_wire::id::FileTime;

use crate::common::s3::S3Server;
use crate::common::{self, Client, Driver, SECTOR, SESSION, Said, Served, VOLUME};

const URL: &str = "s3://bucket/some/prefix";

fn program(server: &S3Server) -> Command {
    let mut command = common::program();
    // Whatever the environment of the tests has.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    server.credentials(&mut command);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn serve(server: &S3Server, more: impl FnOnce(&mut Command)) -> Served {
    let mut command = program(server);
    command.args(["serve", "--insecure", "--listen", "127.0.0.1:0", "--repository", URL]);
    more(&mut command);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect(&line).parse().unwrap();
    Served { child, address }
}

#[test]
fn a_stream_is_stored_in_s3_and_restored_from_there() {
    let server = S3Server::start();
    let made = done(&run(program(&server).args(["init", URL])));
    assert!(made.contains("--trust DIR"), "{made}");
    assert_eq!(server.names(), ["some/prefix/repository.snapless"], "nothing of the probe is left");
    let twice = refused(&run(program(&server).args(["init", URL])));
    assert!(twice.contains("is a Snapless repository already"), "{twice}");

    let mut driver = Driver::default();
    let mut want = common::base_image();
    let mut process = serve(&server, |_| {});
    let (mut client, ..) = Client::resume(process.address);
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    for number in 0..20_u8 {
        client.records(&[driver.write(0, SECTOR, number), driver.epoch_end()].concat());
        let epoch = u64::from(number) + 2;
        if number == 9 {
            // Killed outright, and another one takes the session over.
            loop {
                match client.hear() {
                    Said::Acknowledge { epoch: last, .. } if last == epoch => break,
                    Said::Acknowledge { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            process = serve(&server, |_| {});
            let (next, durable, seq) = Client::resume(process.address);
            assert_eq!((durable, seq), (epoch, driver.seq));
            client = next;
        }
    }
    while client.hear() != (Said::Acknowledge { epoch: 21, seq: driver.seq }) {}
    common::patch(&mut want, 0, SECTOR, 19);
    drop((client, process));

    let dir = common::scratch();
    let image = dir.path().join("volume.img");
    let (volume, session) = (VOLUME.to_string(), SESSION.to_string());
    let at = |command: &str| {
        let mut command_line = program(&server);
        command_line.args([command, "--repository", URL]);
        command_line
    };
    let listed = done(&run(at("list").arg("--json")));
    assert!(listed.contains(&session) && listed.contains("\"state\": \"complete\""), "{listed}");
    assert!(listed.contains(&format!("\"last_seq\": {}", driver.seq)), "{listed}");
    done(&run(&mut at("verify")));
    for (point, want) in [("t0", common::base_image()), ("latest", want)] {
        let mut command = at("restore");
        command.args(["--volume", &volume, "--at", point, "--force", "--to"]).arg(&image);
        done(&run(&mut command));
        assert!(std::fs::read(&image).unwrap() == want, "{point}");
    }
    let args = ["--volume", &volume, "--from", "t0", "--to", "latest", "--content", "--json"];
    let changed = done(&run(at("diff").args(args)));
    assert!(changed.contains("\"offset\": 0") && changed.contains("512"), "{changed}");
}

#[test]
fn what_is_in_s3_is_folded_collected_and_kept_where_nothing_may_be_removed() {
    let server = S3Server::start();
    done(&run(program(&server).args(["init", URL])));
    let day = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
    let mut driver = Driver { tick: day / 4, ..Driver::default() };
    let process = serve(&server, |_| {});
    let (mut client, ..) = Client::resume(process.address);
    client.records(&driver.first_sync());
    for number in 0..80_u8 {
        client.records(&[driver.write(0, SECTOR, number), driver.epoch_end()].concat());
    }
    while client.hear() != (Said::Acknowledge { epoch: 81, seq: driver.seq }) {}
    // A session is never older than the server has had it.
    server.change("/session.snapless", |bytes| {
        let header = SessionHeader::read(bytes).unwrap();
        let created = FileTime::new(header.created.get() - 60 * day);
        SessionHeader { created, ..header }.to_bytes().to_vec()
    });
    let at = |args: &[&str]| {
        let mut command = program(&server);
        command.args(args).args(["--repository", URL]);
        done(&run(&mut command))
    };
    at(&["retention", "set", "--keep-all", "0s", "--daily", "5"]);
    let shown = at(&["retention", "show"]);
    assert!(shown.contains("to be folded"), "{shown}");
    // A role without the right to remove: the fold is made, and its garbage is told of.
    server.refuse_removals(true);
    let folded = at(&["compact", "--all"]);
    assert!(folded.contains("folded"), "{folded}");
    // Its lease, which may not be removed either, ends.
    server.advance(Duration::from_hours(1));
    let dry = at(&["gc", "--dry-run"]);
    assert!(dry.contains("segment-00000001.slseg"), "{dry}");
    let refused = at(&["gc"]);
    assert!(refused.contains("refused") && refused.contains("AccessDenied"), "{refused}");
    at(&["verify"]);
    server.refuse_removals(false);
    server.advance(Duration::from_hours(1));
    let before = server.names().len();
    let collected = at(&["gc"]);
    assert!(!collected.contains("refused"), "{collected}");
    assert!(server.names().len() < before);
    at(&["verify"]);
    // The connection was there all the time, and goes on.
    client.records(&[driver.write(0, SECTOR, 99), driver.epoch_end()].concat());
    while client.hear() != (Said::Acknowledge { epoch: 82, seq: driver.seq }) {}
    drop((client, process));
    let dir = common::scratch();
    let image = dir.path().join("volume.img");
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 99);
    let volume = VOLUME.to_string();
    let mut restore = program(&server);
    restore.args(["restore", "--repository", URL, "--volume", &volume, "--at", "latest", "--to"]);
    done(&run(restore.arg(&image)));
    assert!(std::fs::read(&image).unwrap() == want);
    let left: Vec<_> = server.names().into_iter().filter(|name| name.contains("/pins/")).collect();
    assert_eq!(left, Vec::<String>::new(), "no lease is left");
}

#[test]
fn an_encrypted_repository_in_s3_wants_its_key() {
    let server = S3Server::start();
    let dir = common::scratch();
    let key = dir.path().join("key");
    let encryption = format!("key-file={}", key.display());
    let init = ["init", "--encryption", &encryption, "--compression", "zstd", URL];
    assert!(done(&run(program(&server).args(init))).contains("is lost: keep a copy"));
    let at = |args: &[&str]| {
        let mut command = program(&server);
        command.args(args).args(["--repository", URL]);
        command
    };
    let locked = refused(&run(&mut at(&["serve", "--insecure", "--listen", "127.0.0.1:0"])));
    assert!(locked.contains("--key-file"), "{locked}");
    let mut driver = Driver::default();
    let process = serve(&server, |command| _ = command.arg("--key-file").arg(&key));
    let (mut client, ..) = Client::resume(process.address);
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    drop((client, process));
    let volume = VOLUME.to_string();
    let bookmark = ["bookmark", "add", "--volume", &volume, "begin"];
    done(&run(at(&bookmark).arg("--key-file").arg(&key)));
    let image = dir.path().join("volume.img");
    let mut restore = at(&["restore", "--volume", &volume, "--at", "begin"]);
    let locked = refused(&run(restore.arg("--to").arg(&image)));
    assert!(locked.contains("--key-file"), "{locked}");
    done(&run(restore.arg("--key-file").arg(&key)));
    assert!(std::fs::read(&image).unwrap() == common::base_image());
    let done_without = done(&run(&mut at(&["verify"])));
    assert!(done_without.contains("key"), "{done_without}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let server = S3Server::start();
    let missing = refused(&run(program(&server).args(["list", "--repository", URL])));
    assert!(missing.contains("is not a Snapless repository"), "{missing}");
    let bucket = refused(&run(program(&server).args(["init", "s3://other/prefix"])));
    assert!(bucket.contains("s3://other/prefix") && bucket.contains("bucket"), "{bucket}");
    let wrong_key =
        refused(&run(program(&server).env("AWS_SECRET_ACCESS_KEY", "wrong").args(["init", URL])));
    assert!(wrong_key.contains("AWS_SECRET_ACCESS_KEY"), "{wrong_key}");
    let plain = refused(&run(program(&server).env_remove("AWS_ALLOW_HTTP").args(["init", URL])));
    assert!(plain.contains("AWS_ALLOW_HTTP"), "{plain}");
    for (url, want) in [
        ("ftp://bucket/prefix", "expected s3://BUCKET"),
        ("s3:///prefix", "general purpose bucket"),
        ("s3://key:secret@bucket/prefix", "environment"),
        ("s3://fast--eu1--x-s3/prefix", "general purpose bucket"),
        ("file://relative", "file:///DIR"),
    ] {
        let output = run(program(&server).args(["list", "--repository", url]));
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(refused(&output).contains(want), "{url}: {}", refused(&output));
    }
    done(&run(program(&server).args(["init", URL])));
    let trust = refused(&run(program(&server).args(["ca", "init", "--repository", URL])));
    assert!(trust.contains("--trust DIR"), "{trust}");
}

#[test]
fn the_authority_of_a_repository_in_s3_is_in_a_folder() {
    let server = S3Server::start();
    done(&run(program(&server).args(["init", URL])));
    let dir = common::scratch();
    let folder = dir.path().join("trust");
    let at = |args: &[&str]| {
        let mut command = program(&server);
        command.args(args).args(["--repository", URL, "--trust"]).arg(&folder);
        done(&run(&mut command))
    };
    at(&["ca", "init"]);
    assert_eq!(at(&["ca", "show"]).trim().len(), 64);
    assert!(!at(&["token", "create"]).trim().is_empty());
    at(&["machines", "--json"]);
    assert!(folder.is_dir() && !Path::new("s3:").exists());
}

#[test]
fn a_file_url_is_a_directory() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let url = format!("file://{}", root.display());
    done(&run(common::program().args(["init", &url])));
    done(&run(common::program().args(["ca", "init", "--repository", &url])));
    assert!(root.join("repository.snapless").is_file() && root.join("trust").is_dir());
}

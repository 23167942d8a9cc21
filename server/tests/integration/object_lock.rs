//! A bucket with Object Lock, and one whose policy lets nothing be removed, at an S3 server that
//! others wrote.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use snapless_server::format::session::SessionHeader;
use snapless_wire::id::FileTime;

use crate::common::moto::{Moto, object};
use crate::common::{self, Client, Driver, SECTOR, Said, Served, VOLUME};

const BUCKET: &str = "backups";
const URL: &str = "s3://backups/snapless";
/// Each object is locked for a month from its creation on.
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention>\
                    </Rule></ObjectLockConfiguration>";
/// What an append-only role may not do, said for everybody.
const APPEND_ONLY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny",
    "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::backups/*"}]}"#;

fn program(server: &Moto) -> Command {
    let mut command = common::program();
    // Whatever the environment of the tests has.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    server.credentials(&mut command);
    // As docs/retention.md says.
    command.env("AWS_CHECKSUM_ALGORITHM", "SHA256");
    command
}

fn run(server: &Moto, args: &[&str]) -> Output {
    program(server).args(args).args(["--repository", URL]).output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A repository with a stream of three weeks, most of which its policy does not want; returns the
/// latest image.
fn stored(server: &Moto) -> Vec<u8> {
    done(&program(server).args(["init", URL]).output().unwrap());
    let mut command = program(server);
    command.args(["serve", "--insecure", "--listen", "127.0.0.1:0", "--repository", URL]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect(&line).parse().unwrap();
    let process = Served { child, address };
    let day = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
    let mut driver = Driver { tick: day / 4, ..Driver::default() };
    let (mut client, ..) = Client::resume(process.address);
    client.records(&driver.first_sync());
    for number in 0..40_u8 {
        client.records(&[driver.write(0, SECTOR, number), driver.epoch_end()].concat());
    }
    while client.hear() != (Said::Acknowledge { epoch: 41, seq: driver.seq }) {}
    drop((client, process));
    // A session is never older than the server has had it: this one has been there for two months.
    let versions = server.versions(BUCKET, "Version");
    let (key, _) = versions.iter().find(|(key, _)| key.ends_with("/session.snapless")).unwrap();
    let header = common::header(common::LENGTH);
    let now = snapless_server::time::now().get();
    let created = FileTime::new(now - 60 * day);
    let header = SessionHeader { created, ..header }.to_bytes();
    let checksum = [("x-amz-sdk-checksum-algorithm", "CRC32")];
    server.done("PUT", &object(BUCKET, key), &checksum, &header);
    done(&run(server, &["retention", "set", "--keep-all", "0s", "--daily", "3"]));
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 39);
    want
}

fn restored(server: &Moto) -> Vec<u8> {
    let dir = common::scratch();
    let image = dir.path().join("volume.img");
    let to = image.to_str().unwrap();
    let volume = VOLUME.to_string();
    done(&run(server, &["restore", "--volume", &volume, "--at", "latest", "--to", to]));
    std::fs::read(&image).unwrap()
}

#[test]
fn what_object_lock_holds_comes_back_after_everything_was_removed() {
    let Some(server) = Moto::start() else { return };
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    server.done("PUT", &format!("/{BUCKET}"), &lock, b"");
    server.done("PUT", &format!("/{BUCKET}?object-lock"), &[], LOCK.as_bytes());
    let want = stored(&server);

    // Each object is held, and no version of it can be removed.
    let versions = server.versions(BUCKET, "Version");
    assert!(versions.iter().any(|(key, _)| key.contains("segment-")), "{versions:?}");
    for (key, version) in &versions {
        let one = format!("{}?versionId={version}", object(BUCKET, key));
        let head = server.done("HEAD", &one, &[], b"").head;
        assert!(head.contains("x-amz-object-lock-retain-until-date: "), "{key}: {head}");
        assert_eq!(server.ask("DELETE", &one, &[], b"").status, 403, "{key}");
    }

    // A fold and a collection go on as in any bucket: what is removed is hidden.
    done(&run(&server, &["compact", "--all"]));
    server.set_ahead(Duration::from_hours(1));
    let collected = done(&run(&server, &["gc"]));
    assert!(!collected.contains("refused"), "{collected}");
    let markers = server.versions(BUCKET, "DeleteMarker");
    assert!(markers.iter().any(|(key, _)| key.ends_with("segment-00000001.slseg")), "{markers:?}");
    let after = server.versions(BUCKET, "Version");
    assert!(versions.iter().all(|one| after.contains(one)), "every version is there still");
    done(&run(&server, &["verify"]));
    assert!(restored(&server) == want);

    // Whoever may remove removes all that there is, and all of it comes back.
    let before: Vec<_> = server.versions(BUCKET, "DeleteMarker");
    for (key, _) in server.versions(BUCKET, "Version") {
        server.ask("DELETE", &object(BUCKET, &key), &[], b"");
    }
    let gone = run(&server, &["list"]);
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && said.contains("is not a Snapless repository"), "{said}");
    let after = server.versions(BUCKET, "DeleteMarker");
    for (key, version) in after.iter().filter(|it| !before.contains(it)) {
        let marker = format!("{}?versionId={version}", object(BUCKET, key));
        server.done("DELETE", &marker, &[], b"");
    }
    done(&run(&server, &["verify"]));
    assert!(restored(&server) == want);
}

#[test]
fn a_bucket_that_lets_nothing_be_removed_is_folded_and_told_of() {
    let Some(server) = Moto::start() else { return };
    server.done("PUT", &format!("/{BUCKET}"), &[], b"");
    let want = stored(&server);
    server.done("PUT", &format!("/{BUCKET}?policy"), &[], APPEND_ONLY.as_bytes());
    let folded = done(&run(&server, &["compact", "--all"]));
    assert!(folded.contains("folded"), "{folded}");
    server.set_ahead(Duration::from_hours(1));
    let before = server.versions(BUCKET, "Version");
    let refused = done(&run(&server, &["gc"]));
    assert!(refused.contains("refused") && refused.contains("AccessDenied"), "{refused}");
    let after = server.versions(BUCKET, "Version");
    assert!(before.iter().all(|one| after.contains(one)), "nothing was removed");
    done(&run(&server, &["verify"]));
    assert!(restored(&server) == want);
    server.done("DELETE", &format!("/{BUCKET}?policy"), &[], b"");
    server.set_ahead(Duration::from_hours(2));
    let collected = done(&run(&server, &["gc"]));
    assert!(!collected.contains("refused"), "{collected}");
    assert!(server.versions(BUCKET, "Version").len() < before.len());
    done(&run(&server, &["verify"]));
    assert!(restored(&server) == want);
}

//! The program with a repository in each kind of store: the same steps at S3, at Azure and at
//! Google.

use std::path::{Path, PathBuf};
use std::time::Duration;

use snapless_server::storage::object::ObjectStorage;
use snapless_server::storage::{Objects, Put, Removal, Storage};

use crate::common::azurite::Azurite;
use crate::common::google::GoogleServer;
use crate::common::s3::S3Server;
use crate::common::stores::{BUCKET, StoreServer, done, refused};
use crate::common::{self, Client, Driver, SECTOR, SESSION, Said, VOLUME};
use crate::object_storage::{check_reads, check_storage};

/// Declares a test of each kind of store for each of these functions.
macro_rules! at_each {
    ($($test:ident),+ $(,)?) => {
        mod s3 {
            $(#[test]
            fn $test() {
                super::$test(&super::S3Server::start());
            })+
        }
        mod azure {
            $(#[test]
            fn $test() {
                if let Some(server) = super::Azurite::start() {
                    super::$test(&server);
                }
            })+
        }
        mod google {
            $(#[test]
            fn $test() {
                super::$test(&super::GoogleServer::start());
            })+
        }
    };
}

at_each!(
    a_stream_is_stored_and_restored,
    what_is_stored_is_folded_and_collected,
    where_nothing_may_be_removed_a_fold_is_made_and_its_garbage_told_of,
    the_storage_keeps_its_contract,
    what_is_wrong_is_said_with_what_to_do,
);

fn a_stream_is_stored_and_restored(server: &dyn StoreServer) {
    let init =
        |server: &dyn StoreServer| server.program().args(["init", &server.url()]).output().unwrap();
    let made = done(&init(server));
    assert!(made.contains("--trust DIR"), "{made}");
    assert_eq!(server.names(), ["some/prefix/repository.snapless"], "nothing of the probe is left");
    let twice = refused(&init(server));
    assert!(twice.contains("is a Snapless repository already"), "{twice}");

    let mut driver = Driver::default();
    let mut want = common::base_image();
    let mut process = server.serve(&[]);
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
            process = server.serve(&[]);
            let (next, durable, seq) = Client::resume(process.address);
            assert_eq!((durable, seq), (epoch, driver.seq));
            client = next;
        }
    }
    while client.hear() != (Said::Acknowledge { epoch: 21, seq: driver.seq }) {}
    common::patch(&mut want, 0, SECTOR, 19);
    drop((client, process));

    let listed = server.ran(&["list", "--json"]);
    let is_complete = listed.contains("\"state\": \"complete\"");
    assert!(listed.contains(&SESSION.to_string()) && is_complete, "{listed}");
    assert!(listed.contains(&format!("\"last_seq\": {}", driver.seq)), "{listed}");
    let volume = VOLUME.to_string();
    let points = server.ran(&["points", &volume, "--json"]);
    let has_t0 = points.contains("\"t0_restorable\": true");
    assert!(has_t0 && points.contains("\"epochs\": 21"), "{points}");
    server.ran(&["verify"]);
    assert!(server.restored("t0") == common::base_image());
    assert!(server.restored("latest") == want);
    let args = ["--volume", &volume, "--from", "t0", "--to", "latest", "--content", "--json"];
    let changed = server.ran(&[&["diff"][..], &args].concat());
    assert!(changed.contains("\"offset\": 0") && changed.contains("512"), "{changed}");
}

fn what_is_stored_is_folded_and_collected(server: &dyn StoreServer) {
    let (mut driver, mut client, process) = server.stored(80);
    server.ran(&["retention", "set", "--keep-all", "0s", "--daily", "5"]);
    let is_first = |name: &String| name.ends_with("/segment-00000001.slseg");
    let first = server.names().into_iter().find(is_first).unwrap();
    let folded = server.ran(&["compact", "--all"]);
    assert!(folded.contains("folded"), "{folded}");
    assert!(!server.names().contains(&first), "what was folded is gone");
    // What a fold leaves that is killed.
    server.put(&first, b"left");
    server.advance(Duration::from_hours(1));
    let dry = server.ran(&["gc", "--dry-run"]);
    assert!(dry.contains("segment-00000001.slseg"), "{dry}");
    assert!(server.names().contains(&first), "nothing was changed");
    let collected = server.ran(&["gc"]);
    assert!(!collected.contains("refused"), "{collected}");
    assert!(!server.names().contains(&first), "{:?}", server.names());
    server.ran(&["verify"]);
    // The connection was there all the time, and goes on.
    client.records(&[driver.write(0, SECTOR, 99), driver.epoch_end()].concat());
    while client.hear() != (Said::Acknowledge { epoch: 82, seq: driver.seq }) {}
    drop((client, process));
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 99);
    assert!(server.restored("latest") == want);
    let left: Vec<_> = server.names().into_iter().filter(|name| name.contains("/pins/")).collect();
    assert_eq!(left, Vec::<String>::new(), "no lease is left");
}

fn where_nothing_may_be_removed_a_fold_is_made_and_its_garbage_told_of(server: &dyn StoreServer) {
    drop(server.stored(80));
    server.ran(&["retention", "set", "--keep-all", "0s", "--daily", "5"]);
    let shown = server.ran(&["retention", "show"]);
    assert!(shown.contains("to be folded"), "{shown}");
    server.refuse_removals(true);
    let folded = server.ran(&["compact", "--all"]);
    assert!(folded.contains("folded"), "{folded}");
    // Its lease, which may not be removed either, ends.
    server.advance(Duration::from_hours(1));
    let before = server.names();
    let told = server.ran(&["gc"]);
    let why = if server.scheme() == "az" { "not authorized" } else { "AccessDenied" };
    assert!(told.contains("refused") && told.contains(why), "{told}");
    let after = server.names();
    assert!(before.iter().all(|name| after.contains(name)), "nothing was removed");
    server.ran(&["verify"]);
    server.refuse_removals(false);
    server.advance(Duration::from_hours(1));
    let collected = server.ran(&["gc"]);
    assert!(!collected.contains("refused"), "{collected}");
    assert!(server.names().len() < before.len());
    server.ran(&["verify"]);
}

fn the_storage_keeps_its_contract(server: &dyn StoreServer) {
    let storage = ObjectStorage::new(server.objects(), "some/where".into(), "it", "").unwrap();
    check_storage(&storage);
    check_reads(&storage);
    storage.probe().unwrap();
    // More than some stores remove with one request; one of them is not there.
    let paths: Vec<_> = (0..260).map(|number| PathBuf::from(format!("many/{number}"))).collect();
    for path in &paths[1..] {
        storage.put(path, vec![1], Put::Create).unwrap();
    }
    assert_eq!(storage.remove_all(&paths).unwrap(), vec![Removal::Removed; 260]);
    assert_eq!(storage.list(Path::new("many")).unwrap(), Vec::<String>::new());
}

fn what_is_wrong_is_said_with_what_to_do(server: &dyn StoreServer) {
    let (scheme, url) = (server.scheme(), server.url());
    let list = |url: &str| server.program().args(["list", "--repository", url]).output().unwrap();
    let init = |url: &str| server.program().args(["init", url]).output().unwrap();
    let missing = refused(&list(&url));
    assert!(missing.contains("is not a Snapless repository"), "{missing}");

    // A bucket that is not there is no repository that is not there.
    let other = format!("{scheme}://other/prefix");
    let container = if scheme == "az" { "container" } else { "bucket" };
    for said in [refused(&init(&other)), refused(&list(&other))] {
        assert!(
            said.contains(&other) && said.contains(&format!("check the {container}")),
            "{said}"
        );
        assert!(!said.contains("is not a Snapless repository"), "{said}");
    }

    let (secret, wrong) = match scheme {
        "s3" => ("AWS_SECRET_ACCESS_KEY", "wrong"),
        "az" => ("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc="),
        _ => ("GOOGLE_BEARER_TOKEN", "wrong"),
    };
    let hint = if scheme == "gs" { "GOOGLE_APPLICATION_CREDENTIALS" } else { secret };
    for args in [["init", &url].as_slice(), &["list", "--repository", &url]] {
        let said = refused(&server.program().env(secret, wrong).args(args).output().unwrap());
        assert!(said.contains(hint), "{said}");
    }

    let mut misled = server.program();
    let want = match scheme {
        "s3" => {
            misled.env_remove("AWS_ALLOW_HTTP");
            "AWS_ALLOW_HTTP=true"
        }
        "az" => {
            misled.env_remove("AZURE_ALLOW_HTTP");
            "AZURE_ALLOW_HTTP=true"
        }
        _ => {
            let missing = "/missing/key.json";
            misled.env_remove("GOOGLE_BEARER_TOKEN").env("GOOGLE_APPLICATION_CREDENTIALS", missing);
            missing
        }
    };
    let said = refused(&misled.args(["init", &url]).output().unwrap());
    assert!(said.contains(want), "{said}");

    let with_secret = format!("{scheme}://key:secret@{BUCKET}/prefix");
    let output = list(&with_secret);
    assert_eq!(output.status.code(), Some(2));
    assert!(refused(&output).contains("environment"), "{}", refused(&output));
}

//! The program with a repository in S3, in ways that are the same in every store of objects, or
//! S3's alone: a server of that protocol, with signatures, in this process.

use std::path::Path;

use crate::common::s3::S3Server;
use crate::common::stores::{StoreServer, done, refused};
use crate::common::{self, Client, Driver, Said, VOLUME};

#[test]
fn an_encrypted_repository_in_s3_wants_its_key() {
    let server = S3Server::start();
    let dir = common::scratch();
    let key = dir.path().join("key").display().to_string();
    let encryption = format!("key-file={key}");
    let init = ["init", "--encryption", &encryption, "--compression", "zstd", &server.url()];
    let made = done(&server.program().args(init).output().unwrap());
    assert!(made.contains("is lost: keep a copy"));
    let listen = ["serve", "--insecure", "--listen", "127.0.0.1:0"];
    let locked = refused(&server.at(&listen).output().unwrap());
    assert!(locked.contains("--key-file"), "{locked}");
    let mut driver = Driver::default();
    let process = server.serve(&["--key-file", &key]);
    let (mut client, ..) = Client::resume(process.address);
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    drop((client, process));
    let volume = VOLUME.to_string();
    server.ran(&["bookmark", "add", "--volume", &volume, "begin", "--key-file", &key]);
    let image = dir.path().join("volume.img");
    let mut restore = server.at(&["restore", "--volume", &volume, "--at", "begin"]);
    let locked = refused(&restore.arg("--to").arg(&image).output().unwrap());
    assert!(locked.contains("--key-file"), "{locked}");
    done(&restore.arg("--key-file").arg(&key).output().unwrap());
    assert!(std::fs::read(&image).unwrap() == common::base_image());
    let done_without = server.ran(&["verify"]);
    assert!(done_without.contains("key"), "{done_without}");
}

#[test]
fn a_url_that_is_none_of_s3_is_refused_with_what_to_do() {
    let server = S3Server::start();
    for (url, want) in [
        ("ftp://bucket/prefix", "expected s3://BUCKET"),
        ("s3:///prefix", "general purpose bucket"),
        ("s3://fast--eu1--x-s3/prefix", "general purpose bucket"),
        ("file://relative", "file:///DIR"),
    ] {
        let output = server.program().args(["list", "--repository", url]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(refused(&output).contains(want), "{url}: {}", refused(&output));
    }
    done(&server.program().args(["init", &server.url()]).output().unwrap());
    let trust = refused(&server.at(&["ca", "init"]).output().unwrap());
    assert!(trust.contains("--trust DIR"), "{trust}");
}

#[test]
fn the_authority_of_a_repository_in_s3_is_in_a_folder() {
    let server = S3Server::start();
    done(&server.program().args(["init", &server.url()]).output().unwrap());
    let dir = common::scratch();
    let folder = dir.path().join("trust");
    let at = |args: &[&str]| {
        let mut command = server.at(args);
        done(&command.arg("--trust").arg(&folder).output().unwrap())
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
    done(&common::program().args(["init", &url]).output().unwrap());
    let mut authority = common::program();
    done(&authority.args(["ca", "init", "--repository", &url]).output().unwrap());
    assert!(root.join("repository.snapless").is_file() && root.join("trust").is_dir());
}

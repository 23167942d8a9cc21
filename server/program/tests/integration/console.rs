//! The console of a real server: from the import of an NTFS image to its files in a download, over
//! HTTPS with the certificate of the server's authority.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::common::program;

const VOLUME: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";
const PASSWORD: &str = "correct horse battery";

fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// An NTFS volume with one file.
fn image(folder: &Path, content: &[u8]) -> PathBuf {
    let (image, source) = (folder.join("ntfs.img"), folder.join("source"));
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run(Command::new("mkntfs").args(["-F", "-Q", "-q", "-s", "512"]).arg(&image));
    std::fs::write(&source, content).unwrap();
    run(Command::new("ntfscp").args(["-f", "-q"]).args([&image, &source]).arg("report.bin"));
    image
}

/// A server with a console, which ends with this.
struct Served {
    child: Child,
    address: String,
    client: Client,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A user who is signed in.
struct User<'a> {
    served: &'a Served,
    cookie: String,
    csrf: String,
}

impl Served {
    fn start(root: &Path) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"]);
        command.arg("--repository").arg(root).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| line.unwrap().strip_prefix("console on ").map(str::to_owned));
        let authority = std::fs::read(root.join("trust/ca.crt")).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = Client::builder().tls_certs_only([authority]).build().unwrap();
        Self { child, address: address.unwrap(), client }
    }

    fn sign_in(&self, name: &str) -> User<'_> {
        let body = json!({"name": name, "password": PASSWORD});
        let url = format!("{}/api/v1/session", self.address);
        let answer = self.client.post(url).json(&body).send().unwrap();
        let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        let cookie = set.split(';').next().unwrap().to_owned();
        let csrf = answer.json::<Value>().unwrap()["csrf_token"].as_str().unwrap().to_owned();
        User { served: self, cookie, csrf }
    }
}

impl User<'_> {
    fn send(&self, request: RequestBuilder) -> Response {
        let request = request.header("cookie", &self.cookie).header("x-csrf-token", &self.csrf);
        request.send().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.served.address)
    }

    fn of_volume(&self, path: &str) -> String {
        self.url(&format!("volumes/{VOLUME}{path}"))
    }

    fn get(&self, url: String) -> Value {
        let answer = self.send(self.served.client.get(&url));
        assert!(answer.status().is_success(), "{url}: {}", answer.text().unwrap());
        answer.json().unwrap()
    }

    fn post(&self, url: String, body: Value) -> Value {
        let answer = self.send(self.served.client.post(&url).json(&body));
        assert!(answer.status().is_success(), "{url}: {}", answer.text().unwrap());
        answer.json().unwrap()
    }

    /// Waits until a job is as wanted.
    fn wait(&self, job: &Value, is_it: impl Fn(&Value) -> bool) -> Value {
        let url = self.url(&format!("jobs/{}", job["job"].as_str().unwrap()));
        let begun = Instant::now();
        loop {
            let job = self.get(url.clone());
            if is_it(&job) {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_mins(1) && job["error"].is_null(), "{job}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn add_user(root: &Path, name: &str, role: &str) {
    let mut command = program();
    command.args(["console", "user", "add", name, "--role", role, "--repository"]).arg(root);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_operator_finds_a_volume_and_gets_it_back_whole_and_a_file_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (root, restores) = (dir.path().join("repository"), dir.path().join("restores"));
    std::fs::create_dir(&restores).unwrap();
    let content: Vec<u8> = (0..500_000u32).map(|at| (at % 251) as u8).collect();
    let image = image(dir.path(), &content);
    run(program().arg("init").arg(&root));
    run(program().args(["ca", "init", "--repository"]).arg(&root));
    let seed = ["seed", "--volume", VOLUME, "--image"];
    run(program().args(seed).arg(&image).arg("--repository").arg(&root));
    std::fs::write(
        root.join("trust/console.toml"),
        format!("restore_folders = [{:?}]\n", restores.to_str().unwrap()),
    )
    .unwrap();
    add_user(&root, "olga", "operator");
    add_user(&root, "ada", "administrator");

    let served = Served::start(&root);
    let olga = served.sign_in("olga");
    let begun = Instant::now();
    let line = loop {
        let overview = olga.get(olga.url("overview"));
        if let Some(line) = overview["volumes"].get(0) {
            break line.clone();
        }
        assert!(begun.elapsed() < Duration::from_mins(1));
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&line["volume"], &line["length"]), (&json!(VOLUME), &json!(16 << 20)));
    assert_eq!(line["connected"], false);

    let timeline = olga.get(olga.of_volume("/timeline"));
    let stretch = &timeline["restorable"][0];
    assert!(stretch["from_ms"].is_u64() && timeline["gaps"] == json!([]), "{timeline}");
    let point = olga.get(olga.of_volume("/point?at=latest"));
    assert_eq!(point["restorable"], true, "{point}");
    let early = olga.get(olga.of_volume("/point?at=2001-01-01T00:00:00Z"));
    assert_eq!((&early["restorable"], &early["after_ms"]), (&json!(false), &stretch["from_ms"]));

    let made = olga.post(olga.of_volume("/bookmarks"), json!({"name": "noon", "at": "latest"}));
    assert_eq!(made["name"], "noon");
    let again = olga.served.client.post(olga.of_volume("/bookmarks"));
    let again = olga.send(again.json(&json!({"name": "noon", "at": "latest"})));
    assert_eq!(again.status(), 409);

    let folder = olga.get(olga.of_volume("/files?at=noon&path=/"));
    let names: Vec<_> = folder["entries"].as_array().unwrap().iter().collect();
    assert_eq!((names[0]["name"].as_str(), names.len()), (Some("report.bin"), 1));
    let file = olga.of_volume("/files/content?at=noon&path=/report.bin");
    let file = olga.send(served.client.get(file));
    assert_eq!(file.headers()["content-length"], content.len().to_string().as_str());
    assert!(file.bytes().unwrap() == content, "the file is another one");
    let missing = olga.send(served.client.get(olga.of_volume("/files?at=latest&path=/x")));
    assert_eq!(missing.status(), 404);

    let body = json!({"at": "latest", "folder": restores, "file": "volume.img"});
    let job = olga.post(olga.of_volume("/restores"), body);
    let job = olga.wait(&job, |job| !job["ended_ms"].is_null());
    assert_eq!((&job["state"], &job["result"]["sound"]), (&json!("done"), &json!(true)));
    let original = std::fs::read(&image).unwrap();
    assert!(std::fs::read(restores.join("volume.img")).unwrap() == original, "another image");

    let job = olga.post(olga.of_volume("/mounts"), json!({"at": "latest"}));
    let mounted = olga.wait(&job, |job| !job["mount"].is_null());
    let uri = mounted["mount"]["uri"].as_str().unwrap();
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]).arg(&image).arg(uri));
    let stop = olga.url(&format!("jobs/{}", job["job"].as_str().unwrap()));
    assert_eq!(olga.send(served.client.delete(stop)).status(), 202);
    let job = olga.wait(&job, |job| !job["ended_ms"].is_null());
    assert_eq!((&job["state"], &job["mount"]), (&json!("stopped"), &Value::Null));

    let job = olga.post(olga.of_volume("/verifications"), json!({}));
    let job = olga.wait(&job, |job| !job["ended_ms"].is_null());
    assert_eq!(job["result"]["sound"], true, "{job}");

    let ada = served.sign_in("ada");
    let policy = served
        .client
        .put(ada.of_volume("/retention"))
        .json(&json!({"keep_all": "14d", "daily": 30}));
    let policy: Value = ada.send(policy).json().unwrap();
    assert_eq!(
        (&policy["own"]["daily"], &policy["effective"]["keep_all"]),
        (&json!(30), &json!("14d"))
    );
    let token = ada.post(ada.url("enrolments"), json!({"name": "web-1"}));
    assert!(token["token"].as_str().unwrap().starts_with("snapless-"));
    let audit = ada.get(ada.url("audit"));
    let entries = audit["entries"].as_array().unwrap();
    for about in ["sign-in", "bookmark-add", "download", "restore", "mount", "verify", "retention"]
    {
        let is_it = |entry: &&Value| entry["about"].as_str().unwrap().starts_with(about);
        let entry = entries.iter().find(is_it).unwrap_or_else(|| panic!("{about}: {audit}"));
        assert!(entry["who"].is_string() && entry["peer"].is_string(), "{entry}");
    }
    let metrics =
        ada.send(served.client.get(format!("{}/metrics", served.address))).text().unwrap();
    assert!(metrics.contains("snapless_volume_bytes{volume=\"71a27cdd"), "{metrics}");
}

#[test]
fn settings_that_are_wrong_are_named_before_anything_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    run(program().arg("init").arg(&root));
    run(program().args(["ca", "init", "--repository"]).arg(&root));
    std::fs::write(root.join("trust/console.toml"), "rpo_targe = \"5m\"\n").unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"]);
    let said = command.arg("--repository").arg(&root).output().unwrap();
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && error.contains("rpo_targe"), "{error}");
}

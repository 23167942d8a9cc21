//! Reports that cannot be printed: a full disk, a pipe that is closed. No command panics, its work
//! is whole, and its exit code and standard error say what became of the report.

use std::fs::{self, OpenOptions};
use std::process::{Output, Stdio};

use crate::common::{Driver, LENGTH, SESSION, Stored, VOLUME, base_image, program};
use snapless_server::format::repository::session_dir;

/// Commands and how each ends when its report is printed. The first lines change what others read.
fn commands(stored: &Stored) -> Vec<(Vec<String>, i32)> {
    let (root, volume) = (stored.root.to_str().unwrap(), VOLUME.to_string());
    let at = |name: &str| stored.dir.path().join(name).to_str().unwrap().to_owned();
    let [made, export, copied, image] = ["made", "export", "copied", "image"].map(at);
    let commands = [
        format!("init {made}"),
        format!("init {copied}"),
        format!("ca init --repository {root}"),
        format!("token create --repository {root}"),
        format!("machines --repository {root}"),
        format!("bookmark add --repository {root} --volume {volume} name"),
        format!("bookmark list --repository {root}"),
        format!("list --repository {root}"),
        format!("list --json --repository {root}"),
        format!("points --repository {root} {volume}"),
        format!("stat --repository {root}"),
        format!("stat --json --repository {root}"),
        format!("diff --repository {root} --volume {volume} --from t0 --to latest"),
        format!("verify --repository {root}"),
        format!("verify --json --repository {root}"),
        format!("retention show --repository {root}"),
        format!("retention set --repository {root} --keep-all 30d"),
        format!("compact --repository {root} --all"),
        format!("gc --repository {root} --dry-run"),
        format!("upgrade --repository {root}"),
        format!("export --all --repository {root} --to {export}"),
        format!("restore --repository {root} --volume {volume} --at t0 --to {image}"),
    ];
    let words = |line: String| line.split(' ').map(str::to_owned).collect();
    commands.into_iter().map(|line| (words(line), 1)).collect()
}

fn run(words: &[String], to: Stdio, errors: Stdio) -> Output {
    program().args(words).stdout(to).stderr(errors).output().unwrap()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nothing reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_report_that_cannot_be_printed_is_an_error_in_words_and_the_work_is_whole() {
    for (turn, to) in [full as fn() -> Stdio, closed].into_iter().enumerate() {
        let stored = Stored::new(&[Driver::default().first_sync()]);
        for (words, code) in commands(&stored) {
            let done = run(&words, to(), Stdio::piped());
            let said = String::from_utf8(done.stderr).unwrap();
            assert!(!said.contains("panicked"), "{turn} {words:?}: {said}");
            assert_eq!(done.status.code(), Some(code), "{turn} {words:?}: {said}");
            assert!(said.contains("cannot print the report"), "{turn} {words:?}: {said}");
        }
        let image = stored.dir.path().join("image");
        assert_eq!(fs::read(&image).unwrap(), base_image());
        assert!(stored.dir.path().join("export/export.snapless").exists());
    }
}

#[test]
fn a_verdict_is_not_lost_with_its_report_and_nothing_panics_without_any_output() {
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let (root, session) = (stored.root.clone(), session_dir(VOLUME, SESSION));
    let segment = root.join(session).join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - usize::try_from(LENGTH).unwrap() / 8;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for more in [&[][..], &["--json"]] {
        let words = [&["verify", "--repository", root.to_str().unwrap()], more].concat();
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        let done = run(&words, full(), full());
        assert_eq!(done.status.code(), Some(4), "{words:?}");
    }
}

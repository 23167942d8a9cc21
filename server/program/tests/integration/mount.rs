//! `mount` and `diff` as an administrator uses them: the real program, NBD clients of others, and
//! the image that `restore` makes.
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::{self, BLOCK, Driver, LENGTH, Process, SECTOR, SESSION, VOLUME};
use serde_json::Value;
use snapless_types::RecordKind;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_snapless-server"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A third-party program.
fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name).arg("--version").output();
    assert!(
        found.is_ok(),
        "{name} is not installed: `cargo xtask setup` installs the Debian package {package}"
    );
    Command::new(name)
}

/// Runs a command to its end; it must succeed.
#[track_caller]
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = text(&[output.stdout, output.stderr].concat());
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn run(command: &str, root: &Path, more: &[&str]) -> Output {
    let volume = VOLUME.to_string();
    let mut run = program();
    run.args([command, "--volume", &volume, "--repository"]).arg(root).args(more);
    run.output().unwrap()
}

/// A mount; ended when it is dropped.
struct Mounted {
    child: Child,
    report: Value,
    errors: PathBuf,
}

impl Mounted {
    fn start(root: &Path, at: &str, more: &[&str]) -> Self {
        let errors = root.with_extension(format!("errors-{at}"));
        let volume = VOLUME.to_string();
        let mut child = program()
            .args(["mount", "--json", "--volume", &volume, "--at", at, "--repository"])
            .arg(root)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut json = String::new();
        for line in lines {
            json += &line.unwrap();
            if json.ends_with('}') {
                break;
            }
        }
        let report = serde_json::from_str(&json);
        let report = report.unwrap_or_else(|_| {
            panic!("{json} {}", std::fs::read_to_string(&errors).unwrap());
        });
        Self { child, report, errors }
    }

    fn uri(&self) -> String {
        self.report["uri"].as_str().unwrap().to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.uri().split_once("?socket=").unwrap().1.into()
    }

    fn end(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A first sync and two epochs of changes.
fn filled(root: &Path) {
    let mut driver = Driver::default();
    let changes = [
        driver.first_sync(),
        [driver.write(BLOCK, SECTOR, 0xee), driver.epoch_end()].concat(),
        [
            driver.write(3 * SECTOR, 7 * SECTOR, 0xdd),
            driver.plain(RecordKind::Trim, 2 * BLOCK, BLOCK),
            driver.epoch_end(),
        ]
        .concat(),
    ];
    common::ingest(root, LENGTH, 1 << 20, &changes);
}

/// The image that `restore` makes.
fn restored(root: &Path, at: &str) -> PathBuf {
    let to = root.with_extension(format!("{at}.img"));
    let done = run("restore", root, &["--at", at, "--to", to.to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    to
}

#[test]
fn a_mounted_point_is_the_restored_one_for_clients_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    filled(&root);
    for (at, more) in [("t0", &[][..]), ("latest", &["--listen", "127.0.0.1:0"])] {
        let want = restored(&root, at);
        let mounted = Mounted::start(&root, at, more);
        let uri = mounted.uri();
        assert_eq!(mounted.report["session"], SESSION.to_string());
        let info = must(tool("nbdinfo", "libnbd-bin").arg(&uri));
        for line in ["is_read_only: true", "can_multi_conn: true", "block_size_minimum: 512"] {
            assert!(info.contains(line), "{line} is not in {info}");
        }
        must(
            tool("qemu-img", "qemu-utils")
                .args(["compare", "-f", "raw", "-F", "raw"])
                .args([&uri, want.to_str().unwrap()]),
        );
        let copy = dir.path().join("copy.qcow2");
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        must(tool("qemu-img", "qemu-utils").args(convert).arg(&uri).arg(&copy));
        must(tool("qemu-img", "qemu-utils").arg("compare").arg(&copy).arg(&want));
        let back = dir.path().join("back.img");
        must(tool("nbdcopy", "libnbd-bin").arg("--connections=4").arg(&uri).arg(&back));
        assert!(std::fs::read(&back).unwrap() == std::fs::read(&want).unwrap(), "{at}");
        assert!(mounted.end().success(), "{at}");
    }
}

#[test]
fn a_file_comes_out_of_a_point_without_a_device_of_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (root, volume, file) = (at("repository"), at("volume.img"), at("report.txt"));
    let lines: Vec<String> = (0..5_000).map(|line| format!("line {line}\n")).collect();
    let content = lines.concat();
    std::fs::write(&file, &content).unwrap();
    std::fs::File::create(&volume).unwrap().set_len(16 << 20).unwrap();
    must(tool("mkntfs", "ntfs-3g").args(["--fast", "--force", "--quiet"]).arg(&volume));
    must(tool("ntfscp", "ntfs-3g").args(["--quiet"]).args([&volume, &file]).arg("report.txt"));
    must(program().arg("init").arg(&root));
    let seeded = run("seed", &root, &["--image", volume.to_str().unwrap()]);
    assert!(seeded.status.success(), "{}", text(&seeded.stderr));

    let mounted = Mounted::start(&root, "latest", &[]);
    let image = at("image");
    std::fs::write(&image, "").unwrap();
    let mut fuse =
        tool("nbdfuse", "libnbd-bin").arg(&image).arg(mounted.uri()).spawn().map(Process).unwrap();
    while std::fs::metadata(&image).unwrap().len() == 0 {
        let ended = fuse.0.try_wait().unwrap();
        assert!(ended.is_none(), "nbdfuse needs /dev/fuse: {ended:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let read = must(tool("ntfscat", "ntfs-3g").arg(&image).arg("report.txt"));
    let id = fuse.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    fuse.0.wait().unwrap();
    assert!(read == content);
    assert!(mounted.end().success());
}

#[test]
fn holes_are_told_and_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    filled(&root);
    let mounted = Mounted::start(&root, "latest", &[]);
    let map = must(tool("nbdinfo", "libnbd-bin").args(["--map", "--json"]).arg(mounted.uri()));
    let map: Value = serde_json::from_str(&map).unwrap();
    let runs = map.as_array().unwrap().iter().map(|run| {
        let number = |name: &str| run[name].as_u64().unwrap();
        (number("offset"), number("length"), number("type"))
    });
    let runs: Vec<_> = runs.collect();
    assert_eq!(
        runs,
        [(0, 2 * BLOCK, 0), (2 * BLOCK, BLOCK, 3), (3 * BLOCK, LENGTH - 3 * BLOCK, 0)]
    );
    let mut write = tool("qemu-io", "qemu-utils");
    let write = write.args(["-f", "raw", "-c", "write 0 4k"]).arg(mounted.uri()).output().unwrap();
    assert!(!write.status.success());
    // A client that does not care.
    let mut client = connected(&mounted.socket());
    for kind in [1, 4, 6] {
        let header = [&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, kind][..], &[9; 8], &[0; 8]].concat();
        let payload = vec![7; if kind == 1 { 512 } else { 0 }];
        client.write_all(&[header, 512_u32.to_be_bytes().to_vec(), payload].concat()).unwrap();
        let mut reply = [0; 16];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0, 0, 0, 1], "the request of kind {kind} is not permitted");
    }
    assert!(std::fs::read_to_string(&mounted.errors).unwrap().is_empty());
}

#[test]
fn what_is_written_covers_the_image_and_goes_with_the_mount() {
    // A volume of several pieces of an overlay, and a short one.
    const LONG: u64 = 5 * (64 << 10) + 3 * SECTOR;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let bytes: Vec<_> = (0..LONG).map(|at| u8::try_from(at / SECTOR % 251).unwrap()).collect();
    let block = driver.start();
    let block = [block, driver.data(RecordKind::Block, 0, &bytes)].concat();
    let sync = [block, driver.base_complete(), driver.epoch_end()].concat();
    common::ingest(&root, LONG, 1 << 20, &[sync]);
    let image = restored(&root, "t0");
    let mounted = Mounted::start(&root, "t0", &["--writable"]);
    // The same on the mount and on the image, in the same order.
    let mut seed = 1_u64;
    let mut commands = Vec::new();
    for step in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = (seed >> 33) % (LONG / SECTOR);
        let most = [3, 40, 400][step % 3].min(LONG / SECTOR - start);
        let (at, len) = (start * SECTOR, (1 + (seed >> 50) % most) * SECTOR);
        commands.push(match step % 4 {
            0 | 1 => format!("write -P {} {at} {len}", step + 1),
            2 => format!("write -z {at} {len}"),
            _ => format!("write -z -u {at} {len}"),
        });
    }
    for target in [mounted.uri(), image.to_str().unwrap().to_owned()] {
        let mut io = tool("qemu-io", "qemu-utils");
        io.args(["-f", "raw"]);
        for command in &commands {
            io.args(["-c", command]);
        }
        must(io.arg(target));
    }
    let compare = ["compare", "-f", "raw", "-F", "raw"];
    let (uri, image) = (mounted.uri(), image.to_str().unwrap().to_owned());
    must(tool("qemu-img", "qemu-utils").args(compare).args([&uri, &image]));
    assert!(mounted.end().success());
    let again = Mounted::start(&root, "t0", &[]);
    let back = dir.path().join("back.img");
    must(tool("nbdcopy", "libnbd-bin").arg(again.uri()).arg(&back));
    assert!(std::fs::read(&back).unwrap() == bytes, "the stored volume is as it was");
}

/// A client after the old handshake for the only export.
fn connected(socket: &Path) -> UnixStream {
    let mut client = UnixStream::connect(socket).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    client.write_all(&[0, 0, 0, 3]).unwrap();
    client.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    client
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_mount() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    filled(&root);
    let chosen = dir.path().join("chosen.sock");
    for more in [&[][..], &["--socket", chosen.to_str().unwrap()]] {
        let mounted = Mounted::start(&root, "latest", more);
        let socket = mounted.socket();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&socket), 0o600);
        if more.is_empty() {
            assert_eq!(mode(socket.parent().unwrap()), 0o700);
        }
        // A client that says nothing does not keep the mount.
        let silent = UnixStream::connect(&socket).unwrap();
        assert!(mounted.end().success());
        drop(silent);
        assert!(!socket.exists());
        assert!(more.is_empty() != socket.parent().unwrap().exists());
    }
    let elsewhere = run("mount", &root, &["--at", "latest", "--listen", "0.0.0.0:0"]);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(text(&elsewhere.stderr).contains("127.0.0.1"), "{}", text(&elsewhere.stderr));
    let never = run("mount", &root, &["--at", "2019-01-01T00:00:00Z"]);
    assert_eq!(never.status.code(), Some(3), "{}", text(&never.stderr));
}

#[test]
fn damage_is_an_error_for_the_client_and_named_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let sync = [driver.start(), driver.blocks(0..4), driver.epoch_end()].concat();
    let last = [driver.blocks(4..5), driver.base_complete(), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[sync, last]);
    let mounted = Mounted::start(&root, "t0", &[]);
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let damaged = bytes.windows(512).position(|it| it == [3; 512]).unwrap();
    bytes[damaged] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let read = |command: &str| {
        let mut io = tool("qemu-io", "qemu-utils");
        io.args(["-r", "-f", "raw", "-c", command]).arg(mounted.uri()).output().unwrap()
    };
    let failed = text(&read("read -P 3 32k 512").stdout);
    assert!(failed.contains("Input/output error"), "{failed}");
    let intact = text(&read("read -P 5 64k 512").stdout);
    assert!(intact.contains("512/512") && !intact.contains("failed"), "{intact}");
    let errors = std::fs::read_to_string(&mounted.errors).unwrap();
    assert!(errors.contains("segment-00000001.slseg"), "{errors}");
}

#[test]
fn diff_names_what_may_differ_and_with_content_what_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    let changes = [
        // The same bytes again, other bytes, zeros.
        driver.write(SECTOR, SECTOR, 1),
        driver.write(BLOCK + SECTOR, 2 * SECTOR, 9),
        driver.plain(RecordKind::Trim, 2 * BLOCK, SECTOR),
        driver.epoch_end(),
    ];
    common::ingest(&root, LENGTH, 1 << 20, &[sync, changes.concat()]);
    let ranges = |more: &[&str]| {
        let fixed = ["--from", "t0", "--to", "latest", "--json"];
        let done = run("diff", &root, &[&fixed, more].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        let ranges = report["changed"].as_array().unwrap().iter();
        let number = |range: &Value, name: &str| range[name].as_u64().unwrap() / SECTOR;
        ranges.map(|range| (number(range, "offset"), number(range, "len"))).collect::<Vec<_>>()
    };
    let block = BLOCK / SECTOR;
    assert_eq!(ranges(&[]), [(1, 1), (block + 1, 2), (2 * block, 1)]);
    assert_eq!(ranges(&["--content"]), [(block + 1, 2), (2 * block, 1)]);
    let said = run("diff", &root, &["--from", "t0", "--to", "latest"]);
    let said = text(&said.stdout);
    assert!(said.contains("1024 bytes at 16896"), "{said}");
    assert!(said.ends_with("2.00 KiB in 3 range(s) may differ\n"), "{said}");
    let same = run("diff", &root, &["--from", "latest", "--to", "latest"]);
    assert!(text(&same.stdout).ends_with("0 B in 0 range(s) may differ\n"));
}

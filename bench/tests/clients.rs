//! Third-party NBD clients against the host.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::{Bench, MIB, assert_same, fio, must, qemu_io, tool};

#[test]
fn nbdinfo_lists_the_export_and_its_features() {
    let (_bench, host) = Bench::hosted(4, &[]);
    let said = must(tool("nbdinfo", "libnbd-bin").arg("--list").arg(host.uri("")));
    for line in [
        "export=\"v\"",
        "export-size: 4194304",
        "can_fua: true",
        "can_multi_conn: true",
        "can_trim: true",
        "can_zero: true",
        "block_size_minimum: 512",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let said = tool("nbdinfo", "libnbd-bin").arg(host.uri("nothing")).output().unwrap();
    assert!(!said.status.success(), "there is no such export");
    host.quit().unwrap();
}

#[test]
fn qemu_io_reads_what_it_wrote_trimmed_and_zeroed() {
    let (bench, host) = Bench::hosted(4, &[]);
    let said = qemu_io(
        &host.uri("v"),
        &[
            "write -P 0x11 0 64k",
            "write -f -P 0x22 64k 4k",
            "write -z 128k 64k",
            "write -z -u 192k 64k",
            "discard 256k 64k",
            "flush",
            "read -P 0x11 0 64k",
            "read -P 0x22 64k 4k",
            "read -P 0 128k 192k",
        ],
    );
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}");
    assert!(!text.contains("verification failed") && !text.contains("error"), "{text}");
    let content = bench.content();
    assert_same("written", &content[..64 << 10], &vec![0x11; 64 << 10]);
    assert_same("cleared", &content[128 << 10..320 << 10], &vec![0; 192 << 10]);
    host.quit().unwrap();
}

#[test]
fn fio_verifies_what_it_wrote_over_several_connections() {
    let (bench, host) = Bench::hosted(16, &[]);
    must(fio(&host.uri("v"), bench.folder.path()).args([
        "--bsrange=4k-128k",
        "--numjobs=3",
        "--size=4m",
        "--offset_increment=4m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--fsync=32",
    ]));
    let served = &host.control().unwrap().statistics().unwrap()[0];
    assert!(served.errors == 0 && served.writes > 0 && served.reads > 0 && served.flushes > 0);
    host.quit().unwrap();
}

#[test]
fn nbdcopy_copies_in_and_out() {
    let (bench, source) = (Bench::new(32), Bench::new(32));
    let host = bench.host(&[]);
    let mut changed = source.content();
    changed[5 * MIB..6 * MIB].fill(0x5a);
    std::fs::write(&source.disk, &changed).unwrap();
    let copy = || {
        let mut command = tool("nbdcopy", "libnbd-bin");
        command.arg("--connections=4");
        command
    };
    must(copy().arg(&source.disk).arg(host.uri("v")));
    assert_same("copied in", &bench.content(), &changed);
    let back = bench.path("back.img");
    must(copy().arg(host.uri("v")).arg(&back));
    assert_same("copied out", &std::fs::read(back).unwrap(), &changed);
    host.quit().unwrap();
}

/// A client after the old handshake for the export `v`.
fn connected(socket: &Path) -> UnixStream {
    let mut client = UnixStream::connect(socket).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    client.write_all(&[0, 0, 0, 3]).unwrap();
    client.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\x01v").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    client
}

/// The header of a request.
fn request(kind: u8, offset: u64, len: u32) -> Vec<u8> {
    let start = [0x25, 0x60, 0x95, 0x13, 0, 0, 0, kind, 1, 1, 1, 1, 1, 1, 1, 1];
    [&start[..], &offset.to_be_bytes(), &len.to_be_bytes()].concat()
}

#[test]
fn a_violation_closes_its_connection_and_others_are_served() {
    let (_bench, host) = Bench::hosted(4, &[]);
    // Not a request.
    let mut client = connected(host.socket());
    client.write_all(&[0xff; 64]).unwrap();
    let mut rest = Vec::new();
    // The connection is closed, possibly by a reset.
    let _ = client.read_to_end(&mut rest);
    assert!(rest.is_empty());
    let mut silent = UnixStream::connect(host.socket()).unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();

    let said = qemu_io(&host.uri("v"), &["write -P 1 0 4k", "read -P 1 0 4k"]);
    assert!(said.status.success());
    host.quit().unwrap();
}

#[test]
fn a_connection_lost_during_a_write_changes_nothing() {
    let (bench, host) = Bench::hosted(4, &[]);
    let mut client = connected(host.socket());
    client.write_all(&request(1, 0, 1 << 20)).unwrap();
    client.write_all(&[7; 5000]).unwrap();
    drop(client);
    let before = bench.content();
    let mut control = host.control().unwrap();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while control.statistics().unwrap()[0].connections > 0 {
        assert!(std::time::Instant::now() < limit, "the connection stays");
    }
    assert_same("the volume", &bench.content(), &before);
    host.quit().unwrap();
}

#[test]
fn an_invalid_request_fails_and_the_connection_stays() {
    let (bench, host) = Bench::hosted(4, &["--sector", "4096"]);
    let mut client = connected(host.socket());
    let mut ask = |kind: u8, offset: u64, len: u32, payload: usize| {
        client.write_all(&[request(kind, offset, len), vec![9; payload]].concat()).unwrap();
        let mut reply = [0; 16];
        client.read_exact(&mut reply).unwrap();
        reply[7]
    };
    let before = bench.content();
    assert_eq!(ask(1, 4 << 20, 4096, 4096), 28);
    assert_eq!(ask(1, u64::MAX - 4095, 4096, 4096), 28);
    assert_eq!(ask(1, 512, 512, 512), 22, "sectors are whole");
    assert_eq!(ask(0, 4 << 20, 4096, 0), 22);
    assert_eq!(ask(4, 0, 1, 0), 22);
    assert_eq!(ask(99, 0, 4096, 0), 22);
    assert_eq!(ask(3, 0, 0, 0), 0);
    assert_same("the volume", &bench.content(), &before);
    host.quit().unwrap();
}

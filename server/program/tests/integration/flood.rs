//! Ten thousand connections over TLS that go no further: a session that streams goes on, a machine
//! that comes is served, and the server takes little memory and few threads for them.
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{self, BLOCK, Driver, LENGTH, Served, program};
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::socket::Socket;
use snapless_server::handles;
use snapless_server::security::trust_dir;
use snapless_trust::config::Purpose;
use snapless_trust::identity::Role;
use snapless_trust::keystore::Credentials;
use snapless_trust::rustls::ClientConfig;
use snapless_trust::server::ServerTrust;
use snapless_wire::frame::FrameKind;

const CONNECTIONS: usize = 10_000;
/// What the test has open besides: a multiple of a session's handles.
const OTHERS: usize = 400;
/// The machines that flood: each has its own address.
const PEERS: u8 = 100;
const FLOODERS: usize = 4;
/// Of the server while 256 connections wait, its most.
const MEMORY_MAX: u64 = 128 << 20;
const THREADS_MAX: usize = 400;
/// How long a machine tries to come in while the flood lasts.
const COMES_IN: Duration = Duration::from_mins(1);

/// A server over TLS.
fn start(root: &Path) -> Served {
    for words in [&["init"][..], &["ca", "init", "--repository"]] {
        let made = program().args(words).arg(root).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    Served::listen(program(), root, &["--listen", "127.0.0.1:0"]).unwrap()
}

/// A connection from one of the machines; `None` if the server's queue is full.
fn connect(from: u8, to: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 1, from + 1), 0));
    socket.bind(&own.into()).unwrap();
    socket.connect_timeout(&to.into(), LinkLimits::default().connect).ok()?;
    Some(socket.into())
}

/// What is kept of a connection, so that it stays open.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Kept {
    Tcp(TcpStream),
    Tls(Link),
}

/// Opens a connection: most go no further than TCP, a quarter begin their TLS, and every fortieth
/// ends it.
fn open(number: usize, to: SocketAddr, config: &Arc<ClientConfig>) -> Option<Kept> {
    let from = u8::try_from(number % usize::from(PEERS)).unwrap();
    let mut tcp = connect(from, to)?;
    match number % 40 {
        0 => {
            let socket = Socket::new(tcp, &common::TCP).unwrap();
            // The server may have turned it away.
            Link::secure(socket, config, &|| false).ok().map(Kept::Tls)
        }
        at => {
            if at % 4 == 1 {
                // The head of a ClientHello of 512 bytes, and the first of them.
                let begun = tcp.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7]);
                begun.ok()?;
            }
            Some(Kept::Tcp(tcp))
        }
    }
}

/// Ends the session's thread, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn store(link: &mut Link, records: &[u8], epoch: u64) {
    link.sender.send(FrameKind::Records, records).unwrap();
    match link.receiver.receive() {
        Ok(Some(Message::Acknowledge(ack))) => assert_eq!(ack.epoch().get(), epoch),
        other => panic!("want an acknowledgement, heard {other:?}"),
    }
}

/// A link of a machine that has said Hello, if it comes in.
fn greeted(machine: &Credentials, address: SocketAddr) -> Option<Link> {
    let (config, limits) = (machine.config(Purpose::Link).unwrap(), LinkLimits::default());
    let mut link = Link::connect_tls(&address.to_string(), &limits, &config, &|| false).ok()?;
    link.greet(&common::hello(LENGTH), &limits, &|| false).ok()?;
    Some(link)
}

#[test]
fn ten_thousand_connections_that_go_no_further_keep_nobody_out() {
    let sessions = (CONNECTIONS + OTHERS) / 4;
    let count = handles::raise(sessions).map_or(CONNECTIONS, |suffices| {
        println!("the system's limit of open files allows fewer connections");
        (4 * suffices).saturating_sub(OTHERS)
    });
    assert!(count >= 1000, "raise the limit of open files (ulimit -Hn)");
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = start(&root);
    let address = server.address;
    let trust = ServerTrust::open(&trust_dir(&root)).unwrap();
    let [streams, comes, floods] = [(); 3].map(|()| common::enrol(&trust, Role::Client, address));
    let config = floods.config(Purpose::Link).unwrap();
    let mut link = greeted(&streams, address).unwrap();
    let (is_over, epochs, opened) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut threads = 0;

    thread::scope(|scope| {
        scope.spawn(|| {
            let mut driver = Driver::default();
            store(&mut link, &driver.first_sync(), 1);
            for epoch in 2.. {
                store(&mut link, &[driver.write(0, BLOCK, 7), driver.epoch_end()].concat(), epoch);
                epochs.fetch_add(1, Ordering::Relaxed);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let flood: Vec<_> = (0..FLOODERS)
            .map(|first| {
                let (config, opened) = (&config, &opened);
                let numbers = (first..count).step_by(FLOODERS);
                scope.spawn(move || {
                    let count = |kept| {
                        opened.fetch_add(1, Ordering::Relaxed);
                        kept
                    };
                    numbers.filter_map(|number| count(open(number, address, config))).collect()
                })
            })
            .collect();
        let _end = Ends(&is_over);
        while opened.load(Ordering::Relaxed) < count / 2
            && flood.iter().any(|thread| !thread.is_finished())
        {
            threads = threads.max(server.threads());
            thread::sleep(Duration::from_millis(5));
        }
        let before = epochs.load(Ordering::Relaxed);
        let begun = Instant::now();
        let mut newer = loop {
            if let Some(link) = greeted(&comes, address) {
                break link;
            }
            assert!(begun.elapsed() < COMES_IN, "the machine is kept out");
        };
        store(&mut newer, &Driver::default().first_sync(), 1);
        while flood.iter().any(|thread| !thread.is_finished()) {
            threads = threads.max(server.threads());
            thread::sleep(Duration::from_millis(5));
        }
        let all: Vec<Vec<Kept>> = flood.into_iter().map(|thread| thread.join().unwrap()).collect();
        let after = epochs.load(Ordering::Relaxed);
        let kept: usize = all.iter().map(Vec::len).sum();
        assert!(kept > count / 2, "the flood came: {kept}");
        assert!(after > before, "the session went on: {before} and {after} epochs");
        println!("{kept} of {count} connections, {after} epochs meanwhile");
    });
    println!("{threads} threads, {} KiB", server.peak() >> 10);
    assert!((1..THREADS_MAX).contains(&threads), "{threads} threads");
    assert!((1..MEMORY_MAX).contains(&server.peak()), "{} bytes", server.peak());
}

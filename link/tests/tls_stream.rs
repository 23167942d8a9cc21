//! Frames over TLS: both ways at once, cuts, ends, waits.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::server::{Patience, ServerLink};
use snapless_trust::config::Purpose;
use snapless_types::{EpochId, Seq};
use snapless_wire::frame::{Acknowledge, FrameKind};
use support::{Site, config_of, connect, issued, never, valid_now};
use zerocopy::IntoBytes;

fn payload(index: usize, len: usize) -> Vec<u8> {
    (0..=250_u8).cycle().skip(index % 251).take(len).collect()
}

fn receive(server: &mut ServerLink) -> Result<(FrameKind, Vec<u8>), LinkError> {
    let mut payload = Vec::new();
    let frame = server.receive(Patience::Idle, &never, &mut payload)?;
    Ok((frame.kind(), payload))
}

#[test]
fn large_frames_and_answers_pass_in_both_directions_at_once() {
    const FRAMES: usize = 200;
    let site = Site::new();
    let (client, mut server, holder) = site.pair();
    assert_eq!(holder.identity.name, "machine");
    let Link { mut sender, mut receiver, closer, .. } = client;
    let length = |index: usize| (index * 7919) % (768 << 10) + 1;
    let text = |index: usize| "x".repeat((index * 104_729) % (60 << 10) + 1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for index in 0..FRAMES {
                sender.send(FrameKind::Records, &payload(index, length(index))).unwrap();
            }
            sender
        });
        scope.spawn(move || {
            for index in 0..FRAMES {
                let Some(Message::Refused(found)) = receiver.receive().unwrap() else {
                    panic!("another message")
                };
                assert!(found == text(index));
            }
        });
        for index in 0..FRAMES {
            server.send(FrameKind::Error, text(index).as_bytes()).unwrap();
            let (kind, found) = receive(&mut server).unwrap();
            assert!(kind == FrameKind::Records && found == payload(index, length(index)));
        }
    });
    closer.close();
    assert!(matches!(receive(&mut server), Err(LinkError::Closed)));
}

#[test]
fn a_goodbye_is_an_end_and_a_cut_is_an_error() {
    let site = Site::new();
    let (mut client, mut server, _) = site.pair();
    client.sender.send(FrameKind::Records, b"last").unwrap();
    client.sender.finish().unwrap();
    assert_eq!(receive(&mut server).unwrap().1, b"last");
    assert!(matches!(receive(&mut server), Err(LinkError::Closed)));
    // The other direction is still open.
    let ack = Acknowledge::new(EpochId::new(1), Seq::new(2));
    server.send(FrameKind::Acknowledge, ack.as_bytes()).unwrap();
    assert_eq!(client.receiver.receive().unwrap(), Some(Message::Acknowledge(ack)));
    // Dropped without a word, as by a process that was killed.
    drop(server);
    assert!(matches!(client.receiver.receive(), Err(LinkError::Lost(_))));
}

#[test]
fn closing_wakes_a_waiting_receiver_and_says_goodbye() {
    let site = Site::new();
    let (client, mut server, _) = site.pair();
    let Link { mut receiver, closer, .. } = client;
    let waiter = thread::spawn(move || receiver.receive());
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    closer.close();
    assert!(!matches!(waiter.join().unwrap(), Ok(Some(_))));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(matches!(receive(&mut server), Err(LinkError::Closed)));
}

#[test]
fn closing_does_not_wait_for_a_sender_whose_other_end_takes_nothing() {
    let site = Site::new();
    let (client, _server, _) = site.pair();
    let Link { mut sender, closer, .. } = client;
    let is_sending = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&is_sending);
    let stuck = thread::spawn(move || {
        let frame = vec![1; 1 << 20];
        while sender.send(FrameKind::Records, &frame).is_ok() {}
        flag.store(false, Ordering::Relaxed);
    });
    thread::sleep(Duration::from_millis(300));
    assert!(is_sending.load(Ordering::Relaxed));
    let begun = Instant::now();
    closer.close();
    stuck.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A proxy that passes `intact` bytes of the machine's, then does `then` with what follows.
fn proxied(intact: usize, then: fn(&mut [u8]) -> bool) -> (Site, Link, ServerLink) {
    let site = Site::new();
    let config = site.machine().config(Purpose::Link).unwrap();
    let serving = site.serve_one();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behind = serving.address;
    thread::spawn(move || {
        let near = listener.accept().unwrap().0;
        let far = TcpStream::connect(behind).unwrap();
        let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut near, mut far) = (near, far);
        let (mut passed, mut buffer) = (0, vec![0; 4096]);
        while let Ok(count @ 1..) = near.read(&mut buffer) {
            passed += count;
            if passed > intact && !then(&mut buffer[..count]) {
                break;
            }
            if far.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The end of the connection, without a goodbye of the machine's.
        let _gone = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
    });
    let client = connect(address, &config).unwrap();
    let (server, _) = serving.link();
    (site, client, server)
}

#[test]
fn a_frame_that_is_cut_in_the_middle_is_an_error() {
    let (_site, mut client, mut server) = proxied(300_000, |_| false);
    let sender = thread::spawn(move || {
        // Fails, or not, as the system notices the cut.
        let _cut = client.sender.send(FrameKind::Records, &payload(0, 768 << 10));
        client
    });
    assert!(matches!(receive(&mut server), Err(LinkError::Lost(_))));
    sender.join().unwrap();
}

#[test]
fn a_cut_between_two_frames_is_no_end_of_the_stream() {
    let (_site, mut client, mut server) = proxied(20_000, |_| false);
    client.sender.send(FrameKind::Records, &payload(0, 4096)).unwrap();
    assert_eq!(receive(&mut server).unwrap().1.len(), 4096);
    let _gone = client.sender.send(FrameKind::Records, &payload(0, 64 << 10));
    assert!(matches!(receive(&mut server), Err(LinkError::Lost(_))));
}

#[test]
fn a_changed_bit_on_the_way_is_noticed() {
    let (_site, mut client, mut server) = proxied(30_000, |bytes| {
        bytes[bytes.len() / 2] ^= 1;
        true
    });
    let sender = thread::spawn(move || {
        let _cut = client.sender.send(FrameKind::Records, &payload(0, 768 << 10));
        client
    });
    let error = receive(&mut server).unwrap_err().to_string();
    assert!(error.contains("tampered"), "{error}");
    drop(server);
    sender.join().unwrap();
}

#[test]
fn a_receiver_that_waits_does_not_keep_a_sender_from_sending() {
    let site = Site::new();
    let (client, mut server, _) = site.pair();
    let Link { mut sender, mut receiver, closer, .. } = client;
    let waiter = thread::spawn(move || receiver.receive());
    let begun = Instant::now();
    for _ in 0..20 {
        sender.send(FrameKind::Records, b"x").unwrap();
        receive(&mut server).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    closer.close();
    drop(waiter.join().unwrap());
}

#[test]
fn a_server_that_never_welcomes_is_given_up() {
    let site = Site::new();
    let (mut client, _server, _) = site.pair();
    let limits = LinkLimits { welcome: Duration::from_millis(50), ..LinkLimits::default() };
    let geometry = snapless_types::Geometry::new(1 << 20, 512, 65_536).unwrap();
    let (volume, session) = (snapless_wire::id::VolumeGuid([1; 16]), [2; 16]);
    let hello =
        snapless_wire::frame::Hello::new(volume, snapless_wire::id::SessionId(session), &geometry);
    let error = client.greet(&hello, &limits, &|| false).unwrap_err().to_string();
    assert!(error.contains("in time"), "{error}");
}

#[test]
fn an_end_of_an_older_release_is_refused_in_words_at_both_ends() {
    let site = Site::new();
    let shown = Some(issued(site.trust.authority(), valid_now()));
    let older = config_of(site.trust.authority(), shown, b"snapless/3");
    let serving = site.serve_one();
    let told = connect(serving.address, &older).unwrap_err().to_string();
    let refusal = serving.refusal();
    for text in [told, refusal] {
        assert!(text.contains("bring service and server to the same release"), "{text}");
    }
}

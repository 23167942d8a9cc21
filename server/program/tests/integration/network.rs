//! A fake service against the real server over real TCP: acknowledgements, refusals, cut
//! connections, resume.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{
    self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME, image,
};
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::packing::Packer;
use snapless_server::list::{Content, list};
use snapless_server::repository::Repository;
use snapless_server::restore::Source;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::Geometry;
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::SessionId;
use tempfile::TempDir;
use zerocopy::IntoBytes;

/// A server and its repository.
struct Site {
    server: Running,
    root: PathBuf,
    _dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        Self { server: Running::start(&root), root, _dir: dir }
    }

    /// A client that has said Hello, and what the server has of its session.
    fn resume(&self) -> (Client, (u64, u64)) {
        let (client, epoch, seq) = Client::resume(self.server.address);
        (client, (epoch, seq))
    }
}

/// The server's next message must be an error; its text.
fn error(client: &mut Client) -> String {
    let Said::Error(text) = client.hear() else { panic!("want an error") };
    text
}

fn content(root: &Path) -> Content {
    let volumes = list(&Repository::open(root).unwrap(), &StopFlag::default()).unwrap();
    volumes[0].sessions[0].content.clone()
}

#[test]
fn after_a_cut_unacknowledged_records_are_gone_and_a_gap_bridges_them() {
    let site = Site::new();
    let root = site.root.as_path();
    let (mut client, mut driver) = site.server.synced();
    let known_until = driver.time - driver.tick;
    // Lost: written to the segment perhaps, never acknowledged. The cut comes in the middle of a
    // frame.
    client.records(&driver.write(0, SECTOR, 0xbb));
    let whole = common::frame(FrameKind::Records, &driver.write(SECTOR, SECTOR, 0xbc));
    std::io::Write::write_all(&mut client.stream, &whole[..100]).unwrap();
    drop(client);

    let (mut client, durable) = site.resume();
    assert_eq!(durable, (1, 8));
    driver.epoch += 1;
    client.records(&driver.gap());
    client.records(&driver.epoch_end());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    assert!(matches!(content(root), Content::Gap(_)));
    // In the gap, the last point is the one before the cut.
    assert_eq!(image(root, At::Latest).unwrap().1, common::base_image());
    let in_gap = At::Time(snapless_wire::id::FileTime::new(known_until + 1));
    let source = Source { volume: VOLUME, session: None, at: in_gap };
    let never = root.with_extension("never");
    let refused = common::restore_to(root, source, &never).unwrap_err();
    assert!(refused.to_string().contains("nearest point before"), "{refused}");
    assert!(!never.exists());

    let records = [driver.resync(0, 0xdd), driver.consistent(), driver.epoch_end()].concat();
    client.records(&records);
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    let mut want = common::base_image();
    assert_eq!(image(root, At::T0).unwrap().1, want);
    common::patch(&mut want, 0, BLOCK, 0xdd);
    assert_eq!(image(root, At::Latest).unwrap().1, want);
}

#[test]
fn a_stream_that_leaves_records_out_without_a_gap_after_a_cut_is_refused() {
    let site = Site::new();
    let (client, mut driver) = site.server.synced();
    drop(client);
    let (mut client, _) = site.resume();
    driver.seq += 1;
    client.records(&driver.write(0, SECTOR, 1));
    let text = error(&mut client);
    assert!(text.contains("LOSS") && text.contains("GapBegin"), "{text}");
    assert_eq!(client.hear(), Said::Closed);
}

#[test]
fn records_sent_again_after_a_cut_at_any_record_make_no_gap() {
    let mut driver = Driver::default();
    let mut records = vec![driver.start()];
    records.extend((0..5).map(|index| driver.block(index, 1 + u8::try_from(index).unwrap())));
    records.extend([driver.base_complete(), driver.epoch_end()]);
    for byte in [0xa1, 0xa2] {
        records.extend([driver.write(BLOCK, SECTOR, byte), driver.epoch_end()]);
    }
    let mut want = common::base_image();
    common::patch(&mut want, BLOCK, SECTOR, 0xa2);
    for cut in 0..=records.len() {
        let site = Site::new();
        let (mut client, _) = site.resume();
        records[..cut].iter().for_each(|record| client.records(record));
        if let Some(torn) = records.get(cut) {
            let torn = common::frame(FrameKind::Records, torn);
            std::io::Write::write_all(&mut client.stream, &torn[..torn.len() - 1]).unwrap();
        }
        drop(client);
        let (mut client, (_, durable)) = site.resume();
        let durable = usize::try_from(durable).unwrap();
        assert!(durable <= cut && [0, 8, 10, 12].contains(&durable), "cut {cut}: {durable}");
        records[durable..].iter().for_each(|record| client.records(record));
        while durable < records.len() {
            match client.hear() {
                Said::Acknowledge { epoch: 3, .. } => break,
                Said::Acknowledge { .. } => {}
                other => panic!("cut {cut}: {other:?}"),
            }
        }
        let Content::Complete(stream) = content(&site.root) else { panic!("cut {cut}") };
        assert_eq!((stream.gaps.len(), stream.records), (0, 12), "cut {cut}");
        assert_eq!(image(&site.root, At::T0).unwrap().1, common::base_image(), "cut {cut}");
        assert_eq!(image(&site.root, At::Latest).unwrap().1, want, "cut {cut}");
    }
}

#[test]
fn a_write_ahead_of_its_block_is_refused_loudly_and_nothing_of_it_is_kept() {
    let site = Site::new();
    let (mut client, _) = site.resume();
    let mut driver = Driver::default();
    let records = [
        driver.start(),
        driver.block(0, 1),
        driver.write(BLOCK - SECTOR, 2 * SECTOR, 2),
        driver.epoch_end(),
    ]
    .concat();
    client.records(&records);
    let text = error(&mut client);
    assert!(text.contains("T0") && text.contains("block 1"), "{text}");
    assert_eq!(site.resume().1, (0, 0));
}

#[test]
fn frames_out_of_turn_and_garbage_are_refused() {
    let site = Site::new();
    let mut client = Client::connect(site.server.address);
    client.records(&Driver::default().start());
    let text = error(&mut client);
    assert!(text.contains("Hello"), "{text}");

    let mut client = Client::connect(site.server.address);
    std::io::Write::write_all(&mut client.stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let text = error(&mut client);
    assert!(text.contains("SLFR"), "{text}");

    let (mut client, _) = site.resume();
    let mut damaged = common::frame(FrameKind::Records, &Driver::default().start());
    damaged[40] ^= 1;
    std::io::Write::write_all(&mut client.stream, &damaged).unwrap();
    let text = error(&mut client);
    assert!(text.contains("checksum"), "{text}");
}

#[test]
fn the_newest_connection_of_a_session_wins() {
    let site = Site::new();
    let (mut older, _) = site.resume();
    let (mut newer, _) = site.resume();
    let text = error(&mut older);
    assert!(text.contains("newer connection"), "{text}");
    newer.records(&Driver::default().first_sync());
    assert_eq!(newer.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
}

#[test]
fn another_geometry_for_a_known_session_is_refused() {
    let site = Site::new();
    drop(site.resume());
    let mut client = Client::connect(site.server.address);
    let geometry = Geometry::new(LENGTH, 512, 32 << 10).unwrap();
    let hello = Hello::new(VOLUME, SESSION, &geometry);
    client.send(FrameKind::Hello, hello.as_bytes());
    let text = error(&mut client);
    assert!(text.contains("start a new session"), "{text}");
}

#[test]
fn a_record_after_an_epoch_end_in_one_frame_is_refused_and_nothing_of_the_frame_is_kept() {
    let site = Site::new();
    let (mut client, _) = site.resume();
    let mut driver = Driver::default();
    let records = [driver.first_sync(), driver.write(0, SECTOR, 7)].concat();
    client.records(&records);
    let text = error(&mut client);
    assert!(text.contains("record 9") && text.contains("EpochEnd"), "{text}");
    assert_eq!(site.resume().1, (0, 0));
}

/// Says Hello for another session; the server's answer.
fn hello_of(client: &mut Client, session: u8) -> Said {
    client.hello(SessionId([session; 16]));
    client.hear()
}

#[test]
fn connections_that_say_nothing_keep_no_session_out() {
    let site = Site::new();
    let (mut streaming, mut driver) = site.server.synced();
    let mut idle: Vec<_> = (0..200).map(|_| Client::connect(site.server.address)).collect();
    let mut newer = Client::connect(site.server.address);
    assert_eq!(hello_of(&mut newer, 9), Said::Welcome { epoch: 0, seq: 0 });
    streaming.records(&[driver.write(0, SECTOR, 1), driver.epoch_end()].concat());
    assert_eq!(streaming.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
    let text = error(&mut idle[0]);
    assert!(text.contains("Hello"), "{text}");
}

#[test]
fn a_hello_that_comes_byte_by_byte_or_never_is_given_up_and_a_long_one_is_refused() {
    let site = Site::new();
    let begun = Instant::now();
    let mut silent = Client::connect(site.server.address);
    let mut slow = Client::connect(site.server.address);
    let hello = common::frame(FrameKind::Hello, common::hello(LENGTH).as_bytes());
    let mut slow_end = slow.stream.try_clone().unwrap();
    let dribble = std::thread::spawn(move || {
        // 64 bytes in more than a minute.
        hello
            .iter()
            .take_while(|byte| {
                std::thread::sleep(Duration::from_millis(1100));
                std::io::Write::write_all(&mut slow_end, &[**byte]).is_ok()
            })
            .count()
    });
    let mut long = Client::connect(site.server.address);
    let header = common::frame(FrameKind::Hello, &vec![0; 1 << 20]);
    std::io::Write::write_all(&mut long.stream, &header[..100]).unwrap();
    let text = error(&mut long);
    assert!(text.contains("past the limit"), "{text}");
    for client in [&mut silent, &mut slow] {
        let text = error(client);
        assert!(text.contains("in time"), "{text}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(dribble.join().unwrap() < 20);
}

#[test]
fn one_session_more_than_the_limit_is_refused_and_told_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_sessions(&dir.path().join("repository"), 2);
    let connect = |session| {
        let mut client = Client::connect(server.address);
        let said = hello_of(&mut client, session);
        (client, said)
    };
    let welcome = Said::Welcome { epoch: 0, seq: 0 };
    let [first, second, third, again] = [1, 2, 3, 1].map(connect);
    assert_eq!((&first.1, &second.1, &again.1), (&welcome, &welcome, &welcome));
    let Said::Error(text) = &third.1 else { panic!("{:?}", third.1) };
    assert!(text.contains("2 sessions") && text.contains("--sessions-max"), "{text}");
    drop((first, second, again));
    let begun = Instant::now();
    while connect(3).1 != welcome {
        assert!(begun.elapsed() < Duration::from_secs(10), "no place becomes free");
    }
}

#[test]
fn a_damaged_session_is_put_aside_and_the_service_can_begin_a_new_one() {
    let site = Site::new();
    let (client, _) = site.server.synced();
    drop(client);
    let session = site.root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let header = session.join("session.snapless");
    let good = std::fs::read(&header).unwrap();
    std::fs::write(&header, [&good[..40], &[0xff], &good[41..]].concat()).unwrap();
    let segment = std::fs::read(session.join("segment-00000001.slseg")).unwrap();

    // Nothing of it is durable: a service that resumes it then starts over.
    let limits = LinkLimits::default();
    let address = site.server.address.to_string();
    let mut link = Link::connect(&address, &limits, &|| false).unwrap();
    let welcome = link.greet(&common::hello(LENGTH), &limits, &|| false).unwrap();
    assert!(welcome.is_put_aside());
    drop(link);
    let (mut client, durable) = site.resume();
    assert_eq!(durable, (0, 0));
    client.records(&Driver::default().start());
    let text = error(&mut client);
    assert!(text.contains("put aside") && text.contains("new session"), "{text}");
    let mut newer = Client::connect(site.server.address);
    assert_eq!(hello_of(&mut newer, 9), Said::Welcome { epoch: 0, seq: 0 });
    newer.records(&Driver::default().first_sync());
    assert_eq!(newer.hear(), Said::Acknowledge { epoch: 1, seq: 8 });

    let listed = list(&Repository::open(&site.root).unwrap(), &StopFlag::default()).unwrap();
    let [damaged, complete] = &listed[0].sessions[..] else { panic!("{listed:?}") };
    assert!(
        matches!(damaged.content, Content::Damaged { .. })
            && damaged.session == SESSION.to_string()
    );
    assert!(matches!(complete.content, Content::Complete(_)), "{complete:?}");
    assert_eq!(std::fs::read(session.join("segment-00000001.slseg")).unwrap(), segment);
    std::fs::write(&header, good).unwrap();
    assert_eq!(site.resume().1, (1, 8), "put right, it goes on");
}

#[test]
fn a_repository_that_is_no_longer_in_its_place_gets_nothing() {
    let site = Site::new();
    drop(site.server.synced());
    let away = site.root.with_extension("unmounted");
    std::fs::rename(&site.root, &away).unwrap();
    std::fs::create_dir(&site.root).unwrap();
    let mut client = Client::connect(site.server.address);
    client.send(FrameKind::Hello, common::hello(LENGTH).as_bytes());
    let text = error(&mut client);
    assert!(text.contains("repository.snapless") && text.contains("put it back"), "{text}");
    assert_eq!(std::fs::read_dir(&site.root).unwrap().count(), 0, "nothing is made there");
    std::fs::remove_dir(&site.root).unwrap();
    std::fs::rename(&away, &site.root).unwrap();
    assert_eq!(site.resume().1, (1, 8));
}

#[test]
fn frames_that_are_compressed_are_stored_as_they_were_made() {
    let site = Site::new();
    let limits = LinkLimits::default();
    let mut link = Link::connect(&site.server.address.to_string(), &limits, &|| false).unwrap();
    let welcome = link.greet(&common::hello(LENGTH), &limits, &|| false).unwrap();
    assert!(welcome.takes_packed());
    let mut packer = Packer::new().unwrap();
    let records = Driver::default().first_sync();
    link.sender.send(FrameKind::Packed, packer.pack(&records).unwrap()).unwrap();
    let said = link.receiver.receive().unwrap();
    let Some(Message::Acknowledge(acknowledge)) = said else { panic!("{said:?}") };
    assert_eq!((acknowledge.epoch().get(), acknowledge.seq().get()), (1, 8));
    assert_eq!(image(&site.root, At::T0).unwrap().1, common::base_image());
    // The checksum that the service made holds in the repository.
    let repository = Repository::open(&site.root).unwrap();
    assert_eq!(verify(&repository, &StopFlag::default(), |_| ()).unwrap().damage, []);

    let mut damaged = packer.pack(&records).unwrap().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    link.sender.send(FrameKind::Packed, &damaged).unwrap();
    let said = link.receiver.receive().unwrap();
    let Some(Message::Refused(text)) = said else { panic!("{said:?}") };
    assert!(text.contains("Packed") || text.contains("checksum"), "{text}");
}

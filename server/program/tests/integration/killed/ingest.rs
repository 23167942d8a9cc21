//! `serve`, while it stores a stream.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{kills, seeded, sound};
use crate::common::traced::{Ended, Kill, Traced};
use crate::common::{self, BLOCK, Client, Driver, LENGTH, SECTOR, Said, Served, program};
use nix::sys::signal::{Signal, kill};
use snapless_server::list::{Content, list};
use snapless_server::repository::Repository;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_wire::frame::FrameKind;

const EPOCHS: u8 = 12;

/// A stream, an epoch a frame, with the number of each one's last record.
struct Stream {
    frames: Vec<(Vec<u8>, u64)>,
    latest: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        let (mut driver, mut latest) = (Driver::default(), common::base_image());
        let mut frames = vec![(driver.first_sync(), driver.seq)];
        for number in 1..EPOCHS {
            let offset = u64::from(number) * 3 * SECTOR;
            common::patch(&mut latest, offset, BLOCK, number);
            let frame = [driver.write(offset, BLOCK, number), driver.epoch_end()].concat();
            frames.push((frame, driver.seq));
        }
        Self { frames, latest }
    }

    /// Sends what the server lacks, an epoch at a time; returns the last that was acknowledged.
    fn send(&self, address: SocketAddr) -> Option<u64> {
        let mut client = Client::try_connect(address)?;
        client.try_send(FrameKind::Hello, zerocopy::IntoBytes::as_bytes(&common::hello(LENGTH)));
        let Said::Welcome { epoch: mut acknowledged, .. } = client.hear() else { return None };
        while let Some((frame, _)) = self.frames.get(usize::try_from(acknowledged).unwrap()) {
            client.try_send(FrameKind::Records, frame);
            let Said::Acknowledge { epoch, .. } = client.hear() else { break };
            acknowledged = epoch;
        }
        Some(acknowledged)
    }
}

/// Runs a server until all is acknowledged, or it is killed; returns what was.
fn serve(root: &Path, stream: &Stream, at: Option<Kill>) -> Option<(Ended, u64)> {
    let mut command: Command = program();
    command.args(["serve", "--insecure", "--listen", "127.0.0.1:0", "--repository"]).arg(root);
    let mut traced = Traced::start(&command, at)?;
    let mut line = String::new();
    BufReader::new(&mut traced.stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").map(|it| it.parse().unwrap());
    let acknowledged = address.and_then(|address| stream.send(address)).unwrap_or(0);
    // It may be dead.
    _ = kill(traced.id, Signal::SIGTERM);
    Some((traced.wait(), acknowledged))
}

#[test]
fn a_server_killed_at_any_call_has_all_that_it_acknowledged() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let stream = Stream::new();
    drop(common::repository(&root));
    let Some((whole, acknowledged)) = serve(&root, &stream, None) else { return };
    assert_eq!((whole.code, acknowledged), (Some(0), EPOCHS.into()), "{}", whole.stderr);
    let mut rng = seeded();
    for number in 0..kills() {
        fs::remove_dir_all(&root).unwrap();
        drop(common::repository(&root));
        let at = Kill::draw(&mut rng, whole.calls);
        let (_, acknowledged) = serve(&root, &stream, Some(at)).unwrap();
        println!("kill {number}: {at:?} of {} calls, {acknowledged} acknowledged", whole.calls);
        sound(&root);
        if acknowledged > 0 {
            let (report, _) = common::image(&root, At::Latest).unwrap();
            assert!(report.records > 0);
        }
        let server = Served::start(&root);
        let (client, epoch, seq) = Client::resume(server.address);
        assert!(epoch >= acknowledged, "{epoch} of {acknowledged} are there");
        if let Some(last) = usize::try_from(epoch).unwrap().checked_sub(1) {
            assert_eq!(seq, stream.frames[last].1);
        }
        drop(client);
        assert_eq!(stream.send(server.address), Some(EPOCHS.into()), "it goes on");
        drop(server);
        sound(&root);
        assert!(common::image(&root, At::Latest).unwrap().1 == stream.latest);
        assert!(common::image(&root, At::T0).unwrap().1 == common::base_image());
        let listed = list(&Repository::open(&root).unwrap(), &StopFlag::default()).unwrap();
        let Content::Complete(found) = &listed[0].sessions[0].content else { panic!("{listed:?}") };
        assert_eq!((found.records, found.gaps.len()), (stream.frames.last().unwrap().1, 0));
    }
}

//! A stream to a `snapless-server`, without a volume and an engine: what the server does with it is
//! all that takes time.

use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkCloser, LinkLimits, Message, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_types::Geometry;
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::history::SESSION;
use crate::stream::{BLOCK, FRAME_LEN, Far, Pace, Stream};

/// Bytes of an epoch in the driver's default limits, as frames.
const EPOCH_FRAMES: u64 = 16;
/// Longest wait for an acknowledgement.
const LIMIT: Duration = Duration::from_mins(5);

/// A stream to a server.
pub struct Feed(Stream<Remote>);

impl Feed {
    /// Begins a session of a volume of `length` bytes.
    pub fn begin(address: &str, volume: &str, length: u64) -> Result<Self> {
        let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
        let mut link = connect(address)?;
        greet(&mut link, volume, session, length)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ticks = u64::try_from(now.as_nanos() / 100).unwrap_or(0);
        let begin = FileTime::new(FileTime::UNIX_EPOCH.get() + ticks);
        let pace = Pace { begin, ticks: 1, frame_len: FRAME_LEN, epoch_frames: EPOCH_FRAMES };
        Ok(Self(Stream::begin(Remote::new(link)?, pace)?))
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut Stream<Remote> {
        &mut self.0
    }

    /// Ends the epoch, and waits until it is durable at the server.
    pub fn settle(&mut self) -> Result<()> {
        self.0.end_epoch()?;
        let last = self.0.ended_epoch();
        self.0.far().wait(last)
    }
}

/// Seconds that a server takes to answer the Hello of the session that [`crate::history`] wrote of
/// a volume of `length` bytes.
pub fn hello_seconds(address: &str, volume: &str, length: u64) -> Result<f64> {
    let mut link = connect(address)?;
    let began = Instant::now();
    greet(&mut link, volume, SESSION, length)?;
    let seconds = began.elapsed().as_secs_f64();
    link.closer.close();
    Ok(seconds)
}

fn connect(address: &str) -> Result<Link> {
    Ok(Link::connect(address, &LinkLimits::default(), &|| false)?)
}

fn greet(link: &mut Link, volume: &str, session: SessionId, length: u64) -> Result<()> {
    let volume = VolumeGuid::parse_name(volume)
        .ok_or_else(|| Error::Sink(format!("{volume:?} is not a GUID")))?;
    let geometry = Geometry::new(length, 512, BLOCK).map_err(Error::Geometry)?;
    let hello = Hello::new(volume, session, &geometry);
    link.greet(&hello, &LinkLimits::default(), &|| false)?;
    Ok(())
}

/// The link of a feed, after the greeting.
pub struct Remote {
    sender: FrameSender,
    closer: LinkCloser,
    /// Epochs that are durable, and in the end why there are no more.
    durable: Receiver<Result<u64, LinkError>>,
    receiver: Option<JoinHandle<()>>,
}

impl Remote {
    fn new(link: Link) -> Result<Self> {
        let Link { sender, mut receiver, closer, .. } = link;
        let (tell, durable) = channel();
        let receive = move || {
            loop {
                let found = next(&mut receiver);
                let is_end = found.is_err();
                if tell.send(found).is_err() || is_end {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("acknowledge".to_owned());
        let receiver = Some(thread.spawn(receive).map_err(Error::Thread)?);
        Ok(Self { sender, closer, durable, receiver })
    }

    fn wait(&self, last: u64) -> Result<()> {
        loop {
            match self.durable.recv_timeout(LIMIT) {
                Ok(Ok(epoch)) if epoch >= last => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Error::Sink("the server acknowledges nothing".to_owned())),
            }
        }
    }
}

impl Far for Remote {
    fn append(&mut self, records: &[u8]) -> Result<()> {
        self.sender.send(FrameKind::Records, records)?;
        Ok(())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.closer.close();
        if let Some(receiver) = self.receiver.take() {
            // It ends with the link.
            let _ = receiver.join();
        }
    }
}

/// The next epoch that is durable.
fn next(receiver: &mut MessageReceiver) -> Result<u64, LinkError> {
    match receiver.receive()? {
        Some(Message::Acknowledge(acknowledge)) => Ok(acknowledge.epoch().get()),
        Some(Message::Refused(text)) => Err(LinkError::Refused(text)),
        Some(other) => Err(LinkError::OutOfPlace(other.kind())),
        None => Err(LinkError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use snapless_server::list::list;
    use snapless_server::repository::{Repository, WritableRepository};
    use snapless_server::serve::Server;
    use snapless_server::stop::StopFlag;

    use super::*;

    #[test]
    fn a_settled_feed_is_in_the_repository_and_a_server_that_ends_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("r");
        drop(WritableRepository::init(&root).unwrap());
        let server = Server::bind(([127, 0, 0, 1], 0).into(), &root).unwrap();
        let (address, stopper) = (server.address().to_string(), server.stopper());
        thread::scope(|scope| {
            let running = scope.spawn(|| server.run());
            let volume = "11111111-1111-1111-1111-111111111111";
            let mut feed = Feed::begin(&address, volume, 1 << 20).unwrap();
            let content = vec![5; 1 << 16];
            for block in 0..16 {
                feed.stream().block(block << 16, &content).unwrap();
            }
            feed.stream().base_complete().unwrap();
            feed.stream().write(0, &[6; 4096]).unwrap();
            feed.settle().unwrap();
            let listed = list(&Repository::open(&root).unwrap(), &StopFlag::default()).unwrap();
            let stream = listed[0].sessions[0].content.stream().unwrap();
            assert_eq!((stream.records, stream.last_epoch), (feed.0.records(), 2));
            stopper.stop();
            running.join().unwrap();
            let after = (0..100).find_map(|_| feed.settle().err());
            assert!(after.is_some(), "nothing is durable without a server");
        });
    }
}

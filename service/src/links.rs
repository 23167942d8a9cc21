//! The links of one claimed session, one after the other.
//!
//! A link sends what the [`Window`] has and takes the server's acknowledgements. When it breaks,
//! the next one is dialled, with growing pauses, and goes on behind what is durable: nothing is
//! lost, and the session stays claimed.
//!
//! Rule LOSS (rules.md#loss): an acknowledgement counts only if it is for an epoch whose end this
//! link has sent. What a server has is compared with what it acknowledged before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use snapless_driver_client::{DriverError, DriverPort};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkCloser, LinkLimits, Message, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_link::meeting::Invitation;
use snapless_link::packing::Packer;
use snapless_wire::frame::{Acknowledge, FrameKind, Hello, Welcome};
use zerocopy::IntoBytes;

use crate::attempt::{guarded, repeat};
use crate::backoff::BackoffLimits;
use crate::connector::Connector;
use crate::counters::Counters;
use crate::session::Reason;
use crate::stop::StopSignal;
use crate::stream::error::StreamError;
use crate::throttle::Throttle;
use crate::window::{Next, NoJoint, Window};

/// How a pipeline reaches its server.
#[derive(Clone, Copy)]
pub struct Dialling<'a> {
    /// Makes a connection.
    pub connector: &'a Connector,
    /// Limits of the link.
    pub limits: &'a LinkLimits,
    /// Waits between attempts.
    pub backoff: BackoffLimits,
    /// The greeting.
    pub hello: Hello,
    /// The server is asked what it has.
    pub compare: bool,
    /// Frames are compressed, if the server takes such.
    pub compress: bool,
    /// How fast it is sent.
    pub throttle: &'a Throttle,
    /// Called when a link after the first one is there.
    pub linked: &'a (dyn Fn() + Sync),
    /// Called with what a verification has found, if that is trouble.
    pub differs: &'a (dyn Fn(&str) + Sync),
    /// Called when the server calls the volume to a meeting.
    pub called: &'a (dyn Fn(Invitation) + Sync),
    /// Called with the reason when a link has broken or could not be made.
    pub failed: &'a (dyn Fn(StreamError) + Sync),
}

/// The links of a claim.
pub struct Links<'a> {
    port: &'a dyn DriverPort,
    dialling: &'a Dialling<'a>,
    counters: &'a Counters,
    window: &'a Window,
    halted: &'a StopSignal,
    /// Ends the present link.
    closer: Mutex<Option<LinkCloser>>,
    /// The present link's server takes frames that are compressed. It carries no other data, so
    /// relaxed ordering is enough.
    packs: AtomicBool,
}

impl<'a> Links<'a> {
    /// The links of the session that `port` has claimed, until `halted` is set.
    pub fn new(
        port: &'a dyn DriverPort,
        dialling: &'a Dialling<'a>,
        counters: &'a Counters,
        window: &'a Window,
        halted: &'a StopSignal,
    ) -> Self {
        let (closer, packs) = (Mutex::new(None), AtomicBool::new(false));
        Self { port, dialling, counters, window, halted, closer, packs }
    }

    /// Serves `link`, which was joined, and the links after it. `None` once the session has ended
    /// and everything is durable, or when `halted` is set; otherwise why a new session must begin.
    pub fn run(&self, mut link: Link) -> Result<Option<Reason>, StreamError> {
        loop {
            let served = self.serve(link);
            if self.halted.is_set() || self.window.is_over() {
                return Ok(None);
            }
            match served {
                Err(StreamError::Panicked(text)) => return Err(StreamError::Panicked(text)),
                Err(StreamError::Driver(error)) => return Err(error.into()),
                Err(error) => (self.dialling.failed)(error),
                Ok(()) => (self.dialling.failed)(LinkError::Closed.into()),
            }
            let Some((next, welcome)) = self.dial() else { return Ok(None) };
            if let Some(reason) = self.join(&welcome)? {
                return Ok(Some(reason));
            }
            (self.dialling.linked)();
            link = next;
        }
    }

    /// Ends the present link, whatever its threads wait for.
    pub fn hang_up(&self) {
        self.window.end_link();
        if let Some(closer) = &*self.closer.lock().unwrap_or_else(PoisonError::into_inner) {
            closer.close();
        }
    }

    /// Dials until a server gives its welcome; `None` when `halted` is set.
    fn dial(&self) -> Option<(Link, Welcome)> {
        let Dialling { connector, limits, backoff, hello, failed, .. } = self.dialling;
        let cancelled = || self.halted.is_set();
        for delay in backoff.delays() {
            if self.halted.wait_for(delay) {
                break;
            }
            let dialled = connector.connect(limits, &cancelled).and_then(|mut link| {
                let welcome = link.greet(hello, limits, &cancelled)?;
                Ok((link, welcome))
            });
            match dialled {
                Ok(linked) => return Some(linked),
                Err(_) if cancelled() => break,
                Err(error) => failed(error.into()),
            }
        }
        None
    }

    /// Compares what the server has with what it acknowledged and with what the window has: the
    /// link goes on behind it, unless a reason is returned for which a new session must begin.
    pub fn join(&self, welcome: &Welcome) -> Result<Option<Reason>, StreamError> {
        let acknowledged = self.counters.last_acknowledged();
        if welcome.durable_epoch() < acknowledged.epoch() {
            let durable = welcome.durable_epoch().get();
            let acknowledged = acknowledged.epoch().get();
            return Ok(Some(Reason::Lost { durable, acknowledged }));
        }
        if welcome.is_put_aside() {
            return Ok(Some(Reason::Unknown));
        }
        self.packs.store(self.dialling.compress && welcome.takes_packed(), Ordering::Relaxed);
        let durable = Acknowledge::new(welcome.durable_epoch(), welcome.durable_seq())
            .with_latest(welcome.latest());
        let joined = if self.dialling.compare {
            self.window.begin_comparing_link(welcome)
        } else {
            self.window.begin_link(welcome)
        };
        match joined {
            // Its acknowledgement was lost with the link.
            Ok(true) => self.accept(durable).map(|()| None),
            Ok(false) => {
                self.counters.acknowledged(durable);
                Ok(None)
            }
            Err(NoJoint::Behind) => Err(StreamError::WindowExceeded),
            Err(NoJoint::Other) => Ok(Some(Reason::OtherPast { durable: welcome.durable_seq() })),
            Err(NoJoint::Ahead) => {
                let (durable, captured) = (welcome.durable_seq(), self.window.last());
                Ok(Some(Reason::Ahead { durable, captured }))
            }
        }
    }

    /// Serves one link until it ends; `Ok` if the server closed it.
    fn serve(&self, link: Link) -> Result<(), StreamError> {
        let Link { sender, receiver, closer, .. } = link;
        *self.closer.lock().unwrap_or_else(PoisonError::into_inner) = Some(closer);
        if self.halted.is_set() {
            self.hang_up();
        }
        let (sent, received) = thread::scope(|scope| {
            // The end of one half ends the other.
            let sending = scope.spawn(|| {
                let sent = guarded(|| self.send(sender));
                if !matches!(sent, Ok(Ok(()))) {
                    self.hang_up();
                }
                sent
            });
            let received = guarded(|| self.receive(receiver));
            self.hang_up();
            (sending.join().unwrap_or_else(|_| Err(String::new())), received)
        });
        let (sent, received) = match (sent, received) {
            (Ok(sent), Ok(received)) => (sent, received),
            (Err(text), _) | (_, Err(text)) => return Err(StreamError::Panicked(text)),
        };
        match received {
            Err(StreamError::Link(LinkError::Cancelled)) => sent,
            received => received,
        }
    }

    fn send(&self, mut sender: FrameSender) -> Result<(), StreamError> {
        let packs = self.packs.load(Ordering::Relaxed);
        // Without memory for it frames go as they are.
        let mut packer = packs.then(Packer::new).and_then(Result::ok);
        loop {
            match self.window.next() {
                Next::Frame(frame) => {
                    let shorter = packer.as_mut().and_then(|packer| packer.pack(&frame.payload));
                    let (kind, payload) = match shorter {
                        Some(shorter) => (FrameKind::Packed, shorter),
                        None => (FrameKind::Records, &frame.payload[..]),
                    };
                    self.dialling.throttle.wait(payload.len(), self.halted);
                    self.counters.sent(sender.send(kind, payload)?);
                    self.counters.compressed(frame.payload.len() - payload.len());
                }
                Next::Compare(request) => {
                    let sent = sender.send(FrameKind::Compare, &request.to_bytes())?;
                    self.counters.sent(sent);
                }
                Next::Watermark(watermark) => {
                    let sent = sender.send(FrameKind::Watermark, watermark.as_bytes())?;
                    self.counters.sent(sent);
                }
                Next::Report(report) => {
                    self.counters.sent(sender.send(FrameKind::Report, &report)?);
                    self.window.reported();
                }
                // The server closes the link once all of it is durable.
                Next::Finish => return Ok(sender.finish()?),
                Next::End => return Ok(()),
            }
        }
    }

    fn receive(&self, mut receiver: MessageReceiver) -> Result<(), StreamError> {
        while let Some(message) = receiver.receive()? {
            match message {
                // The answer to a watermark.
                Message::Acknowledge(again)
                    if again.is_of_same_epoch(&self.counters.last_acknowledged()) =>
                {
                    self.counters.acknowledged(again);
                }
                Message::Acknowledge(acknowledge) => {
                    if !self.window.acknowledge(&acknowledge) {
                        return Err(StreamError::ImpossibleEpoch(acknowledge.epoch()));
                    }
                    self.accept(acknowledge)?;
                }
                Message::Compared(answer) => {
                    self.counters.unchanged(self.window.answer(&answer));
                }
                Message::Verified(verified) => {
                    if let Some(trouble) = self.counters.verified(&verified) {
                        (self.dialling.differs)(&trouble);
                    }
                }
                Message::Meeting(invitation) => (self.dialling.called)(invitation),
                Message::Refused(text) => return Err(LinkError::Refused(text).into()),
                Message::Welcome(_) | Message::Reply(_) => {
                    return Err(LinkError::OutOfPlace(message.kind()).into());
                }
            }
        }
        Ok(())
    }

    /// Tells the driver that an epoch is durable.
    fn accept(&self, acknowledge: Acknowledge) -> Result<(), StreamError> {
        let epoch = acknowledge.epoch();
        match repeat(self.halted, || self.port.acknowledge(epoch)) {
            Ok(()) | Err(DriverError::SessionEnded(_)) => {}
            Err(DriverError::ImpossibleEpoch) => return Err(StreamError::ImpossibleEpoch(epoch)),
            Err(error) => return Err(error.into()),
        }
        // Counts even if the driver has ended the session meanwhile.
        self.counters.acknowledged(acknowledge);
        Ok(())
    }
}

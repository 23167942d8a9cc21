//! What a window has: its frames, and how far they are sent, durable and asked about.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use snapless_types::{Made, Seq};
use snapless_wire::frame::{Acknowledge, Watermark};

use crate::batch::Frame;
use crate::compare::Question;

/// The state of a window.
#[derive(Debug)]
pub(super) struct State {
    pub(super) frames: VecDeque<Kept>,
    /// Bytes of the frames.
    pub(super) bytes: usize,
    /// How many of the frames end an epoch.
    pub(super) epoch_ends: usize,
    /// How many of the frames have been sent over the present link.
    pub(super) sent: usize,
    /// The record before the first frame: the last one that is durable, or that was forgotten.
    pub(super) before: Seq,
    /// When that was made; `None` before the first link, whose server has it.
    pub(super) before_made: Option<Made>,
    /// To be sent, after that record.
    pub(super) watermark: Option<Watermark>,
    /// What the server is told of the session.
    pub(super) report: Telling,
    /// The present link's server takes reports.
    pub(super) takes_reports: bool,
    /// What the server is asked.
    pub(super) asking: Asking,
    pub(super) phase: Phase,
    /// Everything is to be sent soon.
    pub(super) hurries: bool,
    pub(super) has_link: bool,
}

/// The newest report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Telling {
    /// There is none, or it is sent.
    Nothing,
    /// It is to be sent next.
    Waits(Vec<u8>),
    /// The link has taken it, and has not said that it is sent.
    UnderWay,
}

/// Whether more frames come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// The session has ended: what is there is sent, and nothing follows.
    Finished,
    /// The claim ends: nothing is sent any more.
    Closed,
}

/// A frame of the window.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) frame: Arc<Frame>,
    pub(super) question: Inquiry,
    /// The server's content was left out of it.
    pub(super) is_elided: bool,
    /// What the present link sends in its place: with hashes of content that the server has.
    pub(super) seeded: Option<Arc<Frame>>,
}

/// What the server is asked about a frame.
#[derive(Clone, Debug)]
pub(super) enum Inquiry {
    /// Nothing, or nothing more.
    Nothing,
    /// This, when the link can ask it.
    Wanted(Arc<Question>),
    /// This, under this number.
    Asked(Arc<Question>, u64),
}

/// What the server is asked over the present link.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The server answers requests.
    pub(super) is_possible: bool,
    /// The server has answered late, and nothing since.
    pub(super) is_late: bool,
    /// Frames whose question waits.
    pub(super) wanted: usize,
    /// Requests without an answer.
    pub(super) open: BTreeSet<u64>,
    /// The number of the last request.
    pub(super) last: u64,
    /// Everything up to this record is durable.
    pub(super) durable: Seq,
    /// Since when the next frame waits for an answer.
    pub(super) waits_since: Option<Instant>,
}

impl Inquiry {
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted(_))
    }
}

impl State {
    /// Takes the report that is to be sent next.
    pub(super) fn take_report(&mut self) -> Option<Vec<u8>> {
        match mem::replace(&mut self.report, Telling::UnderWay) {
            Telling::Waits(report) => Some(report),
            other => {
                self.report = other;
                None
            }
        }
    }

    /// True if a frame of `len` bytes has room, after the frames are forgotten that no
    /// acknowledgement would release.
    pub(super) fn make_room(&mut self, len: usize, limit: usize) -> bool {
        while !self.frames.is_empty() && self.bytes + len > limit {
            if self.epoch_ends > 0 || self.sent == 0 {
                return false;
            }
            self.drop_first(1);
        }
        true
    }

    pub(super) fn is_settled(&self) -> bool {
        self.has_link && self.phase == Phase::Open && self.frames.is_empty()
    }

    pub(super) fn last(&self) -> Seq {
        self.frames.back().map_or(self.before, |kept| kept.frame.last)
    }

    /// Where the frame is whose end this acknowledges.
    pub(super) fn place_of(&self, acknowledge: &Acknowledge) -> Option<usize> {
        let (epoch, seq) = (acknowledge.epoch(), acknowledge.seq());
        let is_it = |frame: &Frame| frame.last == seq && frame.ends_epoch == Some(epoch);
        self.frames.iter().position(|kept| is_it(&kept.frame))
    }

    pub(super) fn drop_first(&mut self, count: usize) {
        for Kept { frame, question, .. } in self.frames.drain(..count) {
            self.asking.wanted -= usize::from(matches!(question, Inquiry::Wanted(_)));
            self.bytes -= frame.payload.len();
            self.epoch_ends -= usize::from(frame.ends_epoch.is_some());
            (self.before, self.before_made) = (frame.last, Some(frame.made));
        }
        self.sent = self.sent.saturating_sub(count);
    }
}

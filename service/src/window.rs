//! The resend window: the frames that the server has not acknowledged, in the driver's order.
//!
//! ```text
//!   drain thread ── put ──▶ [ sent … │ not sent yet … ] ── next ──▶ link
//!                              ▲
//!        acknowledge: frames leave at the front
//! ```
//!
//! A link that breaks loses nothing: the next one begins behind what is durable, and sends the rest
//! again. Rule LOSS (rules.md#loss): a link begins only where kept frames follow what the server
//! has; anything else is told to the caller, who ends the claim.
//!
//! A full window makes the drain wait (rule HANG, rules.md#hang: the driver's own queue bounds how
//! long a write does), for a link or for an acknowledgement. If the server has all of a full window
//! and none of it ends an epoch, no acknowledgement can come: then the oldest frames are forgotten,
//! and a link that breaks before the epoch is durable cannot be joined.
//!
//! A frame about which the server can be asked ([`crate::compare`]) waits for the answer when its
//! turn comes, up to a limit; the questions go ahead of it, so that it seldom waits. While the
//! window has room the limit is long ([`AnswerLimits`]): there is a gap in any case until
//! everything was compared, and nothing is lost by the wait. A server that answers late is asked
//! all the same, and waited for again once it has answered.
//!
//! A watermark is sent only while the window is empty: then the server has acknowledged every
//! record that was drained, and the watermark's record is the last of them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snapless_types::Seq;
use snapless_wire::compare::{Compare, Compared};
use snapless_wire::frame::{Acknowledge, Watermark, Welcome};

use crate::batch::Frame;
use crate::compare::Question;

mod asking;
mod state;

use state::{Asking, Inquiry, Kept, Phase, State, Telling};

/// How long a frame whose turn has come waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerLimits {
    /// While at most three quarters of the window are in use. The sweep, whose reads are compared,
    /// waits for acknowledgements before it fills as much of a window of the usual length.
    pub with_room: Duration,
    /// In a fuller window, behind which the driver's queue fills, and before a stop.
    pub without: Duration,
}

impl AnswerLimits {
    /// The same limit in both cases.
    pub fn both(limit: Duration) -> Self {
        Self { with_room: limit, without: limit }
    }
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { with_room: Duration::from_mins(1), without: Duration::from_secs(2) }
    }
}

/// The window of one claim.
#[derive(Debug)]
pub struct Window {
    /// Most bytes of frames that are kept; one frame always has room.
    limit: usize,
    answer_limits: AnswerLimits,
    state: Mutex<State>,
    changed: Condvar,
}

/// Why a link cannot go on behind what is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoJoint {
    /// Frames that the server lacks are not kept any more.
    Behind,
    /// The server has records that the driver has not handed out.
    Ahead,
    /// What the server has ends where no epoch of the kept frames does, or with a record that was
    /// made at another time: it has other records with their numbers.
    Other,
}

/// What a link has to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send this.
    Frame(Arc<Frame>),
    /// Ask this.
    Compare(Compare),
    /// Send this.
    Watermark(Watermark),
    /// Send this: the payload of a Report.
    Report(Vec<u8>),
    /// Say that nothing follows: the session has ended, and all is sent.
    Finish,
    /// End: the link is over, or the claim.
    End,
}

impl Window {
    /// Empty, in front of a server that has everything up to record `durable`.
    pub fn new(limit: usize, durable: Seq) -> Self {
        let state = State {
            frames: VecDeque::new(),
            bytes: 0,
            epoch_ends: 0,
            sent: 0,
            before: durable,
            before_made: None,
            watermark: None,
            report: Telling::Nothing,
            takes_reports: false,
            asking: Asking { durable, ..Asking::default() },
            phase: Phase::Open,
            hurries: false,
            has_link: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { limit, answer_limits: AnswerLimits::default(), state, changed }
    }

    /// With other limits of the wait for an answer.
    #[must_use]
    pub fn with_answer_limits(self, answer_limits: AnswerLimits) -> Self {
        Self { answer_limits, ..self }
    }

    /// Appends a frame, as soon as it has room; false if the claim ends.
    pub fn put(&self, frame: Frame) -> bool {
        self.put_asking(frame, None)
    }

    /// [`Self::put`]; the server is asked this about the frame, if it can be.
    pub fn put_asking(&self, frame: Frame, question: Option<Question>) -> bool {
        let mut state = self.lock();
        while state.phase == Phase::Open && !state.make_room(frame.payload.len(), self.limit) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.phase != Phase::Open {
            return false;
        }
        state.watermark = None;
        state.bytes += frame.payload.len();
        state.epoch_ends += usize::from(frame.ends_epoch.is_some());
        state.asking.wanted += usize::from(question.is_some());
        let question = question.map_or(Inquiry::Nothing, |it| Inquiry::Wanted(Arc::new(it)));
        state.frames.push_back(Kept {
            frame: Arc::new(frame),
            question,
            is_elided: false,
            seeded: None,
        });
        self.changed.notify_all();
        true
    }

    /// Waits for what the present link has to do next.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if state.phase == Phase::Closed || !state.has_link {
                return Next::End;
            }
            if let Some(request) = state.next_request() {
                return Next::Compare(request);
            }
            // Ahead of frames: it is short, and under load people look.
            if let Some(report) = state.take_report() {
                return Next::Report(report);
            }
            let has_room = state.bytes <= self.limit / 4 * 3 && !state.hurries;
            let AnswerLimits { with_room, without } = self.answer_limits;
            let limit = if has_room { with_room } else { without };
            if let Some(left) = state.answer_is_due_within(limit) {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(frame) = state.take_next() {
                // The drain may wait for a frame to be sent.
                self.changed.notify_all();
                return Next::Frame(frame);
            }
            if let Some(watermark) = state.watermark.take() {
                return Next::Watermark(watermark);
            }
            if state.phase == Phase::Finished {
                return Next::Finish;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True if a watermark can be sent: there is a link, and its server has acknowledged everything
    /// that was drained.
    pub fn is_settled(&self) -> bool {
        self.lock().is_settled()
    }

    /// Lets the link send this watermark; false if there are records that the server has not
    /// acknowledged, or others than those that the watermark is about.
    pub fn mark(&self, watermark: Watermark) -> bool {
        let mut state = self.lock();
        let is_last = state.is_settled() && state.before == watermark.seq();
        if is_last {
            state.watermark = Some(watermark);
            self.changed.notify_all();
        }
        is_last
    }

    /// Lets the link send a report, in the place of one that it has not sent yet. It is made if the
    /// link's server takes reports.
    pub fn report(&self, make: impl FnOnce() -> Option<Vec<u8>>) {
        let takes_it = |state: &State| state.has_link && state.takes_reports;
        if !takes_it(&self.lock()) {
            return;
        }
        let report = make();
        let mut state = self.lock();
        if let Some(report) = report.filter(|_| takes_it(&state)) {
            state.report = Telling::Waits(report);
            self.changed.notify_all();
        }
    }

    /// Notes that the link has sent the report that it took.
    pub fn reported(&self) {
        let mut state = self.lock();
        if state.report == Telling::UnderWay {
            state.report = Telling::Nothing;
        }
    }

    /// True while the present link has a report to send.
    pub fn is_telling(&self) -> bool {
        let state = self.lock();
        state.has_link && state.report != Telling::Nothing
    }

    /// Drops the frames that are durable now; false if no frame that this link has sent ends with
    /// the acknowledged epoch.
    pub fn acknowledge(&self, acknowledge: &Acknowledge) -> bool {
        let mut state = self.lock();
        let place = state.place_of(acknowledge).filter(|&place| place < state.sent);
        if let Some(place) = place {
            state.drop_first(place + 1);
            state.asking.durable = acknowledge.seq();
            self.changed.notify_all();
        }
        place.is_some()
    }

    /// Takes the server's answer to a request of this link: what it has is left out of the frame,
    /// unless that was sent meanwhile. Returns how many bytes that saves.
    pub fn answer(&self, answer: &Compared) -> usize {
        let mut state = self.lock();
        if !state.asking.open.remove(&answer.id()) {
            return 0;
        }
        state.asking.is_late = false;
        let asked = state.asked(answer.id());
        drop(state);
        // A frame is long: others go on meanwhile.
        let elided = asked.and_then(|(frame, question)| question.settle(&frame.payload, answer));
        let mut state = self.lock();
        let saved = state.settle(answer.id(), elided);
        self.changed.notify_all();
        saved
    }

    /// Begins a link to a server that has this: sending goes on behind it. True if that was not
    /// known to be durable.
    ///
    /// # Errors
    /// If the kept frames do not follow what the server has.
    pub fn begin_link(&self, welcome: &Welcome) -> Result<bool, NoJoint> {
        self.begin(welcome, false)
    }

    /// [`Self::begin_link`] to a server that answers requests.
    ///
    /// # Errors
    /// As for [`Self::begin_link`].
    pub fn begin_comparing_link(&self, welcome: &Welcome) -> Result<bool, NoJoint> {
        self.begin(welcome, true)
    }

    fn begin(&self, welcome: &Welcome, compares: bool) -> Result<bool, NoJoint> {
        let mut state = self.lock();
        let (durable, made) = (welcome.durable_seq(), welcome.durable_made());
        let is_new = durable != state.before;
        if !is_new && state.before_made.is_some_and(|before| before != made) {
            return Err(NoJoint::Other);
        }
        if is_new {
            if durable > state.last() {
                return Err(NoJoint::Ahead);
            }
            // What is durable ends with an epoch, whose end was sent if it is behind this one.
            let contradiction =
                if durable > state.before { NoJoint::Other } else { NoJoint::Behind };
            let durable = Acknowledge::new(welcome.durable_epoch(), durable);
            let place = state.place_of(&durable).ok_or(contradiction)?;
            // Rule RESUME (rules.md#resume): another past may have ended as many epochs there.
            if state.frames[place].frame.made != made {
                return Err(NoJoint::Other);
            }
            state.drop_first(place + 1);
        }
        if !compares && state.frames.iter().any(|kept| kept.is_elided) {
            // A server that does not know of hashes does not know these records either.
            return Err(NoJoint::Behind);
        }
        state.before_made = Some(made);
        state.has_link = true;
        (state.watermark, state.report) = (None, Telling::Nothing);
        state.takes_reports = welcome.takes_reports();
        state.sent = 0;
        state.begin_asking(compares, durable);
        self.changed.notify_all();
        Ok(is_new)
    }

    /// Ends the present link: [`Window::next`] returns.
    pub fn end_link(&self) {
        self.change(|state| state.has_link = false);
    }

    /// True while there is a link.
    pub fn has_link(&self) -> bool {
        self.lock().has_link
    }

    /// The last record of the window.
    pub fn last(&self) -> Seq {
        self.lock().last()
    }

    /// Frames that the present link has not sent yet.
    pub fn unsent(&self) -> usize {
        let state = self.lock();
        state.frames.len() - state.sent
    }

    /// From now on no answer is waited for longer than in a window without room: everything is to
    /// be sent soon.
    pub fn hurry(&self) {
        self.change(|state| state.hurries = true);
    }

    /// Nothing follows what is there: the session has ended.
    pub fn finish(&self) {
        self.change(|state| {
            state.hurries = true;
            if state.phase == Phase::Open {
                state.phase = Phase::Finished;
            }
        });
    }

    /// True if nothing follows and everything has been acknowledged.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Finished && state.frames.is_empty()
    }

    /// Ends every wait: the claim ends.
    pub fn close(&self) {
        self.change(|state| state.phase = Phase::Closed);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, Made, Tick};
    use std::thread;
    use std::time::Duration;

    fn frame(last: u64, epoch: Option<u64>) -> Frame {
        let ends_epoch = epoch.map(EpochId::new);
        Frame { payload: vec![1; 100], last: Seq::new(last), made: made(last), ends_epoch }
    }

    /// Each record is made at an instant of its own.
    fn made(seq: u64) -> Made {
        Made { time: 100 + seq, monotonic: Tick(seq) }
    }

    fn welcome(epoch: u64, seq: u64) -> Welcome {
        Welcome::new(EpochId::new(epoch), Seq::new(seq)).with_made(made(seq))
    }

    fn acknowledge(epoch: u64, seq: u64) -> Acknowledge {
        Acknowledge::new(EpochId::new(epoch), Seq::new(seq))
    }

    /// A window with room for ten frames and a link.
    fn linked() -> Window {
        let window = Window::new(1000, Seq::new(4));
        assert_eq!(window.begin_link(&welcome(2, 4)), Ok(false));
        window
    }

    /// The last records of the frames that the link sends until it waits for more.
    fn sends(window: &Window, count: usize) -> Vec<u64> {
        let next = |_| match window.next() {
            Next::Frame(frame) => frame.last.get(),
            other => panic!("{other:?}"),
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn a_new_link_sends_again_what_is_not_durable() {
        let window = linked();
        for (last, epoch) in [(10, None), (20, Some(3)), (30, None), (40, Some(4)), (50, None)] {
            assert!(window.put(frame(last, epoch)));
        }
        assert_eq!(sends(&window, 4), [10, 20, 30, 40]);
        assert!(window.acknowledge(&acknowledge(3, 20)));
        window.end_link();
        assert!(matches!(window.next(), Next::End));
        assert_eq!(window.begin_link(&welcome(3, 20)), Ok(false));
        assert_eq!(sends(&window, 3), [30, 40, 50]);
        // The acknowledgement was on its way when the link broke.
        window.end_link();
        assert_eq!(window.begin_link(&welcome(4, 40)), Ok(true));
        assert_eq!((sends(&window, 1), window.lock().bytes), (vec![50], 100));
    }

    #[test]
    fn only_the_end_of_an_epoch_that_was_sent_can_be_acknowledged() {
        let window = linked();
        for (last, epoch) in [(10, None), (20, Some(3)), (30, Some(4))] {
            assert!(window.put(frame(last, epoch)));
        }
        assert_eq!(sends(&window, 2), [10, 20]);
        for (epoch, seq) in [(3, 10), (3, 19), (2, 4), (4, 20), (4, 30), (5, 40)] {
            assert!(!window.acknowledge(&acknowledge(epoch, seq)), "epoch {epoch}, record {seq}");
        }
        assert!(window.acknowledge(&acknowledge(3, 20)));
        assert!(!window.acknowledge(&acknowledge(3, 20)), "once");
    }

    #[test]
    fn a_server_with_more_or_less_than_the_window_has_is_not_joined() {
        let window = linked();
        for (last, epoch) in [(10, Some(3)), (20, None), (30, Some(4))] {
            assert!(window.put(frame(last, epoch)));
        }
        assert_eq!(sends(&window, 3), [10, 20, 30]);
        assert!(window.acknowledge(&acknowledge(3, 10)));
        window.end_link();
        for (epoch, seq) in [(4, 31), (9, 90)] {
            assert_eq!(window.begin_link(&welcome(epoch, seq)), Err(NoJoint::Ahead));
        }
        for (epoch, seq) in [(0, 0), (2, 4)] {
            assert_eq!(window.begin_link(&welcome(epoch, seq)), Err(NoJoint::Behind));
        }
        for (epoch, seq) in [(3, 20), (3, 15), (5, 30)] {
            assert_eq!(window.begin_link(&welcome(epoch, seq)), Err(NoJoint::Other));
        }
        assert!(!window.has_link());
        assert_eq!(window.begin_link(&welcome(4, 30)), Ok(true));
    }

    #[test]
    fn a_full_window_makes_the_drain_wait_for_an_acknowledgement() {
        let window = linked();
        for last in 1..=10 {
            assert!(window.put(frame(last * 10, (last == 5).then_some(3))));
        }
        thread::scope(|scope| {
            let waiter = scope.spawn(|| window.put(frame(110, None)));
            assert_eq!(sends(&window, 10).len(), 10);
            thread::sleep(Duration::from_millis(30));
            assert!(!waiter.is_finished() && window.lock().bytes == 1000);
            assert!(window.acknowledge(&acknowledge(3, 50)));
            assert!(waiter.join().unwrap());
        });
        assert_eq!(window.lock().bytes, 600);
    }

    #[test]
    fn an_epoch_longer_than_the_window_goes_on_but_a_cut_in_it_has_no_joint() {
        let window = linked();
        thread::scope(|scope| {
            let drain = scope.spawn(|| (1..=30).all(|last| window.put(frame(last * 10, None))));
            assert_eq!(sends(&window, 30).len(), 30);
            assert!(drain.join().unwrap());
        });
        assert!(window.put(frame(310, Some(3))) && window.lock().bytes <= 1000);
        window.end_link();
        assert_eq!(window.begin_link(&welcome(2, 4)), Err(NoJoint::Behind));
        // If the server got the end of it all the same, there is one.
        assert_eq!(window.begin_link(&welcome(3, 310)), Ok(true));
    }

    #[test]
    fn without_a_link_nothing_is_forgotten() {
        let window = Window::new(1000, Seq::new(4));
        thread::scope(|scope| {
            let drain = scope.spawn(|| (1..=12).all(|last| window.put(frame(last * 10, None))));
            thread::sleep(Duration::from_millis(30));
            assert!(!drain.is_finished());
            assert_eq!(window.begin_link(&welcome(2, 4)), Ok(false));
            assert_eq!(sends(&window, 12).first(), Some(&10));
            assert!(drain.join().unwrap());
        });
    }

    #[test]
    fn a_watermark_is_sent_only_behind_all_that_was_drained() {
        let window = linked();
        let watermark = |seq| Watermark::new(Seq::new(seq), snapless_wire::id::FileTime::new(9), 9);
        assert!(window.is_settled() && window.mark(watermark(4)));
        assert!(matches!(window.next(), Next::Watermark(it) if it == watermark(4)));
        for seq in [0, 3, 5] {
            assert!(!window.mark(watermark(seq)), "record {seq}");
        }
        // One that has not been sent is overtaken by a frame.
        assert!(window.mark(watermark(4)) && window.put(frame(10, Some(3))));
        assert_eq!(sends(&window, 1), [10]);
        assert!(!window.is_settled() && !window.mark(watermark(10)), "not durable yet");
        assert!(window.acknowledge(&acknowledge(3, 10)));
        assert!(!window.mark(watermark(4)) && window.mark(watermark(10)));
        // Or by the end of its link.
        window.end_link();
        assert!(!window.is_settled() && !window.mark(watermark(10)), "there is no link");
        assert_eq!(window.begin_link(&welcome(3, 10)), Ok(false));
        window.finish();
        assert!(matches!(window.next(), Next::Finish), "it went with its link");
    }

    #[test]
    fn a_report_goes_ahead_of_frames_and_only_to_a_server_that_takes_it() {
        let window = linked();
        window.report(|| panic!("its server takes none"));
        window.end_link();
        window.report(|| panic!("there is no link"));
        assert_eq!(window.begin_link(&welcome(2, 4).taking_reports()), Ok(false));
        assert!(window.put(frame(10, Some(3))));
        window.report(|| Some(vec![1]));
        window.report(|| Some(vec![2]));
        assert!(matches!(window.next(), Next::Report(report) if report == [2]));
        assert!(window.is_telling(), "it is on its way");
        window.reported();
        assert!(!window.is_telling());
        assert_eq!(sends(&window, 1), [10]);
        // One that was not sent goes with its link.
        window.report(|| Some(vec![3]));
        window.end_link();
        assert!(!window.is_telling());
        assert_eq!(window.begin_link(&welcome(2, 4).taking_reports()), Ok(false));
        assert_eq!(sends(&window, 1), [10]);
    }

    #[test]
    fn the_end_of_the_session_is_told_behind_the_last_frame() {
        let window = linked();
        assert!(window.put(frame(10, Some(3))));
        window.finish();
        assert!(!window.put(frame(20, None)), "nothing follows");
        assert_eq!(sends(&window, 1), [10]);
        assert!(matches!(window.next(), Next::Finish) && !window.is_over());
        assert!(window.acknowledge(&acknowledge(3, 10)) && window.is_over());
        window.close();
        assert!(matches!(window.next(), Next::End));
    }

    #[test]
    fn the_end_of_the_claim_wakes_all_that_wait() {
        let window = linked();
        for last in 1..=10 {
            assert!(window.put(frame(last * 10, Some(last))));
        }
        thread::scope(|scope| {
            let drain = scope.spawn(|| window.put(frame(110, None)));
            let link = scope.spawn(|| {
                let mut sent = 0;
                while let Next::Frame(_) = window.next() {
                    sent += 1;
                }
                sent
            });
            thread::sleep(Duration::from_millis(30));
            window.close();
            assert!(!drain.join().unwrap());
            assert_eq!(link.join().unwrap(), 10);
        });
    }
}

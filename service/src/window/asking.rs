//! The questions of the frames of a window: which is asked next, what waits for its answer.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapless_types::Seq;
use snapless_wire::compare::Compare;

use super::state::{Asking, Inquiry, Kept, State};
use crate::batch::Frame;
use crate::compare::{Elided, Question};

/// Requests that a server may have to answer at a time.
const REQUESTS_MAX: usize = 8;

impl State {
    /// The next frame to send; it is sent as it is then.
    pub(super) fn take_next(&mut self) -> Option<Arc<Frame>> {
        let kept = self.frames.get_mut(self.sent)?;
        let question = mem::replace(&mut kept.question, Inquiry::Nothing);
        self.asking.wanted -= usize::from(matches!(question, Inquiry::Wanted(_)));
        self.asking.waits_since = None;
        self.sent += 1;
        Some(kept.seeded.take().unwrap_or_else(|| Arc::clone(&kept.frame)))
    }

    /// The next request, if one can be made.
    pub(super) fn next_request(&mut self) -> Option<Compare> {
        let Self { frames, asking, sent, .. } = self;
        while asking.is_possible && asking.wanted > 0 && asking.open.len() < REQUESTS_MAX {
            let kept = frames.range_mut(*sent..).find(|kept| kept.question.is_wanted())?;
            let Inquiry::Wanted(question) = &kept.question else { return None };
            if question.since() > asking.durable {
                // The server cannot answer yet; nor about what follows.
                return None;
            }
            asking.wanted -= 1;
            let id = asking.last + 1;
            let request = question.request(id);
            kept.question = match request {
                Some(_) => Inquiry::Asked(Arc::clone(question), id),
                None => Inquiry::Nothing,
            };
            if request.is_some() {
                asking.last = id;
                asking.open.insert(id);
                return request;
            }
        }
        None
    }

    /// How long the next frame still has to wait for its answer; `None` if it need not.
    pub(super) fn answer_is_due_within(&mut self, limit: Duration) -> Option<Duration> {
        let Self { frames, asking, sent, .. } = self;
        let kept = frames.get(*sent)?;
        let has_question = !matches!(kept.question, Inquiry::Nothing);
        if !has_question || !asking.is_possible || asking.is_late {
            return None;
        }
        let waited = asking.waits_since.get_or_insert_with(Instant::now).elapsed();
        let left = limit.saturating_sub(waited);
        asking.is_late = left.is_zero();
        (!asking.is_late).then_some(left)
    }

    /// The frame, not sent yet, about which this was asked.
    pub(super) fn asked(&self, id: u64) -> Option<(Arc<Frame>, Arc<Question>)> {
        self.frames.range(self.sent..).find_map(|kept| match &kept.question {
            Inquiry::Asked(question, of) if *of == id => {
                Some((Arc::clone(&kept.frame), Arc::clone(question)))
            }
            _ => None,
        })
    }

    /// Ends the question of this number; returns how many bytes that saves.
    pub(super) fn settle(&mut self, id: u64, elided: Option<Elided>) -> usize {
        let is_it = |kept: &&mut Kept| matches!(kept.question, Inquiry::Asked(_, of) if of == id);
        let Some(kept) = self.frames.range_mut(self.sent..).find(is_it) else { return 0 };
        kept.question = Inquiry::Nothing;
        let Some(Elided { payload, saved, is_seeded }) = elided else { return 0 };
        let Frame { payload: before, last, made, ends_epoch } = &*kept.frame;
        let (len, before) = (payload.len(), before.len());
        let (last, made, ends_epoch) = (*last, *made, *ends_epoch);
        let sent = Arc::new(Frame { payload, last, made, ends_epoch });
        if is_seeded {
            // Another link, or this server without its seed, needs the content.
            kept.seeded = Some(sent);
        } else {
            self.bytes = self.bytes - before + len;
            (kept.frame, kept.is_elided) = (sent, true);
        }
        saved
    }

    /// A new server is asked anew; what was to be sent as hashes goes in full.
    pub(super) fn begin_asking(&mut self, is_possible: bool, durable: Seq) {
        for kept in &mut self.frames {
            kept.seeded = None;
            if let Inquiry::Asked(question, _) = &kept.question {
                kept.question = Inquiry::Wanted(Arc::clone(question));
            }
        }
        let wanted = self.frames.iter().filter(|kept| kept.question.is_wanted()).count();
        let last = self.asking.last;
        self.asking = Asking { is_possible, wanted, last, durable, ..Asking::default() };
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use snapless_types::{EpochId, Geometry, Made, RecordKind};
    use snapless_wire::frame::{Acknowledge, Welcome};
    use snapless_wire::id::FileTime;
    use snapless_wire::record::{Position, RecordHeader};

    use super::super::{AnswerLimits, Next, NoJoint, Window};
    use super::*;
    use crate::compare::Touched;

    const BLOCK: usize = 16 << 10;
    const LONG: Duration = Duration::from_mins(10);

    fn welcome(seq: u64) -> Welcome {
        Welcome::new(EpochId::new(seq / 10), Seq::new(seq))
    }

    /// The frame of a block that was read again.
    fn resync(seq: u64, block: u64) -> Frame {
        let at = Position {
            seq: Seq::new(seq),
            time: FileTime::new(1),
            monotonic: 1,
            epoch: EpochId::new(seq / 10 + 1),
        };
        let len = BLOCK as u64;
        let header = RecordHeader::extent(RecordKind::Resync, at, block * len, len).unwrap();
        let mut payload = header.to_bytes().to_vec();
        payload.resize(payload.len() + BLOCK, 7);
        Frame { payload, last: Seq::new(seq), made: Made::default(), ends_epoch: None }
    }

    /// A window with `count` frames of such blocks, behind record 10, which the server has.
    fn window(count: u64, answer_limit: Duration) -> Window {
        window_within(count, AnswerLimits::both(answer_limit))
    }

    fn window_within(count: u64, limits: AnswerLimits) -> Window {
        let window = Window::new(1 << 20, Seq::new(10)).with_answer_limits(limits);
        let geometry = Geometry::new(1 << 30, 512, 16 << 10).unwrap();
        let mut touched = Touched::new(geometry, Seq::new(10));
        for block in 0..count {
            let frame = resync(11 + block, block);
            let question = touched.note(&frame.payload);
            assert!(question.is_some() && window.put_asking(frame, question));
        }
        window
    }

    fn request(window: &Window) -> Compare {
        match window.next() {
            Next::Compare(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn sent(window: &Window) -> usize {
        match window.next() {
            Next::Frame(frame) => frame.payload.len(),
            other => panic!("{other:?}"),
        }
    }

    const HEADER: usize = 64;
    const FULL: usize = HEADER + BLOCK;

    #[test]
    fn what_the_server_has_leaves_the_window_before_it_is_sent() {
        let window = window(3, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let requests: Vec<_> = (0..3).map(|_| request(&window)).collect();
        for (request, is_same) in requests.iter().zip([true, false, false]) {
            let saved = window.answer(&request.answered(Seq::new(10), vec![is_same]));
            assert_eq!(saved, if is_same { BLOCK } else { 0 });
        }
        assert_eq!(window.lock().bytes, HEADER + 2 * FULL);
        assert_eq!([sent(&window), sent(&window), sent(&window)], [HEADER, FULL, FULL]);
        assert_eq!(window.lock().asking.wanted, 0);
    }

    #[test]
    fn the_next_frame_waits_for_its_answer() {
        let window = window(2, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let requests = [request(&window), request(&window)];
        thread::scope(|scope| {
            let waiter = scope.spawn(|| sent(&window));
            thread::sleep(Duration::from_millis(30));
            // Not even for the answer to a later one.
            let later = requests[1].answered(Seq::new(10), vec![true]);
            assert_eq!(window.answer(&later), BLOCK);
            thread::sleep(Duration::from_millis(30));
            assert!(!waiter.is_finished());
            let answer = requests[0].answered(Seq::new(10), vec![true]);
            assert_eq!(window.answer(&answer), BLOCK);
            assert_eq!(waiter.join().unwrap(), HEADER);
        });
        assert_eq!(sent(&window), HEADER);
    }

    #[test]
    fn a_server_that_does_not_answer_gets_everything() {
        let window = window(2 * REQUESTS_MAX as u64, Duration::from_millis(1));
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let requests: Vec<_> = (0..REQUESTS_MAX).map(|_| request(&window)).collect();
        for _ in 0..REQUESTS_MAX {
            assert_eq!(sent(&window), FULL);
        }
        // It does at last: too late for these, and the others are asked about.
        for request in &requests {
            assert_eq!(window.answer(&request.answered(Seq::new(10), vec![true])), 0);
        }
        assert_eq!(request(&window).extents()[0].0.offset(), (REQUESTS_MAX * BLOCK) as u64);
    }

    /// What is sent of two frames whose answers never come, after `change`.
    fn sent_only_after(change: impl FnOnce(&Window)) {
        let short = Duration::from_millis(1);
        let window = window_within(2, AnswerLimits { with_room: LONG, without: short });
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let _unanswered = [request(&window), request(&window)];
        thread::scope(|scope| {
            let waiter = scope.spawn(|| [sent(&window), sent(&window)]);
            thread::sleep(Duration::from_millis(50));
            assert!(!waiter.is_finished(), "the window has room");
            change(&window);
            assert_eq!(waiter.join().unwrap(), [FULL, FULL]);
        });
    }

    #[test]
    fn while_the_window_has_room_an_answer_is_waited_for_and_no_longer() {
        sent_only_after(|window| {
            for seq in 13.. {
                if window.lock().bytes > (1 << 20) / 4 * 3 {
                    break;
                }
                assert!(window.put(resync(seq, seq)));
            }
        });
    }

    #[test]
    fn before_a_stop_or_an_end_no_answer_is_waited_for_long() {
        sent_only_after(Window::hurry);
        sent_only_after(Window::finish);
    }

    #[test]
    fn an_answer_to_nothing_that_was_asked_changes_nothing() {
        let window = window(1, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let request = request(&window);
        let extents = request.extents().to_vec();
        let other = Compare::new(request.id() + 1, Seq::new(10), extents.clone()).unwrap();
        assert_eq!(window.answer(&other.answered(Seq::new(10), vec![true])), 0);
        let older = request.answered(Seq::new(9), vec![true]);
        assert_eq!(window.answer(&older), 0, "the server's stream was shorter");
        assert_eq!(sent(&window), FULL);
    }

    #[test]
    fn a_link_asks_anew_and_an_older_server_is_asked_nothing() {
        let window = window(2, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let first = request(&window);
        window.end_link();
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let late = first.answered(Seq::new(10), vec![true]);
        assert_eq!(window.answer(&late), 0, "it is another link's");
        let again = [request(&window), request(&window)];
        assert_eq!(again[0].extents(), first.extents());
        window.end_link();
        assert_eq!(window.begin_link(&welcome(10)), Ok(false));
        assert_eq!([sent(&window), sent(&window)], [FULL, FULL]);
    }

    #[test]
    fn what_was_sent_as_a_hash_goes_in_full_over_another_link() {
        let window = window(2, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        for request in [request(&window), request(&window)] {
            let answer = request.answered(Seq::new(10), vec![false]).with_seeded(vec![true]);
            assert_eq!(window.answer(&answer), BLOCK - 32);
        }
        assert_eq!(window.lock().bytes, 2 * FULL, "the content is kept");
        assert_eq!(sent(&window), HEADER + 32);
        window.end_link();
        // Of another server, or of this one, which could not find it.
        assert_eq!(window.begin_link(&welcome(10)), Ok(false));
        assert_eq!([sent(&window), sent(&window)], [FULL, FULL]);
        window.end_link();
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        assert_eq!([sent(&window), sent(&window)], [FULL, FULL], "it is not asked about again");
    }

    #[test]
    fn a_frame_that_was_elided_goes_to_no_server_that_does_not_know_such_records() {
        let window = window(1, LONG);
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        let request = request(&window);
        assert_eq!(window.answer(&request.answered(Seq::new(10), vec![true])), BLOCK);
        assert_eq!(sent(&window), HEADER);
        window.end_link();
        assert_eq!(window.begin_link(&welcome(10)), Err(NoJoint::Behind));
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        assert_eq!(sent(&window), HEADER);
    }

    #[test]
    fn nothing_is_asked_before_the_server_has_what_it_is_asked_about() {
        let window =
            Window::new(1 << 20, Seq::new(10)).with_answer_limits(AnswerLimits::both(LONG));
        let geometry = Geometry::new(1 << 30, 512, 16 << 10).unwrap();
        let mut touched = Touched::new(geometry, Seq::new(12));
        let end = EpochId::new(2);
        let before = Frame { ends_epoch: Some(end), ..resync(12, 0) };
        assert!(window.put(before));
        let frame = resync(13, 1);
        let question = touched.note(&frame.payload);
        assert!(window.put_asking(frame, question));
        assert_eq!(window.begin_comparing_link(&welcome(10)), Ok(false));
        assert_eq!(sent(&window), FULL);
        assert!(window.acknowledge(&Acknowledge::new(end, Seq::new(12))));
        assert_eq!(request(&window).since(), Seq::new(12));
    }
}

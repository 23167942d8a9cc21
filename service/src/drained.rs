//! Up to which record a session's stream had come at an instant that several volumes have in
//! common.
//!
//! Every record has the monotonic time of the machine's one clock, read after the write arrived and
//! before it is issued, and no record of a session has an earlier one than the record before it. A
//! write that was submitted after another one completed, on whatever volume, therefore has a record
//! whose time is not earlier (rule ORDER, rules.md#order). So the records up to any time, of all
//! volumes, are a state that a power cut could have left: no write has to wait for it, and what is
//! done to the wall clock does not count.
//!
//! The instant is asked for before it comes. [`Drained::answer`] has the last record up to it once
//! all that was captured then has been drained.

use std::sync::{Mutex, MutexGuard, PoisonError};

use snapless_types::Seq;
use snapless_wire::id::SessionId;
use snapless_wire::record::RecordHeader;

/// What has been drained of the stream of one claim.
#[derive(Debug, Default)]
pub struct Drained {
    state: Mutex<State>,
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<SessionId>,
    /// The last record, and its monotonic time.
    last: Option<(Seq, u64)>,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// Monotonic time.
    at: u64,
    /// The last record up to then.
    end: Seq,
}

/// Up to where the stream had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Up to this record.
    Known(Seq),
    /// More was captured than has been drained.
    NotDrained,
    /// Another claim has begun since: ask for a later instant.
    Unknown,
}

/// The records of a batch on their way.
pub struct Seeing<'a>(MutexGuard<'a, State>);

impl Drained {
    /// A claim of a session begins: what follows may have been drained before.
    pub fn begin(&self, session: SessionId) {
        *self.lock() = State { session: Some(session), ..State::default() };
    }

    /// Records are about to be drained.
    pub fn seeing(&self) -> Seeing<'_> {
        Seeing(self.lock())
    }

    /// Held by who asks: there is room for one question.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the last record up to the monotonic time `at`, which is later than that of record
    /// `captured`, the driver's last one. False if the time has passed, or if another session was
    /// drained: ask for a later one.
    pub fn ask(&self, session: SessionId, at: u64, captured: Seq) -> bool {
        let mut state = self.lock();
        let is_past = state.last.is_some_and(|(_, monotonic)| monotonic > at);
        if state.session != Some(session) || is_past {
            return false;
        }
        let end = state.last.map_or(captured, |(seq, _)| seq.max(captured));
        state.asked = Some(Asked { at, end });
        true
    }

    /// The last record up to the time that was asked for. `captured` is the driver's last one, as
    /// it said after that time.
    pub fn answer(&self, captured: Seq) -> End {
        let state = self.lock();
        match &state.asked {
            None => End::Unknown,
            Some(Asked { end, .. }) => {
                let drained = state.last.map_or(*end, |(seq, _)| seq.max(*end));
                if drained < captured { End::NotDrained } else { End::Known(*end) }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seeing<'_> {
    /// The next record.
    pub fn see(&mut self, record: &RecordHeader) {
        let (seq, monotonic) = (record.seq(), record.monotonic());
        if let Some(asked) = &mut self.0.asked
            && monotonic <= asked.at
        {
            asked.end = asked.end.max(seq);
        }
        self.0.last = Some((seq, monotonic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, RecordKind};
    use snapless_wire::id::FileTime;
    use snapless_wire::record::Position;

    const SESSION: SessionId = SessionId([1; 16]);

    /// Records with these numbers and monotonic times are drained.
    fn drain(drained: &Drained, records: &[(u64, u64)]) {
        let mut seeing = drained.seeing();
        for &(seq, monotonic) in records {
            let (seq, epoch) = (Seq::new(seq), EpochId::new(1));
            let at = Position { seq, time: FileTime::new(1), monotonic, epoch };
            seeing.see(&RecordHeader::marker(RecordKind::EpochEnd, at).unwrap());
        }
    }

    fn drained() -> Drained {
        let drained = Drained::default();
        drained.begin(SESSION);
        drained
    }

    #[test]
    fn it_ends_with_the_last_record_that_is_not_later() {
        let drained = drained();
        drain(&drained, &[(5, 50)]);
        assert!(drained.ask(SESSION, 100, Seq::new(7)));
        drain(&drained, &[(6, 60), (7, 60), (8, 100), (9, 100)]);
        assert_eq!(drained.answer(Seq::new(12)), End::NotDrained);
        drain(&drained, &[(10, 101), (11, 101), (12, 102)]);
        assert_eq!(drained.answer(Seq::new(12)), End::Known(Seq::new(9)));
    }

    #[test]
    fn a_volume_to_which_nothing_was_written_ends_where_it_was() {
        let drained = drained();
        assert!(drained.ask(SESSION, 100, Seq::new(7)));
        assert_eq!(drained.answer(Seq::new(7)), End::Known(Seq::new(7)));
        assert_eq!(drained.answer(Seq::new(8)), End::NotDrained);
        drain(&drained, &[(8, 101)]);
        assert_eq!(drained.answer(Seq::new(8)), End::Known(Seq::new(7)));
    }

    #[test]
    fn an_instant_that_has_passed_or_is_of_another_claim_has_no_answer() {
        let drained = drained();
        assert_eq!(drained.answer(Seq::new(0)), End::Unknown);
        assert!(!drained.ask(SessionId([2; 16]), 100, Seq::new(1)));
        drain(&drained, &[(1, 101)]);
        assert!(!drained.ask(SESSION, 100, Seq::new(1)));
        assert!(drained.ask(SESSION, 101, Seq::new(1)));
        drained.begin(SESSION);
        assert_eq!(drained.answer(Seq::new(1)), End::Unknown);
    }
}

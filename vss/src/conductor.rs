//! The order of the steps of a freeze, and what follows from the failure of each.
//!
//! | step | call (docs: "Overview of Processing a Backup Under VSS") |
//! | --- | --- |
//! | begin | `InitializeForBackup`, `SetBackupState`, `SetContext` |
//! | gather | `GatherWriterMetadata`: the writers say what they have |
//! | open | `StartSnapshotSet`, `AddToSnapshotSet` with our provider |
//! | prepare | `PrepareForBackup`: the writers prepare; nothing is frozen |
//! | freeze | `DoSnapshotSet`: the writers freeze, VSS flushes the volume and holds its writes, our provider's `CommitSnapshots` takes the instant, the writers thaw |
//! | complete | `BackupComplete` |
//!
//! Rule: after a step that was begun and not completed, whatever it was, the backup is aborted,
//! which thaws every writer. What was taken counts only if the freeze has succeeded and no writer
//! has failed.

use std::time::Duration;

use crate::code::Code;
use crate::commit::Commit;
use crate::limits;
use crate::writer::Writer;

/// What came of a freeze.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frozen<T> {
    /// What was taken while the writers were frozen.
    pub taken: T,
    /// The writers that were frozen; none has failed.
    pub writers: Vec<Writer>,
    /// What failed afterwards, and costs nothing.
    pub notes: Vec<String>,
}

/// A step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make VSS ready.
    Begin,
    /// Ask the writers what they have.
    Gather,
    /// Open a set of the volume, with our provider.
    Open,
    /// Have the writers prepare.
    Prepare,
    /// Freeze, take the instant, thaw.
    Freeze,
    /// End the backup.
    Complete,
}

impl Step {
    /// How long it may take.
    fn limit(self) -> Duration {
        match self {
            Self::Begin | Self::Gather | Self::Open => limits::GATHER,
            Self::Prepare => limits::PREPARE,
            Self::Freeze => limits::FREEZE,
            Self::Complete => limits::COMPLETE,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Gather => "ask the writers what they have",
            Self::Open => "take up the volume",
            Self::Prepare => "have the writers prepare",
            Self::Freeze => "freeze the writers and the volume",
            Self::Complete => "tell the writers that the backup is complete",
        }
    }
}

/// Why a step was not completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepError {
    /// VSS says so.
    #[error("{0}")]
    Code(Code),
    /// It took longer than its limit.
    #[error("it was not done within {} s", .0.as_secs())]
    TooLong(Duration),
}

impl From<Code> for StepError {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

/// Why there is no instant with frozen writers. The writers are thawed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FreezeError<E> {
    /// A step failed.
    #[error("VSS could not {}: {why}", step.words())]
    Step {
        /// The step.
        step: Step,
        /// Why.
        why: StepError,
    },
    /// VSS could not tell what came of the writers.
    #[error("VSS could not tell the state of the writers: {0}")]
    Status(StepError),
    /// Writers failed.
    #[error("{}", all(.0))]
    Writers(Vec<Writer>),
    /// The instant was not to be had while all was frozen.
    #[error("{0}")]
    Instant(E),
    /// VSS did all without asking our provider.
    #[error(
        "VSS ended the freeze without having asked for the instant: see its events in \
         the application log"
    )]
    NotAsked,
    /// This is not Windows.
    #[error("there is VSS on Windows only")]
    NoVss,
}

fn all(failed: &[Writer]) -> String {
    let said: Vec<_> = failed.iter().map(Writer::to_string).collect();
    said.join("; ")
}

/// VSS's requestor.
pub trait Requestor {
    /// Carries out a step, within a limit.
    ///
    /// # Errors
    /// [`StepError`]; the step may have been carried out in part.
    fn carry_out(&mut self, step: Step, limit: Duration) -> Result<(), StepError>;

    /// The writers, and what came of each.
    ///
    /// # Errors
    /// [`StepError`]
    fn writers(&mut self, limit: Duration) -> Result<Vec<Writer>, StepError>;

    /// Aborts the backup: every writer thaws. It does so in whatever state the steps are.
    fn abort(&mut self);
}

/// Aborts unless it is told that all went well.
struct Guard<'a> {
    requestor: &'a mut dyn Requestor,
    is_complete: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.requestor.abort();
        }
    }
}

/// Carries out all steps.
///
/// # Errors
/// [`FreezeError`]
pub fn freeze<T, E>(
    requestor: &mut dyn Requestor,
    commit: &Commit<T, E>,
) -> Result<Frozen<T>, FreezeError<E>> {
    let mut guard = Guard { requestor, is_complete: false };
    for step in [Step::Begin, Step::Gather, Step::Open, Step::Prepare] {
        guard.carry_out(step)?;
    }
    guard.writers()?;
    commit.open();
    let done = guard.carry_out(Step::Freeze);
    let taken = match commit.close() {
        // It is why the freeze has failed.
        Some(Err(error)) => return Err(FreezeError::Instant(error)),
        Some(Ok(taken)) => Some(taken),
        None => None,
    };
    done?;
    let taken = taken.ok_or(FreezeError::NotAsked)?;
    let (writers, others): (Vec<_>, Vec<_>) =
        guard.writers()?.into_iter().partition(Writer::was_frozen);
    let complete = guard.requestor.carry_out(Step::Complete, Step::Complete.limit());
    guard.is_complete = complete.is_ok();
    let not_frozen = others.iter().map(|it| format!("the writer \"{}\" was not frozen", it.name));
    let mut notes: Vec<String> = not_frozen.collect();
    notes.extend(match complete {
        Ok(()) => Vec::new(),
        Err(why) => vec![FreezeError::<String>::Step { step: Step::Complete, why }.to_string()],
    });
    Ok(Frozen { taken, writers, notes })
}

impl Guard<'_> {
    fn carry_out<E>(&mut self, step: Step) -> Result<(), FreezeError<E>> {
        let done = self.requestor.carry_out(step, step.limit());
        done.map_err(|why| FreezeError::Step { step, why })
    }

    /// The writers, if none has failed.
    fn writers<E>(&mut self) -> Result<Vec<Writer>, FreezeError<E>> {
        let writers = self.requestor.writers(limits::GATHER).map_err(FreezeError::Status)?;
        let (failed, sound): (Vec<_>, Vec<_>) = writers.into_iter().partition(Writer::has_failed);
        if failed.is_empty() { Ok(sound) } else { Err(FreezeError::Writers(failed)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::commit::OnCommit;

    /// What VSS was asked to do.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Call {
        Step(Step),
        Writers,
        Abort,
    }

    /// A VSS that freezes and thaws one writer, and fails where it is told to.
    struct Vss {
        provider: Arc<dyn OnCommit>,
        calls: Vec<Call>,
        /// The call that fails, counted from 0.
        fails_at: Option<usize>,
        /// The calls from which on the writer has failed.
        writer_fails_at: Option<usize>,
        asks_provider: bool,
        /// A second writer that began after the preparation.
        has_late_writer: bool,
        is_frozen: bool,
        was_frozen_at_commit: Option<bool>,
    }

    const FAILURE: StepError = StepError::TooLong(Duration::from_secs(1));

    impl Vss {
        fn of(provider: &Arc<Commit<u32, String>>) -> Self {
            Self {
                provider: Arc::clone(provider) as Arc<dyn OnCommit>,
                calls: Vec::new(),
                fails_at: None,
                writer_fails_at: None,
                asks_provider: true,
                has_late_writer: false,
                is_frozen: false,
                was_frozen_at_commit: None,
            }
        }

        fn note(&mut self, call: Call) -> Result<(), StepError> {
            self.calls.push(call);
            if self.fails_at == Some(self.calls.len() - 1) { Err(FAILURE) } else { Ok(()) }
        }
    }

    impl Requestor for Vss {
        fn carry_out(&mut self, step: Step, _limit: Duration) -> Result<(), StepError> {
            let outcome = self.note(Call::Step(step));
            if step == Step::Freeze {
                self.is_frozen = true;
                // It fails with the writers frozen.
                outcome?;
                if self.asks_provider {
                    self.was_frozen_at_commit = Some(self.is_frozen);
                    if !self.provider.commit() {
                        return Err(StepError::Code(Code(0x8004_2306)));
                    }
                }
                self.is_frozen = false;
            }
            outcome
        }

        fn writers(&mut self, _limit: Duration) -> Result<Vec<Writer>, StepError> {
            self.note(Call::Writers)?;
            let has_failed = self.writer_fails_at.is_some_and(|at| at < self.calls.len());
            let (state, failure) = if has_failed { (9, 0x8004_23F2) } else { (5, 0) };
            let mut writers = vec![Writer { name: "W".to_owned(), state, failure: Code(failure) }];
            if self.has_late_writer {
                writers.push(Writer { name: "Late".to_owned(), state: 1, failure: Code(0) });
            }
            Ok(writers)
        }

        fn abort(&mut self) {
            self.calls.push(Call::Abort);
            self.is_frozen = false;
        }
    }

    fn instant() -> Arc<Commit<u32, String>> {
        Commit::new(|| Ok(7))
    }

    const ORDER: [Call; 8] = [
        Call::Step(Step::Begin),
        Call::Step(Step::Gather),
        Call::Step(Step::Open),
        Call::Step(Step::Prepare),
        Call::Writers,
        Call::Step(Step::Freeze),
        Call::Writers,
        Call::Step(Step::Complete),
    ];

    #[test]
    fn the_instant_is_taken_while_the_writers_are_frozen() {
        let commit = instant();
        let mut vss = Vss::of(&commit);
        let frozen = freeze(&mut vss, &commit).unwrap();
        assert_eq!((frozen.taken, frozen.writers.len(), frozen.notes), (7, 1, Vec::new()));
        assert_eq!(vss.calls, ORDER);
        assert_eq!((vss.was_frozen_at_commit, vss.is_frozen), (Some(true), false));
    }

    #[test]
    fn a_writer_that_came_after_the_preparation_is_not_called_frozen() {
        let commit = instant();
        let mut vss = Vss { has_late_writer: true, ..Vss::of(&commit) };
        let frozen = freeze(&mut vss, &commit).unwrap();
        assert_eq!((frozen.writers.len(), &*frozen.writers[0].name), (1, "W"));
        assert_eq!(frozen.notes, ["the writer \"Late\" was not frozen"]);
    }

    #[test]
    fn the_failure_of_any_call_thaws_and_gives_no_instant_unless_it_was_the_last() {
        for at in 0..ORDER.len() {
            let commit = instant();
            let mut vss = Vss { fails_at: Some(at), ..Vss::of(&commit) };
            let outcome = freeze(&mut vss, &commit);
            assert_eq!(vss.calls.last(), Some(&Call::Abort), "{at}");
            assert_eq!(vss.calls[..=at], ORDER[..=at]);
            assert!(!vss.is_frozen, "{at}: the writers stay frozen");
            match (ORDER[at], outcome) {
                // The instant is good.
                (Call::Step(Step::Complete), Ok(frozen)) => assert_eq!(frozen.notes.len(), 1),
                (Call::Step(step), Err(error)) => {
                    assert_eq!(error, FreezeError::Step { step, why: FAILURE });
                }
                (Call::Writers, Err(error)) => assert_eq!(error, FreezeError::Status(FAILURE)),
                (call, outcome) => panic!("{call:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_writer_that_fails_before_or_in_the_freeze_gives_no_instant() {
        for (at, calls) in [(4, 6), (6, 8)] {
            let commit = instant();
            let mut vss = Vss { writer_fails_at: Some(at), ..Vss::of(&commit) };
            let error = freeze(&mut vss, &commit).unwrap_err();
            let FreezeError::Writers(failed) = &error else { panic!("{error}") };
            assert_eq!(failed[0].name, "W");
            assert_eq!((vss.calls.len(), vss.calls.last()), (calls, Some(&Call::Abort)));
        }
    }

    #[test]
    fn an_instant_that_is_not_to_be_had_is_the_reason() {
        let commit = Commit::<u32, String>::new(|| Err("a gap".to_owned()));
        let mut vss = Vss::of(&commit);
        assert_eq!(freeze(&mut vss, &commit), Err(FreezeError::Instant("a gap".to_owned())));
        assert!(!vss.is_frozen && vss.calls.last() == Some(&Call::Abort));
    }

    #[test]
    fn a_freeze_without_our_provider_gives_no_instant() {
        let commit = instant();
        let mut vss = Vss { asks_provider: false, ..Vss::of(&commit) };
        assert_eq!(freeze(&mut vss, &commit), Err(FreezeError::NotAsked));
        assert_eq!(vss.calls.last(), Some(&Call::Abort));
    }

    #[test]
    fn a_provider_that_comes_before_or_after_the_freeze_takes_nothing() {
        let commit = instant();
        assert!(!commit.commit(), "before");
        let mut vss = Vss::of(&commit);
        freeze(&mut vss, &commit).unwrap();
        assert!(!commit.commit(), "after");
        let commit = instant();
        let mut vss = Vss { fails_at: Some(5), ..Vss::of(&commit) };
        freeze(&mut vss, &commit).unwrap_err();
        assert!(!commit.commit(), "after a freeze that was given up");
    }
}

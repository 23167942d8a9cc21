//! Takes an instant with the applications prepared for it: script, freeze, instant, thaw, script.
//!
//! Rules:
//! - A script before that fails forbids the instant.
//! - The script after runs whatever has come of it: it undoes what the one before has done.
//! - The instant lies after the script before and before the script after, and is taken while the
//!   writers are frozen ([`snapless_vss::conductor`]).

use snapless_link::question::Consistency;
use snapless_vss::conductor::{FreezeError, Frozen};

use crate::scripts::{Moment, ScriptError};

/// An instant, and how it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Taken<T> {
    /// The instant.
    pub(crate) at: T,
    /// How the applications were prepared.
    pub(crate) consistency: Consistency,
    /// The VSS writers that were frozen.
    pub(crate) writers: Vec<String>,
    /// What did not go well, for people.
    pub(crate) notes: Vec<String>,
}

impl<T> Taken<T> {
    /// An instant for which nothing was prepared.
    pub(crate) fn at(at: T) -> Self {
        Self { at, consistency: Consistency::Crash, writers: Vec::new(), notes: Vec::new() }
    }
}

/// What prepares applications, and takes instants.
pub(crate) struct Means<'a, T, E> {
    /// Runs the script of a moment, if there is one.
    pub(crate) run: &'a dyn Fn(Moment) -> Result<(), ScriptError>,
    /// Takes an instant while VSS's writers are frozen.
    pub(crate) freeze: &'a dyn Fn() -> Result<Frozen<T>, FreezeError<E>>,
    /// Takes an instant.
    pub(crate) instant: &'a dyn Fn() -> Result<T, E>,
}

/// Why there is no instant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken<E> {
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error("{0}")]
    Freeze(FreezeError<E>),
    #[error("{0}")]
    Instant(E),
}

/// Takes an instant.
pub(crate) fn take<T, E: std::fmt::Display>(
    consistency: Consistency,
    means: &Means<'_, T, E>,
) -> Result<Taken<T>, NotTaken<E>> {
    if consistency == Consistency::Crash {
        return (means.instant)().map(Taken::at).map_err(NotTaken::Instant);
    }
    let before = (means.run)(Moment::Before);
    let taken = match before {
        Ok(()) => taken(consistency, means),
        Err(error) => Err(error.into()),
    };
    let after = (means.run)(Moment::After);
    match (taken, after) {
        (Ok(mut taken), Err(error)) => {
            taken.notes.push(error.to_string());
            Ok(taken)
        }
        (Err(failed), Err(error)) => {
            log::error!("{error}");
            Err(failed)
        }
        (taken, Ok(())) => taken,
    }
}

fn taken<T, E>(consistency: Consistency, means: &Means<'_, T, E>) -> Result<Taken<T>, NotTaken<E>> {
    if consistency != Consistency::Application {
        let at = (means.instant)().map_err(NotTaken::Instant)?;
        return Ok(Taken { consistency, ..Taken::at(at) });
    }
    let Frozen { taken: at, writers, notes } = (means.freeze)().map_err(|error| match error {
        FreezeError::Instant(error) => NotTaken::Instant(error),
        other => NotTaken::Freeze(other),
    })?;
    let writers = writers.into_iter().map(|writer| writer.name).collect();
    Ok(Taken { at, consistency, writers, notes })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use snapless_vss::code::Code;
    use snapless_vss::writer::Writer;

    use super::*;
    use crate::scripts::Script;

    fn failed_script() -> ScriptError {
        let script = Script { program: "/freeze".into(), arguments: Vec::new() };
        ScriptError::TooLong { script, limit: std::time::Duration::from_secs(1) }
    }

    /// Takes an instant; what was done, in order. Each of `fails` fails.
    fn play(
        consistency: Consistency,
        fails: &[&str],
    ) -> (Result<Taken<u32>, NotTaken<String>>, Vec<&'static str>) {
        let done = RefCell::new(Vec::new());
        let note = |what: &'static str| {
            done.borrow_mut().push(what);
            fails.contains(&what)
        };
        let outcome = take(
            consistency,
            &Means {
                run: &|moment| {
                    let what = if moment == Moment::Before { "before" } else { "after" };
                    if note(what) { Err(failed_script()) } else { Ok(()) }
                },
                freeze: &|| {
                    let (failed, is_gap) = (note("freeze"), note("instant"));
                    let name = "W".to_owned();
                    let writer = Writer { name, state: 5, failure: Code(0) };
                    match (failed, is_gap) {
                        (true, _) => Err(FreezeError::NoVss),
                        (_, true) => Err(FreezeError::Instant("a gap".to_owned())),
                        _ => Ok(Frozen { taken: 7, writers: vec![writer], notes: Vec::new() }),
                    }
                },
                instant: &|| if note("instant") { Err("a gap".to_owned()) } else { Ok(7) },
            },
        );
        (outcome, done.into_inner())
    }

    #[test]
    fn the_instant_lies_between_the_scripts_and_in_the_freeze() {
        let (taken, done) = play(Consistency::Application, &[]);
        let taken = taken.unwrap();
        assert_eq!((taken.at, taken.consistency), (7, Consistency::Application));
        assert_eq!((taken.writers, taken.notes), (vec!["W".to_owned()], Vec::new()));
        assert_eq!(done, ["before", "freeze", "instant", "after"]);
        let (taken, done) = play(Consistency::Scripts, &[]);
        assert_eq!(taken.unwrap().consistency, Consistency::Scripts);
        assert_eq!(done, ["before", "instant", "after"]);
        let (taken, done) = play(Consistency::Crash, &[]);
        assert_eq!(taken.unwrap(), Taken::at(7));
        assert_eq!(done, ["instant"]);
    }

    #[test]
    fn a_script_before_that_fails_forbids_the_instant_and_the_one_after_runs() {
        for consistency in [Consistency::Scripts, Consistency::Application] {
            let (taken, done) = play(consistency, &["before"]);
            assert!(matches!(taken, Err(NotTaken::Script(_))));
            assert_eq!(done, ["before", "after"]);
        }
    }

    #[test]
    fn the_script_after_runs_whatever_fails() {
        let (taken, done) = play(Consistency::Application, &["freeze"]);
        assert!(matches!(taken, Err(NotTaken::Freeze(FreezeError::NoVss))));
        assert_eq!(done.last(), Some(&"after"));
        for consistency in [Consistency::Scripts, Consistency::Application] {
            let (taken, done) = play(consistency, &["instant", "after"]);
            assert!(matches!(taken, Err(NotTaken::Instant(why)) if why == "a gap"));
            assert_eq!(done.last(), Some(&"after"));
        }
    }

    #[test]
    fn a_script_after_that_fails_is_told_beside_the_instant() {
        let (taken, _) = play(Consistency::Scripts, &["after"]);
        let notes = taken.unwrap().notes;
        assert!(matches!(&notes[..], [note] if note.contains("/freeze")), "{notes:?}");
    }
}

//! The files of a repository that have a variable length: the kept state of a stream, and the list
//! of sessions. The first byte of an input says which.

use snapless_server::format::sessions::{ENTRY_LEN, KnownSession, KnownSessions};
use snapless_server::format::state::Checkpoint;

use super::{Target, ingest, repository};

pub(super) const TARGET: Target = Target {
    name: "state",
    repairs: &[seal, place],
    run,
    reached: &[
        "state",
        "sessions",
        "sessions, one damaged",
        "short",
        "magic",
        "version",
        "checksum",
        "content",
    ],
};

const SESSIONS: u8 = 1;

/// Makes the checksums right.
fn seal(input: &mut [u8]) {
    let Some((kind, bytes)) = input.split_first_mut() else { return };
    if *kind & 1 == SESSIONS {
        bytes.chunks_exact_mut(ENTRY_LEN).for_each(repository::seal);
    } else {
        repository::seal(bytes);
    }
}

/// Makes it one of the session of all targets, and the checksums right.
fn place(input: &mut [u8]) {
    let session = repository::session();
    let ids = [session.volume.0, session.session.0].concat();
    let (length, sector, block) =
        (session.geometry.length(), session.geometry.sector_size(), session.geometry.block_size());
    let shape = [&length.to_le_bytes()[..], &sector.to_le_bytes(), &block.to_le_bytes()].concat();
    if let Some(found) = input.get_mut(17..65) {
        found.copy_from_slice(&[ids, shape].concat());
    }
    seal(input);
}

fn run(input: &[u8]) -> &'static str {
    let Some((kind, bytes)) = input.split_first() else { return "short" };
    if *kind & 1 == SESSIONS {
        return sessions(bytes);
    }
    let session = repository::session();
    match Checkpoint::read(bytes, &session) {
        Ok((checkpoint, state)) => {
            assert_eq!(Checkpoint::geometry(bytes), Some(session.geometry));
            let again = checkpoint.to_bytes(&session, &state);
            let (same, state_again) = Checkpoint::read(&again, &session).expect("it was written");
            assert_eq!(same, checkpoint);
            assert_eq!(again, same.to_bytes(&session, &state_again), "it comes back the same");
            ingest::check_state(&state);
            "state"
        }
        Err(error) => repository::name(error),
    }
}

fn sessions(bytes: &[u8]) -> &'static str {
    let known = KnownSessions::read(bytes);
    assert!(known.end <= bytes.len() as u64 && known.end.is_multiple_of(ENTRY_LEN as u64));
    for session in &known.sessions {
        assert!(known.has(session.volume, session.session));
    }
    let again: Vec<_> = known.sessions.iter().flat_map(KnownSession::to_bytes).collect();
    assert_eq!(KnownSessions::read(&again).sessions, known.sessions);
    match known.damage {
        Some(_) if !known.sessions.is_empty() => "sessions, one damaged",
        Some((_, error)) => repository::name(error),
        None if known.sessions.is_empty() => "short",
        None => "sessions",
    }
}

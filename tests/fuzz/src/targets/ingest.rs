//! A connection to the server, from its first byte: frames, the records in them, and the rules of a
//! stream.

use snapless_server::error::Error;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::stream::StreamState;
use snapless_server::timeline::At;
use snapless_types::RecordKind;
use snapless_wire::frame::{Acknowledge, FRAME_HEADER_LEN, FrameHeader};
use snapless_wire::record::Records;

use super::{Target, records, split, stream};

pub(super) const TARGET: Target = Target {
    name: "ingest",
    repairs: &[stream::seal_frames, stream::renumber],
    run,
    reached: &[
        "taken",
        "watermark",
        "frame",
        "torn",
        "wrong turn",
        "record",
        "rule",
        "after an epoch's end",
        "unrestorable",
        "large volume",
    ],
};

/// Volumes of more blocks are not played: a bitmap of their blocks takes longer than the parsers.
const BLOCKS_MAX: u64 = 1 << 12;

fn run(input: &[u8]) -> &'static str {
    let mut ingest = Ingest::AwaitingHello;
    let mut rest = input;
    while !rest.is_empty() {
        let Some((header, body)) = split::<FRAME_HEADER_LEN>(rest) else { return "torn" };
        let Ok(header) = FrameHeader::read(&header) else { return "frame" };
        let Some((payload, after)) = body.split_at_checked(header.payload_len()) else {
            return "torn";
        };
        if header.verify(payload).is_err() {
            return "frame";
        }
        rest = after;
        match ingest.frame(header, payload) {
            Ok(Action::Open(hello)) => {
                let geometry = hello.geometry();
                let small = geometry.ok().filter(|geometry| geometry.block_count() <= BLOCKS_MAX);
                let Some(geometry) = small else { return "large volume" };
                ingest.begin(StreamState::new(geometry));
            }
            Ok(Action::Store { ends }) => check_stored(ends, payload),
            Ok(Action::Mark { watermark, again }) => {
                let end = ingest.state().and_then(|state| state.timeline().end());
                let end = end.expect("a watermark comes after a record");
                assert_eq!((watermark.seq(), again.seq()), (end.seq, end.seq));
                assert_eq!(again.epoch(), end.epoch, "the epoch has ended");
                if rest.is_empty() {
                    return "watermark";
                }
            }
            Err(error) => return name(&error),
        }
    }
    ingest.state().map_or("torn", check_state)
}

/// What is stored are whole records, and an epoch ends with the last of them or not at all.
fn check_stored(ends: Option<Acknowledge>, payload: &[u8]) {
    let mut last = None;
    for record in Records::new(payload) {
        let record = record.expect("what is stored was parsed");
        records::check(&record);
        assert!(last.is_none(), "an epoch's end is the last record of its frame");
        let header = record.header;
        last = (header.kind() == RecordKind::EpochEnd).then(|| (header.epoch(), header.seq()));
    }
    let ends = ends.map(|ends| (ends.epoch(), ends.seq()));
    assert_eq!(ends, last, "an epoch is acknowledged when it ends");
}

/// A state that was taken keeps its promises.
pub(super) fn check_state(state: &StreamState) -> &'static str {
    let timeline = state.timeline();
    let coverage = timeline.coverage();
    assert!(coverage.base <= coverage.known && coverage.known <= coverage.total);
    for range in timeline.ranges() {
        assert!(range.from.seq <= range.to.seq, "a range of points has a beginning and an end");
    }
    match (timeline.resolve(At::Latest), timeline.resolve(At::T0)) {
        (Err(_), Err(_)) => "unrestorable",
        _ => "taken",
    }
}

fn name(error: &Error) -> &'static str {
    assert!(!error.to_string().is_empty());
    match error {
        Error::Turn { .. } => "wrong turn",
        Error::Frame(_) => "frame",
        Error::Record(_) => "record",
        Error::Violation(_) => "rule",
        Error::AfterEpochEnd(_) => "after an epoch's end",
        _ => "other",
    }
}

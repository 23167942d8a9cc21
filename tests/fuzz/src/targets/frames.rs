//! Frames and what they carry.

use snapless_link::meeting::Invitation;
use snapless_link::packing::{unpack, unpack_as};
use snapless_link::question::{Question, Reply};
use snapless_link::report::SessionReport;
use snapless_wire::compare::{COMPARE_BYTES_MAX, COMPARE_EXTENTS_MAX, Compare, Compared};
use snapless_wire::fetch::{FETCH_BYTES_MAX, FETCH_TILES_MAX, Fetch, Fetched};
use snapless_wire::frame::{
    Acknowledge, FRAME_HEADER_LEN, FRAME_PAYLOAD_MAX, FrameError, FrameHeader, FrameKind, Hello,
    KeepAlive, Watermark, Welcome,
};
use snapless_wire::verified::Verified;
use zerocopy::FromBytes;

use super::{Target, split, stream};

pub(super) const TARGET: Target = Target {
    name: "frames",
    repairs: &[stream::seal_frames],
    run,
    reached: &[
        "hello",
        "welcome",
        "records",
        "acknowledge",
        "error",
        "watermark",
        "keep-alive",
        "compare",
        "compared",
        "verified",
        "question",
        "no question",
        "reply",
        "no reply",
        "report",
        "no report",
        "meeting",
        "no meeting",
        "packed",
        "packed content",
        "fetch",
        "fetched",
        "short",
        "magic",
        "version",
        "kind",
        "too long",
        "checksum",
        "payload",
    ],
};

fn run(input: &[u8]) -> &'static str {
    let Some((header, rest)) = split::<FRAME_HEADER_LEN>(input) else { return "short" };
    let header = match FrameHeader::read(&header) {
        Ok(header) => header,
        Err(error) => return name(error),
    };
    assert!(header.payload_len() <= FRAME_PAYLOAD_MAX);
    assert_eq!(FrameHeader::read(&header.to_bytes()), Ok(header), "it comes back the same");
    let Some(payload) = rest.get(..header.payload_len()) else { return "short" };
    if let Err(error) = header.verify(payload) {
        return name(error);
    }
    assert_eq!(FrameHeader::new(header.kind(), payload), Ok(header), "a whole frame is the same");
    read(header.kind(), payload)
}

/// Reads what a whole frame carries.
fn read(kind: FrameKind, payload: &[u8]) -> &'static str {
    match kind {
        FrameKind::Hello => match Hello::read(payload) {
            Ok(hello) => {
                assert!(hello.block_size >= hello.sector_size && hello.length.get() > 0);
                assert!(hello.length.get().is_multiple_of(u64::from(hello.sector_size.get())));
                "hello"
            }
            Err(error) => name(error),
        },
        FrameKind::Welcome => Welcome::read_from_bytes(payload).map_or("payload", |_| "welcome"),
        FrameKind::Acknowledge => {
            Acknowledge::read_from_bytes(payload).map_or("payload", |_| "acknowledge")
        }
        FrameKind::Records => "records",
        FrameKind::Error => "error",
        FrameKind::Watermark => Watermark::read(payload).map_or("payload", |_| "watermark"),
        FrameKind::KeepAlive => KeepAlive::read(payload).map_or("payload", |_| "keep-alive"),
        FrameKind::Compare => match Compare::read(payload) {
            Ok(compare) => {
                let bytes: u64 = compare.extents().iter().map(|(extent, _)| extent.len()).sum();
                assert!((1..=COMPARE_EXTENTS_MAX).contains(&compare.extents().len()));
                assert!((1..=COMPARE_BYTES_MAX).contains(&bytes));
                assert_eq!(compare.to_bytes(), payload, "it comes back the same");
                "compare"
            }
            Err(error) => name(error),
        },
        FrameKind::Compared => match Compared::read(payload) {
            Ok(compared) => {
                assert!((1..=COMPARE_EXTENTS_MAX).contains(&compared.same().len()));
                assert_eq!(compared.to_bytes(), payload, "it comes back the same");
                "compared"
            }
            Err(error) => name(error),
        },
        FrameKind::Verified => match Verified::read(payload) {
            Ok(verified) => {
                assert_eq!(verified.to_bytes(), payload, "it comes back the same");
                "verified"
            }
            Err(error) => name(error),
        },
        FrameKind::Question => match Question::read(payload) {
            Ok(question) => {
                assert_eq!(Question::read(&question.to_bytes()), Ok(question), "it comes back");
                "question"
            }
            Err(why) => {
                assert!(!why.is_empty());
                "no question"
            }
        },
        FrameKind::Reply => match Reply::read(payload) {
            Some(reply) => {
                assert_eq!(Reply::read(&reply.to_bytes()), Some(reply), "it comes back the same");
                "reply"
            }
            None => "no reply",
        },
        FrameKind::Report => report(payload),
        FrameKind::Meeting => meeting(payload),
        FrameKind::Packed => {
            let mut unpacked = Vec::new();
            match unpack(payload, &mut unpacked) {
                Ok(header) => {
                    assert_eq!(FrameHeader::new(FrameKind::Records, &unpacked), Ok(header));
                    "packed"
                }
                Err(error) => match unpack_as(FrameKind::Fetched, payload, &mut unpacked) {
                    Ok(header) => {
                        assert_eq!(FrameHeader::new(FrameKind::Fetched, &unpacked), Ok(header));
                        "packed content"
                    }
                    Err(_) => name(error),
                },
            }
        }
        FrameKind::Fetch => match Fetch::read(payload) {
            Ok(fetch) => {
                let window = fetch.window();
                assert!((1..=FETCH_BYTES_MAX).contains(&window.len()));
                assert!((1..=FETCH_TILES_MAX).contains(&window.tile_count()));
                assert_eq!(fetch.to_bytes(), payload, "it comes back the same");
                "fetch"
            }
            Err(error) => name(error),
        },
        FrameKind::Fetched => match Fetched::read(payload) {
            Ok(fetched) => {
                let bytes: u64 = fetched.tiles().map(|(_, len, _)| len).sum();
                assert_eq!(bytes, fetched.window().len(), "the tiles are the window");
                assert_eq!(fetched.to_bytes(), payload, "it comes back the same");
                "fetched"
            }
            Err(error) => name(error),
        },
    }
}

fn meeting(payload: &[u8]) -> &'static str {
    match Invitation::read(payload) {
        Some(invitation) => {
            let again = Invitation::read(&invitation.to_bytes());
            assert!(again.is_none_or(|again| again == invitation), "it comes back the same");
            "meeting"
        }
        None => "no meeting",
    }
}

fn report(payload: &[u8]) -> &'static str {
    match SessionReport::read(payload) {
        Ok(report) => {
            let again = report.to_bytes().map(|bytes| SessionReport::read(&bytes));
            assert!(again.is_none_or(|again| again == Ok(report)), "it comes back the same");
            "report"
        }
        Err(why) => {
            assert!(!why.is_empty());
            "no report"
        }
    }
}

fn name(error: FrameError) -> &'static str {
    assert!(!error.to_string().is_empty());
    match error {
        FrameError::Magic(_) => "magic",
        FrameError::Version(_) => "version",
        FrameError::Kind(_) => "kind",
        FrameError::TooLong(_) => "too long",
        FrameError::Checksum => "checksum",
        FrameError::Payload(_) => "payload",
    }
}

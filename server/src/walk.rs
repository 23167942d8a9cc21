//! Walks through what a session has stored. Reads the segments' indices, and of what they lack the
//! segments.
//!
//! The one place that reads the headers of a whole history for a report; whatever makes that
//! cheaper belongs here.

use snapless_wire::frame::{FRAME_HEADER_LEN, Watermark};
use snapless_wire::record::RecordHeader;

use crate::error::Result;
use crate::reader::{SessionReader, Wanted, with_indices};
use crate::stop::StopFlag;

/// What is met, in the order of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met<'a> {
    /// A segment begins.
    Segment {
        /// Bytes before its first entry.
        header_bytes: u64,
    },
    /// An entry takes so many bytes in its segment for a frame of so many.
    Stored {
        /// Bytes in the segment.
        bytes: u64,
        /// Bytes of the frame.
        frame: u64,
    },
    /// An entry of records begins.
    Entry,
    /// A record.
    Record(&'a RecordHeader),
    /// A watermark, which is an entry of its own.
    Watermark(&'a Watermark),
}

/// Walks through a session's acknowledged stream. Tells `progress` how many bytes of it are done.
/// Returns what `visit` has made of `begin`, up to the damage if there is any: an index may turn
/// out not to be that of its segment, and then all begins anew.
///
/// # Errors
/// [`crate::error::Error::Damaged`] if a header is not sound, or an entry that no index has;
/// [`crate::error::Error::Stopped`]. Damage of other content, and a stream that breaks a rule, are
/// not noticed.
pub(crate) fn walk<T: Clone>(
    reader: &SessionReader,
    begin: &T,
    stop: &StopFlag,
    mut progress: impl FnMut(u64),
    mut visit: impl FnMut(&mut T, Met<'_>),
) -> (T, Result<()>) {
    let mut made = begin.clone();
    let walked = with_indices(|indices| {
        made = begin.clone();
        let (mut done, mut segment) = (0, None);
        let from = reader.begin_place();
        reader.visit(from, indices, stop, |number, entry| {
            if segment.replace(number) != Some(number) {
                // What lies before a fold's boundary is not of the stream.
                let header_bytes = entry.offset - if number == from.0 { from.1 } else { 0 };
                visit(&mut made, Met::Segment { header_bytes });
            }
            let bytes = entry.end() - entry.offset;
            let frame = (FRAME_HEADER_LEN + entry.frame.payload_len()) as u64;
            visit(&mut made, Met::Stored { bytes, frame });
            if let Some(watermark) = entry.watermark() {
                visit(&mut made, Met::Watermark(watermark));
            } else {
                visit(&mut made, Met::Entry);
                entry.records().for_each(|record| visit(&mut made, Met::Record(record.header)));
            }
            done += bytes;
            progress(done);
            Ok(Wanted::More)
        })
    });
    (made, walked)
}

//! Walks through what a session has stored, and reads no content.
//!
//! The one place that reads the headers of a whole history for a report; whatever makes that
//! cheaper belongs here.

use snapless_wire::frame::{FRAME_HEADER_LEN, Watermark};
use snapless_wire::record::RecordHeader;

use crate::error::{Error, Result};
use crate::reader::SessionReader;
use crate::stop::StopFlag;

/// Bytes read ahead: a few headers and little of the content between them.
const BUFFER_BYTES: usize = 4 << 10;

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
///
/// # Errors
/// [`Error::Damaged`] if a header is not sound, or [`Error::Stopped`]. Damage of content, and a
/// stream that breaks a rule, are not noticed.
pub(crate) fn walk(
    reader: &SessionReader,
    stop: &StopFlag,
    mut progress: impl FnMut(u64),
    mut visit: impl FnMut(Met<'_>),
) -> Result<()> {
    let (mut done, mut payload) = (0, Vec::new());
    for number in reader.segments() {
        let mut segment = reader.segment(number, BUFFER_BYTES)?;
        visit(Met::Segment { header_bytes: segment.entry_end() });
        while segment.next_entry()? {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            let entry = segment.skim(&mut payload)?;
            let bytes = segment.entry_end() - segment.entry_start();
            visit(Met::Stored {
                bytes,
                frame: (FRAME_HEADER_LEN + entry.frame.payload_len()) as u64,
            });
            if let Some(watermark) = entry.watermark() {
                visit(Met::Watermark(watermark));
            } else {
                visit(Met::Entry);
                entry.records().for_each(|record| visit(Met::Record(record.header)));
            }
            done += bytes;
            progress(done);
        }
    }
    Ok(())
}

//! Replies: simple ones, and structured ones for a client that has agreed on them.

use crate::request::Errno;

const SIMPLE_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;
const CHUNK_DONE: u16 = 1;
const CHUNK_OFFSET_DATA: u16 = 1;
const CHUNK_BLOCK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = (1 << 15) + 1;

const STATE_HOLE: u32 = 1;
const STATE_ZERO: u32 = 1 << 1;

/// The number by which a client knows `base:allocation`.
pub(crate) const ALLOCATION_CONTEXT: u32 = 1;

/// What is known of a run of bytes without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    /// Bytes of the run; at least 1.
    pub len: u32,
    /// It holds nothing, and reads as zeros.
    pub is_hole: bool,
}

/// Appends a reply without data.
pub fn reply(out: &mut Vec<u8>, cookie: u64, result: Result<(), Errno>) {
    out.extend(SIMPLE_MAGIC.to_be_bytes());
    out.extend(result.err().map_or(0, |errno| errno as u32).to_be_bytes());
    out.extend(cookie.to_be_bytes());
}

/// Appends the reply to a read.
pub fn reply_read(
    out: &mut Vec<u8>,
    structured: bool,
    header: (u64, u64),
    result: Result<&[u8], Errno>,
) {
    let (cookie, offset) = header;
    if !structured {
        reply(out, cookie, result.map(|_| ()));
        out.extend(result.unwrap_or_default());
        return;
    }
    match result {
        Ok(data) => {
            chunk(out, CHUNK_OFFSET_DATA, cookie, 8 + data.len());
            out.extend(offset.to_be_bytes());
            out.extend(data);
        }
        Err(errno) => error(out, cookie, errno),
    }
}

/// Appends what is allocated from a request's offset on; at least one run, each of at least a byte.
pub fn reply_allocation(out: &mut Vec<u8>, cookie: u64, result: Result<&[Allocation], Errno>) {
    match result {
        Ok(runs) => {
            chunk(out, CHUNK_BLOCK_STATUS, cookie, 4 + 8 * runs.len());
            out.extend(ALLOCATION_CONTEXT.to_be_bytes());
            for run in runs {
                out.extend(run.len.to_be_bytes());
                let state = if run.is_hole { STATE_HOLE | STATE_ZERO } else { 0 };
                out.extend(state.to_be_bytes());
            }
        }
        Err(errno) => error(out, cookie, errno),
    }
}

fn chunk(out: &mut Vec<u8>, kind: u16, cookie: u64, len: usize) {
    out.extend(STRUCTURED_MAGIC.to_be_bytes());
    out.extend(CHUNK_DONE.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(cookie.to_be_bytes());
    // A read's data are bounded by `PAYLOAD_MAX`, the runs by the caller.
    out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn error(out: &mut Vec<u8>, cookie: u64, errno: Errno) {
    chunk(out, CHUNK_ERROR, cookie, 6);
    out.extend((errno as u32).to_be_bytes());
    out.extend(0_u16.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_length_in_their_header() {
        let mut out = Vec::new();
        reply(&mut out, 7, Err(Errno::Io));
        assert_eq!((out.len(), out[7]), (16, 5));
        out.clear();
        reply_read(&mut out, true, (7, 512), Ok(&[1; 512]));
        assert_eq!((out.len(), &out[16..20]), (20 + 8 + 512, &520_u32.to_be_bytes()[..]));
        out.clear();
        reply_read(&mut out, true, (7, 512), Err(Errno::Io));
        assert_eq!((out.len(), out[6]), (26, 0x80));
        out.clear();
        reply_read(&mut out, false, (7, 512), Ok(&[1; 512]));
        assert_eq!(out.len(), 16 + 512);
    }

    #[test]
    fn runs_come_with_their_state() {
        let mut out = Vec::new();
        let runs = [(512, true), (1 << 31, false)];
        let runs = runs.map(|(len, is_hole)| Allocation { len, is_hole });
        reply_allocation(&mut out, 7, Ok(&runs));
        assert_eq!((out.len(), &out[16..24]), (20 + 4 + 16, &[0, 0, 0, 20, 0, 0, 0, 1][..]));
        assert_eq!(out[24..32], [0, 0, 2, 0, 0, 0, 0, 3]);
        assert_eq!(out[32..40], [0x80, 0, 0, 0, 0, 0, 0, 0]);
    }
}

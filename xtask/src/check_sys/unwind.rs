//! How much stack each function of an x64 image takes, from the unwind information in `.pdata` and
//! `.xdata`: the same tables that Windows unwinds with, so they are right for every function that
//! touches the stack pointer.
//!
//! The rule: a table that does not make sense is an error. A function without an entry is a leaf:
//! it may not change the stack pointer (docs: "x64 exception handling").

use object::pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION;
use object::read::pe::PeFile64;

/// Bytes of the return address that a call pushes.
pub const RETURN_ADDRESS: u32 = 8;

/// `UNW_FLAG_CHAININFO`
const CHAINED: u8 = 4;
/// Links of a chain that are followed. Compilers make one.
const CHAIN_MAX: usize = 32;
const ENTRY_LEN: usize = 12;

/// A stretch of code with its own entry. A function may have several: those after the first are
/// chained to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// First byte.
    pub begin: u32,
    /// Behind the last byte.
    pub end: u32,
    /// First byte of the function that the fragment belongs to.
    pub function: u32,
    /// Stack that is taken in it, in bytes, with the return address.
    pub stack: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    begin: u32,
    end: u32,
    info: u32,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| u32_at(bytes, at);
        Some(Self { begin: field(0)?, end: field(4)?, info: field(8)? })
    }
}

/// Reads all entries of an image.
pub fn fragments(file: &PeFile64<'_>, bytes: &[u8]) -> Result<Vec<Fragment>, String> {
    let sections = file.section_table();
    let Some(directory) = file.data_directories().get(IMAGE_DIRECTORY_ENTRY_EXCEPTION) else {
        return Ok(Vec::new());
    };
    let table = directory.data(bytes, &sections).map_err(|error| error.to_string())?;
    let at = |rva: u32| sections.pe_data_at(bytes, rva);
    let mut fragments = Vec::new();
    for entry in table.chunks_exact(ENTRY_LEN).filter_map(Entry::read) {
        if entry.begin == 0 {
            continue;
        }
        if entry.end <= entry.begin {
            return Err(format!("the function at {:#x} ends before it begins", entry.begin));
        }
        fragments.push(follow(entry, at)?);
    }
    Ok(fragments)
}

/// Adds up an entry's stack and that of the entries that it is chained to.
fn follow<'a>(entry: Entry, at: impl Fn(u32) -> Option<&'a [u8]>) -> Result<Fragment, String> {
    let mut stack = RETURN_ADDRESS;
    let mut link = entry;
    for _ in 0..CHAIN_MAX {
        let info = at(link.info);
        let info = info.and_then(UnwindInfo::read);
        let info = info.ok_or_else(|| format!("no unwind information at {:#x}", link.info))?;
        stack += info
            .stack
            .ok_or_else(|| format!("the unwind information at {:#x} makes no sense", link.info))?;
        match info.chained {
            None => {
                let Entry { begin, end, .. } = entry;
                return Ok(Fragment { begin, end, function: link.begin, stack });
            }
            Some(next) => link = next,
        }
    }
    Err(format!("the unwind information of {:#x} is chained without an end", entry.begin))
}

struct UnwindInfo {
    /// `None` if the codes cannot be read.
    stack: Option<u32>,
    chained: Option<Entry>,
}

impl UnwindInfo {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [version_and_flags, _, count, _, rest @ ..] = bytes else { return None };
        let slots = usize::from(*count);
        let codes = rest.get(..slots * 2)?;
        let chained = if version_and_flags >> 3 & CHAINED != 0 {
            // The array is padded to an even number of slots.
            Some(Entry::read(rest.get(slots.next_multiple_of(2) * 2..)?)?)
        } else {
            None
        };
        Some(Self { stack: stack_of(codes), chained })
    }
}

/// What the unwind codes say that the prologue takes (docs: "x64 exception handling", "Unwind
/// operation code").
fn stack_of(codes: &[u8]) -> Option<u32> {
    let (slots, _) = codes.as_chunks::<2>();
    let mut slots = slots.iter();
    let mut stack = 0u32;
    while let Some([_, operation]) = slots.next() {
        let info = u32::from(operation >> 4);
        let mut slot = || slots.next().map(|slot| u32::from(u16::from_le_bytes(*slot)));
        stack += match operation & 0xF {
            // UWOP_PUSH_NONVOL
            0 => 8,
            // UWOP_ALLOC_LARGE: in units of eight bytes, or in bytes
            1 if info == 0 => slot()?.checked_mul(8)?,
            1 if info == 1 => slot()? | slot()? << 16,
            // UWOP_ALLOC_SMALL
            2 => info * 8 + 8,
            // UWOP_SET_FPREG
            3 => 0,
            // UWOP_SAVE_NONVOL, UWOP_SAVE_XMM128: into what was taken already
            4 | 8 => slot().map(|_| 0)?,
            // UWOP_SAVE_NONVOL_FAR, UWOP_SAVE_XMM128_FAR
            5 | 9 => slot().and(slot()).map(|_| 0)?,
            // UWOP_PUSH_MACHFRAME, without and with an error code
            10 if info == 0 => 40,
            10 if info == 1 => 48,
            _ => return None,
        };
    }
    Some(stack)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_added_up() {
        // push rbp; push rsi; sub rsp, 40; lea rbp; movaps; a save far away
        let codes = [20, 0x50, 18, 0x60, 16, 0x42, 14, 0x03, 12, 0x68, 2, 0, 10, 0x79, 0, 0, 1, 0];
        assert_eq!(stack_of(&codes), Some(8 + 8 + 40));
        assert_eq!(stack_of(&[4, 0x01, 0x80, 0]), Some(1024), "large, in units of eight bytes");
        assert_eq!(stack_of(&[4, 0x11, 0x04, 0, 1, 0]), Some(0x1_0004), "large, in bytes");
        assert_eq!(stack_of(&[4, 0x01]), None, "a slot is missing");
        assert_eq!(stack_of(&[4, 0x07]), None, "there is no such operation");
    }

    #[test]
    fn a_chained_fragment_belongs_to_its_function_and_takes_both_stacks() {
        let mut memory = [0; 0x40];
        // At 0x10: version 1, no flags, one code: sub rsp, 16.
        memory[0x10..0x16].copy_from_slice(&[1, 4, 1, 0, 4, 0x12]);
        // At 0x20: chained, one code (and padding): push rbx; then the function's entry.
        memory[0x20..0x26].copy_from_slice(&[1 | CHAINED << 3, 1, 1, 0, 1, 0x30]);
        for (at, value) in [(0x28, 0x100u32), (0x2C, 0x120), (0x30, 0x10)] {
            memory[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let at = |rva: u32| memory.get(rva as usize..);
        let fragment = follow(Entry { begin: 0x200, end: 0x210, info: 0x20 }, at);
        let want = Fragment { begin: 0x200, end: 0x210, function: 0x100, stack: 8 + 8 + 16 };
        assert_eq!(fragment, Ok(want));
        assert!(follow(Entry { begin: 0x200, end: 0x210, info: 0x1000 }, at).is_err());
    }

    #[test]
    fn a_chain_without_an_end_is_an_error() {
        let mut memory = [0; 0x20];
        memory[0] = 1 | CHAINED << 3;
        memory[4..16].copy_from_slice(&[0; 12]);
        let at = |rva: u32| memory.get(rva as usize..);
        let error = follow(Entry { begin: 8, end: 9, info: 0 }, at).unwrap_err();
        assert!(error.contains("without an end"), "{error}");
    }
}

//! The driver's trace events: provider `Snapless.Driver`, in `docs/events.md`.
//!
//! An event's metadata is a tag byte, its name, and for each field a name and how its value is to
//! be read.

use snapless_types::{Extent, GapReason};
use snapless_wire::id::SessionId;
use wdk_sys::{GUID, NTSTATUS};

use crate::kernel::etw::{self, Level, Meta};

/// The GUID that tools derive from the provider's name: {6785c0f2-7bc5-51bf-6e71-afcb79c120ba}.
static PROVIDER: GUID = GUID {
    Data1: 0x6785_c0f2,
    Data2: 0x7bc5,
    Data3: 0x51bf,
    Data4: [0x6e, 0x71, 0xaf, 0xcb, 0x79, 0xc1, 0x20, 0xba],
};
static TRAITS: Meta<16> = Meta::new(b"Snapless.Driver\0");

// How a value is read: \x02 text up to a NUL, \x08 and \x0a numbers of 32 and 64 bits, \x0f a GUID,
// \x14 32 bits in hexadecimal digits.
static SESSION_STARTED: Meta<58> =
    Meta::new(b"\0SessionStarted\0session\0\x0flength\0\x0ablock_size\0\x08queue_bytes\0\x0a");
static SESSION_ENDED: Meta<31> = Meta::new(b"\0SessionEnded\0session\0\x0ffailed\0\x08");
static BASE_COMPLETE: Meta<31> = Meta::new(b"\0BaseComplete\0session\0\x0fblocks\0\x0a");
static GAP_BEGAN: Meta<35> = Meta::new(b"\0GapBegan\0session\0\x0fnumber\0\x08reason\0\x02");
static GAP_ENDED: Meta<19> = Meta::new(b"\0GapEnded\0session\0\x0f");
static READ_FAILED: Meta<52> =
    Meta::new(b"\0ReadFailed\0session\0\x0foffset\0\x0asector\0\x0abytes\0\x0astatus\0\x14");
static WRITE_PAYLOAD_UNAVAILABLE: Meta<49> =
    Meta::new(b"\0WritePayloadUnavailable\0session\0\x0foffset\0\x0abytes\0\x0a");
static WRITE_URGENT: Meta<37> = Meta::new(b"\0WriteUrgent\0session\0\x0foffset\0\x0abytes\0\x0a");
static OUT_OF_MEMORY: Meta<35> = Meta::new(b"\0OutOfMemory\0session\0\x0fqueue_bytes\0\x0a");

/// Registers the provider. PASSIVE_LEVEL, once; [`end`] comes before the driver unloads.
pub fn begin() {
    etw::register(&PROVIDER, TRAITS.bytes());
}

/// Unregisters the provider. PASSIVE_LEVEL.
pub fn end() {
    etw::unregister();
}

/// True if a trace has gaps enabled. Any IRQL.
pub fn is_enabled() -> bool {
    etw::is_enabled(Level::Warning)
}

/// A session has begun. PASSIVE_LEVEL.
pub fn session_started(id: SessionId, length: u64, block_size: u64, queue_bytes: u64) {
    let block_size = u32::try_from(block_size).unwrap_or(u32::MAX);
    let (length, block_size) = (length.to_le_bytes(), block_size.to_le_bytes());
    let fields: [&[u8]; 4] = [&id.0, &length, &block_size, &queue_bytes.to_le_bytes()];
    write_event(Level::Information, SESSION_STARTED.bytes(), &fields);
}

/// A session has ended; `failed` if it never began to capture. PASSIVE_LEVEL.
pub fn session_ended(id: SessionId, failed: bool) {
    let fields: [&[u8]; 2] = [&id.0, &u32::from(failed).to_le_bytes()];
    write_event(Level::Information, SESSION_ENDED.bytes(), &fields);
}

/// Every block has been captured once. PASSIVE_LEVEL.
pub fn base_complete(id: SessionId, blocks: u64) {
    let fields: [&[u8]; 2] = [&id.0, &blocks.to_le_bytes()];
    write_event(Level::Information, BASE_COMPLETE.bytes(), &fields);
}

/// A gap has begun: writes are issued uncaptured. PASSIVE_LEVEL.
#[inline(never)] // Its text is on the stack only while it is written.
pub fn gap_began(id: SessionId, reason: Option<GapReason>) {
    let number = reason.map_or(0, |reason| u32::from(reason.to_wire()));
    let text = Text::new(reason.map_or("", GapReason::name));
    let fields: [&[u8]; 3] = [&id.0, &number.to_le_bytes(), text.bytes()];
    write_event(Level::Warning, GAP_BEGAN.bytes(), &fields);
}

/// A gap has ended: its dirty blocks have been read again. PASSIVE_LEVEL.
pub fn gap_ended(id: SessionId) {
    write_event(Level::Warning, GAP_ENDED.bytes(), &[&id.0]);
}

/// A read of the session failed. PASSIVE_LEVEL.
pub fn read_failed(id: SessionId, place: Extent, sector_size: u32, status: NTSTATUS) {
    let sector = place.offset().checked_div(u64::from(sector_size)).unwrap_or(0);
    let (offset, sector) = (place.offset().to_le_bytes(), sector.to_le_bytes());
    let (bytes, status) = (place.len().to_le_bytes(), status.to_le_bytes());
    let fields: [&[u8]; 5] = [&id.0, &offset, &sector, &bytes, &status];
    write_event(Level::Error, READ_FAILED.bytes(), &fields);
}

/// The data of a write could not be mapped. IRQL <= DISPATCH_LEVEL.
pub fn write_payload_unavailable(id: SessionId, place: Extent) {
    write(WRITE_PAYLOAD_UNAVAILABLE.bytes(), id, place);
}

/// A write that must not wait has arrived. IRQL <= DISPATCH_LEVEL.
pub fn write_urgent(id: SessionId, place: Extent) {
    write(WRITE_URGENT.bytes(), id, place);
}

/// There was no memory for a session. PASSIVE_LEVEL.
pub fn out_of_memory(id: SessionId, queue_bytes: u64) {
    let fields: [&[u8]; 2] = [&id.0, &queue_bytes.to_le_bytes()];
    write_event(Level::Error, OUT_OF_MEMORY.bytes(), &fields);
}

/// Text with a NUL at its end.
struct Text([u8; TEXT_MAX]);

/// Bytes of a text, at most, with its NUL.
const TEXT_MAX: usize = 128;

impl Text {
    /// Cuts what is too long. IRQL <= DISPATCH_LEVEL.
    fn new(text: &str) -> Self {
        let mut bytes = [0; TEXT_MAX];
        let [room @ .., _] = &mut bytes;
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// The text up to its NUL. IRQL <= DISPATCH_LEVEL.
    fn bytes(&self) -> &[u8] {
        let len = self.0.iter().take_while(|byte| **byte != 0).count();
        self.0.get(..=len).unwrap_or(&self.0)
    }
}

#[inline(never)] // Not on the stack of a write that is not traced.
fn write(event: &[u8], id: SessionId, place: Extent) {
    let (offset, bytes) = (place.offset().to_le_bytes(), place.len().to_le_bytes());
    let fields: [&[u8]; 3] = [&id.0, &offset, &bytes];
    write_event(Level::Warning, event, &fields);
}

fn write_event(level: Level, event: &[u8], fields: &[&[u8]]) {
    if etw::is_enabled(level) {
        etw::write(level, TRAITS.bytes(), event, fields);
    }
}

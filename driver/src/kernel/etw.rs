//! Event tracing (ETW): one provider, whose events are self-describing (`TraceLogging`).
//!
//! An event that no trace has enabled costs a load and a branch. The state is a handle and a level;
//! both are set at PASSIVE_LEVEL, when the driver loads and when a trace enables or disables the
//! provider.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_sys::{GUID, LPCGUID, NT_SUCCESS, NTSTATUS, PVOID, ULONG, ULONGLONG};

/// An event's level: the lower, the more severe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// `TRACE_LEVEL_ERROR`
    Error = 2,
    /// `TRACE_LEVEL_WARNING`
    Warning = 3,
    /// `TRACE_LEVEL_INFORMATION`
    Information = 4,
}

/// Self-describing metadata: its length in bytes, then names and types.
#[repr(C, packed)]
pub struct Meta<const N: usize> {
    len: u16,
    text: [u8; N],
}

impl<const N: usize> Meta<N> {
    /// The metadata of `text`. IRQL <= DISPATCH_LEVEL.
    pub const fn new(text: &[u8; N]) -> Self {
        const { assert!(N < 1 << 15) };
        let [a, b, ..] = N.wrapping_add(2).to_le_bytes();
        Self { len: u16::from_le_bytes([a, b]), text: *text }
    }

    /// All of it. IRQL <= DISPATCH_LEVEL.
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: packed, so without padding, and of bytes and a number.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// `EVENT_DESCRIPTOR`
#[repr(C)]
struct Descriptor {
    id: u16,
    version: u8,
    channel: u8,
    level: u8,
    opcode: u8,
    task: u16,
    keyword: u64,
}

/// `EVENT_DATA_DESCRIPTOR`
#[repr(C)]
struct Data<'a> {
    address: u64,
    len: u32,
    kind: u32,
    what: PhantomData<&'a [u8]>,
}

const _: () = assert!(size_of::<Descriptor>() == 16 && size_of::<Data<'_>>() == 16);

impl<'a> Data<'a> {
    const NOTHING: Self = Self { address: 0, len: 0, kind: FIELD, what: PhantomData };

    fn new(bytes: &'a [u8], kind: u32) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(0);
        Self { address: bytes.as_ptr().addr() as u64, len, kind, what: PhantomData }
    }
}

/// The most fields of an event.
const FIELDS_MAX: usize = 6;
/// `EVENT_DATA_DESCRIPTOR_TYPE_…`: none, `EVENT_METADATA`, `PROVIDER_METADATA`.
const FIELD: u32 = 0;
const EVENT_META: u32 = 1;
const PROVIDER_META: u32 = 2;
/// The channel of self-describing events.
const CHANNEL_TRACELOGGING: u8 = 11;
/// The provider's one keyword, which every event has.
const KEYWORD: u64 = 1;
/// `EventProviderSetTraits`
const SET_TRAITS: ULONG = 2;
/// `EVENT_CONTROL_CODE_DISABLE_PROVIDER`, `…_ENABLE_PROVIDER`
const DISABLE: ULONG = 0;
const ENABLE: ULONG = 1;
/// The level of a trace that enables everything.
const ALL_LEVELS: u32 = 256;

type EnableCallback = unsafe extern "C" fn(LPCGUID, ULONG, u8, ULONGLONG, ULONGLONG, PVOID, PVOID);

// Declared by hand: some headers that the driver is built with lack them.
unsafe extern "C" {
    fn EtwRegister(
        provider: LPCGUID,
        callback: Option<EnableCallback>,
        context: PVOID,
        handle: *mut u64,
    ) -> NTSTATUS;
    fn EtwUnregister(handle: u64) -> NTSTATUS;
    fn EtwSetInformation(handle: u64, class: ULONG, what: *const c_void, len: ULONG) -> NTSTATUS;
    fn EtwWriteTransfer(
        handle: u64,
        descriptor: *const Descriptor,
        activity: LPCGUID,
        related: LPCGUID,
        count: ULONG,
        data: *const Data<'_>,
    ) -> NTSTATUS;
}

static HANDLE: AtomicU64 = AtomicU64::new(0);
/// Events of lower levels than this are enabled.
static BELOW: AtomicU32 = AtomicU32::new(0);

/// Registers the provider; a failure is ignored. PASSIVE_LEVEL, once; [`unregister`] comes before
/// the driver unloads.
pub fn register(provider: &'static GUID, traits: &'static [u8]) {
    let mut handle = 0;
    // SAFETY: everything is valid for the call; the callback stays until `unregister`.
    let status = unsafe { EtwRegister(provider, Some(evt_enable), null_mut(), &raw mut handle) };
    if !NT_SUCCESS(status) {
        return;
    }
    let len = ULONG::try_from(traits.len()).unwrap_or(0);
    // SAFETY: a live handle, and static memory. Without the traits events still name their
    // provider.
    let _ = unsafe { EtwSetInformation(handle, SET_TRAITS, traits.as_ptr().cast(), len) };
    // Relaxed, here and below: it publishes no other memory.
    HANDLE.store(handle, Ordering::Relaxed);
}

/// Unregisters the provider: no event is written any more. PASSIVE_LEVEL.
pub fn unregister() {
    let handle = HANDLE.swap(0, Ordering::Relaxed);
    if handle != 0 {
        // SAFETY: from `register`, and unregistered once.
        let _ = unsafe { EtwUnregister(handle) };
    }
}

/// True if a trace has events of this level enabled. Any IRQL.
pub fn is_enabled(level: Level) -> bool {
    BELOW.load(Ordering::Relaxed) > level as u32
}

/// Writes an event, whose fields are as its metadata says. IRQL <= DISPATCH_LEVEL.
#[inline(never)] // Its stack is used only while an event is written.
pub fn write(level: Level, provider: &[u8], event: &[u8], fields: &[&[u8]]) {
    let descriptor = Descriptor {
        id: 0,
        version: 0,
        channel: CHANNEL_TRACELOGGING,
        level: level as u8,
        opcode: 0,
        task: 0,
        keyword: KEYWORD,
    };
    let mut data = [Data::NOTHING; FIELDS_MAX + 2];
    let metadata = [Data::new(provider, PROVIDER_META), Data::new(event, EVENT_META)];
    let all = metadata.into_iter().chain(fields.iter().map(|field| Data::new(field, FIELD)));
    let mut count: ULONG = 0;
    for (slot, one) in data.iter_mut().zip(all) {
        *slot = one;
        count = count.saturating_add(1);
    }
    let handle = HANDLE.load(Ordering::Relaxed);
    // SAFETY: everything is valid for the call and nonpaged: static memory, and the callers'
    // stacks. The handle is of `register`, or one that is refused.
    let _ = unsafe {
        EtwWriteTransfer(handle, &raw const descriptor, null(), null(), count, data.as_ptr())
    };
}

/// `EtwEnableCallback`: a trace enables or disables the provider. PASSIVE_LEVEL.
unsafe extern "C" fn evt_enable(
    _source: LPCGUID,
    code: ULONG,
    level: u8,
    _any: ULONGLONG,
    _all: ULONGLONG,
    _filter: PVOID,
    _context: PVOID,
) {
    match (code, level) {
        (DISABLE, _) => BELOW.store(0, Ordering::Relaxed),
        (ENABLE, 0) => BELOW.store(ALL_LEVELS, Ordering::Relaxed),
        (ENABLE, level) => BELOW.store(u32::from(level).saturating_add(1), Ordering::Relaxed),
        _ => {}
    }
}

//! Event tracing, which Wine has for programs only: one provider, and a consumer if the registry
//! sets a level.
//!
//! The rules: an event describes itself and has exactly the fields that it names; no event is
//! written without a consumer; a provider is unregistered before its driver is unloaded.

use alloc::{format, string::String};
use core::{ffi::c_void, fmt::Write, ptr};

use nt::{
    file::{Disposition, File},
    println,
    spinlock::SpinLock,
    unicode::Wide,
};
use protocol::traces::LOG_NT_PATH;
use wdk_sys::{GUID, NTSTATUS, STATUS_SUCCESS};

use crate::{
    checks::violation,
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL, require_at_most},
    settings::TRACE_LEVEL,
};

type Callback = unsafe extern "system" fn(*const GUID, u32, u8, u64, u64, *mut c_void, *mut c_void);

/// `EVENT_DESCRIPTOR`
#[repr(C)]
pub(crate) struct Descriptor {
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
pub(crate) struct Data {
    address: u64,
    size: u32,
    kind: u32,
}

const HANDLE: u64 = 0x7ACE;
const ENABLE: u32 = 1;
const SET_TRAITS: u32 = 2;
const EVENT_METADATA: u32 = 1;
const PROVIDER_METADATA: u32 = 2;
const CHANNEL_TRACELOGGING: u8 = 11;
/// The bytes of a GUID in the order of its text form.
const GUID_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

static REGISTERED: SpinLock<bool> = SpinLock::new(false);
/// One line is written at a time.
static WRITING: SpinLock<()> = SpinLock::new(());

/// Reports a provider that is still registered.
pub(crate) fn require_empty(function: &str) {
    if core::mem::take(&mut *REGISTERED.lock()) {
        violation!(Leak, function, "the driver's trace provider is still registered");
    }
}

pub(crate) unsafe extern "system" fn register(
    provider: *const GUID,
    callback: Option<Callback>,
    context: *mut c_void,
    handle: *mut u64,
) -> NTSTATUS {
    require_at_most("EtwRegister", PASSIVE_LEVEL);
    if core::mem::replace(&mut *REGISTERED.lock(), true) {
        violation!(State, "EtwRegister", "the provider is registered already");
    }
    // SAFETY: the driver's out parameter.
    unsafe { handle.write(HANDLE) };
    let level = TRACE_LEVEL.get() as u8;
    if let Some(callback) = callback.filter(|_| level > 0) {
        // SAFETY: the driver's own callback and context.
        unsafe { callback(provider, ENABLE, level, u64::MAX, 0, ptr::null_mut(), context) };
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn unregister(handle: u64) -> NTSTATUS {
    require_at_most("EtwUnregister", PASSIVE_LEVEL);
    require_handle("EtwUnregister", handle);
    *REGISTERED.lock() = false;
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn set_information(
    handle: u64,
    class: u32,
    information: *const c_void,
    length: u32,
) -> NTSTATUS {
    let function = "EtwSetInformation";
    require_at_most(function, PASSIVE_LEVEL);
    require_handle(function, handle);
    // SAFETY: the driver's buffer of that length.
    let traits = unsafe { core::slice::from_raw_parts(information.cast::<u8>(), length as usize) };
    if class != SET_TRAITS || provider_name(traits).is_none() {
        violation!(Parameter, function, "class {class} or its data is unknown to the rig");
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn write_transfer(
    handle: u64,
    descriptor: *const Descriptor,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *const Data,
) -> NTSTATUS {
    let function = "EtwWriteTransfer";
    require_at_most(function, DISPATCH_LEVEL);
    require_handle(function, handle);
    // SAFETY: the driver's descriptor.
    let descriptor = unsafe { &*descriptor };
    if u32::from(descriptor.level) > TRACE_LEVEL.get() {
        violation!(State, function, "level {} has no consumer", descriptor.level);
    }
    // SAFETY: the driver's array of that length.
    let data = unsafe { core::slice::from_raw_parts(data, count as usize) };
    match line(descriptor, data) {
        Some(line) => record(&line),
        None => violation!(Parameter, function, "the event does not match its own description"),
    }
    STATUS_SUCCESS
}

fn require_handle(function: &str, handle: u64) {
    if handle != HANDLE || !*REGISTERED.lock() {
        violation!(Handle, function, "{handle:#x} is no registered provider");
    }
}

/// The event as a line of the log; `None` if it is malformed.
fn line(descriptor: &Descriptor, data: &[Data]) -> Option<String> {
    if descriptor.channel != CHANNEL_TRACELOGGING || descriptor.keyword == 0 {
        return None;
    }
    let [provider, event, fields @ ..] = data else { return None };
    if (provider.kind, event.kind) != (PROVIDER_METADATA, EVENT_METADATA) {
        return None;
    }
    provider_name(provider.bytes())?;
    let description = sized(event.bytes())?;
    let (tag, description) = description.split_first()?;
    let (name, mut description) = text(description)?;
    if *tag != 0 {
        return None;
    }
    let mut line = format!("{name} level={}", descriptor.level);
    for field in fields {
        let (name, rest) = text(description)?;
        let (kind, rest) = rest.split_first()?;
        description = rest;
        write!(line, " {name}={}", value(*kind, field.bytes())?).ok()?;
    }
    description.is_empty().then_some(line)
}

impl Data {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the driver's memory, alive for the call.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.size as usize) }
    }
}

fn provider_name(traits: &[u8]) -> Option<&str> {
    let (name, rest) = text(sized(traits)?)?;
    rest.is_empty().then_some(name)
}

/// The bytes after a length, which counts itself.
fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    (usize::from(u16::from_le_bytes(*length)) == bytes.len()).then_some(rest)
}

/// Text up to a NUL, and the bytes after it.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = core::str::from_utf8(bytes.get(..end)?).ok()?;
    Some((text, bytes.get(end + 1..)?))
}

/// A value, by the number of its type.
fn value(kind: u8, bytes: &[u8]) -> Option<String> {
    Some(match kind {
        2 => text(bytes).filter(|(_, rest)| rest.is_empty())?.0.replace(' ', "-"),
        8 => format!("{}", u32::from_le_bytes(bytes.try_into().ok()?)),
        10 => format!("{}", u64::from_le_bytes(bytes.try_into().ok()?)),
        15 => {
            let (mut guid, bytes) = (String::new(), <[u8; 16]>::try_from(bytes).ok()?);
            for (position, index) in GUID_ORDER.into_iter().enumerate() {
                let dash = if matches!(position, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(guid, "{dash}{:02x}", bytes[index]).ok()?;
            }
            guid
        }
        20 => format!("{:#x}", u32::from_le_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

fn record(line: &str) {
    println!("KMDF RIG: trace: {line}");
    let _one = WRITING.lock();
    let written = File::open(&Wide::new(LOG_NT_PATH), Disposition::OpenOrCreate).and_then(|file| {
        let end = file.length()?;
        file.write_slice_at(end, format!("{line}\n").as_bytes())
    });
    if let Err(failure) = written {
        println!("KMDF RIG: cannot write {LOG_NT_PATH}: {failure}");
    }
}

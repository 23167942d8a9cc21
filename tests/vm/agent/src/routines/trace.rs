//! A trace session of the kernel's DPCs, ISRs and images, read as its events come.
//!
//! It is a system logger of its own, so that it does not need the one NT Kernel Logger, which
//! another program may have.
//!
//! The rule: a session that began is ended on every way out, and what Windows lost of it is told.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroU64;
use std::ptr;
use std::thread;

use vm_protocol::routines::Routines;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_NO_SYSTEM_RESOURCES, ERROR_SUCCESS,
    WIN32_ERROR,
};
use windows_sys::Win32::System::Diagnostics::Etw::{
    CONTROLTRACE_HANDLE, CloseTrace, ControlTraceW, EVENT_RECORD, EVENT_TRACE_CONTROL_STOP,
    EVENT_TRACE_FLAG_DPC, EVENT_TRACE_FLAG_IMAGE_LOAD, EVENT_TRACE_FLAG_INTERRUPT,
    EVENT_TRACE_LOGFILEW, EVENT_TRACE_PROPERTIES, EVENT_TRACE_REAL_TIME_MODE,
    EVENT_TRACE_SYSTEM_LOGGER_MODE, OpenTraceW, PROCESS_TRACE_MODE_EVENT_RECORD,
    PROCESS_TRACE_MODE_RAW_TIMESTAMP, PROCESS_TRACE_MODE_REAL_TIME, ProcessTrace, StartTraceW,
    WNODE_FLAG_TRACED_GUID,
};
use windows_sys::Win32::System::Performance::QueryPerformanceFrequency;
use windows_sys::core::GUID;

use super::{Event, Tally};
use crate::error::AgentError;

const NAME: &str = "Snapless DPC and ISR";
const SESSION: GUID = GUID::from_u128(0x8d2a_6f0e_35c4_4b71_9a08_d1f3_7c5e_2b96);
/// KiB of a buffer, and how many of them: at 200,000 events a second, seconds of them.
const BUFFER_KIB: u32 = 256;
const BUFFERS_MIN: u32 = 64;
const BUFFERS_MAX: u32 = 256;
/// Letters that Windows may write behind the properties.
const NAME_MAX: usize = 256;
/// [`EVENT_TRACE_PROPERTIES`]: time stamps are those of the performance counter.
const PERFORMANCE_COUNTER: u32 = 1;
/// What [`OpenTraceW`] returns if it fails.
const NO_TRACE: u64 = u64::MAX;

/// Traces until `wait` returns.
pub fn watch(wait: impl FnOnce() + Send + 'static) -> Result<Routines, AgentError> {
    let mut tally = Tally::new(frequency()?);
    let session = start()?;
    let waiting = thread::spawn(move || {
        wait();
        stop(session)
    });
    if let Err(error) = read(&mut tally) {
        // The error is the one that is told.
        let _ = stop(session);
        return Err(error);
    }
    let lost = waiting.join();
    let (events, buffers) = lost.map_err(|_| failed("wait for the end of the trace", None))??;
    Ok(tally.end(events.into(), buffers.into()))
}

/// What a session is described by; Windows writes its name behind it.
#[repr(C)]
struct Properties {
    head: EVENT_TRACE_PROPERTIES,
    name: [u16; NAME_MAX],
}

impl Properties {
    fn new() -> Self {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let mut head = EVENT_TRACE_PROPERTIES {
            BufferSize: BUFFER_KIB,
            MinimumBuffers: BUFFERS_MIN,
            MaximumBuffers: BUFFERS_MAX,
            LogFileMode: EVENT_TRACE_REAL_TIME_MODE | EVENT_TRACE_SYSTEM_LOGGER_MODE,
            FlushTimer: 1,
            EnableFlags: EVENT_TRACE_FLAG_DPC
                | EVENT_TRACE_FLAG_INTERRUPT
                | EVENT_TRACE_FLAG_IMAGE_LOAD,
            LoggerNameOffset: length(size_of::<EVENT_TRACE_PROPERTIES>()),
            ..EVENT_TRACE_PROPERTIES::default()
        };
        head.Wnode.BufferSize = length(size_of::<Self>());
        head.Wnode.Guid = SESSION;
        head.Wnode.ClientContext = PERFORMANCE_COUNTER;
        head.Wnode.Flags = WNODE_FLAG_TRACED_GUID;
        Self { head, name: [0; NAME_MAX] }
    }
}

/// Begins the session, in the place of one that a killed run has left.
fn start() -> Result<CONTROLTRACE_HANDLE, AgentError> {
    let begun = match begin() {
        Err(ERROR_ALREADY_EXISTS) => {
            control_stop(CONTROLTRACE_HANDLE::default())
                .map_err(|code| failed("end the trace of an earlier run", Some(code)))?;
            begin()
        }
        begun => begun,
    };
    begun.map_err(|code| match code {
        ERROR_NO_SYSTEM_RESOURCES => AgentError::Found(
            "as many traces of the kernel run as Windows allows: `logman query -ets` lists them, \
             `logman stop NAME -ets` ends one"
                .to_owned(),
        ),
        ERROR_ACCESS_DENIED => AgentError::Found(
            "Windows lets only an administrator trace the kernel: run this as one".to_owned(),
        ),
        code => failed("begin a trace of the kernel", Some(code)),
    })
}

fn begin() -> Result<CONTROLTRACE_HANDLE, WIN32_ERROR> {
    let (name, mut properties) = (wide(NAME), Properties::new());
    let mut handle = CONTROLTRACE_HANDLE::default();
    let head = (&raw mut properties).cast::<EVENT_TRACE_PROPERTIES>();
    // SAFETY: the name ends with a zero; the properties are as long as they say, with the room for
    // the name where they say, and all three outlive the call.
    let code = unsafe { StartTraceW(&raw mut handle, name.as_ptr(), head) };
    if code == ERROR_SUCCESS { Ok(handle) } else { Err(code) }
}

/// Ends the session; returns how many events and buffers of it were lost.
fn stop(session: CONTROLTRACE_HANDLE) -> Result<(u32, u32), AgentError> {
    control_stop(session).map_err(|code| failed("end the trace of the kernel", Some(code)))
}

/// Ends a session by its handle, or without one by its name.
fn control_stop(session: CONTROLTRACE_HANDLE) -> Result<(u32, u32), WIN32_ERROR> {
    let (name, mut properties) = (wide(NAME), Properties::new());
    let head = (&raw mut properties).cast::<EVENT_TRACE_PROPERTIES>();
    // SAFETY: as in `begin`; a handle of a session that has ended is refused.
    let code = unsafe { ControlTraceW(session, name.as_ptr(), head, EVENT_TRACE_CONTROL_STOP) };
    let lost = (properties.head.EventsLost, properties.head.RealTimeBuffersLost);
    if code == ERROR_SUCCESS { Ok(lost) } else { Err(code) }
}

/// Has the tally take each event, until the session ends.
fn read(tally: &mut Tally) -> Result<(), AgentError> {
    let mut name = wide(NAME);
    let mut source = EVENT_TRACE_LOGFILEW {
        LoggerName: name.as_mut_ptr(),
        Context: ptr::from_mut(tally).cast::<c_void>(),
        ..EVENT_TRACE_LOGFILEW::default()
    };
    source.Anonymous1.ProcessTraceMode = PROCESS_TRACE_MODE_REAL_TIME
        | PROCESS_TRACE_MODE_EVENT_RECORD
        | PROCESS_TRACE_MODE_RAW_TIMESTAMP;
    source.Anonymous2.EventRecordCallback = Some(on_event);
    // SAFETY: the name ends with a zero; it, the source and the tally outlive the trace, which
    // this function closes.
    let trace = unsafe { OpenTraceW(&raw mut source) };
    if trace.Value == NO_TRACE {
        let error = io::Error::last_os_error();
        return Err(AgentError::Found(format!("cannot open the trace of the kernel: {error}")));
    }
    // SAFETY: the trace is open; without times, all events are read.
    let code = unsafe { ProcessTrace(&raw const trace, 1, ptr::null(), ptr::null()) };
    // SAFETY: the trace is open, and is not used again.
    unsafe { CloseTrace(trace) };
    if code == ERROR_SUCCESS { Ok(()) } else { Err(failed("read the trace", Some(code))) }
}

/// What [`ProcessTrace`] calls for each event, on the thread that called it.
unsafe extern "system" fn on_event(record: *mut EVENT_RECORD) {
    // SAFETY: Windows passes an event that is there during the call, or none.
    let Some(record) = (unsafe { record.as_ref() }) else { return };
    // SAFETY: `read` has set the context to the tally, which it borrows for as long as it reads,
    // and uses in no other way meanwhile; events come one after the other, on its thread.
    let Some(tally) = (unsafe { record.UserContext.cast::<Tally>().as_mut() }) else { return };
    let (header, length) = (&record.EventHeader, usize::from(record.UserDataLength));
    let data = if record.UserData.is_null() {
        &[]
    } else {
        // SAFETY: the event has so many bytes there during the call.
        unsafe { std::slice::from_raw_parts(record.UserData.cast::<u8>(), length) }
    };
    let class = number(&header.ProviderId);
    let opcode = header.EventDescriptor.Opcode;
    tally.take(&Event { class, opcode, time: header.TimeStamp, data });
}

/// A GUID as [`GUID::from_u128`] takes it.
fn number(guid: &GUID) -> u128 {
    let last = u64::from_be_bytes(guid.data4);
    (u128::from(guid.data1) << 96)
        | (u128::from(guid.data2) << 80)
        | (u128::from(guid.data3) << 64)
        | u128::from(last)
}

/// Ticks of the performance counter in a second.
fn frequency() -> Result<NonZeroU64, AgentError> {
    let mut ticks = 0;
    // SAFETY: the number outlives the call.
    unsafe { QueryPerformanceFrequency(&raw mut ticks) };
    let ticks = u64::try_from(ticks).ok().and_then(NonZeroU64::new);
    ticks.ok_or_else(|| failed("read the frequency of the performance counter", None))
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn failed(what: &str, code: Option<WIN32_ERROR>) -> AgentError {
    let why = code.map(|code| io::Error::from_raw_os_error(code.cast_signed()));
    let why = why.map_or_else(String::new, |error| format!(": {error}"));
    AgentError::Found(format!("cannot {what}{why}"))
}

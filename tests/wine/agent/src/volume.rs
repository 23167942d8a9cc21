//! Requests of an application to the volume, sent to the top of its stack.
//!
//! The rule: every outcome is an answer, failures too: `done`, `failed=` with the error's number,
//! `cancelled`, `finished` (before it could be cancelled), `length=` with the bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use protocol::ioctl::TopWrite;
use protocol::names::VOLUME_PATH;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, ERROR_OPERATION_ABORTED, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED, FILE_FLAG_WRITE_THROUGH, WriteFile,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0,
};

use crate::device_control::device_control;
use crate::event::Event;
use crate::rig;

const IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES: u32 = 0x002d_9404;
const IOCTL_DISK_GET_LENGTH_INFO: u32 = 0x0007_405c;
const TRIM: u32 = 1;
const WRITE_ZEROES: u32 = 0x19;
/// How long a write is left under way before it is cancelled.
const UNDER_WAY_MS: u32 = 500;
/// How long a cancelled write may take to come back.
const CANCEL_LIMIT_MS: u32 = 20_000;

/// The writes that were begun, the first one first.
static BEGUN: Mutex<VecDeque<JoinHandle<io::Result<String>>>> = Mutex::new(VecDeque::new());

/// Carries out a request; returns the answer. `None` if it is not one.
///
/// | request | effect |
/// | --- | --- |
/// | `length` | asks for the volume's length |
/// | `write OFFSET LEN FILL` | writes bytes that are all FILL |
/// | `begin-top-write OFFSET LEN FILL SENDER` | begins a write of a driver, of one of the protocol's senders |
/// | `begin-write …`, `end-write` | the same without waiting; waits for the write that was begun first |
/// | `cancel-write …` | the same, and cancels it while it is under way |
/// | `trim OFFSET+LEN …`, `zero OFFSET+LEN …` | a data set request |
/// | `control CODE BYTE …` | a device control request (hexadecimal) |
pub(crate) fn request(verb: &str, arguments: &[&str]) -> Option<io::Result<String>> {
    Some(match (verb, arguments) {
        ("length", []) => length(),
        ("write", place) => write(Extent::parse(place)?),
        ("begin-write", place) => {
            let extent = Extent::parse(place)?;
            Ok(begin(move || write(extent)))
        }
        ("begin-top-write", [place @ .., sender]) => {
            let (extent, sender) = (Extent::parse(place)?, sender.parse().ok()?);
            Ok(begin(move || top_write(extent, sender)))
        }
        ("end-write", []) => end_write(),
        ("cancel-write", place) => cancel_write(Extent::parse(place)?),
        ("trim", list) => control(IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES, &data_set(TRIM, list)?),
        ("zero", list) => {
            control(IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES, &data_set(WRITE_ZEROES, list)?)
        }
        ("control", [code, input @ ..]) => {
            let input = input.iter().map(|byte| u8::from_str_radix(byte, 16).ok());
            let input: Vec<u8> = input.collect::<Option<_>>()?;
            control(u32::from_str_radix(code, 16).ok()?, &input)
        }
        _ => return None,
    })
}

/// Bytes to write.
#[derive(Clone, Copy)]
struct Extent {
    offset: u64,
    len: usize,
    fill: u8,
}

impl Extent {
    fn parse(words: &[&str]) -> Option<Self> {
        let [offset, len, fill] = words else { return None };
        let (offset, len, fill) = (offset.parse().ok()?, len.parse().ok()?, fill.parse().ok()?);
        Some(Self { offset, len, fill })
    }
}

/// Opens the volume, past the cache.
pub(crate) fn open(flags: u32) -> io::Result<File> {
    let flags = flags | FILE_FLAG_NO_BUFFERING;
    File::options().read(true).write(true).custom_flags(flags).open(VOLUME_PATH)
}

fn outcome(result: io::Result<usize>) -> io::Result<String> {
    match result {
        Ok(_) => Ok("done".into()),
        Err(error) => match error.raw_os_error() {
            Some(code) => Ok(format!("failed={code}")),
            None => Err(error),
        },
    }
}

fn write(extent: Extent) -> io::Result<String> {
    let volume = open(FILE_FLAG_WRITE_THROUGH)?;
    let data = vec![extent.fill; extent.len];
    outcome(volume.seek_write(&data, extent.offset))
}

fn top_write(extent: Extent, sender: u32) -> io::Result<String> {
    let length = u32::try_from(extent.len).map_err(io::Error::other)?;
    let fill = extent.fill.into();
    let write =
        TopWrite { offset: extent.offset, length, fill, parts: 1, sender, ..TopWrite::default() };
    let ended = rig::top_write(write)?;
    match (ended.status, ended.length == length) {
        (0, true) => Ok("done".into()),
        (status, _) => Ok(format!("failed={}", status.cast_unsigned())),
    }
}

fn begin(write: impl FnOnce() -> io::Result<String> + Send + 'static) -> String {
    let write = std::thread::spawn(write);
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner).push_back(write);
    String::new()
}

fn end_write() -> io::Result<String> {
    let begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let write = begun.ok_or_else(|| io::Error::other("no write was begun"))?;
    write.join().map_err(|_| io::Error::other("the write panicked"))?
}

fn length() -> io::Result<String> {
    let mut answer = [0; 8];
    let got = device_control(&open(0)?, IOCTL_DISK_GET_LENGTH_INFO, &[], &mut answer)?;
    if got != answer.len() {
        return Err(io::Error::other(format!("the length has {got} bytes")));
    }
    Ok(format!("length={}", u64::from_le_bytes(answer)))
}

fn control(code: u32, input: &[u8]) -> io::Result<String> {
    outcome(device_control(&open(0)?, code, input, &mut []))
}

/// A `DEVICE_MANAGE_DATA_SET_ATTRIBUTES` with its ranges.
fn data_set(action: u32, ranges: &[&str]) -> Option<Vec<u8>> {
    let len = u32::try_from(ranges.len() * 16).ok()?;
    let header = [28, action, 0, 0, 0, 32, len, 0];
    let mut input: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    for range in ranges {
        let (offset, len) = range.split_once('+')?;
        input.extend(offset.parse::<u64>().ok()?.to_le_bytes());
        input.extend(len.parse::<u64>().ok()?.to_le_bytes());
    }
    Some(input)
}

/// The structure of a request at an offset, without an event.
pub(crate) fn at(offset: u64) -> OVERLAPPED {
    let half = |offset: u64| u32::try_from(offset & 0xffff_ffff).unwrap_or(0);
    let place = OVERLAPPED_0_0 { Offset: half(offset), OffsetHigh: half(offset >> 32) };
    OVERLAPPED { Anonymous: OVERLAPPED_0 { Anonymous: place }, ..OVERLAPPED::default() }
}

fn cancel_write(extent: Extent) -> io::Result<String> {
    let volume = open(FILE_FLAG_OVERLAPPED)?;
    let handle: HANDLE = volume.as_raw_handle().cast();
    let data = vec![extent.fill; extent.len];
    let len = u32::try_from(data.len()).map_err(|_| io::Error::other("too long to write"))?;
    let event = Event::new()?;
    let mut overlapped = OVERLAPPED { hEvent: event.handle(), ..at(extent.offset) };
    // SAFETY: data and structure live until the write is over: this function waits for that.
    let begun =
        unsafe { WriteFile(handle, data.as_ptr(), len, ptr::null_mut(), &raw mut overlapped) };
    if begun == 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
            return outcome(Err(error));
        }
        if event.wait(UNDER_WAY_MS) {
            return Ok("finished".into());
        }
        // SAFETY: the handle is open, the structure that of the write.
        unsafe { CancelIoEx(handle, &raw const overlapped) };
        if !event.wait(CANCEL_LIMIT_MS) {
            // The write still has the structure and the data.
            std::mem::forget(data);
            Box::leak(Box::new(overlapped));
            return Err(io::Error::other("a cancelled write does not come back"));
        }
    }
    let mut done = 0;
    // SAFETY: the write is over.
    let succeeded = unsafe { GetOverlappedResult(handle, &raw const overlapped, &raw mut done, 0) };
    if succeeded != 0 {
        return Ok("finished".into());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed()) {
        return Ok("cancelled".into());
    }
    outcome(Err(error))
}

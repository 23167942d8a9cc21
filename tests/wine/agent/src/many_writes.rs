//! Many writes at once by one thread, some of them cancelled, and a look at what is left of them.
//!
//! The rule: writes that overlap are applied in the order in which they were begun; so every place
//! ends with the last of its writes that was not cancelled.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;
use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, ERROR_OPERATION_ABORTED, HANDLE,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};

use crate::volume::{at, open};

/// Bytes of each write.
const LEN: usize = WRITE as usize;
/// The same as a program gives it.
const WRITE: u32 = 1024;

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const")]
    static BEGUN: RefCell<Option<Writes>> = const { RefCell::new(None) };
}

/// Carries out a command; returns the answer. `None` if it is not one.
///
/// | command | effect |
/// | --- | --- |
/// | `begin OFFSET COUNT PLACES` | begins so many writes one after the other, to adjoining places from OFFSET on; more writes than places overlap |
/// | `cancel FIRST STEP` | cancels each STEPth of them, from number FIRST on |
/// | `ended` | how many are over |
/// | `end` | looks at each place, once all are over; how many were done and how many cancelled |
pub(crate) fn command(verb: &str, arguments: &[&str]) -> Option<io::Result<String>> {
    let numbers: Vec<usize> =
        arguments.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let with = |act: fn(&mut Writes) -> io::Result<String>| {
        BEGUN.with_borrow_mut(|begun| begun.as_mut().map_or_else(|| Err(none()), act))
    };
    Some(match (verb, &numbers[..]) {
        ("begin", &[offset, count, places]) => Writes::begin(offset as u64, count, places)
            .map(|writes| BEGUN.set(Some(writes)))
            .map(|()| String::new()),
        ("cancel", &[first, step]) => BEGUN.with_borrow_mut(|begun| {
            let writes = begun.as_mut().ok_or_else(none)?;
            writes.cancel(first, step);
            Ok(String::new())
        }),
        ("ended", []) => with(|writes| writes.look().map(|()| writes.ended().to_string())),
        ("end", []) => with(Writes::end),
        _ => return None,
    })
}

fn none() -> io::Error {
    io::Error::other("no writes were begun")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    Done,
    Cancelled,
}

/// Writes that were begun. Never dropped before all are over: they have the memory.
struct Writes {
    volume: File,
    offset: u64,
    places: usize,
    data: Vec<u8>,
    overlapped: Vec<OVERLAPPED>,
    states: Vec<State>,
}

impl Writes {
    fn begin(offset: u64, count: usize, places: usize) -> io::Result<Self> {
        let mut data = vec![0; count * LEN];
        for (number, bytes) in data.chunks_exact_mut(LEN).enumerate() {
            bytes.copy_from_slice(&content(number));
        }
        let place = |number| at(offset + (number % places * LEN) as u64);
        let mut writes = Self {
            volume: open(FILE_FLAG_OVERLAPPED)?,
            offset,
            places,
            data,
            overlapped: (0..count).map(place).collect(),
            states: vec![State::UnderWay; count],
        };
        let handle = writes.handle();
        for (bytes, overlapped) in writes.data.chunks_exact(LEN).zip(&mut writes.overlapped) {
            let (start, overlapped) = (bytes.as_ptr(), ptr::from_mut(overlapped));
            // SAFETY: data and structure stay where they are until all writes are over.
            let begun = unsafe { WriteFile(handle, start, WRITE, ptr::null_mut(), overlapped) };
            let error = io::Error::last_os_error();
            if begun == 0 && error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                // Those before it have the memory.
                std::mem::forget(writes);
                return Err(error);
            }
        }
        Ok(writes)
    }

    fn handle(&self) -> HANDLE {
        self.volume.as_raw_handle().cast()
    }

    fn cancel(&mut self, first: usize, step: usize) {
        for overlapped in self.overlapped.iter().skip(first).step_by(step) {
            // SAFETY: the handle is open, the structure that of a write. It may be over.
            unsafe { CancelIoEx(self.handle(), overlapped) };
        }
    }

    /// Notes which ones are over.
    fn look(&mut self) -> io::Result<()> {
        let handle = self.handle();
        for (overlapped, state) in self.overlapped.iter().zip(&mut self.states) {
            if *state != State::UnderWay {
                continue;
            }
            let mut done = 0;
            // SAFETY: the structure of a write, over or not; does not wait.
            let ended = unsafe { GetOverlappedResult(handle, overlapped, &raw mut done, 0) };
            let error = io::Error::last_os_error();
            *state = match error.raw_os_error().map(i32::cast_unsigned) {
                _ if ended != 0 && done as usize == LEN => State::Done,
                _ if ended != 0 => return Err(io::Error::other("a write is not whole")),
                Some(ERROR_IO_INCOMPLETE) => State::UnderWay,
                Some(ERROR_OPERATION_ABORTED) => State::Cancelled,
                _ => return Err(error),
            };
        }
        Ok(())
    }

    fn count(&self, wanted: State) -> usize {
        self.states.iter().filter(|&&state| state == wanted).count()
    }

    fn ended(&self) -> usize {
        self.states.len() - self.count(State::UnderWay)
    }

    fn end(&mut self) -> io::Result<String> {
        self.look()?;
        let left = self.count(State::UnderWay);
        if left > 0 {
            return Err(io::Error::other(format!("{left} writes are under way")));
        }
        self.check()?;
        Ok(format!("{} {}", self.count(State::Done), self.count(State::Cancelled)))
    }

    /// Each place has the last write to it that was not cancelled.
    fn check(&self) -> io::Result<()> {
        let volume = open(0)?;
        let mut found = vec![0; self.places * LEN];
        volume.seek_read(&mut found, self.offset)?;
        for (place, found) in found.chunks_exact(LEN).enumerate() {
            let of_place = (place..self.states.len()).step_by(self.places);
            let last = of_place.rev().find(|&number| self.states[number] == State::Done);
            let right = last.is_none_or(|last| found == content(last));
            if !right {
                let last = last.unwrap_or_default();
                return Err(io::Error::other(format!("place {place} is not as write {last}")));
            }
        }
        Ok(())
    }
}

/// What a write writes.
fn content(number: usize) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for word in bytes.chunks_exact_mut(size_of::<usize>()) {
        word.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

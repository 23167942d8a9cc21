//! A handle to the product's driver, and requests on it whose every answer is seen as the driver
//! gave it.
//!
//! The rule: what a request refers to stays where it is until the system is done with it.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::time::Duration;

use snapless_wire::ioctl::CONTROL_DEVICE_PATH;
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::{NTSTATUS, STATUS_PENDING};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::Win32::System::IO::{CancelIoEx, IO_STATUS_BLOCK, OVERLAPPED};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::event::Event;

/// How long the driver may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// What fills an output buffer before the request.
const UNTOUCHED: u8 = 0xC5;

/// An overlapped handle.
pub(crate) struct Handle(File);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: NTSTATUS,
    /// Bytes that the driver says it wrote.
    pub(crate) information: usize,
    output: Vec<u8>,
}

/// A request under way. Its parts are boxed or on the heap: they do not move with it.
pub(crate) struct Request<'a> {
    handle: &'a Handle,
    done: Event,
    block: Box<IO_STATUS_BLOCK>,
    output: Vec<u8>,
    /// The answer of the call itself; `STATUS_PENDING` if it comes later.
    status: NTSTATUS,
}

impl Handle {
    /// Opens the driver's control device.
    pub(crate) fn open() -> Result<Self, String> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED);
        let opened = options.open(CONTROL_DEVICE_PATH);
        opened.map(Self).map_err(|error| format!("cannot open {CONTROL_DEVICE_PATH}: {error}"))
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&self, code: u32, input: &[u8], room: usize) -> Result<Answer, String> {
        self.begin(code, input, room).wait(ANSWER_LIMIT)
    }

    /// Sends a request. The input is copied by the call itself: all our codes that take input are
    /// buffered.
    pub(crate) fn begin(&self, code: u32, input: &[u8], room: usize) -> Request<'_> {
        let done = Event::new().expect("an event costs nearly nothing");
        let mut output = vec![UNTOUCHED; room];
        let mut block = Box::new(IO_STATUS_BLOCK::default());
        let length = |bytes: usize| u32::try_from(bytes).expect("requests are short");
        // SAFETY: block, event and output stay where they are until the request is done (`wait`,
        // `Drop`).
        let status = unsafe {
            NtDeviceIoControlFile(
                self.0.as_raw_handle(),
                done.handle(),
                None,
                ptr::null(),
                &raw mut *block,
                code,
                input.as_ptr().cast(),
                length(input.len()),
                output.as_mut_ptr().cast::<c_void>(),
                length(room),
            )
        };
        Request { handle: self, done, block, output, status }
    }
}

impl Request<'_> {
    /// Waits for the answer.
    pub(crate) fn wait(self, limit: Duration) -> Result<Answer, String> {
        if self.is_done_within(limit) {
            return Ok(self.answer());
        }
        // The system may still write to what the request refers to: it stays for good.
        std::mem::forget(self);
        Err(format!("the driver did not answer within {} s", limit.as_secs()))
    }

    /// Waits a little, then cancels, and waits for the answer.
    pub(crate) fn cancel_after(self, time: Duration) -> Result<Answer, String> {
        if !self.is_done_within(time) {
            self.cancel();
        }
        self.wait(ANSWER_LIMIT)
    }

    fn is_done_within(&self, limit: Duration) -> bool {
        let limit = u32::try_from(limit.as_millis()).unwrap_or(INFINITE);
        self.status != STATUS_PENDING || self.done.wait(limit)
    }

    fn cancel(&self) {
        // The system knows a request by the address of its status block; an OVERLAPPED begins with
        // one.
        let block: *const IO_STATUS_BLOCK = &raw const *self.block;
        // SAFETY: the handle is open. That the request is done by now is no error of ours.
        unsafe { CancelIoEx(self.handle.0.as_raw_handle(), block.cast::<OVERLAPPED>()) };
    }

    fn answer(mut self) -> Answer {
        let output = std::mem::take(&mut self.output);
        if self.status != STATUS_PENDING && self.status < 0 {
            // The status block of a request that was refused at once is not written.
            return Answer { status: self.status, information: 0, output };
        }
        self.status = 0;
        // SAFETY: the request is done, so the block holds its status.
        let status = unsafe { self.block.Anonymous.Status };
        Answer { status, information: self.block.Information, output }
    }
}

impl Drop for Request<'_> {
    /// Nothing that the request refers to may go before the system is done with it.
    fn drop(&mut self) {
        if self.status == STATUS_PENDING {
            self.cancel();
            self.done.wait(INFINITE);
        }
    }
}

impl Answer {
    /// The bytes that the driver says it wrote, if it succeeded.
    pub(crate) fn output(&self) -> &[u8] {
        let written = if self.status == 0 { self.information } else { 0 };
        &self.output[..written.min(self.output.len())]
    }

    /// An error if the driver wrote behind what it says that it wrote.
    pub(crate) fn check_untouched(&self, name: &str) -> Result<(), String> {
        let written = if self.status == 0 { self.information } else { 0 };
        let rest = self.output.get(written..).ok_or_else(|| {
            format!("{name}: {written} bytes written to a buffer of {}", self.output.len())
        })?;
        match rest.iter().position(|&byte| byte != UNTOUCHED) {
            None => Ok(()),
            Some(at) => {
                Err(format!("{name}: a byte was written at {} behind the answer", written + at))
            }
        }
    }
}

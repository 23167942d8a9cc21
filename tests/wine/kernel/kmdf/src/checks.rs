//! Violations: when the driver breaks a rule, the rule, the function and the callers are printed
//! and logged, and the device process ends at once.
//!
//! The rule: a violation is never survived. A test cannot pass after one, because the devices are
//! gone and the log (see `protocol::violations`) is not empty.
//!
//! Every function of the framework begins with [`Call::enter`], which makes the checks that every
//! call needs.

use alloc::{format, string::String};
use core::{ffi::c_void, fmt};

use nt::{
    file::{Disposition, File},
    halt::halt,
    println,
    unicode::Wide,
    win32::{RtlCaptureStackBackTrace, RtlPcToFileHeader},
};
use protocol::violations::LOG_NT_PATH;

use crate::{
    abi::{DriverGlobals, Handle},
    client::Client,
    irql::{self, Irql},
    object::{self, ObjectRef, Ref, Typed},
};

const STACK_DEPTH: usize = 12;

/// A rule of the framework or of the kernel that the rig enforces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// A handle is live and of the type that the function takes.
    Handle,
    /// A function is called at the IRQL that it allows.
    Irql,
    /// A `WDFDEVICE_INIT` is not used after the device was created or the structure freed.
    DeviceInit,
    /// A request or IRP is completed once.
    Completion,
    /// A request, IRP or object is in the state that the function needs.
    State,
    /// A pended IRP is marked pending, and only then.
    Pending,
    /// A structure has the size of this version, a pointer is not null.
    Parameter,
    /// Spin locks are taken once and released by their holder.
    SpinLock,
    /// Pool memory is freed once, with its own tag, and was not written past its ends.
    Pool,
    /// Everything is freed by the time the driver is unloaded.
    Leak,
    /// Only functions that the rig implements are called.
    Unimplemented,
    /// Every import exists.
    Import,
}

/// One call of a framework function.
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) client: &'static Client,
}

impl Call {
    /// Checks the driver globals and the IRQL.
    pub(crate) fn enter(
        function: &'static str,
        globals: *const DriverGlobals,
        highest: Irql,
    ) -> Self {
        irql::require_at_most(function, highest);
        let Some(client) = Client::of_globals(globals) else {
            violation!(Handle, function, "{globals:p} is no bound driver's WDF_DRIVER_GLOBALS");
        };
        Self { function, client }
    }

    /// The live object behind a handle.
    pub(crate) fn object(&self, handle: Handle) -> ObjectRef {
        object::look_up(handle).unwrap_or_else(|| {
            violation!(
                Handle,
                self.function,
                "{handle:#x} is not a live handle (stale, or never was one)"
            )
        })
    }

    /// The live object of one type behind a handle.
    pub(crate) fn typed<T: Typed>(&self, handle: Handle) -> Ref<T> {
        let object = self.object(handle);
        let found = object.type_name();
        Ref::new(object).unwrap_or_else(|| {
            violation!(Handle, self.function, "{handle:#x} is a {found}, not a {}", T::NAME)
        })
    }

    /// A structure that the driver passed, with the size that it must have.
    ///
    /// # Safety
    /// `pointer` is null or points at a `T` that begins with its size.
    pub(crate) unsafe fn structure<T: Copy>(&self, name: &str, pointer: *const T) -> T {
        if pointer.is_null() {
            violation!(Parameter, self.function, "{name} is null");
        }
        // SAFETY: the caller says that it is valid; every such structure begins with a 32-bit size.
        let size = unsafe { pointer.cast::<u32>().read() } as usize;
        if size != size_of::<T>() {
            violation!(
                Parameter,
                self.function,
                "{name}.Size is {size}, but version 1.27 has {}",
                size_of::<T>()
            );
        }
        // SAFETY: as above, and the size fits.
        unsafe { pointer.read() }
    }

    /// Reports callbacks that the driver sets and the rig never calls.
    pub(crate) fn require_unset(&self, what: &str, callbacks: &[usize]) {
        if callbacks.iter().any(|&callback| callback != 0) {
            violation!(Unimplemented, self.function, "{what} is set that the rig does not call");
        }
    }

    /// Writes a result through a pointer of the driver.
    ///
    /// # Safety
    /// `pointer` is null or valid for a write.
    pub(crate) unsafe fn write<T>(&self, name: &str, pointer: *mut T, value: T) {
        if pointer.is_null() {
            violation!(Parameter, self.function, "{name} is null");
        }
        // SAFETY: the caller says that it is valid.
        unsafe { pointer.write(value) };
    }
}

/// Reports a broken rule, with the function and a message as `format!` takes it, and ends the
/// process.
macro_rules! violation {
    ($rule:ident, $function:expr, $($message:tt)*) => {
        $crate::checks::report(
            $crate::checks::Rule::$rule,
            $function,
            ::core::format_args!($($message)*),
        )
    };
}
pub(crate) use violation;

/// What [`violation!`] calls.
pub(crate) fn report(rule: Rule, function: &str, what: fmt::Arguments<'_>) -> ! {
    let message = format!("KMDF RIG: violation: {rule:?} in {function}: {what}");
    println!("{message}");
    let mut report = format!("{message}\n");
    for frame in callers() {
        let line = format!("    at {}\n", describe(frame));
        println!("{}", line.trim_end());
        report.push_str(&line);
    }
    append_to_log(&report);
    halt()
}

fn append_to_log(report: &str) {
    let file = match File::open(&Wide::new(LOG_NT_PATH), Disposition::OpenOrCreate) {
        Ok(file) => file,
        Err(failure) => return println!("KMDF RIG: cannot open {LOG_NT_PATH}: {failure}"),
    };
    let written = file.length().and_then(|end| file.write_slice_at(end, report.as_bytes()));
    if let Err(failure) = written {
        println!("KMDF RIG: cannot write {LOG_NT_PATH}: {failure}");
    }
}

fn callers() -> impl Iterator<Item = *mut c_void> {
    let mut frames = [core::ptr::null_mut(); STACK_DEPTH];
    // SAFETY: the array has room for the frames asked for.
    let count = unsafe {
        RtlCaptureStackBackTrace(2, STACK_DEPTH as u32, frames.as_mut_ptr(), core::ptr::null_mut())
    };
    frames.into_iter().take(usize::from(count))
}

/// An address as an image and an offset, if it is in a known image.
pub(crate) fn describe(address: *mut c_void) -> String {
    let mut base = core::ptr::null_mut();
    // SAFETY: looks an address up; it need not be valid.
    unsafe { RtlPcToFileHeader(address, &raw mut base) };
    let offset = (address as usize).wrapping_sub(base as usize);
    match Client::image_name_of(base) {
        Some(name) => format!("{name}+{offset:#x}"),
        None if base.is_null() => format!("{address:p}"),
        None => format!("{base:p}+{offset:#x}"),
    }
}

//! `bcryptprimitives.dll` with the one function that Rust's `std` imports from it, for a Wine that
//! lacks the DLL.
//!
//! The rule: it returns only when all of the buffer is random, as Windows' own does.

#![no_std]

use core::ffi::c_void;

/// What advapi32 fills in one call at most; its length is a 32-bit number.
const CHUNK_BYTES: usize = 1 << 30;

const TRUE: i32 = 1;

#[link(name = "advapi32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// Documented as `RtlGenRandom`.
    #[link_name = "SystemFunction036"]
    fn rtl_gen_random(buffer: *mut u8, length: u32) -> u8;
}

/// Fills a buffer with random bytes.
///
/// # Safety
/// `buffer` is writable for `length` bytes.
// SAFETY: no other code in this DLL defines the name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ProcessPrng(buffer: *mut u8, length: usize) -> i32 {
    let mut done = 0;
    while done < length {
        let chunk = (length - done).min(CHUNK_BYTES);
        // SAFETY: `done` is less than `length`, so this stays in the caller's buffer.
        let start = unsafe { buffer.add(done) };
        #[expect(clippy::cast_possible_truncation, reason = "CHUNK_BYTES fits")]
        let chunk_length = chunk as u32;
        // SAFETY: `chunk` bytes from `start` on are the caller's.
        let filled = unsafe { rtl_gen_random(start, chunk_length) };
        if filled != 0 {
            done += chunk;
        }
    }
    TRUE
}

/// Entry point of the DLL: nothing to set up.
// SAFETY: no other code in this DLL defines the name.
#[unsafe(no_mangle)]
pub extern "system" fn DllMain(_module: *mut c_void, _reason: u32, _reserved: *mut c_void) -> i32 {
    TRUE
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

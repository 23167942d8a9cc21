//! `println!` for drivers: formats into a fixed buffer and hands it to `DbgPrint`.
//!
//! The rule: printing allocates nothing and works at any IRQL; a line too long is cut, never lost.

use core::fmt::{self, Write};

use wdk_sys::ntddk::DbgPrint;

const LINE_CAPACITY: usize = 480;

/// Prints one line to the debugger (on Wine: the `debugstr` channel). Use [`crate::println!`].
pub fn print_line(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_CAPACITY + 2], length: 0 };
    // A full buffer is not an error here: the line is cut.
    let _ = line.write_fmt(arguments);
    line.bytes[line.length] = b'\n';
    // SAFETY: both strings end in a zero byte (`bytes` has room for one past the newline) and
    // outlive the call.
    unsafe { DbgPrint(c"%s".as_ptr().cast(), line.bytes.as_ptr()) };
}

/// Prints one formatted line to the debugger.
#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => {
        $crate::print::print_line(::core::format_args!($($arguments)*))
    };
}

struct Line {
    bytes: [u8; LINE_CAPACITY + 2],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_CAPACITY - self.length;
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

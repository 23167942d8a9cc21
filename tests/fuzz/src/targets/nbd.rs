//! An NBD client's connection: the handshake, then requests.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use snapless_nbd::{Access, Allocation, Disk, Errno, Export, Stream, serve, shake_hands};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "nbd",
    repairs: &[],
    run,
    reached: &["left", "cut", "no handshake", "served", "no request"],
};

const LENGTH: u64 = 64 << 10;
const SECTOR: u32 = 512;

/// What a client says, and what it hears.
struct Client<'a> {
    says: Cell<&'a [u8]>,
    hears: RefCell<Vec<u8>>,
}

impl Read for &Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.says.get();
        let count = left.read(buffer)?;
        self.says.set(left);
        Ok(count)
    }
}

impl Write for &Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hears.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Client<'_> {
    fn limit_silence(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn send_at_once(&self) -> io::Result<()> {
        Ok(())
    }

    fn another(&self) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    fn shut_down(&self) {}
}

/// Checks what it is asked for.
struct Checked(Access);

impl Checked {
    fn check(offset: u64, len: usize) {
        let end = offset.checked_add(len as u64).expect("no extent overflows");
        assert!(len > 0 && end <= LENGTH, "{len} bytes at {offset}");
        assert!(offset.is_multiple_of(SECTOR.into()) && len.is_multiple_of(SECTOR as usize));
    }
}

impl Disk for Checked {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        Self::check(offset, buffer.len());
        // The first sectors cannot be read.
        if offset < 1024 { Err(Errno::Io) } else { Ok(()) }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        Self::check(offset, bytes.len());
        assert_eq!(self.0, Access::Write);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u32) -> Result<(), Errno> {
        Self::check(offset, len as usize);
        assert_eq!(self.0, Access::Write);
        Ok(())
    }

    fn allocation(&self, offset: u64, len: u32, most: usize) -> Vec<Allocation> {
        Self::check(offset, len as usize);
        assert!(self.0 == Access::Read && most > 0);
        vec![Allocation { len, is_hole: offset == 0 }]
    }
}

fn run(input: &[u8]) -> &'static str {
    let export = |name: &str, access| Export {
        name: name.to_owned(),
        length: LENGTH,
        sector: SECTOR,
        access,
        tells_allocation: access == Access::Read,
    };
    let exports = [export("a", Access::Write), export("b", Access::Read)];
    let client = Client { says: Cell::new(input), hears: RefCell::default() };
    let shaken = shake_hands(&client, &exports);
    assert!(client.hears.borrow().starts_with(b"NBDMAGICIHAVEOPT"));
    let agreed = match shaken {
        Ok(Some(agreed)) => agreed,
        Ok(None) => return "left",
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return "cut",
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            return "no handshake";
        }
    };
    let export = &exports[agreed.export];
    assert!(!agreed.allocation || (agreed.structured && export.tells_allocation));
    match serve(&client, export, agreed, &Checked(export.access)) {
        Ok(()) => "served",
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            "no request"
        }
    }
}

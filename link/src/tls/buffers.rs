//! Encrypted bytes on their way out.

/// Encrypted bytes that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Longer than what is used, so that it is not cleared again and again.
    bytes: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// All of it was sent, or will never be.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Room for at least so many more bytes, behind what waits.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.len..]
    }

    /// So many bytes of the room were written.
    pub(super) fn wrote(&mut self, len: usize) {
        debug_assert!(self.len + len <= self.bytes.len());
        self.len += len;
    }
}

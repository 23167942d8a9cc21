//! Reads of any length from a volume, which takes reads of whole sectors only.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Bytes that are read at a time, at a multiple of it: whole sectors of every disk.
const CHUNK: usize = 4 << 10;

/// Reads bytes of a volume at an offset; fewer than asked for at the volume's end.
pub trait ReadAt {
    /// Reads into `buffer`, which has a multiple of a sector's length, at a multiple of that.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A volume as a stream of bytes.
#[derive(Debug)]
pub struct Sectors<'a, V> {
    volume: &'a V,
    position: u64,
    /// The chunk that was read last.
    chunk: Vec<u8>,
    chunk_at: Option<u64>,
}

impl<'a, V: ReadAt> Sectors<'a, V> {
    /// A volume, from its first byte on.
    pub fn new(volume: &'a V) -> Self {
        Self { volume, position: 0, chunk: Vec::new(), chunk_at: None }
    }

    fn fill(&mut self, at: u64) -> io::Result<()> {
        if self.chunk_at == Some(at) {
            return Ok(());
        }
        self.chunk_at = None;
        self.chunk.resize(CHUNK, 0);
        let read = self.volume.read_at(at, &mut self.chunk)?;
        self.chunk.truncate(read);
        self.chunk_at = Some(at);
        Ok(())
    }
}

impl<V: ReadAt> Read for Sectors<'_, V> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let within = self.position % CHUNK as u64;
        self.fill(self.position - within)?;
        // Below `CHUNK`.
        let within = usize::try_from(within).unwrap_or(CHUNK);
        let rest = self.chunk.get(within..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<V: ReadAt> Seek for Sectors<'_, V> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            // The volume's length is not known here, and nobody asks for it.
            SeekFrom::End(_) => None,
        };
        self.position = position.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl ReadAt for Bytes {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(offset.is_multiple_of(CHUNK as u64) && buffer.len() == CHUNK);
            let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }
    }

    #[test]
    fn any_bytes_are_read_by_whole_chunks() {
        let bytes = Bytes((0..50_000_u32).map(|at| (at / 7).to_le_bytes()[0]).collect());
        let mut volume = Sectors::new(&bytes);
        for (offset, len) in [(0, 1), (4_095, 2), (1, 49_999), (49_990, 10), (4_096, 4_096)] {
            let mut some = vec![0; len];
            volume.seek(SeekFrom::Start(offset)).unwrap();
            let offset = usize::try_from(offset).unwrap();
            volume.read_exact(&mut some).unwrap();
            assert_eq!(some, bytes.0[offset..offset + len]);
        }
        volume.seek(SeekFrom::Start(50_000)).unwrap();
        assert_eq!(volume.read(&mut [0; 4]).unwrap(), 0, "the volume's end");
        assert!(volume.seek(SeekFrom::Current(i64::MIN)).is_err());
        assert!(volume.seek(SeekFrom::End(0)).is_err());
    }
}

//! Reads the index of a segment, chunk by chunk.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use crate::crypto::BlobSeal;
use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::index::{
    CHUNK_HEADER_LEN, ChunkHeader, Entries, EntryIndex, INDEX_HEADER_LEN, IndexIdentity,
};
use crate::format::segment::SEGMENT_HEADER_LEN;
use crate::storage::{OpenMode, Store, StoredFile};

/// Bytes read ahead.
const BUFFER_BYTES: usize = 128 << 10;

/// Reads the index of a segment, chunk by chunk.
#[derive(Debug)]
pub(crate) struct IndexReader {
    file: BufReader<StoredFile>,
    identity: IndexIdentity,
    /// `None` if the segment's entries are plain frames.
    seal: Option<BlobSeal>,
    /// Where in the file the next chunk begins.
    next: u64,
    len: u64,
    /// Where in the segment the next chunk's first entry must begin.
    expected: u64,
    chunk: Option<ChunkHeader>,
    body: Vec<u8>,
    /// Entries of the present chunk that [`Self::expect`] has not compared yet.
    ahead: VecDeque<EntryIndex>,
}

impl IndexReader {
    /// Opens an index; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file that is not this index.
    pub(crate) fn open(
        store: &Store,
        path: &Path,
        identity: IndexIdentity,
        seal: Option<BlobSeal>,
    ) -> Result<Option<Self>> {
        let file = match store.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader = Self {
            len: file.len()?,
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            identity,
            seal,
            next: INDEX_HEADER_LEN as u64,
            expected: SEGMENT_HEADER_LEN as u64,
            chunk: None,
            body: Vec::new(),
            ahead: VecDeque::new(),
        };
        let mut header = [0; INDEX_HEADER_LEN];
        reader.fill(&mut header)?;
        identity.check(&header).map_err(|why| reader.damage(why))?;
        Ok(Some(reader))
    }

    /// Reads and checks the next chunk; false if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`]; then there is no use in what follows either.
    pub(crate) fn next_chunk(&mut self) -> Result<bool> {
        if self.next == self.len {
            return Ok(false);
        }
        let mut head = [0; CHUNK_HEADER_LEN];
        self.fill(&mut head)?;
        let chunk = ChunkHeader::read(&head).map_err(|why| self.damage(why))?;
        let end = self.next + (CHUNK_HEADER_LEN + chunk.len) as u64;
        if chunk.is_sealed != self.seal.is_some() {
            return Err(self.damage(FormatError::Sealed));
        }
        if end > self.len || chunk.start != self.expected {
            return Err(self.damage(Damage::Truncated(end)));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(chunk.len, 0);
        let filled = self.fill(&mut body);
        self.body = body;
        filled?;
        chunk.verify(&self.identity, &self.body).map_err(|why| self.damage(why))?;
        if let Some(seal) = &self.seal {
            let opened = seal.open(chunk.start, &mut self.body).map(|body| body.len());
            let len = opened.map_err(|why| self.damage(why))?;
            // The content was moved to behind the nonce.
            self.body.drain(..seal.in_front());
            self.body.truncate(len);
        }
        (self.next, self.expected, self.chunk) = (end, chunk.end, Some(chunk));
        Ok(true)
    }

    /// Where in the segment the present chunk ends.
    pub(crate) fn segment_end(&self) -> u64 {
        self.expected
    }

    /// Where in the segment the last chunk ends that is sound.
    pub(crate) fn last_end(mut self) -> u64 {
        while let Ok(true) = self.next_chunk() {}
        self.expected
    }

    /// Where in the file the present chunk ends.
    pub(crate) fn file_end(&self) -> u64 {
        self.next
    }

    /// The entries of the present chunk.
    pub(crate) fn entries(&self) -> Entries<'_> {
        match &self.chunk {
            Some(chunk) => chunk.entries(&self.body),
            None => Entries::none(),
        }
    }

    /// Checks that the next entry is this one; an index may end early. `None` stands for the end of
    /// a finished segment.
    ///
    /// # Errors
    /// [`Damage::Index`], damage of the file, or of a segment that ends before an entry that the
    /// index has.
    pub(crate) fn expect(&mut self, entry: Option<&EntryIndex>) -> Result<()> {
        while self.ahead.is_empty() && self.next_chunk()? {
            let entries: Result<Vec<_>, _> = self.entries().collect();
            self.ahead = entries.map_err(|why| self.damage(why))?.into();
        }
        match self.ahead.pop_front() {
            Some(found) if entry.is_none() => {
                // The two names differ in their extension.
                let segment = self.file.get_ref().path().with_extension("slseg");
                Err(Error::damaged(&segment, found.offset, Damage::Truncated(found.end())))
            }
            Some(found) if Some(&found) != entry => Err(self.damage(Damage::Index)),
            _ => Ok(()),
        }
    }

    /// Damage of the index.
    pub(crate) fn damage(&self, why: impl Into<Damage>) -> Error {
        Error::damaged(self.file.get_ref().path(), self.next, why)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damage(Damage::Truncated(self.len)))
            }
            Err(error) => Err(Error::file("read", self.file.get_ref().path())(error)),
        }
    }
}

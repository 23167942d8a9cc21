//! What came of the last verification of the session's copy.

use snapless_wire::verified::Verified;

use super::SessionReader;
use crate::error::{Error, Result};
use crate::format::verified::{self, VERIFIED_FILE, VERIFIED_LEN_MAX};

impl SessionReader {
    /// What came of the checks of the stream, as far as the server has compared them; `None` if no
    /// check has ever come.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps the file from being read.
    pub fn verified(&self) -> Result<Option<Verified>> {
        let path = self.dir.join(VERIFIED_FILE);
        match self.store.read_head(&path, VERIFIED_LEN_MAX) {
            Ok(bytes) => verified::read(&bytes, &self.header)
                .map(Some)
                .map_err(|why| Error::damaged(&self.store.locate(&path), 0, why)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what came of them.
    pub(crate) fn keep_verified(&self, verified: &Verified) -> Result<()> {
        let bytes = verified::to_bytes(verified, &self.header);
        self.store.create_durably(&self.dir.join(VERIFIED_FILE), &bytes)
    }
}

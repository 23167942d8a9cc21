//! Tries whether a store does what is relied on.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{ObjectStorage, is_already_there};
use crate::format::claim::WriterId;
use crate::storage::{Objects, OpenMode, Storage};

/// Creations of one name at the same time that the probe tries.
const PROBES: usize = 32;

impl ObjectStorage {
    /// Tries whether the store does what is relied on, with an object of its own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with what it did instead, or a failure.
    pub fn probe(&self) -> io::Result<()> {
        let shared = &self.0;
        let name = PathBuf::from(format!("probe-{:032x}", rand_id()));
        let at = shared.place(&name);
        let unsupported = |what: String| io::Error::new(ErrorKind::Unsupported, what);
        let create = |number: usize| {
            let options = PutOptions::from(PutMode::Create);
            shared.store.put_opts(&at, PutPayload::from(content_of_probe(number)), options)
        };
        let outcomes = shared.wait(join_all((0..PROBES).map(create)));
        let mut winners = Vec::new();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(_) => winners.push(number),
                Err(error) if is_already_there(&error) => {}
                Err(error) => return Err(shared.failed(error)),
            }
        }
        let checked = self.check_probe(&name, &winners);
        shared.wait(shared.store.delete(&at)).map_err(|error| shared.failed(error))?;
        checked?;
        match self.open(&name, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Ok(_) => Err(unsupported("an object that was removed is still there".to_owned())),
            Err(error) => Err(error),
        }
    }

    fn check_probe(&self, name: &Path, winners: &[usize]) -> io::Result<()> {
        let unsupported = |what: String| Err(io::Error::new(ErrorKind::Unsupported, what));
        let &[winner] = winners else {
            let won = winners.len();
            return unsupported(format!("of {PROBES} creations of one name {won} succeeded"));
        };
        let content = content_of_probe(winner);
        if self.0.read_all(&self.0.place(name))? != content {
            return unsupported(
                "an object has not the content of the creation that won".to_owned(),
            );
        }
        match self.0.create(name, content_of_probe(PROBES).into()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return unsupported("a later creation of the same name succeeded".to_owned()),
        }
        let listed = self.list_from(Path::new(""), "probe-", "probe-")?;
        let want = (name.to_string_lossy().into_owned(), content.len() as u64);
        if listed.contains(&want) {
            return Ok(());
        }
        unsupported("an object that is there is not listed".to_owned())
    }
}

fn content_of_probe(number: usize) -> Vec<u8> {
    format!("snapless {number:02}").into_bytes()
}

/// A number that no other process takes.
fn rand_id() -> u128 {
    u128::from_le_bytes(WriterId::random().0)
}

//! What a catalog knows a file by.
//!
//! The rule: an image is known by its Authenticode hash, every other file by the hash of its bytes.
//! The first leaves out the image's checksum and signature, but not the bytes that signing adds in
//! front of the signature; a catalog is made of images that are signed already.

use std::path::Path;

use authenticode::authenticode_digest;
use object::read::pe::PeFile64;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::{Digest, Update};

use crate::error::{Error, IoContext, Result};

/// How Windows hashes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image of 64 bits.
    Image,
    /// A file without a structure that Windows knows.
    Flat,
}

/// The hashes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// 20 bytes.
    pub sha1: Vec<u8>,
    /// 32 bytes.
    pub sha256: Vec<u8>,
}

impl Hashes {
    /// Those of a file.
    pub fn of_file(path: &Path, kind: Kind) -> Result<Self> {
        let bytes = std::fs::read(path).on("read", path)?;
        let hashes = Self::of_bytes(&bytes, kind);
        hashes.map_err(|problem| Error::Image { path: path.to_path_buf(), problem })
    }

    fn of_bytes(bytes: &[u8], kind: Kind) -> Result<Self, String> {
        Ok(Self { sha1: hash::<Sha1>(bytes, kind)?, sha256: hash::<Sha256>(bytes, kind)? })
    }
}

fn hash<D: Digest + Update>(bytes: &[u8], kind: Kind) -> Result<Vec<u8>, String> {
    let mut digest = D::new();
    match kind {
        Kind::Flat => Update::update(&mut digest, bytes),
        Kind::Image => {
            let image = PeFile64::parse(bytes).map_err(|error| error.to_string())?;
            authenticode_digest(&image, &mut digest).map_err(|error| error.to_string())?;
        }
    }
    Ok(digest.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_sys::sample::Sample;

    #[test]
    fn a_signature_and_a_checksum_do_not_count() {
        let unsigned = Sample::default().build();
        let dir = tempfile::tempdir().expect("a folder");
        let layout = crate::layout::Layout::at(dir.path().to_path_buf());
        let file = dir.path().join("sample.sys");
        std::fs::write(&file, &unsigned).expect("written");
        crate::package::signing::sign(&layout, &file).expect("signed");
        assert_ne!(std::fs::read(&file).expect("signed"), unsigned);
        let before = Hashes::of_bytes(&unsigned, Kind::Image).expect("an image");
        assert_eq!(Hashes::of_file(&file, Kind::Image).expect("an image"), before);
    }

    #[test]
    fn an_image_that_is_cut_short_is_an_error() {
        let image = Sample::default().build();
        for bytes in 0..image.len() {
            let cut = Hashes::of_bytes(&image[..bytes], Kind::Image);
            cut.expect_err("the section is not whole");
        }
    }
}

//! Authenticated encryption of stored bytes, below everything that has a format or an error of the
//! server: what is encrypted, and with which key, is decided in [`mod@crate::seal`].

mod blob;
mod cipher;

pub use blob::BlobSeal;
pub(crate) use cipher::Cipher;
pub use cipher::CipherError;

//! The keys of a repository.
//!
//! All content is sealed with keys that follow from the *repository key*, 256 random bits. The
//! repository's header has that key *wrapped*: encrypted with a key that follows from a key file or
//! a passphrase. So another key file or passphrase touches no data.
//!
//! Keys are cleared from memory when they are dropped; no `Debug` shows them.

use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use snapless_trust::{folders, private, text};
use snapless_wire::id::{SessionId, VolumeGuid};
use zeroize::Zeroizing;

use crate::crypto::{Cipher, CipherError};
use crate::error::{Error, Result};
use crate::format::sealing::{KeyId, PassphraseCost, SALT_LEN, WRAPPED_LEN, Wrap, Wrapped};

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// What a key file begins with.
const KEY_FILE_PREFIX: &str = "SNAPLESS-KEY-1 ";
/// The longest file of a key or a passphrase, in bytes.
const FILE_LEN_MAX: usize = 4096;
/// The cost of a passphrase: RFC 9106's second recommendation, on one lane.
const COST: PassphraseCost = PassphraseCost { memory_kib: 64 << 10, passes: 3, lanes: 1 };

/// Where the key of a repository is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum KeySource {
    /// There is none.
    #[default]
    None,
    /// In a key file.
    KeyFile(PathBuf),
    /// It follows from the passphrase in a file: the first line.
    PassphraseFile(PathBuf),
}

impl KeySource {
    /// What two options of a command line say, of which at most one is given.
    pub(crate) fn of(key_file: Option<&Path>, passphrase_file: Option<&Path>) -> Self {
        match (key_file, passphrase_file) {
            (Some(path), _) => Self::KeyFile(path.to_owned()),
            (None, Some(path)) => Self::PassphraseFile(path.to_owned()),
            (None, None) => Self::None,
        }
    }
}

impl std::str::FromStr for KeySource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("key-file", path)) if !path.is_empty() => Ok(Self::KeyFile(path.into())),
            Some(("passphrase-file", path)) if !path.is_empty() => {
                Ok(Self::PassphraseFile(path.into()))
            }
            _ if text == "none" => Ok(Self::None),
            _ => Err("expected key-file=PATH, passphrase-file=PATH, or none"),
        }
    }
}

/// 256 secret bits.
type Secret = Zeroizing<[u8; KEY_LEN]>;

/// The key from which all keys of a repository's files follow.
pub(crate) struct RepositoryKey {
    secret: Secret,
    prk: Prk,
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepositoryKey")
    }
}

/// What a key is for. The numbers are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The entries of a segment of this number.
    Segment = 1,
    /// The index of it.
    Index = 2,
    /// The kept state.
    State = 3,
    /// The kept map of this number.
    Map = 4,
}

impl RepositoryKey {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        Ok(Self::new(random()?))
    }

    fn new(secret: Secret) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"snapless repository key 1").extract(&*secret);
        Self { secret, prk }
    }

    /// The cipher of one file of a session.
    pub(super) fn cipher(
        &self,
        (volume, session): (VolumeGuid, SessionId),
        purpose: Purpose,
        number: u64,
    ) -> Result<Cipher> {
        let info = [&[purpose as u8][..], &volume.0, &session.0, &number.to_le_bytes()];
        Ok(Cipher::new(&*expand(&self.prk, &info)?)?)
    }

    /// The key, wrapped by a new key file or passphrase. Makes the key file if it is missing.
    pub(crate) fn wrap(&self, by: &KeySource) -> Result<Wrapped> {
        let salt: [u8; SALT_LEN] = *random()?;
        let (wrap, id, key) = match by {
            KeySource::None => return Err(Error::KeyWanted),
            KeySource::KeyFile(path) => {
                let file = KeyFile::read_or_make(path)?;
                (Wrap::KeyFile, file.id()?, file.wrapping_key(&salt)?)
            }
            KeySource::PassphraseFile(path) => {
                let passphrase = read_passphrase(path)?;
                let mut id = KeyId::default();
                id.0.copy_from_slice(&random()?[..8]);
                (Wrap::Passphrase(COST), id, stretch(&passphrase, &salt, COST)?)
            }
        };
        let mut wrapped = Wrapped { wrap, id, salt, key: [0; WRAPPED_LEN] };
        let mut bytes = Zeroizing::new(Vec::with_capacity(WRAPPED_LEN));
        bytes.extend_from_slice(&*self.secret);
        Cipher::new(&key)?.seal(&wrapped.bound_to(), &mut bytes, 0)?;
        wrapped.key.copy_from_slice(&bytes);
        Ok(wrapped)
    }

    /// Unwraps the key of the repository in `dir`.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Error::KeyNeeded`], or what is wrong with the file.
    pub(crate) fn unwrap(wrapped: &Wrapped, by: &KeySource, dir: &Path) -> Result<Self> {
        let needed =
            || Error::KeyNeeded { dir: dir.to_owned(), want: wrapped.wrap.name(), id: wrapped.id };
        let wrong = |path: &Path| Error::WrongKey {
            path: path.to_owned(),
            want: wrapped.wrap.name(),
            id: wrapped.id,
        };
        let (key, path) = match (wrapped.wrap, by) {
            (Wrap::KeyFile, KeySource::KeyFile(path)) => {
                let file = KeyFile::read(path)?;
                if file.id()? != wrapped.id {
                    return Err(wrong(path));
                }
                (file.wrapping_key(&wrapped.salt)?, path)
            }
            (Wrap::Passphrase(cost), KeySource::PassphraseFile(path)) => {
                (stretch(&read_passphrase(path)?, &wrapped.salt, cost)?, path)
            }
            _ => return Err(needed()),
        };
        let mut bytes = Zeroizing::new(wrapped.key);
        let opened = Cipher::new(&key)?.open(&wrapped.bound_to(), &mut bytes[..]);
        let opened = opened.map_err(|_| wrong(path))?;
        let mut secret = Secret::default();
        secret.copy_from_slice(opened);
        Ok(Self::new(secret))
    }
}

/// The key in a key file.
struct KeyFile(Secret);

impl KeyFile {
    fn read_or_make(path: &Path) -> Result<Self> {
        match Self::read(path) {
            Err(error) if error.is_not_found() => {
                let file = Self(random()?);
                file.make(path)?;
                Ok(file)
            }
            read => read,
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let key = text.trim().strip_prefix(KEY_FILE_PREFIX).and_then(|rest| {
            let (key, sum) = rest.split_once(' ')?;
            let key = parse_hex(key)?;
            let is_sound = u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(&*key);
            is_sound.then_some(key)
        });
        key.map(Self).ok_or_else(|| Error::NotAKeyFile(path.to_owned()))
    }

    /// Makes the file durably: whole, or not at all. It is its owner's alone, and no file is
    /// replaced.
    fn make(&self, path: &Path) -> Result<()> {
        let mut text = Zeroizing::new(String::with_capacity(128));
        text.push_str(KEY_FILE_PREFIX);
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        // Writing to a string does not fail.
        _ = writeln!(text, " {:08x}", crc32c::crc32c(&*self.0));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private::only_owner(&mut options);
        let folder = folders::of(path);
        let made = tempfile::Builder::new()
            .prefix(".snapless-")
            .suffix(".key")
            .make_in(folder, |path| options.open(path));
        let mut file = made.map_err(Error::file("create", path))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
        written.map_err(Error::file("write", path))?;
        let named = file.persist_noclobber(path).map_err(|refused| refused.error);
        named.map_err(Error::file("create", path))?;
        folders::sync(folder).map_err(Error::file("sync", path))
    }

    fn id(&self) -> Result<KeyId> {
        let mut id = KeyId::default();
        id.0.copy_from_slice(&self.derive(b"snapless key file id 1", b"id")?[..8]);
        Ok(id)
    }

    fn wrapping_key(&self, salt: &[u8; SALT_LEN]) -> Result<Secret> {
        self.derive(salt, b"snapless wrap 1")
    }

    fn derive(&self, salt: &[u8], info: &[u8]) -> Result<Secret> {
        expand(&Salt::new(HKDF_SHA256, salt).extract(&*self.0), &[info])
    }
}

/// Bytes of a derived key.
#[derive(Clone, Copy)]
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Result<Secret> {
    let mut key = Secret::default();
    let filled =
        prk.expand(info, Length).and_then(|okm: hkdf::Okm<'_, Length>| okm.fill(&mut *key));
    filled.map(|()| key).map_err(|_| CipherError.into())
}

fn random() -> Result<Secret> {
    let mut bytes = Secret::default();
    rand::fill(&mut *bytes).map_err(|_| CipherError)?;
    Ok(bytes)
}

/// The key that follows from a passphrase. The header's reader has bounded the cost.
fn stretch(passphrase: &str, salt: &[u8; SALT_LEN], cost: PassphraseCost) -> Result<Secret> {
    let PassphraseCost { memory_kib, passes, lanes } = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(KEY_LEN)).map_err(|_| CipherError)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Secret::default();
    let made = argon2.hash_password_into(passphrase.as_bytes(), salt, &mut *key);
    made.map(|()| key).map_err(|_| CipherError.into())
}

/// The first line of a file.
fn read_passphrase(path: &Path) -> Result<Zeroizing<String>> {
    let text = read_text(path)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Error::NoPassphrase(path.to_owned()));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Reads a file that the user names, which may be a link, or the pipe of a program that knows the
/// secret.
fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX));
    let file = fs::File::open(path).map_err(Error::file("open", path))?;
    let read = file.take(FILE_LEN_MAX as u64).read_to_end(&mut bytes);
    read.map_err(Error::file("read", path))?;
    text::decode(&bytes).map_err(|why| Error::NotText { path: path.to_owned(), why })
}

fn parse_hex(text: &str) -> Option<Secret> {
    let mut key = Secret::default();
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_and_a_mistyped_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = KeyFile::read_or_make(&path).unwrap();
        let read = KeyFile::read_or_make(&path).unwrap();
        assert_eq!((*made.0, made.id().unwrap()), (*read.0, read.id().unwrap()));
        let text = fs::read_to_string(&path).unwrap();
        for at in KEY_FILE_PREFIX.len()..text.len() - 1 {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'0' { b'1' } else { b'0' };
            fs::write(&path, typed).unwrap();
            assert!(matches!(KeyFile::read(&path), Err(Error::NotAKeyFile(_))), "{at}");
        }
        fs::write(&path, [0xff; 9]).unwrap();
        assert!(matches!(KeyFile::read(&path), Err(Error::NotText { .. })));
    }

    #[test]
    fn a_secret_is_the_same_in_every_encoding_that_windows_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        KeyFile::read_or_make(&path).unwrap();
        let key = fs::read_to_string(&path).unwrap();
        let passphrase = "pass wörd\r\nsecond line\r\n".to_owned();
        for (text, is_key) in [(key, true), (passphrase, false)] {
            let units = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to);
            for bytes in [
                [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
                [0xff, 0xfe].into_iter().chain(units(u16::to_le_bytes)).collect(),
                [0xfe, 0xff].into_iter().chain(units(u16::to_be_bytes)).collect(),
            ] {
                fs::write(&path, bytes).unwrap();
                if is_key {
                    KeyFile::read(&path).unwrap();
                } else {
                    assert_eq!(*read_passphrase(&path).unwrap(), "pass wörd");
                }
            }
            fs::write(&path, units(u16::to_le_bytes).collect::<Vec<_>>()).unwrap();
            let refused = read_passphrase(&path).unwrap_err().to_string();
            assert!(refused.contains("UTF-16 without a byte order mark"), "{refused}");
        }
    }

    #[test]
    fn each_file_has_a_key_of_its_own() {
        let (repository, other) =
            (RepositoryKey::random().unwrap(), RepositoryKey::random().unwrap());
        let ids = (VolumeGuid([1; 16]), SessionId([2; 16]));
        let mut sealed = b"content".to_vec();
        repository.cipher(ids, Purpose::Segment, 1).unwrap().seal(b"", &mut sealed, 0).unwrap();
        let opens = |key: &RepositoryKey, ids, purpose, number| {
            let cipher = key.cipher(ids, purpose, number).unwrap();
            cipher.open(b"", &mut sealed.clone()).is_ok_and(|content| content == b"content")
        };
        assert!(opens(&repository, ids, Purpose::Segment, 1));
        assert!(!opens(&other, ids, Purpose::Segment, 1));
        assert!(!opens(&repository, ids, Purpose::Segment, 2));
        assert!(!opens(&repository, ids, Purpose::Index, 1));
        assert!(!opens(&repository, (ids.0, SessionId([3; 16])), Purpose::Segment, 1));
        assert!(!opens(&repository, (VolumeGuid([3; 16]), ids.1), Purpose::Segment, 1));
    }

    #[test]
    fn no_key_is_shown() {
        let key = RepositoryKey::random().unwrap();
        let cipher = key.cipher((VolumeGuid([1; 16]), SessionId([2; 16])), Purpose::Map, 1);
        assert_eq!(format!("{key:?} {:?}", cipher.unwrap()), "RepositoryKey Cipher");
    }
}

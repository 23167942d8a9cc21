//! Secrets: made, hashed, compared.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use snapless_trust::hex;
use subtle::ConstantTimeEq;

use crate::fault::{Fault, Result};

/// Memory of a password's hash in KiB, and its passes: what OWASP recommends of argon2id, and more.
const MEMORY_KIB: u32 = 32 << 10;
const PASSES: u32 = 3;
/// Bytes of a secret.
const SECRET_LEN: usize = 32;

/// The SHA-256 of a secret. A secret has 256 bits by chance: no slower hash is needed.
pub type Hash = [u8; 32];

/// A new secret.
///
/// # Errors
/// The system gives no random bytes.
pub fn make() -> Result<String> {
    random::<SECRET_LEN>().map(|bytes| hex::encode(&bytes))
}

/// A new id of a job, a token, a start of the console.
///
/// # Errors
/// The system gives no random bytes.
pub fn make_id() -> Result<String> {
    random::<8>().map(|bytes| hex::encode(&bytes))
}

/// The hash of a secret.
pub fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in a time that does not depend on what is equal.
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The hash of a password, with its parameters, as it is stored.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash_password(password: &str) -> Result<String> {
    let salt = random::<16>()?;
    let hashed = argon2()?.hash_password_with_salt(password.as_bytes(), &salt);
    Ok(hashed.map_err(Fault::internal)?.to_string())
}

/// True if this is the password. Without a stored one it takes as long, and is false.
pub fn is_password(password: &str, stored: Option<&str>) -> bool {
    let Ok(argon2) = argon2() else { return false };
    let Some(stored) = stored else {
        // The answer must not tell by its time that there is no such account.
        drop(argon2.hash_password_with_salt(password.as_bytes(), &[0; 16]));
        return false;
    };
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    argon2.verify_password(password.as_bytes(), &stored).is_ok()
}

fn random<const LEN: usize>() -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(Fault::internal)?;
    Ok(bytes)
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(Fault::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash() {
        let stored = hash_password("open sesame").unwrap();
        assert!(stored.starts_with("$argon2id$") && !stored.contains("sesame"));
        assert_ne!(stored, hash_password("open sesame").unwrap());
        assert!(is_password("open sesame", Some(&stored)));
        for (password, stored) in
            [("open sesam", Some(&*stored)), ("open sesame", None), ("", Some("")), ("", None)]
        {
            assert!(!is_password(password, stored));
        }
    }
}

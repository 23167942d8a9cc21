//! Tokens: each lets one machine enrol, once, within a short time.
//!
//! A token's text is `snapless-<number>-<secret>-<fingerprint>`. The fingerprint is the SHA-256 of
//! the authority's certificate, so that the machine knows the right server at first contact. The
//! server stores a hash of the secret: who reads its disk cannot use a token.
//!
//! Rule: a token is used up before a certificate is issued, by a rename that succeeds once.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::audit::seconds;
use crate::error::TrustError;
use crate::identity::Role;
use crate::{files, hex};

/// How long a token is valid, unless another time is asked for.
pub const LIFETIME_DEFAULT: Duration = Duration::from_hours(1);
/// The longest time for which a token can be made.
pub const LIFETIME_MAX: Duration = Duration::from_hours(7 * 24);
/// The most tokens that wait for their use.
const WAITING_MAX: usize = 10_000;
/// How long a token that is over is remembered.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);
const PREFIX: &str = "snapless";

/// A token as the administrator gives it to a machine.
pub struct Token {
    number: [u8; 8],
    secret: [u8; 16],
    /// The SHA-256 of the authority's certificate.
    pub fingerprint: [u8; 32],
}

impl Token {
    /// The number, which is no secret.
    pub fn number(&self) -> String {
        hex::encode(&self.number)
    }

    /// What a machine sends to the server: the token without the fingerprint.
    pub fn proof(&self) -> Proof {
        Proof { number: self.number(), secret: hex::encode(&self.secret) }
    }

    /// The text for the machine.
    pub fn text(&self) -> String {
        let (secret, fingerprint) = (hex::encode(&self.secret), hex::encode(&self.fingerprint));
        format!("{PREFIX}-{}-{secret}-{fingerprint}", self.number())
    }
}

impl FromStr for Token {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let read = || {
            let mut parts = text.trim().split('-');
            let prefix = parts.next()?;
            let token = Self {
                number: hex::decode(parts.next()?)?,
                secret: hex::decode(parts.next()?)?,
                fingerprint: hex::decode(parts.next()?)?,
            };
            (prefix == PREFIX && parts.next().is_none()).then_some(token)
        };
        read().ok_or(TrustError::NotAToken)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.number())
    }
}

/// The part of a token that proves it to the server.
#[derive(Serialize, Deserialize)]
pub struct Proof {
    number: String,
    secret: String,
}

impl Proof {
    /// The token's number, if it is one.
    pub fn number(&self) -> Option<&str> {
        hex::decode::<8>(&self.number).map(|_| self.number.as_str())
    }
}

/// Without the secret.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({:?})", self.number())
    }
}

/// What a token grants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The role of the machine.
    pub role: Role,
    /// The machine's name; without it, the one that it gives itself.
    pub name: Option<String>,
    /// The machine whose identity is enrolled again; without it, a new one.
    pub machine: Option<String>,
}

/// The tokens of a server: a file each, `tokens/<number>.json`, or `.used` after its use.
#[derive(Clone, Debug)]
pub struct Tokens {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    secret_hash: String,
    expires: u64,
    grant: Grant,
}

impl Tokens {
    /// The tokens of the authority in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("tokens") }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<(), TrustError> {
        files::create_folder(&self.folder)
    }

    /// Makes a token for the authority with this fingerprint.
    ///
    /// # Errors
    /// A lifetime past [`LIFETIME_MAX`], too many tokens, or a file that cannot be written.
    pub fn make(
        &self,
        grant: &Grant,
        lifetime: Duration,
        fingerprint: [u8; 32],
        now: SystemTime,
    ) -> Result<Token, TrustError> {
        if lifetime > LIFETIME_MAX {
            let hours = LIFETIME_MAX.as_secs() / 3600;
            let why = format!("a token is valid for {hours} hours at most");
            return Err(TrustError::Refused(why));
        }
        if self.forget_old(now)? >= WAITING_MAX {
            let why = format!("{WAITING_MAX} tokens wait for their use; let some of them expire");
            return Err(TrustError::Refused(why));
        }
        let token = Token { number: files::random()?, secret: files::random()?, fingerprint };
        let entry = Entry {
            secret_hash: hash(&token.secret),
            expires: seconds(now + lifetime),
            grant: grant.clone(),
        };
        files::create(&self.file(&token.number()), &files::to_json(&entry)?)?;
        Ok(token)
    }

    /// Uses a token up.
    ///
    /// # Errors
    /// [`TrustError::UnknownToken`], [`TrustError::ExpiredToken`], [`TrustError::UsedToken`], or a
    /// file that cannot be read or renamed. A wrong secret leaves the token as it was.
    pub fn consume(&self, proof: &Proof, now: SystemTime) -> Result<Grant, TrustError> {
        let number = proof.number().ok_or(TrustError::UnknownToken)?;
        let secret: [u8; 16] = hex::decode(&proof.secret).ok_or(TrustError::UnknownToken)?;
        let (file, used) = (self.file(number), self.used(number));
        let (entry, is_used) = match files::read_json::<Entry>(&file)? {
            Some(entry) => (entry, false),
            None => (files::read_json(&used)?.ok_or(TrustError::UnknownToken)?, true),
        };
        let (expected, given) = (entry.secret_hash.as_bytes(), hash(&secret));
        if verify_slices_are_equal(expected, given.as_bytes()).is_err() {
            return Err(TrustError::UnknownToken);
        }
        if is_used {
            return Err(TrustError::UsedToken);
        }
        if seconds(now) >= entry.expires {
            return Err(TrustError::ExpiredToken);
        }
        fs::rename(&file, &used).map_err(|error| match error.kind() {
            ErrorKind::NotFound => TrustError::UsedToken,
            _ => TrustError::file("use up", &file)(error),
        })?;
        files::sync_parent(&used)?;
        Ok(entry.grant)
    }

    /// Removes tokens that are over for long; returns how many wait for their use.
    fn forget_old(&self, now: SystemTime) -> Result<usize, TrustError> {
        let mut waiting = 0;
        for name in files::names(&self.folder)? {
            let path = self.folder.join(&name);
            // A file that is no token is left alone.
            let Ok(Some(entry)) = files::read_json::<Entry>(&path) else { continue };
            if seconds(now) > entry.expires.saturating_add(REMEMBERED.as_secs()) {
                fs::remove_file(&path).map_err(TrustError::file("remove", &path))?;
            } else if seconds(now) < entry.expires {
                waiting += usize::from(name.strip_suffix(".json").is_some());
            }
        }
        Ok(waiting)
    }

    fn file(&self, number: &str) -> PathBuf {
        self.folder.join(format!("{number}.json"))
    }

    fn used(&self, number: &str) -> PathBuf {
        self.folder.join(format!("{number}.used"))
    }
}

/// The secret has 128 random bits, so that a plain hash hides it.
fn hash(secret: &[u8; 16]) -> String {
    hex::encode(digest(&SHA256, secret).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    const GRANT: Grant = Grant { role: Role::Client, name: None, machine: None };

    fn tokens() -> (Tokens, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(dir.path());
        tokens.create().unwrap();
        (tokens, dir)
    }

    fn make(tokens: &Tokens, now: SystemTime) -> Token {
        tokens.make(&GRANT, LIFETIME_DEFAULT, [7; 32], now).unwrap()
    }

    #[test]
    fn a_token_s_text_is_read_again_and_nothing_else_is() {
        let (tokens, _dir) = tokens();
        let text = make(&tokens, SystemTime::now()).text();
        let again: Token = format!(" {text}\r\n").parse().unwrap();
        assert_eq!((again.text(), again.fingerprint), (text.clone(), [7; 32]));
        let shorter = &text[..text.len() - 1];
        for bad in ["", "snapless", shorter, &text.replace("snapless", "x"), &format!("{text}-00")]
        {
            assert!(matches!(bad.parse::<Token>(), Err(TrustError::NotAToken)), "{bad}");
        }
    }

    #[test]
    fn a_token_is_used_once_and_a_replay_is_named() {
        let (tokens, _dir) = tokens();
        let now = SystemTime::now();
        let token = make(&tokens, now);
        assert_eq!(tokens.consume(&token.proof(), now).unwrap(), GRANT);
        assert!(matches!(tokens.consume(&token.proof(), now), Err(TrustError::UsedToken)));
    }

    #[test]
    fn of_many_who_use_a_token_at_the_same_time_one_succeeds() {
        let (tokens, _dir) = tokens();
        let now = SystemTime::now();
        for _ in 0..20 {
            let (token, barrier) = (make(&tokens, now), Barrier::new(8));
            let won: usize = thread::scope(|scope| {
                let uses = [(); 8].map(|()| {
                    scope.spawn(|| {
                        barrier.wait();
                        tokens.consume(&token.proof(), now).is_ok()
                    })
                });
                uses.into_iter().map(|it| usize::from(it.join().unwrap())).sum()
            });
            assert_eq!(won, 1);
        }
    }

    #[test]
    fn an_expired_a_foreign_and_a_guessed_token_are_refused() {
        let (tokens, _dir) = tokens();
        let now = SystemTime::now();
        let token = make(&tokens, now);
        let later = now + LIFETIME_DEFAULT;
        assert!(matches!(tokens.consume(&token.proof(), later), Err(TrustError::ExpiredToken)));
        let mut guessed = token.proof();
        guessed.secret = "0".repeat(32);
        assert!(matches!(tokens.consume(&guessed, now), Err(TrustError::UnknownToken)));
        for number in ["../ca", "", &"0".repeat(16)] {
            let foreign = Proof { number: number.into(), secret: token.proof().secret };
            assert!(matches!(tokens.consume(&foreign, now), Err(TrustError::UnknownToken)));
        }
        // A guess does not use it up.
        assert!(tokens.consume(&token.proof(), now).is_ok());
    }

    #[test]
    fn the_server_stores_no_secret_and_no_text_shows_one() {
        let (tokens, dir) = tokens();
        let token = make(&tokens, SystemTime::now());
        let secret = token.proof().secret;
        for entry in fs::read_dir(dir.path().join("tokens")).unwrap() {
            let stored = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!stored.contains(&secret));
        }
        assert!(!format!("{token:?} {:?}", token.proof()).contains(&secret));
    }

    #[test]
    fn old_tokens_are_forgotten_and_a_long_life_is_refused() {
        let (tokens, dir) = tokens();
        let now = SystemTime::now();
        let token = make(&tokens, now);
        let much_later = now + LIFETIME_DEFAULT + REMEMBERED + Duration::from_secs(2);
        make(&tokens, much_later);
        assert_eq!(fs::read_dir(dir.path().join("tokens")).unwrap().count(), 1);
        assert!(matches!(tokens.consume(&token.proof(), now), Err(TrustError::UnknownToken)));
        assert!(tokens.make(&GRANT, LIFETIME_MAX + Duration::from_secs(1), [7; 32], now).is_err());
    }
}

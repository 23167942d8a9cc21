//! Tokens of programs: `tokens.json`, with the hash of each secret.

use std::path::Path;

use serde::{Deserialize, Serialize};
use snapless_trust::hex;

use super::file::Kept;
use super::secret::{self, Hash};
use crate::fault::{Code, Fault, Result};
use crate::model::{HexId, MadeToken, NewToken, Token};

/// The file's name.
const TOKENS_FILE: &str = "tokens.json";
/// What a secret begins with, so that scanners for secrets find it.
const PREFIX: &str = "snapless-console-";
/// The most tokens.
const TOKENS_MAX: usize = 1000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The tokens.
#[derive(Debug)]
pub(super) struct Tokens(Kept<File>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Stored>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    token: Token,
    sha256: String,
}

impl Tokens {
    pub(super) fn new(folder: &Path) -> Self {
        Self(Kept::new(folder.join(TOKENS_FILE)))
    }

    pub(super) fn all(&self) -> Result<Vec<Token>> {
        Ok(self.0.get()?.tokens.iter().map(|stored| stored.token.clone()).collect())
    }

    /// The token whose secret has this hash, if it is valid.
    pub(super) fn find(&self, hash: &Hash, now_ms: u64) -> Result<Option<Token>> {
        let wanted = hex::encode(hash);
        let tokens = self.0.get()?;
        let found = tokens
            .tokens
            .iter()
            .find(|stored| secret::is_same(stored.sha256.as_bytes(), wanted.as_bytes()));
        let found = found.map(|stored| stored.token.clone());
        Ok(found.filter(|token| token.expires_ms.is_none_or(|expires| now_ms < expires)))
    }

    pub(super) fn make(&self, new: &NewToken, by: &str, now_ms: u64) -> Result<MadeToken> {
        let secret = format!("{PREFIX}{}", secret::make()?);
        let id = HexId::parse(secret::make_id()?).map_err(Fault::internal)?;
        let expires_ms = new.valid_days.map(|days| now_ms + u64::from(days) * DAY_MS);
        let token = Token {
            token: id,
            name: new.name.to_string(),
            role: new.role,
            made_ms: now_ms,
            made_by: by.to_owned(),
            expires_ms,
        };
        let stored = Stored { token: token.clone(), sha256: hex::encode(&secret::hash(&secret)) };
        self.0.change(|file| {
            if file.tokens.iter().any(|it| it.token.name == token.name) {
                let message = format!("there is a token {}: end it first", token.name);
                return Err(Fault::new(Code::Conflict, message));
            }
            if file.tokens.len() >= TOKENS_MAX {
                let message = format!("there are {TOKENS_MAX} tokens: end some");
                return Err(Fault::new(Code::Conflict, message));
            }
            file.tokens.push(stored);
            Ok(())
        })?;
        Ok(MadeToken { token, secret })
    }

    pub(super) fn remove(&self, token: &HexId) -> Result<Token> {
        self.0.change(|file| {
            let is_it = |stored: &Stored| stored.token.token == *token;
            let index = file.tokens.iter().position(is_it);
            let index = index.ok_or_else(|| Fault::not_found("there is no such token"))?;
            Ok(file.tokens.remove(index).token)
        })
    }
}

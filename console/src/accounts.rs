//! Who asks: users with passwords, their sessions, tokens for programs.
//!
//! A secret is never stored: of a password the argon2 hash is kept, of a token the SHA-256, and so
//! of a session's in memory. Who is removed, or whose password is changed, is signed out with the
//! next request.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;

use crate::clock::now_ms;
use crate::fault::{Code, Fault, Result};
use crate::model::{HexId, MadeToken, NewToken, Role, Session, SignIn, Token};

mod attempts;
mod file;
pub mod secret;
mod sessions;
mod tokens;
pub mod users;

use attempts::Attempts;
use sessions::Sessions;
use tokens::Tokens;
use users::{PASSWORDS_AT_ONCE, Users};

/// The folder of the accounts within that of trust.
pub const ACCOUNTS_DIR: &str = "console";

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The name; of a token `token NAME`.
    pub name: String,
    /// What for.
    pub role: Role,
    /// The session, if it is one: what its requests must say, and its name for streams.
    pub session: Option<Seat>,
    /// When it ends.
    pub expires_ms: Option<u64>,
}

/// The session of an [`Actor`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// What each request that changes something must have in its header.
    pub csrf_token: String,
    /// The session's hashed secret.
    pub(crate) key: secret::Hash,
}

/// Users, sessions and tokens.
#[derive(Debug)]
pub struct Accounts {
    users: Users,
    sessions: Mutex<Sessions>,
    tokens: Tokens,
    attempts: Attempts,
    hashing: tokio::sync::Semaphore,
}

impl Accounts {
    /// The accounts in this folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            users: Users::new(folder),
            sessions: Mutex::default(),
            tokens: Tokens::new(folder),
            attempts: Attempts::new(),
            hashing: tokio::sync::Semaphore::new(PASSWORDS_AT_ONCE),
        }
    }

    /// True if nobody can sign in.
    ///
    /// # Errors
    /// The file of users cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.users.all()?.is_empty())
    }

    /// Signs in. Returns the new session and its secret for the cookie.
    ///
    /// # Errors
    /// [`Code::WrongPassword`], or [`Code::TooManyRequests`] after several of them.
    pub async fn sign_in(&self, sign_in: SignIn, peer: IpAddr) -> Result<(Session, String)> {
        let name = sign_in.name.as_str();
        self.attempts.check(name, peer)?;
        // A few at a time: a hash takes its memory and its time, whoever asks.
        let Ok(permit) = self.hashing.acquire().await else {
            return Err(Fault::busy("the console stops"));
        };
        let user = self.users.find(name)?;
        let stored = user.as_ref().map(|user| user.password.clone());
        let password = sign_in.password;
        let is_right = tokio::task::spawn_blocking(move || {
            secret::is_password(password.as_str(), stored.as_deref())
        });
        let is_right = is_right.await.map_err(Fault::internal)?;
        drop(permit);
        let Some(user) = user.filter(|_| is_right) else {
            log::warn!("console: {peer}: a sign-in as {name:?} was refused");
            return Err(Fault::new(
                Code::WrongPassword,
                "there is no account of this name with this password",
            ));
        };
        let secret = secret::make()?;
        let session = self.sessions().add(&user, &secret, now_ms())?;
        log::info!("console: {peer}: {name:?} signed in");
        Ok((session, secret))
    }

    /// Who has this secret of a session.
    ///
    /// # Errors
    /// [`Code::NotSignedIn`].
    pub fn of_session(&self, secret: &str) -> Result<Actor> {
        let key = secret::hash(secret);
        let Some(known) = self.sessions().touch(&key, now_ms()) else { return Err(unknown()) };
        // A user who was removed, or got another password or role, since.
        let user = self.users.find(&known.name)?;
        let Some(user) = user.filter(|user| user.is_same_as(&known.generation)) else {
            self.sessions().remove(&key);
            return Err(unknown());
        };
        Ok(Actor {
            name: user.name,
            role: user.role,
            session: Some(Seat { csrf_token: known.csrf_token, key }),
            expires_ms: Some(known.expires_ms),
        })
    }

    /// Who has this token.
    ///
    /// # Errors
    /// [`Code::NotSignedIn`].
    pub fn of_token(&self, secret: &str) -> Result<Actor> {
        let token = self.tokens.find(&secret::hash(secret), now_ms())?.ok_or_else(unknown)?;
        let Token { name, role, expires_ms, .. } = token;
        Ok(Actor { name: format!("token {name}"), role, session: None, expires_ms })
    }

    /// True if an actor may still look: streams ask now and then. Counts as a use of the session.
    pub(crate) fn is_here(&self, actor: &Actor, token: Option<&str>) -> bool {
        match (&actor.session, token) {
            (Some(seat), _) => {
                let Some(known) = self.sessions().touch(&seat.key, now_ms()) else { return false };
                let user = self.users.find(&known.name).ok().flatten();
                user.is_some_and(|user| user.is_same_as(&known.generation))
            }
            (None, Some(secret)) => self.of_token(secret).is_ok(),
            (None, None) => false,
        }
    }

    /// Ends the session that has this secret, if there is one.
    pub fn sign_out(&self, secret: &str) {
        self.sessions().remove(&secret::hash(secret));
    }

    /// The tokens.
    ///
    /// # Errors
    /// Their file cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>> {
        self.tokens.all()
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`Code::Conflict`] if one has this name; or their file cannot be written.
    pub fn make_token(&self, new: &NewToken, by: &str) -> Result<MadeToken> {
        self.tokens.make(new, by, now_ms())
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`Code::NotFound`]; or their file cannot be written.
    pub fn remove_token(&self, token: &HexId) -> Result<Token> {
        self.tokens.remove(token)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        // Every change is one call of a map: a panic leaves no half-made one.
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn unknown() -> Fault {
    Fault::new(Code::NotSignedIn, "nobody is signed in: sign in, or send a valid token")
}

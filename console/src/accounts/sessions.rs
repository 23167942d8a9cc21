//! Sessions of the page: in memory, each under the hash of its secret. They end with the console.

use std::collections::HashMap;

use super::secret::{self, Hash};
use super::users::{Generation, User};
use crate::fault::Result;
use crate::model::Session;

/// The longest session.
const LIFETIME_MS: u64 = 12 * 3600 * 1000;
/// The longest time without a request.
const IDLE_MS: u64 = 30 * 60 * 1000;
/// Sessions at once; past that the one that was idle longest ends.
const SESSIONS_MAX: usize = 1000;

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<Hash, Known>);

/// A session.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) generation: Generation,
    pub(super) csrf_token: String,
    pub(super) expires_ms: u64,
    used_ms: u64,
}

impl Known {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_ms || now_ms.saturating_sub(self.used_ms) >= IDLE_MS
    }
}

impl Sessions {
    /// Begins a session.
    pub(super) fn add(&mut self, user: &User, secret: &str, now_ms: u64) -> Result<Session> {
        self.0.retain(|_, known| !known.is_over(now_ms));
        if self.0.len() >= SESSIONS_MAX {
            let idlest = self.0.iter().min_by_key(|(_, known)| known.used_ms).map(|(key, _)| *key);
            self.0.remove(&idlest.unwrap_or_default());
        }
        let csrf_token = secret::make()?;
        let expires_ms = now_ms + LIFETIME_MS;
        let known = Known {
            name: user.name.clone(),
            generation: user.generation(),
            csrf_token: csrf_token.clone(),
            expires_ms,
            used_ms: now_ms,
        };
        self.0.insert(secret::hash(secret), known);
        let (name, role) = (user.name.clone(), user.role);
        Ok(Session { name, role, csrf_token, expires_ms: Some(expires_ms) })
    }

    /// A session that is not over; it was used just now.
    pub(super) fn touch(&mut self, key: &Hash, now_ms: u64) -> Option<Known> {
        if self.0.get(key)?.is_over(now_ms) {
            self.0.remove(key);
        }
        let known = self.0.get_mut(key)?;
        known.used_ms = now_ms;
        Some(known.clone())
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, key: &Hash) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn a_session_ends_when_it_is_idle_and_in_any_case_in_the_end() {
        let user = User::new("alice", Role::Viewer, "x").unwrap();
        let mut sessions = Sessions::default();
        let key = secret::hash("secret");
        sessions.add(&user, "secret", 0).unwrap();
        assert!(sessions.touch(&key, IDLE_MS - 1).is_some());
        assert!(sessions.touch(&key, 2 * IDLE_MS - 2).is_some());
        assert!(sessions.touch(&key, 3 * IDLE_MS - 2).is_none());
        sessions.add(&user, "secret", 0).unwrap();
        for now in (0..LIFETIME_MS).step_by(60_000) {
            assert!(sessions.touch(&key, now).is_some());
        }
        assert!(sessions.touch(&key, LIFETIME_MS).is_none());
    }

    #[test]
    fn there_are_at_most_so_many() {
        let user = User::new("alice", Role::Viewer, "x").unwrap();
        let mut sessions = Sessions::default();
        for n in 0..2 * SESSIONS_MAX as u64 {
            sessions.add(&user, &n.to_string(), n).unwrap();
        }
        assert_eq!(sessions.0.len(), SESSIONS_MAX);
    }
}

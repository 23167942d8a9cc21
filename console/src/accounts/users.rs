//! The users: `users.json`, with the argon2 hash of each password.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::Kept;
use super::secret;
use crate::fault::{Code, Fault, Result};
use crate::model::{Role, UserName};

/// The file's name.
const USERS_FILE: &str = "users.json";
/// The shortest password, in characters.
pub const PASSWORD_LEN_MIN: usize = 10;
/// Passwords that are hashed at once, each in 32 MiB.
pub(super) const PASSWORDS_AT_ONCE: usize = 2;
/// The most users.
const USERS_MAX: usize = 1000;

/// The users of a console.
#[derive(Debug)]
pub struct Users(Kept<File>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: Vec<User>,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// What for.
    pub role: Role,
    /// The hash of the password.
    pub(super) password: String,
}

/// What a session was begun with: it ends when that changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Generation(secret::Hash);

impl User {
    /// A user with this password.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new(name: &str, role: Role, password: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), role, password: secret::hash_password(password)? })
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(secret::hash(&self.password))
    }

    pub(super) fn is_same_as(&self, generation: &Generation) -> bool {
        self.generation() == *generation
    }
}

impl Users {
    /// The users in the console's folder of accounts.
    pub fn new(folder: &Path) -> Self {
        Self(Kept::new(folder.join(USERS_FILE)))
    }

    /// Every user.
    ///
    /// # Errors
    /// Their file cannot be read.
    pub fn all(&self) -> Result<Vec<User>> {
        Ok(self.0.get()?.users.clone())
    }

    /// A user.
    ///
    /// # Errors
    /// Their file cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<User>> {
        Ok(self.0.get()?.users.iter().find(|user| user.name == name).cloned())
    }

    /// Adds a user, or gives one another role and another password.
    ///
    /// # Errors
    /// The password is too short, or their file cannot be written.
    pub fn set(&self, name: &UserName, role: Role, password: &str) -> Result<()> {
        let len = password.chars().count();
        if !(PASSWORD_LEN_MIN..=1024).contains(&len) {
            let want = format!("expected a password of {PASSWORD_LEN_MIN} to 1024 characters");
            return Err(Fault::bad(want));
        }
        let user = User::new(name.as_str(), role, password)?;
        self.0.change(|file| {
            file.users.retain(|known| known.name != user.name);
            if file.users.len() >= USERS_MAX {
                let message = format!("there are {USERS_MAX} users: remove some");
                return Err(Fault::new(Code::Conflict, message));
            }
            file.users.push(user);
            file.users.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(())
        })
    }

    /// Removes a user; a session of the user ends with its next request.
    ///
    /// # Errors
    /// [`Code::NotFound`], or their file cannot be written.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.0.change(|file| {
            let before = file.users.len();
            file.users.retain(|known| known.name != name);
            if file.users.len() == before {
                return Err(Fault::not_found(format!("there is no user {name:?}")));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_added_changed_and_removed_beside_a_reader() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, reader) = (Users::new(folder.path()), Users::new(folder.path()));
        let alice = UserName::parse("alice").unwrap();
        assert!(reader.all().unwrap().is_empty());
        assert!(writer.set(&alice, Role::Viewer, "too short").is_err());
        writer.set(&alice, Role::Viewer, "correct horse").unwrap();
        let first = reader.find("alice").unwrap().unwrap();
        writer.set(&alice, Role::Operator, "battery staple").unwrap();
        let second = reader.find("alice").unwrap().unwrap();
        assert_eq!(second.role, Role::Operator);
        assert!(!second.is_same_as(&first.generation()));
        writer.remove("alice").unwrap();
        assert!(reader.find("alice").unwrap().is_none());
        assert_eq!(writer.remove("alice").unwrap_err().code, Code::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn no_other_account_of_the_machine_reads_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let users = Users::new(&folder.path().join("console"));
        users.set(&UserName::parse("a").unwrap(), Role::Viewer, "correct horse").unwrap();
        for path in ["console", "console/users.json"] {
            let mode = std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}");
        }
    }
}

//! The scripts around a bookmark: `[scripts]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::check::{Checker, ConfigError};
use crate::scripts::{Script, Scripts};

/// The longest that a script may take, in seconds.
const LIMIT_MAX_S: u64 = 600;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScripts {
    before: Option<Vec<String>>,
    after: Option<Vec<String>>,
    limit_s: Option<u64>,
}

impl Checker<'_> {
    pub(super) fn scripts(&self, raw: RawScripts) -> Result<Scripts, ConfigError> {
        let limit = match raw.limit_s {
            None => Scripts::default().limit,
            Some(limit_s) if (1..=LIMIT_MAX_S).contains(&limit_s) => Duration::from_secs(limit_s),
            Some(limit_s) => {
                let allowed = format!("1 to {LIMIT_MAX_S} seconds");
                return Err(self.not_allowed("scripts.limit_s", limit_s, allowed));
            }
        };
        Ok(Scripts {
            before: self.script("scripts.before", raw.before)?,
            after: self.script("scripts.after", raw.after)?,
            limit,
        })
    }

    fn script(&self, key: &str, raw: Option<Vec<String>>) -> Result<Option<Script>, ConfigError> {
        let Some(words) = raw else { return Ok(None) };
        match words.split_first() {
            Some((program, arguments)) if Path::new(program).is_absolute() => {
                let (program, arguments) = (PathBuf::from(program), arguments.to_vec());
                Ok(Some(Script { program, arguments }))
            }
            _ => {
                let allowed = "a program with its whole path, then its arguments, such as \
                               ['C:\\Scripts\\freeze.cmd', 'sales']";
                Err(self.not_allowed(key, format!("{words:?}"), allowed))
            }
        }
    }
}

//! The file of the console's settings, `console.toml`.
//!
//! ```toml
//! names = ["backup.example.com"]
//! rpo_target = "15m"
//! restore_folders = ["/srv/restores"]
//!
//! [[group]]
//! name = "Finance"
//! volumes = ["71a27cdd-812a-11d0-bec7-08002be2092f"]
//! rpo_target = "5m"
//!
//! [alarms]
//! disk_free = "10%"
//!
//! [[webhook]]
//! url = "https://alerts.example.com/snapless"
//! ```
//!
//! A key that is not known, or a value that cannot be, is an error that names it: an alarm that was
//! set up wrongly must not be silent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::VolumeId;

/// The file's name.
pub const SETTINGS_FILE: &str = "console.toml";
/// Most bytes of the file that are read.
const SETTINGS_LEN_MAX: u64 = 1 << 20;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

/// The settings.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Names by which browsers reach the console, beside `localhost`, the machine's own name and
    /// addresses.
    pub names: Vec<String>,
    /// How old the latest point of a volume may be.
    pub rpo_target: Span,
    /// Where restores may go.
    pub restore_folders: Vec<PathBuf>,
    /// Certificate and key of the console in PEM, in place of the server's own.
    pub certificate: Option<PathBuf>,
    /// See [`Self::certificate`].
    pub key: Option<PathBuf>,
    /// Requests a second that an address may make in the long run.
    pub requests_per_second: u32,
    /// Volumes that belong together.
    pub group: Vec<Group>,
    /// What an alarm is raised for.
    pub alarms: Limits,
    /// Where alarms are sent.
    pub webhook: Vec<Webhook>,
    /// The same, by e-mail.
    pub mail: Option<Mail>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            rpo_target: Span(Duration::from_mins(15)),
            restore_folders: Vec::new(),
            certificate: None,
            key: None,
            requests_per_second: 100,
            group: Vec::new(),
            alarms: Limits::default(),
            webhook: Vec::new(),
            mail: None,
        }
    }
}

/// Volumes that belong together.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The volumes.
    pub volumes: Vec<VolumeId>,
    /// How old their latest point may be.
    #[serde(default)]
    pub rpo_target: Option<Span>,
}

/// What an alarm is raised for.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A gap that lasts so long.
    pub gap: Span,
    /// A disk that has less free than so much of it.
    pub disk_free: Percent,
    /// A certificate that expires within this time.
    pub certificate: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gap: Span(Duration::from_mins(1)),
            disk_free: Percent(10),
            certificate: Span(Duration::from_hours(14 * 24)),
        }
    }
}

/// An HTTP server that takes alarms.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to.
    #[serde(deserialize_with = "web_url")]
    pub url: String,
    /// A file whose first line is sent as a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// A mail server that takes alarms.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Its name.
    pub server: String,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
    /// How it is spoken to.
    #[serde(default)]
    pub security: MailSecurity,
    /// Who sends.
    #[serde(deserialize_with = "mailbox")]
    pub from: lettre::message::Mailbox,
    /// To whom.
    #[serde(deserialize_with = "mailboxes")]
    pub to: Vec<lettre::message::Mailbox>,
    /// Who signs in there.
    #[serde(default)]
    pub user: Option<String>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailSecurity {
    /// TLS after a begin without it; never without.
    #[default]
    Starttls,
    /// TLS from the begin.
    Tls,
    /// None: for a relay on this machine.
    None,
}

/// A span of time such as `15m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

/// A share in percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(pub u8);

impl Settings {
    /// Reads the settings; the defaults if there is no file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let failed = |source| SettingsError::Read { path: path.to_owned(), source };
        let wrong = |why: String| SettingsError::Wrong { path: path.to_owned(), why };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            Ok(found) if found.len() > SETTINGS_LEN_MAX => {
                return Err(wrong(format!("longer than {SETTINGS_LEN_MAX} bytes")));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let settings: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        settings.check().map_err(wrong)?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("`certificate` and `key` go together: set both or neither".to_owned());
        }
        if self.requests_per_second == 0 {
            return Err("`requests_per_second` is 0: set at least 1".to_owned());
        }
        if let Some(folder) = self.restore_folders.iter().find(|folder| !folder.is_absolute()) {
            let folder = folder.display();
            return Err(format!("restore_folders: {folder}: set a path from the root on"));
        }
        if let Some(mail) = &self.mail {
            if mail.to.is_empty() {
                return Err("mail: `to` is empty: name a recipient".to_owned());
            }
            if mail.user.is_some() != mail.password_file.is_some() {
                return Err("mail: `user` and `password_file` go together".to_owned());
            }
            if mail.user.is_some() && mail.security == MailSecurity::None {
                return Err("mail: a password is not sent without TLS: set `security`".to_owned());
            }
        }
        Ok(())
    }

    /// The group of a volume.
    pub fn group_of(&self, volume: &VolumeId) -> Option<&Group> {
        self.group.iter().find(|group| group.volumes.contains(volume))
    }

    /// How old the latest point of a volume may be.
    pub fn rpo_target_of(&self, volume: &VolumeId) -> Duration {
        let own = self.group_of(volume).and_then(|group| group.rpo_target);
        own.unwrap_or(self.rpo_target).0
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        span(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "\"{text}\": expected a number with s, m, h or d, such as 15m"
            ))
        })
    }
}

fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    (count > 0).then(|| Duration::from_secs(u64::from(count) * seconds))
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        number.filter(|number| *number <= 100).map(Self).ok_or_else(|| {
            D::Error::custom(format!("\"{text}\": expected a share of the disk, such as 10%"))
        })
    }
}

fn web_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match reqwest::Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text),
        Ok(_) => Err(D::Error::custom(format!("\"{text}\": expected http:// or https://"))),
        Err(error) => Err(D::Error::custom(format!("\"{text}\" is no URL: {error}"))),
    }
}

fn parse_mailbox<E: serde::de::Error>(text: &str) -> Result<lettre::message::Mailbox, E> {
    text.parse().map_err(|error| E::custom(format!("\"{text}\" is no address of mail: {error}")))
}

fn mailbox<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<lettre::message::Mailbox, D::Error> {
    parse_mailbox(&String::deserialize(deserializer)?)
}

fn mailboxes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<lettre::message::Mailbox>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_mailbox(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS_FILE);
        fs::write(&path, text).unwrap();
        Settings::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_file_is_read() {
        let settings = read(
            r#"
            names = ["backup.example.com"]
            rpo_target = "1h"
            restore_folders = ["/srv/restores"]
            [[group]]
            name = "Finance"
            volumes = ["71a27cdd-812a-11d0-bec7-08002be2092f"]
            rpo_target = "5m"
            [alarms]
            gap = "30s"
            disk_free = "5%"
            certificate = "21d"
            [[webhook]]
            url = "https://alerts.example.com/snapless"
            token_file = "/etc/snapless/webhook"
            [mail]
            server = "mail.example.com"
            from = "Snapless <snapless@example.com>"
            to = ["ops@example.com"]
            "#,
        )
        .unwrap();
        let volume = VolumeId::parse("71a27cdd-812a-11d0-bec7-08002be2092f").unwrap();
        assert_eq!(settings.rpo_target_of(&volume), Duration::from_mins(5));
        assert_eq!(settings.alarms.disk_free, Percent(5));
        assert_eq!(settings.mail.unwrap().security, MailSecurity::Starttls);
        assert_eq!(read("").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("rpo_targets = \"1h\"", "rpo_targets"),
            ("rpo_target = \"1 fortnight\"", "fortnight"),
            ("restore_folders = [\"restores\"]", "restores"),
            ("certificate = \"/etc/cert.pem\"", "key"),
            ("requests_per_second = 0", "requests_per_second"),
            ("[alarms]\ndisk_free = \"110%\"", "110%"),
            ("[[webhook]]\nurl = \"ftp://example.com\"", "ftp"),
            ("[mail]\nserver = \"m\"\nfrom = \"nobody\"\nto = []", "nobody"),
            ("[mail]\nserver = \"m\"\nfrom = \"a@b.c\"\nto = []", "`to`"),
            (
                "[mail]\nserver = \"m\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\nuser = \"a\"\n\
                 password_file = \"/p\"\nsecurity = \"none\"",
                "TLS",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named) && error.contains(SETTINGS_FILE), "{text}: {error}");
        }
    }
}

//! The console of this server ([`snapless_console`]): what it shows and does, over the modules that
//! the commands use.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`estate`] | the calls of the console, each handed on |
//! | `seen` | what is stored of each volume, looked at now and then, and rates |
//! | `lines` | the same in the words of the API |
//! | `blocks` | the states of its blocks |
//! | `past` | a volume's timeline |
//! | `changes` | how many bytes were written when and where |
//! | `acts` | bookmarks, mounts, restores, verification, retention |
//! | `clients` | tokens, revocation, the audit log |
//! | `worker` | a process that reads files of a point, and its limits |
//! | [`files`] | what that process does |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use snapless_console::accounts::ACCOUNTS_DIR;
use snapless_console::serve::{self, Options};
use snapless_console::settings::{SETTINGS_FILE, Settings};
use snapless_trust::identity::expires;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::seal::KeySource;
use crate::security::Security;
use crate::serve::Server;

mod acts;
mod blocks;
mod changes;
mod clients;
pub mod estate;
mod fault;
pub mod files;
mod lines;
mod past;
mod seen;
mod worker;

pub use serve::Running;

use estate::{Parts, Stored};

/// What a console is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// The repository.
    pub location: Location,
    /// Its key.
    pub key: KeySource,
    /// The settings; those in the folder of trust without this.
    pub settings: Option<&'a Path>,
}

/// The folder of the console's accounts.
pub fn accounts_dir(trust: &Path) -> PathBuf {
    trust.join(ACCOUNTS_DIR)
}

/// Starts the console of a server. Its settings and accounts are in the server's folder of trust.
///
/// # Errors
/// [`Error::Console`] for settings that cannot be used or a server without TLS,
/// [`Error::Listen`], or what is wrong with the authority.
pub fn start(server: &Server, start: Start<'_>) -> Result<Running> {
    let Start { address, location, key, settings: path } = start;
    let host = server.host();
    let Security::Tls(trust) = &host.security else {
        return Err(Error::Console("the server has no authority: leave --insecure out".into()));
    };
    let folder = trust.folder();
    let path = path.map_or_else(|| folder.join(SETTINGS_FILE), Path::to_owned);
    let settings = Settings::read(&path).map_err(|error| Error::Console(error.to_string()))?;
    let machine = machine_name();
    let own = settings.certificate.as_ref().zip(settings.key.as_ref());
    let (tls, certificate_expires) = if let Some((certificate, key)) = own {
        own_certificate(certificate, key)?
    } else {
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut names: Vec<_> = settings.names.iter().cloned().chain(local).collect();
        names.extend(Some(machine.clone()).filter(|name| !name.is_empty()));
        if !address.ip().is_unspecified() {
            names.push(address.ip().to_string());
        }
        names.sort_unstable();
        names.dedup();
        trust.console_config(&names, SystemTime::now())?
    };
    host.connected.watch();
    let estate = Stored::start(Parts {
        location,
        key,
        repository: host.repository.repository().clone(),
        connected: host.connected.clone(),
        trust: Arc::clone(trust),
        settings: settings.clone(),
        machine: machine.clone(),
        certificate_expires,
    })?;
    let failed = |source| Error::Listen { address: address.to_string(), source };
    let options = Options {
        estate: Arc::new(estate),
        folder: accounts_dir(folder),
        settings,
        tls,
        machine,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    serve::start(address, options).map_err(failed)
}

/// The certificate that the settings name, and when it expires.
fn own_certificate(
    certificate: &Path,
    key: &Path,
) -> Result<(Arc<rustls::ServerConfig>, SystemTime)> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        Error::Console(format!("{}: {why}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, &error))?;
    let own = chain.first().ok_or_else(|| wrong(certificate, &"there is no certificate in it"))?;
    let expires = expires(own).map_err(|error| wrong(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| wrong(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), expires))
}

/// What the machine calls itself; empty if it does not say.
fn machine_name() -> String {
    #[cfg(target_os = "linux")]
    {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '.';
        if name.chars().all(is_plain) { name.to_lowercase() } else { String::new() }
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_default().to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use snapless_trust::server::ServerTrust;

    use super::*;

    #[test]
    fn of_a_certificate_of_ones_own_it_is_known_when_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let trust = folder.path().join("trust");
        ServerTrust::create(&trust, now).unwrap();
        let [certificate, key] = ["ca.crt", "ca.key"].map(|name| trust.join(name));
        let (_, expires) = own_certificate(&certificate, &key).unwrap();
        let long = expires.duration_since(now).unwrap();
        assert!(long.as_secs() > 24 * 3600, "{long:?}");
        std::fs::write(&certificate, "").unwrap();
        assert!(own_certificate(&certificate, &key).is_err());
    }
}

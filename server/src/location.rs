//! Where a repository is: a directory, or objects below a URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::repository::{Repository, WritableRepository};
use crate::seal::KeySource;
use crate::security::trust_dir;
use crate::storage::Store;

/// The schemes of URLs, for messages.
#[cfg(feature = "cloud")]
const SCHEMES: &str =
    "s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or file:///DIR";

/// Where a repository is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// In a directory.
    Directory(PathBuf),
    /// In an object store, below this URL.
    Url(String),
}

impl FromStr for Location {
    type Err = String;

    /// Takes what has `://` in it as a URL, anything else as the name of a directory.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() {
                Err("expected a directory or a URL".to_owned())
            } else {
                Ok(Self::Directory(text.into()))
            };
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Directory(rest.into())),
            "file" => Err("expected file:///DIR, with the whole name of the directory".to_owned()),
            _ => cloud::check(text).map(|()| Self::Url(text.trim_end_matches('/').to_owned())),
        }
    }
}

/// Parses an argument: a directory, whatever characters its name has, or a URL.
pub(crate) fn location() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new().try_map(|text| match text.to_str() {
        Some(text) => text.parse(),
        None => Ok(Location::Directory(text.into())),
    })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl Location {
    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory),
            Self::Url(_) => None,
        }
    }

    /// The storage there.
    ///
    /// # Errors
    /// [`Error::Location`] for a URL, or settings in the environment, that no store can have.
    pub fn store(&self) -> Result<Store> {
        match self {
            Self::Directory(directory) => Ok(Store::local(directory)),
            Self::Url(url) => cloud::store(url),
        }
    }

    /// Opens the repository for reading.
    ///
    /// # Errors
    /// As [`Repository::open_in`] and [`Self::store`].
    pub fn open(&self) -> Result<Repository> {
        Repository::open_in(self.store()?)
    }

    /// Opens the repository for writing, with its key.
    ///
    /// # Errors
    /// As [`WritableRepository::open_in_with`] and [`Self::store`].
    pub fn open_for_writing(&self, key: &KeySource) -> Result<WritableRepository> {
        WritableRepository::open_in_with(self.store()?, key)
    }

    /// Makes a repository. A store of objects is probed first.
    ///
    /// # Errors
    /// As [`WritableRepository::init_with`] and [`Self::store`]; [`Error::Unsafe`] for a store that
    /// does not do what a repository needs.
    pub fn init(&self, compression: Compression, key: &KeySource) -> Result<WritableRepository> {
        match self {
            Self::Directory(directory) => {
                WritableRepository::init_with(directory, compression, key)
            }
            Self::Url(url) => cloud::init(url, compression, key),
        }
    }

    /// The folder of the certificate authority: the one that is named, or that of a directory.
    ///
    /// # Errors
    /// [`Error::NoTrustFolder`].
    pub fn trust_folder(&self, named: Option<&Path>) -> Result<PathBuf> {
        match (named, self) {
            (Some(folder), _) => Ok(folder.to_owned()),
            (None, Self::Directory(directory)) => Ok(trust_dir(directory)),
            (None, Self::Url(url)) => Err(Error::NoTrustFolder(url.clone())),
        }
    }
}

#[cfg(feature = "cloud")]
mod cloud {
    use std::io::ErrorKind;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    use object_store::path::Path as ObjectPath;
    use object_store::{
        BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig,
    };
    use url::Url;

    use super::SCHEMES;
    use crate::compression::Compression;
    use crate::error::{Error, Result};
    use crate::repository::WritableRepository;
    use crate::seal::KeySource;
    use crate::storage::Store;
    use crate::storage::object::ObjectStorage;

    /// How long a request is repeated that the store refuses for now (429, 5xx), in all.
    const RETRY_FOR: Duration = Duration::from_secs(30);
    const RETRIES: usize = 8;
    /// Limit of one request: 64 MiB at half a megabyte a second.
    const REQUEST_LIMIT: &str = "2 minutes";

    const S3_HINT: &str = "check the bucket and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
        AWS_REGION; for another server than Amazon's also AWS_ENDPOINT_URL, and with http \
        AWS_ALLOW_HTTP=true";
    const AZURE_HINT: &str = "check the container and AZURE_STORAGE_ACCOUNT_NAME and \
        AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID; \
        for another endpoint than Microsoft's public one also AZURE_ENDPOINT, and with http \
        AZURE_ALLOW_HTTP=true";
    const GOOGLE_HINT: &str =
        "check the bucket and GOOGLE_APPLICATION_CREDENTIALS, the file of a service account's key";

    fn parse(text: &str) -> Result<(ObjectStoreScheme, ObjectPath), String> {
        let want = || format!("expected {SCHEMES}");
        let url: Url = text.parse().map_err(|_| want())?;
        if !matches!(url.scheme(), "s3" | "az" | "gs") {
            return Err(want());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("a URL holds no credentials: put them into the environment".to_owned());
        }
        // Amazon's directory buckets list in no order.
        if url.host_str().is_none_or(|name| name.ends_with("--x-s3")) {
            return Err("expected the name of a general purpose bucket behind the ://".to_owned());
        }
        ObjectStoreScheme::parse(&url).map_err(|error| error.to_string())
    }

    pub(super) fn check(url: &str) -> Result<(), String> {
        parse(url).map(|_| ())
    }

    fn storage(url: &str) -> Result<ObjectStorage> {
        let failed = |why: String| Error::Location { url: url.to_owned(), why };
        let (scheme, prefix) = parse(url).map_err(failed)?;
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        };
        let (built, hint) = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let limit = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
                let builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
                let builder = builder.with_config(limit, REQUEST_LIMIT);
                (builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>), S3_HINT)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let limit = AzureConfigKey::Client(ClientConfigKey::Timeout);
                let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
                let builder = builder.with_config(limit, REQUEST_LIMIT);
                (builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>), AZURE_HINT)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let limit = GoogleConfigKey::Client(ClientConfigKey::Timeout);
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry);
                let builder = builder.with_config(limit, REQUEST_LIMIT);
                (builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>), GOOGLE_HINT)
            }
            _ => return Err(failed(format!("expected {SCHEMES}"))),
        };
        let store = built.map_err(|error| failed(format!("{error}; {hint}")))?;
        ObjectStorage::new(store, prefix, url, hint).map_err(Error::Thread)
    }

    pub(super) fn store(url: &str) -> Result<Store> {
        Ok(Store::new(Arc::new(storage(url)?)))
    }

    /// Makes a repository in a store, which is probed first.
    pub(super) fn init(
        url: &str,
        compression: Compression,
        key: &KeySource,
    ) -> Result<WritableRepository> {
        let storage = storage(url)?;
        let store = Store::new(Arc::new(storage.clone()));
        let root = store.locate(Path::new(""));
        match storage.probe() {
            Ok(()) => WritableRepository::init_in_with(store, compression, key),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Err(Error::Unsafe { store: root, why: error.to_string() })
            }
            Err(error) => Err(Error::file("probe", &root)(error)),
        }
    }
}

#[cfg(not(feature = "cloud"))]
mod cloud {
    use crate::compression::Compression;
    use crate::error::{Error, Result};
    use crate::repository::WritableRepository;
    use crate::seal::KeySource;
    use crate::storage::Store;

    const WHY: &str = "this program was built for directories only, without the feature `cloud`";

    pub(super) fn check(_: &str) -> Result<(), String> {
        Err(WHY.to_owned())
    }

    pub(super) fn store(url: &str) -> Result<Store> {
        Err(Error::Location { url: url.to_owned(), why: WHY.to_owned() })
    }

    pub(super) fn init(url: &str, _: Compression, _: &KeySource) -> Result<WritableRepository> {
        store(url).and_then(WritableRepository::init_in)
    }
}

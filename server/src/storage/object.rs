//! A storage in the objects of S3, Azure or Google, or of any other [`ObjectStore`].
//!
//! The clients of such stores are asynchronous. They run on a small runtime of this storage; its
//! methods wait for them, and must not be called from asynchronous code.
//!
//! # What is relied on
//! - An object is there whole or not at all, and durable as soon as it is there.
//! - Of several creations of one name one succeeds, whenever each of them arrives.
//!   [`ObjectStorage::probe`] tries that.
//! - What was created is found, by its name and in lists.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use snapless_wire::id::FileTime;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;

mod file;
mod probe;

use super::lease::{self, Lease};
use super::{Held, Lock, Objects, OpenMode, Put, Removal, Storage, StorageFile, Terms};
use file::{ObjectFile, Ranges};

/// Bytes that are read when an object is opened: many are no longer.
const FIRST_BYTES: u64 = 256 << 10;
/// Objects whose first bytes are asked for ahead of time; each is a request under way, or its
/// bytes.
const AHEAD_MAX: usize = 16;
/// Attempts to create an object; those of the client come on top.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(200);
/// Objects that are removed with one request at most.
const REMOVED_TOGETHER: usize = 1000;
/// Threads of the runtime: they move bytes between sockets and memory.
const THREADS: usize = 2;

/// The objects below one prefix.
#[derive(Clone, Debug)]
pub struct ObjectStorage(Arc<Shared>);

struct Shared {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// The store and the prefix, for messages.
    url: String,
    /// What to do about a refused request.
    hint: &'static str,
    /// Lists come in order of the names.
    is_sorted: bool,
    /// The pause before the second attempt; it doubles.
    pause: Duration,
    terms: Terms,
    /// Protects the objects that will be opened soon, the oldest first.
    ahead: Mutex<VecDeque<(ObjectPath, Ahead)>>,
    runtime: Runtime,
}

/// The first bytes of an object, and its length.
type Ahead = JoinHandle<object_store::Result<(Bytes, u64)>>;

impl ObjectStorage {
    /// The objects of `store` whose names begin with `prefix`; messages call that `url`.
    ///
    /// # Errors
    /// The system's, if no thread can be started.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        url: &str,
        hint: &'static str,
    ) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(THREADS).thread_name("objects").enable_all().build()?;
        let url = url.trim_end_matches('/').to_owned();
        let (is_sorted, pause, terms) = (true, PAUSE, Terms::default());
        let ahead = Mutex::default();
        let shared = Shared { store, prefix, url, hint, is_sorted, pause, terms, ahead, runtime };
        Ok(Self(Arc::new(shared)))
    }

    /// For a store that answers at once, such as one in memory: its requests run on the thread of
    /// the caller, in an order that repeats, and are tried again without a pause.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn in_memory(store: Arc<dyn ObjectStore>, url: &str) -> io::Result<Self> {
        let (prefix, hint, ahead) = (ObjectPath::default(), "try again", Mutex::default());
        let runtime = Builder::new_current_thread().build()?;
        let (is_sorted, pause, terms) = (true, Duration::ZERO, Terms::default());
        let url = url.to_owned();
        let shared = Shared { store, prefix, url, hint, is_sorted, pause, terms, ahead, runtime };
        Ok(Self(Arc::new(shared)))
    }

    /// With leases that last so long. All who use one repository must use the same.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        let Ok(shared) = Arc::try_unwrap(self.0) else { unreachable!("no clone is made before") };
        Self(Arc::new(Shared { terms, ..shared }))
    }

    /// For a store whose lists come in no order.
    #[must_use]
    pub fn unsorted(self) -> Self {
        let Ok(shared) = Arc::try_unwrap(self.0) else { unreachable!("no clone is made before") };
        Self(Arc::new(Shared { is_sorted: false, ..shared }))
    }
}

fn is_already_there(error: &object_store::Error) -> bool {
    use object_store::Error::{AlreadyExists, Precondition};
    matches!(error, AlreadyExists { .. } | Precondition { .. })
}

/// Without the runtime, which tells nothing.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("url", &self.url).finish_non_exhaustive()
    }
}

/// True for an answer by which the store does not let an object be removed: by its rights, by a
/// lock or a legal hold on the object.
fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error::{
        AlreadyExists, NotImplemented, NotSupported, PermissionDenied, Precondition,
    };
    /// In the answers for single objects of a request for many, where Azure's are known by their
    /// status only, or for all of them.
    const CODES: [&str; 8] = [
        "AccessDenied",
        "ObjectLock",
        "Immutab",
        "retention",
        "(code: 403)",
        "(code: 409)",
        "(code: 412)",
        "AuthorizationPermissionMismatch",
    ];
    match error {
        // Azure answers 409 for a blob that may not be changed.
        PermissionDenied { .. }
        | Precondition { .. }
        | AlreadyExists { .. }
        | NotSupported { .. }
        | NotImplemented { .. } => true,
        object_store::Error::Generic { source, .. } => {
            let text = source.to_string();
            CODES.iter().any(|code| text.contains(code))
        }
        _ => false,
    }
}

/// True for an answer by which not only the object is missing, but what it would be in.
fn is_without_bucket(answer: &dyn std::error::Error) -> bool {
    // Of S3 and Google, and of Azure.
    const CODES: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];
    let text = answer.to_string();
    CODES.iter().any(|code| text.contains(code))
}

/// When an object was stored.
fn time_of(object: &ObjectMeta) -> FileTime {
    let micros = i128::from(object.last_modified.timestamp_micros());
    FileTime::from_unix_nanos(micros * 1000).unwrap_or(FileTime::UNIX_EPOCH)
}

impl Shared {
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn place(&self, path: &Path) -> ObjectPath {
        path.components().fold(self.prefix.clone(), |place, part| match part {
            Component::Normal(name) => place.join(name.to_string_lossy().as_ref()),
            _ => place,
        })
    }

    fn failed(&self, error: object_store::Error) -> io::Error {
        use object_store::Error as Its;
        let kind = match &error {
            Its::NotFound { source, .. } if is_without_bucket(&**source) => {
                return io::Error::other(format!("{error}; {}", self.hint));
            }
            Its::NotFound { .. } => ErrorKind::NotFound,
            Its::PermissionDenied { .. } | Its::Unauthenticated { .. } => {
                return io::Error::other(format!("{error}; {}", self.hint));
            }
            Its::NotSupported { .. } | Its::NotImplemented { .. } => ErrorKind::Unsupported,
            error if is_already_there(error) => ErrorKind::AlreadyExists,
            // Also what a client says that found no credentials.
            _ => return io::Error::other(format!("{error}; {}", self.hint)),
        };
        io::Error::new(kind, error)
    }

    fn read_all(&self, at: &ObjectPath) -> io::Result<Bytes> {
        let read = async { self.store.get(at).await?.bytes().await };
        self.wait(read).map_err(|error| self.failed(error))
    }

    fn create(&self, path: &Path, content: Bytes) -> io::Result<()> {
        let at = self.place(path);
        self.wait(async {
            let mut pause = self.pause;
            for attempt in 1.. {
                let payload = PutPayload::from(content.clone());
                let put = self.store.put_opts(&at, payload, PutOptions::from(PutMode::Create));
                let error = match put.await {
                    Ok(_) => return Ok(()),
                    Err(error) if is_already_there(&error) => match self.has(&at, &content).await {
                        Ok(true) => return Ok(()),
                        Ok(false) => return Err(ErrorKind::AlreadyExists.into()),
                        // Another creation was under way, and failed.
                        Err(object_store::Error::NotFound { .. }) => error,
                        Err(error) => error,
                    },
                    Err(error @ object_store::Error::Generic { .. }) => error,
                    Err(error) => return Err(self.failed(error)),
                };
                if attempt == ATTEMPTS {
                    return Err(match error {
                        error if is_already_there(&error) => io::Error::other(error.to_string()),
                        error => self.failed(error),
                    });
                }
                log::warn!("{}/{at}: {error}; it is tried again", self.url);
                if !pause.is_zero() {
                    sleep(pause).await;
                    pause *= 2;
                }
            }
            unreachable!("the last attempt returns")
        })
    }

    /// The first bytes of an object that was asked for ahead of time.
    fn take_ahead(&self, at: &ObjectPath) -> Option<(Bytes, u64)> {
        let request = {
            let mut ahead = self.ahead();
            let found = ahead.iter().position(|(place, _)| place == at)?;
            ahead.remove(found)?.1
        };
        // What failed is tried again, and then is an error.
        self.wait(request).ok()?.ok()
    }

    fn ahead(&self) -> MutexGuard<'_, VecDeque<(ObjectPath, Ahead)>> {
        // No change is left half made by a panic.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the object has this content.
    async fn has(&self, at: &ObjectPath, content: &Bytes) -> object_store::Result<bool> {
        let found = self.store.get(at).await?;
        Ok(found.meta.size == content.len() as u64 && found.bytes().await? == *content)
    }

    fn replace(&self, path: &Path, content: Vec<u8>) -> io::Result<()> {
        let at = self.place(path);
        let put = self.store.put(&at, PutPayload::from(content));
        self.wait(put).map(|_| ()).map_err(|error| self.failed(error))
    }

    /// The objects of a directory, as [`Objects::list_from`] lists them.
    fn list_from(
        &self,
        dir: &Path,
        beginning: &str,
        from: &str,
    ) -> io::Result<Vec<(String, ObjectMeta)>> {
        let prefix = self.place(dir);
        // The name before: lists begin behind the one that they are given.
        let before = match from.as_bytes().split_last() {
            Some((last, rest)) if *last > b'!' => {
                let mut name = rest.to_vec();
                name.push(last - 1);
                String::from_utf8(name).ok()
            }
            _ => None,
        };
        let listed = match before {
            Some(before) if self.is_sorted => {
                self.store.list_with_offset(Some(&prefix), &prefix.clone().join(before.as_str()))
            }
            _ => self.store.list(Some(&prefix)),
        };
        let name_of = |at: &ObjectPath| {
            let mut parts = at.prefix_match(&prefix)?;
            let name = parts.next()?.as_ref().to_owned();
            parts.next().is_none().then_some(name)
        };
        let is_sorted = self.is_sorted;
        let found = async {
            let goes_on = |object: &ObjectMeta| {
                let is_past = name_of(&object.location)
                    .is_some_and(|name| name.as_str() > beginning && !name.starts_with(beginning));
                std::future::ready(Ok(!(is_sorted && is_past)))
            };
            listed.try_take_while(goes_on).try_collect::<Vec<_>>().await
        };
        let found = self.wait(found).map_err(|error| self.failed(error))?;
        let listed = found.into_iter().filter_map(|it| Some((name_of(&it.location)?, it)));
        let is_wanted = |name: &str| name.starts_with(beginning) && name >= from;
        let mut listed: Vec<_> = listed.filter(|(name, _)| is_wanted(name)).collect();
        listed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(listed)
    }

    /// Removes objects with one request, where the store has such a one.
    fn remove_batch(&self, paths: &[PathBuf]) -> io::Result<Vec<Removal>> {
        let places: Vec<_> = paths.iter().map(|path| self.place(path)).collect();
        let places = futures_util::stream::iter(places.into_iter().map(Ok)).boxed();
        let outcomes: Vec<_> = self.wait(self.store.delete_stream(places).collect());
        let mut removed = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            removed.push(match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => Removal::Removed,
                Err(error) if is_refusal(&error) => Removal::Refused(error.to_string()),
                Err(error) => return Err(self.failed(error)),
            });
        }
        match (&removed[..], paths.len()) {
            (of_each, count) if of_each.len() == count => Ok(removed),
            // The request was refused as a whole.
            ([refused @ Removal::Refused(_)], count) => Ok(vec![refused.clone(); count]),
            _ => Err(io::Error::other("the store did not say what became of each object")),
        }
    }
}

impl Ranges for Shared {
    fn read(&self, at: &ObjectPath, offset: u64, len: u64) -> io::Result<(Bytes, u64)> {
        match self.wait(read_range(&*self.store, at, offset, len)) {
            Ok(found) => Ok(found),
            Err(error @ object_store::Error::NotFound { .. }) => Err(self.failed(error)),
            // An empty object has no range.
            Err(error) => match self.wait(self.store.head(at)) {
                Ok(meta) if meta.size <= offset => Ok((Bytes::new(), meta.size)),
                _ => Err(self.failed(error)),
            },
        }
    }
}

/// Reads bytes of an object, as many as there are; also returns its length.
async fn read_range(
    store: &dyn ObjectStore,
    at: &ObjectPath,
    offset: u64,
    len: u64,
) -> object_store::Result<(Bytes, u64)> {
    let range = Some(GetRange::Bounded(offset..offset.saturating_add(len)));
    let found = store.get_opts(at, GetOptions { range, ..GetOptions::default() }).await?;
    let len = found.meta.size;
    Ok((found.bytes().await?, len))
}

impl Storage for ObjectStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        if mode != OpenMode::Read {
            return Err(ErrorKind::Unsupported.into());
        }
        let place = self.0.place(path);
        let (bytes, len) = match self.0.take_ahead(&place) {
            Some(found) => found,
            None => self.0.read(&place, 0, FIRST_BYTES)?,
        };
        Ok(Box::new(ObjectFile::new(self.0.clone(), place, bytes, len)))
    }

    fn create_dir(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let shared = &self.0;
        let prefix = shared.place(dir);
        let found = shared.wait(shared.store.list_with_delimiter(Some(&prefix)));
        let found = found.map_err(|error| shared.failed(error))?;
        let objects = found.objects.iter().map(|object| &object.location);
        let names = found.common_prefixes.iter().chain(objects);
        Ok(names.filter_map(|name| name.filename().map(str::to_owned)).collect())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let shared = &self.0;
        let at = shared.place(path);
        let removed = async {
            // Most stores call it done if there is none.
            shared.store.head(&at).await?;
            shared.store.delete(&at).await
        };
        shared.wait(removed).map_err(|error| shared.failed(error))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Lock> {
        Err(ErrorKind::Unsupported.into())
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        Ok(Box::new(Lease::begin(Arc::new(self.clone()), path)?))
    }

    fn is_held(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let dir = path.parent().unwrap_or(Path::new(""));
        let held = lease::held(self, dir, &name, &|found| found == name)?;
        Ok(!held.is_empty())
    }

    fn held(&self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        lease::held(self, dir, "", wanted)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        let mut name = self.0.url.clone();
        for part in path.components() {
            name.push('/');
            name.push_str(&part.as_os_str().to_string_lossy());
        }
        name.into()
    }

    fn objects(&self) -> Option<&dyn Objects> {
        Some(self)
    }
}

impl Objects for ObjectStorage {
    fn put(&self, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()> {
        match put {
            Put::Create => self.0.create(path, content.into()),
            Put::Replace => self.0.replace(path, content),
        }
    }

    fn list_from(&self, dir: &Path, beginning: &str, from: &str) -> io::Result<Vec<(String, u64)>> {
        let listed = self.0.list_from(dir, beginning, from)?.into_iter();
        Ok(listed.map(|(name, object)| (name, object.size)).collect())
    }

    fn stored_at(&self, path: &Path) -> io::Result<FileTime> {
        let shared = &self.0;
        let found = shared.wait(shared.store.head(&shared.place(path)));
        found.map(|object| time_of(&object)).map_err(|error| shared.failed(error))
    }

    fn list_stored_at(&self, dir: &Path, beginning: &str) -> io::Result<Vec<(String, FileTime)>> {
        let listed = self.0.list_from(dir, beginning, beginning)?.into_iter();
        Ok(listed.map(|(name, object)| (name, time_of(&object))).collect())
    }

    fn remove_all(&self, paths: &[PathBuf]) -> io::Result<Vec<Removal>> {
        let mut removed = Vec::with_capacity(paths.len());
        for batch in paths.chunks(REMOVED_TOGETHER) {
            removed.extend(self.0.remove_batch(batch)?);
        }
        Ok(removed)
    }

    fn terms(&self) -> Terms {
        self.0.terms
    }

    fn will_open(&self, paths: &mut dyn Iterator<Item = PathBuf>) {
        let mut ahead = self.0.ahead();
        for path in paths {
            let place = self.0.place(&path);
            if ahead.iter().any(|(known, _)| *known == place) {
                continue;
            }
            if ahead.len() == AHEAD_MAX
                && let Some((_, unused)) = ahead.pop_front()
            {
                unused.abort();
            }
            let (store, at) = (Arc::clone(&self.0.store), place.clone());
            let read = async move { read_range(&*store, &at, 0, FIRST_BYTES).await };
            ahead.push_back((place, self.0.runtime.spawn(read)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: text.into() }
    }

    #[test]
    fn an_object_that_may_not_be_removed_is_told_from_a_store_that_fails() {
        // As the clients say it of one object of a request for many.
        for refusal in [
            "DeleteObjects request failed for key a: Access Denied (code: AccessDenied)",
            "Bulk delete request failed for key a: This request is not authorized to perform this \
             operation using this permission. (code: 403)",
            "Bulk delete request failed for key a: This operation is not permitted as the blob is \
             immutable due to a policy. (code: 409)",
            "Bulk delete request failed for key a: There is currently a lease on the blob and no \
             lease ID was specified in the request. (code: 412)",
        ] {
            assert!(is_refusal(&answer(refusal)), "{refusal}");
        }
        for failure in [
            "Bulk delete request failed for key a: Server is busy (code: 503)",
            "DeleteObjects request failed for key a: We failed (code: InternalError)",
            "Bulk delete request failed for key a-409: Operation timed out (code: 500)",
        ] {
            assert!(!is_refusal(&answer(failure)), "{failure}");
        }
    }
}

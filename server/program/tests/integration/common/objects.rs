//! An object store in memory that fails as real ones do, and repositories in it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use snapless_server::repository::WritableRepository;
use snapless_server::storage::object::ObjectStorage;
use snapless_server::storage::{Store, Terms};

/// What happens to a PUT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is refused: 503.
    Refused,
    /// It is stored, and its answer is lost.
    AnswerLost,
    /// It fails, and is stored when it is released.
    Held,
    /// It fails, and is stored after this time.
    Late(Duration),
    /// It is stored after this time.
    Slow(Duration),
    /// It is stored whatever is there, as by a store without conditional PUTs.
    Unconditional,
}

/// A request that something happens before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    Put,
    List,
    Delete,
}

type Action = Box<dyn FnOnce() + Send>;

/// The store; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultyStore {
    pub memory: Arc<InMemory>,
    faults: Arc<Mutex<Faults>>,
    clock: Arc<Mutex<Clock>>,
    terms: Option<Terms>,
}

/// The store's clock, which runs ahead of the machine's.
#[derive(Debug, Default)]
struct Clock {
    ahead: Duration,
    /// By how much it was ahead when each object was stored.
    of_objects: HashMap<ObjectPath, Duration>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Faults {
    /// Of the next PUTs, in order.
    next: VecDeque<Option<Fault>>,
    /// Of all others, by chance.
    random: Option<fastrand::Rng>,
    always: Option<Fault>,
    held: Vec<(ObjectPath, PutPayload, PutOptions)>,
    /// What happens before the next request of a kind with this in its name.
    actions: Vec<(Before, String, Action)>,
    /// Names with any of this in them are not removed.
    kept: Vec<String>,
    /// Names with this in them are not removed for now.
    unavailable: Option<String>,
    puts: usize,
    gets: usize,
    listed: Arc<AtomicUsize>,
}

impl FaultyStore {
    /// The faults of the next PUTs.
    pub fn next(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.faults.lock().unwrap().next = faults.into_iter().collect();
    }

    /// Every PUT fails by chance from now on.
    pub fn at_random(&self, seed: Option<u64>) {
        self.faults.lock().unwrap().random = seed.map(fastrand::Rng::with_seed);
    }

    pub fn always(&self, fault: Fault) {
        self.faults.lock().unwrap().always = Some(fault);
    }

    /// Lets the PUTs that are held arrive, in order; returns which of them succeed.
    pub fn release(&self) -> Vec<bool> {
        let held = std::mem::take(&mut self.faults.lock().unwrap().held);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let arrive = |(at, payload, options)| {
            runtime.block_on(self.memory.put_opts(&at, payload, options)).is_ok()
        };
        held.into_iter().map(arrive).collect()
    }

    /// The same objects in a store without faults.
    pub fn healed(&self) -> Self {
        Self { faults: Arc::default(), ..self.clone() }
    }

    /// The same store, in which leases last so long.
    pub fn with_terms(&self, terms: Terms) -> Self {
        Self { terms: Some(terms), ..self.clone() }
    }

    /// Sets the store's clock ahead.
    pub fn advance(&self, by: Duration) {
        self.clock.lock().unwrap().ahead += by;
    }

    /// The store's clock is set back by what it went on.
    pub fn recede(&self, by: Duration) {
        self.clock.lock().unwrap().ahead -= by;
    }

    /// Has something happen once, before the next request of a kind with this in its name.
    pub fn before(&self, what: Before, name: &str, action: impl FnOnce() + Send + 'static) {
        let action = (what, name.to_owned(), Box::new(action) as Action);
        self.faults.lock().unwrap().actions.push(action);
    }

    /// Lets no object be removed that has any of this in its name, as by the rights of an
    /// append-only role, or an object lock.
    pub fn keep(&self, names: &[&str]) {
        self.faults.lock().unwrap().kept = names.iter().map(|&name| name.to_owned()).collect();
    }

    /// Fails removals of objects with this in their names: 503.
    pub fn fail_removals(&self, name: Option<&str>) {
        self.faults.lock().unwrap().unavailable = name.map(str::to_owned);
    }

    fn happens(&self, what: Before, name: &str) {
        let mut faults = self.faults.lock().unwrap();
        let is_next = |it: &(Before, String, Action)| it.0 == what && name.contains(&it.1);
        let Some(next) = faults.actions.iter().position(is_next) else { return };
        let (_, _, action) = faults.actions.remove(next);
        drop(faults);
        // Not on a thread of the runtime that waits for this request.
        std::thread::spawn(action).join().unwrap();
    }

    fn may_remove(&self, place: &ObjectPath) -> Result<()> {
        let faults = self.faults.lock().unwrap();
        let has = |name: &String| place.as_ref().contains(name.as_str());
        if faults.unavailable.as_ref().is_some_and(has) {
            return Err(unavailable());
        }
        if faults.kept.iter().any(has) {
            let path = place.to_string();
            return Err(Error::PermissionDenied { path, source: "AccessDenied".into() });
        }
        Ok(())
    }

    fn stored(&self, at: &ObjectPath) {
        let mut clock = self.clock.lock().unwrap();
        let ahead = clock.ahead;
        clock.of_objects.insert(at.clone(), ahead);
    }

    fn timed(&self, mut object: ObjectMeta) -> ObjectMeta {
        let clock = self.clock.lock().unwrap();
        let ahead = clock.of_objects.get(&object.location).copied().unwrap_or_default();
        object.last_modified += ahead;
        object
    }

    /// PUTs so far.
    pub fn puts(&self) -> usize {
        self.faults.lock().unwrap().puts
    }

    /// Objects that were in lists so far.
    pub fn listed(&self) -> usize {
        self.faults.lock().unwrap().listed.load(Ordering::Relaxed)
    }

    /// GETs so far.
    pub fn gets(&self) -> usize {
        self.faults.lock().unwrap().gets
    }

    /// A client of the store, as each server process has its own.
    pub fn storage(&self) -> ObjectStorage {
        let store: Arc<dyn ObjectStore> = Arc::new(self.clone());
        let prefix = ObjectPath::from("a/prefix");
        let made = ObjectStorage::new(store, prefix, "memory://a/prefix", "try again").unwrap();
        // Nothing that was replaced stays for readers that hold nothing.
        let default = Terms { grace: Duration::ZERO, ..Terms::default() };
        made.with_terms(self.terms.unwrap_or(default))
    }

    /// The names of all objects, from the repository's root.
    pub fn names(&self) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let listed = runtime.block_on(self.memory.list(None).try_collect::<Vec<_>>()).unwrap();
        let names = listed.into_iter().map(|object| object.location.to_string());
        let mut names: Vec<_> =
            names.map(|name| name.trim_start_matches("a/prefix/").to_owned()).collect();
        names.sort();
        names
    }

    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.storage()))
    }

    /// The repository, made if there is none.
    pub fn repository(&self) -> WritableRepository {
        match WritableRepository::init_in(self.store()) {
            Err(snapless_server::error::Error::Exists(_)) => {
                WritableRepository::open_in(self.store()).unwrap()
            }
            made => made.unwrap(),
        }
    }

    fn fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        faults.puts += 1;
        if let Some(next) = faults.next.pop_front() {
            return next;
        }
        let always = faults.always;
        let Some(rng) = &mut faults.random else { return always };
        match rng.u32(0..20) {
            0 | 1 => Some(Fault::Refused),
            2 | 3 => Some(Fault::AnswerLost),
            4 => Some(Fault::Late(Duration::from_millis(rng.u64(0..300)))),
            5 => Some(Fault::Slow(Duration::from_millis(rng.u64(0..300)))),
            _ => None,
        }
    }
}

fn unavailable() -> Error {
    Error::Generic { store: "test", source: "503 Service Unavailable".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory with faults")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        at: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.happens(Before::Put, at.as_ref());
        match self.fault() {
            None => {
                let stored = self.memory.put_opts(at, payload, options).await?;
                self.stored(at);
                Ok(stored)
            }
            Some(Fault::Refused) => Err(unavailable()),
            Some(Fault::AnswerLost) => {
                self.memory.put_opts(at, payload, options).await?;
                self.stored(at);
                Err(unavailable())
            }
            Some(Fault::Held) => {
                self.faults.lock().unwrap().held.push((at.clone(), payload, options));
                Err(unavailable())
            }
            Some(Fault::Late(after)) => {
                let (memory, at) = (Arc::clone(&self.memory), at.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    // It may come too late.
                    drop(memory.put_opts(&at, payload, options).await);
                });
                Err(unavailable())
            }
            Some(Fault::Slow(after)) => {
                tokio::time::sleep(after).await;
                self.memory.put_opts(at, payload, options).await
            }
            Some(Fault::Unconditional) => self.memory.put(at, payload).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.faults.lock().unwrap().gets += 1;
        let mut found = self.memory.get_opts(at, options).await?;
        found.meta = self.timed(found.meta);
        Ok(found)
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        let store = self.clone();
        let remove = move |place: Result<ObjectPath>| {
            let store = store.clone();
            async move {
                let place = place?;
                store.happens(Before::Delete, place.as_ref());
                store.may_remove(&place)?;
                store.memory.delete(&place).await?;
                Ok(place)
            }
        };
        places.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Arc::clone(&self.faults.lock().unwrap().listed);
        let count = move |_: &ObjectMeta| _ = listed.fetch_add(1, Ordering::Relaxed);
        self.happens(Before::List, prefix.map_or("", ObjectPath::as_ref));
        let store = self.clone();
        let listed = self.memory.list(prefix).inspect_ok(count);
        listed.map_ok(move |object| store.timed(object)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Arc::clone(&self.faults.lock().unwrap().listed);
        let count = move |_: &ObjectMeta| _ = listed.fetch_add(1, Ordering::Relaxed);
        self.happens(Before::List, offset.as_ref());
        let store = self.clone();
        let listed = self.memory.list_with_offset(prefix, offset).inspect_ok(count);
        listed.map_ok(move |object| store.timed(object)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.happens(Before::List, prefix.map_or("", ObjectPath::as_ref));
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

/// The place of an object in the store, from the repository's root.
pub fn place(path: &Path) -> ObjectPath {
    ObjectPath::from(format!("a/prefix/{}", path.display()))
}

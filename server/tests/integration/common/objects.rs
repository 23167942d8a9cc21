//! An object store in memory that fails as real ones do, and repositories in it.

use std::collections::VecDeque;
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
use snapless_server::storage::Store;
use snapless_server::storage::object::ObjectStorage;

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

/// The store; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultyStore {
    pub memory: Arc<InMemory>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Of the next PUTs, in order.
    next: VecDeque<Option<Fault>>,
    /// Of all others, by chance.
    random: Option<fastrand::Rng>,
    always: Option<Fault>,
    held: Vec<(ObjectPath, PutPayload, PutOptions)>,
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
        Self { memory: Arc::clone(&self.memory), faults: Arc::default() }
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
        ObjectStorage::new(store, ObjectPath::from("a/prefix"), "memory://a/prefix", "try again")
            .unwrap()
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
        match self.fault() {
            None => self.memory.put_opts(at, payload, options).await,
            Some(Fault::Refused) => Err(unavailable()),
            Some(Fault::AnswerLost) => {
                self.memory.put_opts(at, payload, options).await?;
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
        self.memory.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.memory.delete_stream(places)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Arc::clone(&self.faults.lock().unwrap().listed);
        let count = move |_: &ObjectMeta| _ = listed.fetch_add(1, Ordering::Relaxed);
        self.memory.list(prefix).inspect_ok(count).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Arc::clone(&self.faults.lock().unwrap().listed);
        let count = move |_: &ObjectMeta| _ = listed.fetch_add(1, Ordering::Relaxed);
        self.memory.list_with_offset(prefix, offset).inspect_ok(count).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
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

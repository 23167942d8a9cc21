//! The same machine as a bucket of objects: each change is durable at once, a request may be
//! refused, its answer may be lost, and it may arrive when its sender has long given it up.

#![expect(clippy::default_trait_access, reason = "types of crates that are no dependencies")]

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, iter, once};
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use snapless_server::storage::object::ObjectStorage;
use snapless_server::storage::{Storage, Terms};

use super::disk::{Disk, Request};
use super::{Call, Fault, LAPSE_S, Machine, SimStorage};

impl Machine {
    fn arrive(&mut self, request: Request) -> bool {
        request.arrive(&mut self.disk, self.clock)
    }
}

/// What the request is, as far as faults tell.
fn call(request: &Request) -> Call {
    match request {
        Request::Create(..) => Call::Create,
        Request::Replace(..) => Call::Replace,
        Request::Delete(_) => Call::Delete,
    }
}

impl SimStorage {
    /// The bucket, for one process of the server.
    pub fn bucket(&self) -> Arc<dyn Storage> {
        let storage = ObjectStorage::in_memory(Arc::new(Bucket(self.clone())), "bucket");
        let storage = storage.unwrap_or_else(|error| panic!("no runtime: {error}"));
        // All readers hold leases: nothing need stay for others.
        let (term, grace) = (Duration::from_secs(LAPSE_S), Duration::ZERO);
        Arc::new(storage.with_terms(Terms { term, grace, ..Terms::default() }))
    }

    /// Requests that were given up arrive.
    pub fn land(&self) {
        let mut machine = self.machine();
        for request in std::mem::take(&mut machine.late) {
            machine.arrive(request);
        }
    }
}

struct Bucket(SimStorage);

impl Bucket {
    /// A request that changes nothing: what it asks of the bucket.
    fn ask<R>(&self, answer: impl FnOnce(&Disk) -> Result<R>) -> Result<R> {
        let machine = self.0.reach().map_err(unavailable)?;
        answer(&machine.disk)
    }

    fn request(&self, request: Request) -> Result<()> {
        let (call, exists) = (call(&request), already_there(&request));
        let again = request.clone();
        let made = self.0.change_or(
            |machine| Ok(machine.arrive(request)),
            |machine: &mut Machine, fault| {
                machine.refused = Some(call);
                match fault {
                    Fault::Conflict if call == Call::Create => return Ok(false),
                    Fault::Lost => _ = machine.arrive(again),
                    Fault::Late => machine.late.push(again),
                    _ => {}
                }
                Err(fault.error())
            },
        );
        if made.map_err(unavailable)? { Ok(()) } else { Err(exists) }
    }

    fn metas(&self, prefix: Option<&ObjectPath>) -> Result<Vec<ObjectMeta>> {
        let root = prefix.map_or("", |prefix| prefix.as_ref());
        self.ask(|disk| {
            let mut metas: Vec<_> = disk
                .files(root)
                .map(|(path, content, stored_at)| meta(path, content, stored_at))
                .filter(|meta| prefix.is_none_or(|root| meta.location.prefix_matches(root)))
                .collect();
            metas.sort_by(|one, other| one.location.cmp(&other.location));
            Ok(metas)
        })
    }
}

fn meta(path: &Path, content: &[u8], stored_at: u64) -> ObjectMeta {
    let mut meta = ObjectMeta {
        location: ObjectPath::parse(path.to_string_lossy()).expect("a name of the server"),
        last_modified: Default::default(),
        size: content.len() as u64,
        e_tag: None,
        version: None,
    };
    meta.last_modified += Duration::from_secs(stored_at);
    meta
}

fn unavailable(error: io::Error) -> Error {
    Error::Generic { store: "bucket", source: error.into() }
}

fn unsupported() -> Error {
    Error::NotImplemented { operation: "it".to_owned(), implementer: "the bucket".to_owned() }
}

fn already_there(request: &Request) -> Error {
    let (Request::Create(path, _) | Request::Replace(path, _) | Request::Delete(path)) = request;
    Error::AlreadyExists { path: path.display().to_string(), source: "412 or 409".into() }
}

fn file(at: &ObjectPath) -> PathBuf {
    PathBuf::from(at.as_ref())
}

/// Without what is in it.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated bucket")
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(
        &self,
        at: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let content = payload.iter().flatten().copied().collect();
        self.request(match options.mode {
            PutMode::Create => Request::Create(file(at), content),
            PutMode::Overwrite => Request::Replace(file(at), content),
            PutMode::Update(_) => return Err(unsupported()),
        })?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _: &ObjectPath,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported())
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.ask(|disk| {
            let path = file(at);
            if !disk.has(&path) {
                let path = at.to_string();
                return Err(Error::NotFound { path, source: "404".into() });
            }
            let content = disk.read(&path);
            let len = content.len() as u64;
            let range = options.range.map_or(Ok(0..len), |range| range.as_range(len));
            let range = range.map_err(|error| unavailable(io::Error::other(error)))?;
            let Range { start, end } = range.clone();
            let index = |at: u64| usize::try_from(at).expect("model objects are small");
            let bytes = Bytes::copy_from_slice(&content[index(start)..index(end)]);
            let payload = GetResultPayload::Stream(once(async { Ok(bytes) }).boxed());
            let (meta, attributes) =
                (meta(&path, content, disk.stored_at(&path)), Default::default());
            Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
        })
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        let bucket = Self(self.0.clone());
        let delete = move |at: Result<ObjectPath>| {
            let at = at?;
            bucket.request(Request::Delete(file(&at))).map(|()| at)
        };
        places.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.metas(prefix) {
            Ok(metas) => iter(metas.into_iter().map(Ok)).boxed(),
            Err(error) => once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        let (mut objects, mut common_prefixes) = (Vec::new(), BTreeSet::new());
        for meta in self.metas(prefix)? {
            let Some(mut parts) = meta.location.prefix_match(&root) else { continue };
            if let (Some(part), true) = (parts.next(), parts.next().is_some()) {
                common_prefixes.insert(root.clone().join(part));
            } else {
                drop(parts);
                objects.push(meta);
            }
        }
        let common_prefixes = common_prefixes.into_iter().collect();
        Ok(ListResult { objects, common_prefixes, extensions: Default::default() })
    }

    async fn copy_opts(&self, _: &ObjectPath, _: &ObjectPath, _: CopyOptions) -> Result<()> {
        Err(unsupported())
    }
}

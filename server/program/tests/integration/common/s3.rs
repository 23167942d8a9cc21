//! An S3 server in memory: the protocol, with signatures, is that of the crate `s3s`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    CommonPrefix, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    DeletedObject, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob,
};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tokio::net::TcpListener;

use super::stores::{BUCKET, StoreServer};

const KEY_ID: &str = "AKIDTEST";
const SECRET: &str = "secret of the test";
/// Keys of one answer to a list: the rest comes in further ones.
const PAGE: usize = 5;

/// Makes a request of S3's protocol of another one's.
type Translate = fn(Request<Incoming>) -> Result<Request<Incoming>, StatusCode>;

/// A running server.
pub struct S3Server {
    pub address: SocketAddr,
    objects: Objects,
}

#[derive(Clone, Default)]
struct Objects(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    /// Each with the time when it was stored, by the server's clock.
    objects: BTreeMap<String, (Bytes, SystemTime)>,
    clock: Clock,
    /// Nothing is removed, as by the rights of an append-only role.
    refuses_removals: bool,
}

/// A clock that goes on by a minute with each object that is stored.
struct Clock(SystemTime);

impl Default for Clock {
    fn default() -> Self {
        Self(SystemTime::UNIX_EPOCH)
    }
}

impl S3Server {
    pub fn start() -> Self {
        let objects = Objects::default();
        let mut builder = S3ServiceBuilder::new(objects.clone());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        Self::with(objects, builder, Ok)
    }

    /// The same for another protocol: requests are translated, or answered with a status.
    pub fn translating(translate: Translate) -> Self {
        let objects = Objects::default();
        let builder = S3ServiceBuilder::new(objects.clone());
        Self::with(objects, builder, translate)
    }

    fn with(objects: Objects, builder: S3ServiceBuilder, translate: Translate) -> Self {
        let service = builder.build();
        let service = service_fn(move |request| {
            let service = service.clone();
            async move {
                match translate(request) {
                    Ok(request) => service.call(request.map(Body::from)).await,
                    Err(status) => {
                        let mut refusal = Response::new(Body::empty());
                        *refusal.status_mut() = status;
                        Ok(refusal)
                    }
                }
            }
        });
        let (sender, receiver) = mpsc::channel();
        // It ends with the process.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let service = service.clone();
                    tokio::spawn(async move {
                        // A client may go at any time.
                        drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    });
                }
            });
        });
        Self { address: receiver.recv().unwrap(), objects }
    }
}

impl StoreServer for S3Server {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    fn advance(&self, time: Duration) {
        self.objects.0.lock().unwrap().clock.0 += time;
    }

    fn refuse_removals(&self, refuses: bool) {
        self.objects.0.lock().unwrap().refuses_removals = refuses;
    }
}

impl Objects {
    fn get(&self, bucket: &str, key: &str) -> S3Result<(Bytes, SystemTime)> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket, "no such bucket"));
        }
        self.0.lock().unwrap().objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

fn tag(content: &[u8]) -> ETag {
    ETag::Strong(format!("{:08x}", crc32c::crc32c(content)))
}

fn length(content: &[u8]) -> Option<i64> {
    i64::try_from(content.len()).ok()
}

#[async_trait]
impl S3 for Objects {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, .. } = request.input;
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket, "no such bucket"));
        }
        let mut content = Vec::new();
        if let Some(body) = body {
            let parts: Vec<Bytes> =
                body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
            content = parts.concat();
        }
        let output = PutObjectOutput { e_tag: Some(tag(&content)), ..PutObjectOutput::default() };
        let mut stored = self.0.lock().unwrap();
        if if_none_match.is_some() && stored.objects.contains_key(&key) {
            return Err(s3_error!(PreconditionFailed));
        }
        stored.clock.0 += Duration::from_mins(1);
        let now = stored.clock.0;
        stored.objects.insert(key, (content.into(), now));
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        let (whole, stored_at) = self.get(&bucket, &key)?;
        let (content, content_range) = match range {
            None => (whole.clone(), None),
            Some(range) => {
                let range = range.check(whole.len() as u64)?;
                let (start, end) = (range.start, range.end);
                let part = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                let told = format!("bytes {start}-{}/{}", end - 1, whole.len());
                (whole.slice(part), Some(told))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: length(&content),
            content_range,
            e_tag: Some(tag(&whole)),
            last_modified: Some(stored_at.into()),
            body: Some(StreamingBlob::wrap(stream::iter([Ok::<_, io::Error>(content)]))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let (content, stored_at) = self.get(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(&content),
            e_tag: Some(tag(&content)),
            last_modified: Some(stored_at.into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input {
            bucket, prefix, delimiter, start_after, continuation_token, ..
        } = request.input;
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket, "no such bucket"));
        }
        let prefix = prefix.unwrap_or_default();
        let after = continuation_token.or(start_after).unwrap_or_default();
        let objects = &self.0.lock().unwrap().objects;
        let mut output = ListObjectsV2Output::default();
        let (mut contents, mut folders, mut last) = (Vec::new(), Vec::<String>::new(), None);
        let from = (Bound::Excluded(after.clone()), Bound::Unbounded);
        for (key, (content, stored_at)) in
            objects.range(from).filter(|(key, _)| key.starts_with(&prefix))
        {
            let folder = delimiter.as_deref().and_then(|delimiter| {
                let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
                Some(key[..end].to_owned())
            });
            if folder.as_ref().is_some_and(|it| folders.last() == Some(it) || *it <= after) {
                last = Some(key.clone());
                continue;
            }
            if contents.len() + folders.len() == PAGE {
                output.is_truncated = Some(true);
                output.next_continuation_token = last;
                break;
            }
            last = Some(key.clone());
            match folder {
                Some(folder) => {
                    // Behind all that is in it.
                    last = Some(format!("{folder}\u{7f}"));
                    folders.push(folder);
                }
                None => contents.push(Object {
                    key: Some(key.clone()),
                    size: length(content),
                    e_tag: Some(tag(content)),
                    last_modified: Some((*stored_at).into()),
                    ..Object::default()
                }),
            }
        }
        output.contents = Some(contents);
        let named = |prefix| CommonPrefix { prefix: Some(prefix) };
        output.common_prefixes = Some(folders.into_iter().map(named).collect());
        Ok(S3Response::new(output))
    }

    /// Google's clients ask for this: what is not there is an error there.
    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.get(&request.input.bucket, &request.input.key)?;
        let mut stored = self.0.lock().unwrap();
        if stored.refuses_removals {
            return Err(s3_error!(AccessDenied));
        }
        stored.objects.remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut stored = self.0.lock().unwrap();
        let keys = request.input.delete.objects.into_iter().map(|it| it.key);
        if stored.refuses_removals {
            let error = |key| s3s::dto::Error {
                code: Some("AccessDenied".to_owned()),
                key: Some(key),
                message: Some("Access Denied".to_owned()),
                ..s3s::dto::Error::default()
            };
            let errors = Some(keys.map(error).collect());
            return Ok(S3Response::new(DeleteObjectsOutput {
                errors,
                ..DeleteObjectsOutput::default()
            }));
        }
        let deleted = keys.map(|key| {
            stored.objects.remove(&key);
            DeletedObject { key: Some(key), ..DeletedObject::default() }
        });
        let deleted = Some(deleted.collect());
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }
}

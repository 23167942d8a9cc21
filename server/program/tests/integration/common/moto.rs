//! An S3 server that others wrote: `moto` of the Python package index, with versions, Object Lock
//! and bucket policies. `cargo xtask setup` installs it; without it a test that wants it says
//! `skipped`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::launched::{Launched, installed, skipped};
use super::stores::{BUCKET, StoreServer};

/// Serves at a free port, which it prints. Its clock goes on by a minute with each object that is
/// stored, as that of `common::s3` does, and is ahead by the seconds that a file says. One request
/// at a time: of several creations of one name more than one succeeds otherwise, and `init` refuses
/// such a store. Of an object that is locked it wants to be told which checksum there is; to S3 the
/// checksum itself tells that.
const SERVER: &str = "
import datetime, sys, threading
from werkzeug.serving import make_server
import moto.s3.models as s3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
now, stored = s3.utcnow, 0
def ahead():
    return datetime.timedelta(minutes=stored, seconds=float(open(sys.argv[1]).read()))
s3.utcnow = lambda: now() + ahead()
moto, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()
def answer(request, begin):
    global stored
    if 'HTTP_X_AMZ_CHECKSUM_SHA256' in request:
        request['HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM'] = 'SHA256'
    with turn:
        stored += request['REQUEST_METHOD'] == 'PUT'
        return list(moto(request, begin))
server = make_server('127.0.0.1', 0, answer, threaded=True)
print(server.port, flush=True)
server.serve_forever()
";
/// What an append-only role may not do, said for everybody.
const APPEND_ONLY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny",
    "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::bucket/*"}]}"#;
/// Any request that is signed is permitted: signatures are looked at by `common::s3`.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// A running server; it ends when this is dropped.
pub struct Moto {
    process: Launched,
    ahead: Mutex<Duration>,
}

/// The answer to a request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl StoreServer for Moto {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.process.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            // As docs/retention.md says.
            ("AWS_CHECKSUM_ALGORITHM", "SHA256".to_owned()),
        ]
    }

    fn advance(&self, time: Duration) {
        let mut ahead = self.ahead.lock().unwrap();
        *ahead += time;
        self.process.set_ahead(*ahead);
    }

    fn refuse_removals(&self, refuses: bool) {
        let (method, policy) = if refuses { ("PUT", APPEND_ONLY) } else { ("DELETE", "") };
        self.done(method, &format!("/{BUCKET}?policy"), &[], policy.as_bytes());
    }
}

impl Moto {
    /// `None` where there is none, which is said.
    pub fn start() -> Option<Self> {
        let Some(program) = installed("bin/moto_server") else {
            skipped("moto");
            return None;
        };
        let process = Launched::start(|clock| {
            let mut command = Command::new(program.with_file_name("python"));
            command.args(["-c", SERVER]).arg(clock);
            command
        });
        Some(Self { process, ahead: Mutex::default() })
    }

    /// Makes a request.
    pub fn ask(&self, method: &str, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.process.address).unwrap();
        let mut request = format!(
            "{method} {what} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: {SIGNED}\r\n",
            self.process.address,
            body.len()
        );
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        stream.write_all(&[request.as_bytes(), b"\r\n", body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// The same, which must succeed.
    pub fn done(&self, method: &str, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.ask(method, what, headers, body);
        let Answer { status, head, body } = &answer;
        assert!((200..300).contains(status), "{method} {what}: {head}\n{body}");
        answer
    }

    /// The versions of all objects, or the markers of those that were removed: keys and versions.
    pub fn versions(&self, element: &str) -> Vec<(String, String)> {
        let listed = self.done("GET", &format!("/{BUCKET}?versions&max-keys=10000"), &[], b"").body;
        let between = |text: &str, from: &str, to: &str| {
            let rest = text.split_once(from)?.1;
            Some(rest.split_once(to)?.0.to_owned())
        };
        let open = format!("<{element}>");
        let entries = listed.split(&open).skip(1);
        let found = entries.filter_map(|entry| {
            let key = between(entry, "<Key>", "</Key>")?;
            Some((key, between(entry, "<VersionId>", "</VersionId>")?))
        });
        found.collect()
    }
}

/// The name of an object in a request.
pub fn object(key: &str) -> String {
    format!("/{BUCKET}/{key}")
}

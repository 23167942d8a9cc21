//! An S3 server that others wrote: `moto` of the Python package index, with versions, Object Lock
//! and bucket policies. `cargo xtask setup` installs it; without it a test that wants it says
//! `skipped`.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

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
/// Any request that is signed is permitted: signatures are looked at by `common::s3`.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// A running server; it ends when this is dropped.
pub struct Moto {
    address: SocketAddr,
    child: Child,
    /// The file of the clock is in it.
    dir: TempDir,
}

/// The answer to a request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The interpreter of the environment that has it.
fn python() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let tools = program.ancestors().map(|dir| dir.join("tools")).find(|dir| dir.is_dir())?;
    let environments = fs::read_dir(tools).ok()?.flatten().map(|it| it.path().join("bin"));
    let mut with_moto = environments.filter(|bin| bin.join("moto_server").is_file());
    with_moto.next().map(|bin| bin.join("python"))
}

impl Moto {
    /// `None` where there is none, which is said.
    pub fn start() -> Option<Self> {
        let Some(python) = python() else {
            drop(writeln!(io::stderr(), "skipped: no moto, see `cargo xtask setup`"));
            return None;
        };
        let dir = super::scratch();
        let clock = dir.path().join("clock");
        fs::write(&clock, "0").unwrap();
        let mut command = Command::new(python);
        command.args(["-c", SERVER]).arg(&clock).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Some(Self { address: ([127, 0, 0, 1], port).into(), child, dir })
    }

    /// Sets what a client needs.
    pub fn credentials(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true");
    }

    /// The server's clock is ahead of the machine's by so much.
    pub fn set_ahead(&self, time: Duration) {
        // Whole at any moment: the server reads it whenever it looks at its clock.
        let new = self.dir.path().join("new");
        fs::write(&new, time.as_secs().to_string()).unwrap();
        fs::rename(new, self.dir.path().join("clock")).unwrap();
    }

    /// Makes a request.
    pub fn ask(&self, method: &str, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let mut request = format!(
            "{method} {what} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: {SIGNED}\r\n",
            self.address,
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
    pub fn versions(&self, bucket: &str, element: &str) -> Vec<(String, String)> {
        let listed = self.done("GET", &format!("/{bucket}?versions&max-keys=10000"), &[], b"").body;
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
pub fn object(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{key}")
}

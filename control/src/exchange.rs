//! One request and its answer over a stream: each a line of JSON, `{"version":1,"message":…}`.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use snapless_link::question::REPLY_MAX;

use crate::message::{Answer, Refusal, RefusalKind, Request};

/// The version that both ends speak.
pub const VERSION: u32 = 1;
/// The longest request, in bytes.
pub const REQUEST_MAX: u64 = 64 << 10;
/// The longest answer, in bytes: that of a server, and a little more.
pub const ANSWER_MAX: u64 = REPLY_MAX as u64 + (64 << 10);

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection failed.
    #[error("the connection to the service failed: {0}")]
    Io(#[from] io::Error),
    /// The other end has closed the connection before a whole line.
    #[error("the other end has closed the connection")]
    Closed,
    /// The line is too long.
    #[error("a message is longer than {0} bytes")]
    TooLong(u64),
    /// The other end speaks another version.
    #[error(
        "the other end speaks version {found}, and this one {VERSION}: service and command line \
         are of two releases; restart the service after an upgrade"
    )]
    Version {
        /// Its version.
        found: u32,
    },
    /// The line is no such message.
    #[error("not a message: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    version: u32,
    message: T,
}

/// Of a line of any version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Asks the service.
///
/// # Errors
/// [`ExchangeError`]; a refusal is an answer.
pub fn ask(stream: &mut (impl Read + Write), request: &Request) -> Result<Answer, ExchangeError> {
    write_line(stream, request)?;
    read_line(stream, ANSWER_MAX)
}

/// Answers one request. What is no request is refused in words.
///
/// # Errors
/// [`ExchangeError`] if the other end does not get the answer.
pub fn answer(
    stream: &mut (impl Read + Write),
    carry_out: impl FnOnce(Request) -> Answer,
) -> Result<(), ExchangeError> {
    let answer = match read_line(stream, REQUEST_MAX) {
        Ok(request) => carry_out(request),
        Err(error @ (ExchangeError::Io(_) | ExchangeError::Closed)) => return Err(error),
        Err(error) => Answer::Refused(Refusal::new(RefusalKind::Request, error)),
    };
    write_line(stream, &answer)
}

fn write_line(stream: &mut impl Write, message: &impl Serialize) -> Result<(), ExchangeError> {
    let mut line = serde_json::to_vec(&Line { version: VERSION, message })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream.flush()?)
}

fn read_line<T: DeserializeOwned>(stream: &mut impl Read, max: u64) -> Result<T, ExchangeError> {
    let mut line = Vec::new();
    BufReader::new(stream.take(max)).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        let is_full = line.len() as u64 == max;
        return Err(if is_full { ExchangeError::TooLong(max) } else { ExchangeError::Closed });
    }
    let Version { version: found } = serde_json::from_slice(&line)?;
    if found != VERSION {
        return Err(ExchangeError::Version { found });
    }
    let Line { message, .. } = serde_json::from_slice(&line)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use snapless_link::question::Consistency;

    use super::*;
    use crate::message::Done;

    /// What was sent, and what is answered to it.
    struct Stream(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Stream {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Stream {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.1.write(from)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn done() -> Answer {
        let (volume, server) = (Some("{v}".to_owned()), Some("s:1".to_owned()));
        Answer::Done(Done {
            volume,
            server,
            changed: true,
            paused: false,
            volumes: 1,
            schedule: None,
        })
    }

    /// The answer to `line`, and whether anything was carried out.
    fn answered(line: &[u8]) -> (Option<Answer>, bool) {
        let mut stream = Stream(Cursor::new(line.to_vec()), Vec::new());
        let mut is_carried_out = false;
        let ended = answer(&mut stream, |_| {
            is_carried_out = true;
            done()
        });
        let said =
            ended.is_ok().then(|| read_line(&mut Cursor::new(stream.1), ANSWER_MAX).unwrap());
        (said, is_carried_out)
    }

    #[test]
    fn a_request_is_one_line_and_so_is_its_answer() {
        let volume = "D:".to_owned();
        let server = Some("backup:4850".to_owned());
        let mut stream = Stream(Cursor::new(Vec::new()), Vec::new());
        let protect = Request::Protect { volume: volume.clone(), server, group: None };
        assert!(matches!(ask(&mut stream, &protect), Err(ExchangeError::Closed)));
        let line = String::from_utf8(stream.1).unwrap();
        let expected = "{\"version\":1,\"message\":{\"verb\":\"protect\",\"volume\":\"D:\",\
                        \"server\":\"backup:4850\"}}\n";
        assert_eq!(line, expected);
        for request in [
            protect,
            Request::Protect {
                volume: volume.clone(),
                server: None,
                group: Some("sql".to_owned()),
            },
            Request::Unprotect { volume: volume.clone() },
            Request::Pause { volume: volume.clone() },
            Request::Resume { volume: volume.clone() },
            Request::Points { volume: volume.clone() },
            Request::Bookmark {
                volume,
                name: "before".to_owned(),
                consistency: Consistency::Application,
                or_crash: true,
            },
            Request::GroupPoints { group: "sql".to_owned() },
            Request::GroupBookmark { group: "sql".to_owned(), name: "before".to_owned() },
            Request::Throttle { bytes_per_second: Some(1 << 20) },
            Request::Throttle { bytes_per_second: None },
            Request::Reload,
        ] {
            let mut line = Vec::new();
            write_line(&mut line, &request).unwrap();
            let mut heard = None;
            answer(&mut Stream(Cursor::new(line), Vec::new()), |request| {
                heard = Some(request);
                done()
            })
            .unwrap();
            assert_eq!(heard, Some(request));
        }
    }

    #[test]
    fn what_is_no_request_of_this_version_is_refused_and_nothing_is_carried_out() {
        let long = [b"{\"version\":1,".to_vec(), vec![b' '; 64 << 10], b"}\n".to_vec()].concat();
        for (line, why) in [
            (&b"{\"version\":2,\"message\":{\"verb\":\"reload\"}}\n"[..], "version 2"),
            (b"{\"version\":1,\"message\":{\"verb\":\"explode\"}}\n", "explode"),
            (b"{\"version\":1,\"message\":{\"verb\":\"pause\"}}\n", "volume"),
            (b"{\"version\":1,\"message\":{\"verb\":\"pause\",\"volume\":1}}\n", "string"),
            (b"{\"version\":1,\"message\":{\"verb\":\"pause\",\"volume\":\"D:\",\"x\":1}}\n", "x"),
            (b"{\"verb\":\"reload\"}\n", "version"),
            (b"\n", "EOF"),
            (b"\xff\n", "expected"),
            (&long, "longer"),
        ] {
            let (said, is_carried_out) = answered(line);
            let Some(Answer::Refused(refusal)) = said else { panic!("{said:?}") };
            assert_eq!(refusal.kind, RefusalKind::Request);
            assert!(refusal.text.contains(why) && !is_carried_out, "{refusal}");
        }
        assert_eq!(answered(b"{\"version\":1,\"message\""), (None, false), "half a line");
        assert_eq!(answered(b""), (None, false));
    }

    #[test]
    fn a_reason_of_a_newer_service_is_another_one() {
        let newer =
            "{\"version\":1,\"message\":{\"refused\":{\"kind\":\"moon\",\"text\":\"t\"}}}\n";
        let answer: Answer = read_line(&mut Cursor::new(newer), ANSWER_MAX).unwrap();
        assert_eq!(answer, Answer::Refused(Refusal::new(RefusalKind::Other, "t")));
    }
}

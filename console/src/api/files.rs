//! Files of a point.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::asked::{ByOperator, InPath, InQuery, InState};
use crate::estate::Download;
use crate::fault::{Fault, Result};
use crate::model::{At, FilePath, Folder, VolumeId};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for the browser.
const CHUNKS: usize = 4;
/// A browser that takes nothing for so long gets nothing more.
const STALL_LIMIT: Duration = Duration::from_mins(1);
/// The longest name of an entry.
const NAME_MAX: usize = 255;

#[derive(Deserialize)]
pub(super) struct FolderQuery {
    at: At,
    #[serde(default = "root")]
    path: FilePath,
    after: Option<String>,
}

#[expect(clippy::expect_used, reason = "a constant")]
fn root() -> FilePath {
    FilePath::parse("/").expect("the root is a path")
}

pub(super) async fn folder(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
    InQuery(query): InQuery<FolderQuery>,
) -> Result<Json<Folder>> {
    if query.after.as_ref().is_some_and(|after| after.chars().count() > NAME_MAX) {
        return Err(Fault::bad("after: a name has 255 characters at most"));
    }
    let about = format!("{} at {} of volume {volume}", query.path, query.at);
    console.note(&by.actor, by.peer, "files", about).await?;
    let FolderQuery { at, path, after } = query;
    let folder = move |estate: &dyn crate::estate::Estate| {
        estate.folder(&volume, &at, &path, after.as_deref())
    };
    console.ask(folder).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct FileQuery {
    at: At,
    #[serde(default = "root")]
    path: FilePath,
}

pub(super) async fn download(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
    InQuery(FileQuery { at, path }): InQuery<FileQuery>,
) -> Result<Response> {
    let about = format!("{path} at {at} of volume {volume}");
    console.note(&by.actor, by.peer, "download", about).await?;
    let Ok(place) = Arc::clone(&console.downloads).try_acquire_owned() else {
        return Err(Fault::busy("too many files are downloaded at once"));
    };
    let Download { name, size, content } =
        console.ask(move |estate| estate.file(&volume, &at, &path)).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        send(content, size, &sender);
    });
    let next = |mut receiver: mpsc::Receiver<std::io::Result<Bytes>>| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    };
    let body = Body::from_stream(futures_util::stream::unfold(receiver, next));
    let disposition = HeaderValue::from_str(&disposition(&name)).map_err(Fault::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, body).into_response())
}

/// Reads as many bytes as there should be, on a thread that may block.
fn send(content: Box<dyn Read + Send>, size: u64, sender: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut content = content.take(size);
    let runtime = tokio::runtime::Handle::current();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let is_end = chunk.is_empty() && read.is_ok();
        if is_end {
            return;
        }
        let broken = read.as_ref().err().map(ToString::to_string);
        let chunk = read.map(|_| Bytes::from(chunk));
        let sent = tokio::time::timeout(STALL_LIMIT, sender.send(chunk));
        let is_sent = runtime.block_on(async { matches!(sent.await, Ok(Ok(()))) });
        if let Some(why) = broken {
            log::warn!("console: a download broke off: {why}");
            return;
        }
        if !is_sent {
            return;
        }
    }
}

/// The header that makes a download of it, whatever is in the name (RFC 6266).
fn disposition(name: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || " ._-()".contains(it);
    let plain: String = name.chars().map(|it| if is_plain(it) { it } else { '_' }).collect();
    let encoded = name.bytes().fold(String::new(), |text, byte| {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            text + &char::from(byte).to_string()
        } else {
            text + &format!("%{byte:02X}")
        }
    });
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// The most files that are downloaded at once.
pub(super) const DOWNLOADS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        for name in
            ["a\"; x=\"y.txt", "a\r\nSet-Cookie: x=y", "../../etc/passwd", "\\\\host\\a", "ä"]
        {
            let header = disposition(name);
            assert!(HeaderValue::from_str(&header).is_ok(), "{header}");
            assert_eq!(header.matches('"').count(), 2, "{header}");
            assert!(!header.contains(['/', '\\']), "{header}");
        }
        assert_eq!(
            disposition("Zürich 1.txt"),
            "attachment; filename=\"Z_rich 1.txt\"; filename*=UTF-8''Z%C3%BCrich%201.txt"
        );
    }
}

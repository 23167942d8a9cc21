//! The page: files of `web/`, within the program.
//!
//! Only those files are served, by their exact names. A debug build reads them when they are asked
//! for, so that the page can be worked on without building.

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use snapless_trust::hex;

use crate::fault::{Code, Fault};

/// The page's files.
#[derive(RustEmbed)]
#[folder = "web"]
#[include = "*.html"]
#[include = "*.js"]
#[include = "*.css"]
#[include = "*.svg"]
#[include = "*.png"]
#[include = "*.webmanifest"]
struct Web;

/// What the root is.
const INDEX: &str = "index.html";

/// Answers what is no operation.
pub(crate) async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if path.starts_with("/api") {
        return Fault::not_found("there is no such operation").into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        let fault = Fault::new(Code::MethodNotAllowed, "the page is read only");
        return ([(header::ALLOW, "GET, HEAD")], fault).into_response();
    }
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = if name.is_empty() { INDEX } else { name };
    let Some(file) = Some(name).filter(|name| is_plain(name)).and_then(Web::get) else {
        return Fault::not_found("there is no such page").into_response();
    };
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let has_it =
        headers.get(header::IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let Ok(tag) = HeaderValue::from_str(&tag) else {
        return Fault::internal("a hash is no header").into_response();
    };
    let cached =
        [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if has_it {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    let kind = HeaderValue::from_static(content_type(name));
    (cached, [(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
}

/// Names of letters, digits, `-`, `_`, and single dots and slashes between them.
fn is_plain(name: &str) -> bool {
    name.split('/').all(|part| {
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains("..")
            && part.chars().all(is_plain)
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_the_folder() {
        for good in ["index.html", "js/map.js", "vendor/uplot-1.6.css"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "",
            "..",
            "../Cargo.toml",
            "js/../../x",
            "/etc/passwd",
            "js//x",
            ".git",
            "a\\b",
            "%2e%2e",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}

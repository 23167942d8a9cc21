//! A server of Google's storage in memory: its XML protocol is that of S3 but for the names of some
//! headers, so it is the server of `common::s3` behind what translates them. It shows how the
//! protocol is used, not what Google makes of it.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode};

use super::s3::S3Server;
use super::stores::StoreServer;

const TOKEN: &str = "token-of-the-test";

/// A running server.
pub struct GoogleServer(S3Server);

/// Makes a request of S3's protocol of one of Google's.
fn translated(mut request: Request<Incoming>) -> Result<Request<Incoming>, StatusCode> {
    let headers = request.headers_mut();
    if headers.remove(AUTHORIZATION).is_none_or(|it| it != format!("Bearer {TOKEN}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if let Some(generation) = headers.remove("x-goog-if-generation-match") {
        // The generation of what is not there.
        if generation != "0" {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    Ok(request)
}

impl GoogleServer {
    pub fn start() -> Self {
        Self(S3Server::translating(translated))
    }
}

impl StoreServer for GoogleServer {
    fn scheme(&self) -> &'static str {
        "gs"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GOOGLE_BEARER_TOKEN", TOKEN.to_owned()),
            ("GOOGLE_BASE_URL", format!("http://{}", self.0.address)),
        ]
    }

    fn advance(&self, time: Duration) {
        self.0.advance(time);
    }

    fn refuse_removals(&self, refuses: bool) {
        self.0.refuse_removals(refuses);
    }
}

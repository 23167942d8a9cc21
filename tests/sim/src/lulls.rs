//! Lulls, in which the applications write nothing and there can be watermarks.

use snapless_service::watermark::Captured;

use crate::rng::Rng;

/// When there are lulls, and what the service was told.
#[derive(Debug)]
pub struct Lulls {
    /// By itself, so that watermarks change nothing else of a run.
    pub rng: Rng,
    /// The applications write nothing until then.
    pub until: u64,
    /// A status that the service was given, and has not used (sabotage).
    pub asked: Option<Captured>,
}

impl Lulls {
    /// No lull yet.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed, 4), until: 0, asked: None }
    }
}

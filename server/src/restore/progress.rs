//! How far a restore has come.

/// Progress of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of the stored stream or of the image that are done; content that is skipped and zeros
    /// count.
    pub done: u64,
    /// Bytes of all of it. The map may be made before.
    pub total: u64,
}

/// A stage of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The map is made from the headers of the stream.
    Map,
    /// The image is copied.
    Image,
    /// A virtual disk is compared with the point.
    Compare,
}

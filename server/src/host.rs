//! What all connections of a server share.

use std::sync::Arc;
use std::time::Duration;

use crate::connected::Connected;
use crate::floor::Floor;
use crate::indexer::Indexer;
use crate::meetings::Meetings;
use crate::occupancy::Occupancy;
use crate::openings::Openings;
use crate::repository::WritableRepository;
use crate::security::Security;

/// Time between two keep-alives: several within the time after which a service gives up a server
/// that shows no sign of life ([`snapless_link::client::LinkLimits`]).
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// State that all connections of a server share.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where streams are stored.
    pub repository: Arc<WritableRepository>,
    /// Which volumes are connected.
    pub connected: Connected,
    /// Where volumes of several machines wait for their common bookmark.
    pub meetings: Meetings,
    /// The connection that serves each session.
    pub occupancy: Occupancy,
    /// A segment that would grow past this is closed, in bytes.
    pub segment_limit: u64,
    /// Time between two keep-alives.
    pub keep_alive: Duration,
    /// Who may speak.
    pub security: Security,
    /// How much space stays free.
    pub floor: Floor,
    /// Makes the indices that segments lack, and keeps maps.
    pub indexer: Indexer,
    /// Sessions whose content services ask about.
    pub openings: Openings,
    /// Restores of machines over the network.
    pub restores: Openings,
}

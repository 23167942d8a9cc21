//! What the simulator has of a state that is kept while the machine is off: the driver's own
//! tracker, and what is on the disk.

use snapless_driver_logic::tracker::{Taken, Tracker};
use snapless_types::{Extent, Seq};
use snapless_wire::id::{Extents, SessionId};
use snapless_wire::state_area::SavedState;

use super::server::{SECTOR, extent};

/// What the disk has of the state.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) state: SavedState,
    pub(super) map: Vec<u8>,
}

/// How far a save is.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    None,
    /// So many regions were looked at.
    Looking { captured: Seq, region: u64 },
    /// It is on its way to the disk.
    Writing(Slot),
    /// It is there.
    Done,
}

/// The state of a volume.
pub(super) struct Saved<F> {
    pub(super) tracker: Tracker,
    pub(super) stage: Stage,
    pub(super) disk: Option<Slot>,
    /// What makes the state on the disk void is on its way.
    pub(super) is_voiding: bool,
    /// Writes that wait for that.
    pub(super) waiting: Vec<F>,
    /// What the session has taken, until the server has said what it has.
    pub(super) taken: Option<Taken>,
    /// Which of the sessions it is.
    pub(super) session: u8,
}

impl<F> Saved<F> {
    pub(super) fn new() -> Self {
        Self {
            tracker: Tracker::NONE,
            stage: Stage::None,
            disk: None,
            is_voiding: false,
            waiting: Vec::new(),
            taken: None,
            session: 1,
        }
    }

    /// True once a state is on the disk.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(super) fn area() -> Extent {
        // Behind every write: the simulator has no file of it.
        Extent::new(1 << 40, SECTOR).expect("it is not empty")
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId([self.session; 16])
    }

    pub(super) fn stamp() -> Extents<4> {
        Extents::new(&[extent(0, 1)]).expect("one is not too many")
    }
}

//! The state area of the volume, and what the driver knows of the volume before it has a session.

/// `wire::state_area::SavedState`, with the regions' bits and the stamp: a region is a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SavedState {
    /// The session's id.
    pub session: u8,
    /// The last record that was acknowledged.
    pub acknowledged: u8,
    /// The last record.
    pub captured: u8,
    /// Records that the server's stream may end with, and when they were made; zeros behind them.
    pub ends: [(u8, u8); ENDS_MAX],
    /// Blocks that the server may lack.
    pub marked: u8,
    /// The volume's stamp.
    pub stamp: u8,
}

/// As `snapless_types::ENDS_MAX`.
pub const ENDS_MAX: usize = snapless_types::ENDS_MAX;

/// The volume before a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tracker {
    /// It was not written to since the machine started.
    Unknown,
    /// What is written to is marked.
    Armed(SavedState),
    /// Nothing is known of it.
    Forgotten,
}

impl Tracker {
    /// A write by way of the driver.
    pub fn note(&mut self, block: u8) {
        if let Self::Armed(saved) = self {
            saved.marked |= 1 << block;
        }
    }

    /// The state of this session, which a session takes over that continues it.
    pub fn take(&mut self, session: u8) -> Option<SavedState> {
        match std::mem::replace(self, Self::Forgotten) {
            Self::Armed(saved) if saved.session == session => Some(saved),
            _ => None,
        }
    }
}

//! The gap: from here on the stream does not describe the volume, until it does again (rule LOSS,
//! rules.md#loss).

use snapless_types::GapReason;

/// Whether a gap is open, and why it began.
#[derive(Debug, Default)]
pub struct Gap {
    is_open: bool,
    /// Of the gap that is open, or of the last one.
    reason: Option<GapReason>,
    /// The volume's length is not, or was not meanwhile, that of the table: the gap does not end.
    resized: bool,
}

impl Gap {
    /// Open from the start, for this reason: of a session that continues.
    pub fn from_before(reason: GapReason) -> Self {
        Self { is_open: true, reason: Some(reason), ..Self::default() }
    }

    /// True while the stream does not describe the volume.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Why the gap that is open began; if none is, why the last one did.
    pub fn reason(&self) -> Option<GapReason> {
        self.reason
    }

    /// A gap begins; false if one is open already.
    pub fn open(&mut self, reason: Option<GapReason>) -> bool {
        if self.is_open {
            return false;
        }
        rule!(reason.is_some(), "LOSS: a gap that begins has a reason");
        (self.is_open, self.reason) = (true, reason);
        true
    }

    /// The stream describes the volume again.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// The volume's length has changed: what lies past the table is not captured, and a tail that
    /// was cut off may come back with other content. Only a session with the new length describes
    /// the volume again.
    pub fn resize(&mut self) {
        self.resized = true;
    }

    /// True if the volume's length has changed.
    pub fn is_resized(&self) -> bool {
        self.resized
    }
}

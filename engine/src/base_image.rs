//! The base image: the volume as it was at t0, and whether the stream has all of it (rule T0,
//! rules.md#t0).

use snapless_types::Seq;

/// What is known of the base image.
#[derive(Debug, Default)]
pub struct BaseImage {
    t0: Option<u64>,
    /// t0's content of a block is lost: it was overwritten uncaptured, or its record was lost.
    lost: bool,
    /// Number of the `BaseComplete` record.
    complete_seq: Option<Seq>,
}

impl BaseImage {
    /// Of a session that continues: what the server lacks of it is lost.
    pub fn from_before() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// Stamps t0 on the host's clock.
    pub fn begin(&mut self, clock: u64) {
        self.t0 = Some(clock);
    }

    /// The host's clock at t0; `None` before.
    pub fn t0(&self) -> Option<u64> {
        self.t0
    }

    /// t0's content of a block is lost.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// The service is lost, and with it what is not acknowledged: records after `acknowledged_seq`.
    pub fn lose_service(&mut self, acknowledged_seq: Seq) {
        let is_safe = self.complete_seq.is_some_and(|seq| seq <= acknowledged_seq);
        // Before t0 there is nothing to lose.
        self.lost |= !is_safe && self.t0.is_some();
    }

    /// True if t0's content of a block is lost.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// True until the image is lost, or the stream says that it is complete.
    pub fn is_open(&self) -> bool {
        self.complete_seq.is_none() && !self.lost
    }

    /// Record `seq` says that the image is complete.
    pub fn complete(&mut self, seq: Seq) {
        self.complete_seq = Some(seq);
    }

    /// True if the stream has all of the image and says so.
    pub fn is_complete(&self) -> bool {
        self.complete_seq.is_some() && !self.lost
    }
}

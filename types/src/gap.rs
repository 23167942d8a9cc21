//! Gaps: what a full capture queue leads to, and why a gap began.

crate::numbered_enum! {
    /// What to do when the capture queue stays full past the hold limit.
    pub enum Overflow: u32 {
        /// Let writes through uncaptured: a gap begins.
        Gap = 0 => "gap",
        /// Let writes wait.
        Hold = 1 => "hold",
    }
}

crate::numbered_enum! {
    /// Why a gap began. The engine decides it when it marks blocks dirty and opens the gap.
    pub enum GapReason: u16 {
        /// The queue stayed full past the hold limit.
        QueueFull = 1 => "queue_full",
        /// No slot was free for another outstanding write.
        TooManyWrites = 2 => "too_many_writes",
        /// No service drains the session: it detached, it died, or its link was given up.
        ServiceLost = 3 => "service_lost",
        /// The data of a write could not be mapped or read.
        PayloadUnavailable = 4 => "payload_unavailable",
        /// A write that must not wait, such as one to a paging file, found no room in the queue or
        /// an unsynced block.
        UrgentWrite = 5 => "urgent_write",
        /// A write failed or was cancelled below (rule TRUTH).
        WriteFailed = 6 => "write_failed",
        /// The volume's length changed. The gap ends when the session goes on with the new length,
        /// for [`Self::Resized`].
        LengthChanged = 7 => "length_changed",
        /// The disk failed to read a block, and a write to it had been held as long as it may.
        ReadFailed = 8 => "read_failed",
        /// The session goes on after a restart of the machine or of the driver, or after the volume
        /// was away. What changed meanwhile is not known.
        Restarted = 9 => "restarted",
        /// The session goes on after driver and server were found to disagree about its stream: one
        /// of them was put back to an older state.
        Diverged = 10 => "diverged",
        /// A verification has found that the copy is not what the volume is: what differs is read
        /// again.
        Repair = 11 => "repair",
        /// The machine has slept, and the volume may have been written to meanwhile.
        Slept = 12 => "slept",
        /// The session goes on after its volume's length changed.
        Resized = 13 => "resized",
    }
}

impl GapReason {
    /// True if the session goes on with nothing that is known from before: numbers and the clock
    /// that is never set begin anew in the driver, and every block is compared. Its marker says how
    /// long the volume is.
    pub const fn continues_session(self) -> bool {
        matches!(self, Self::Restarted | Self::Diverged | Self::Resized)
    }

    /// True if it is not known what the volume was since the last record before the gap: no instant
    /// after that record can be restored.
    pub const fn reaches_back(self) -> bool {
        self.continues_session() || matches!(self, Self::Slept)
    }

    /// The reason as people read it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::QueueFull => {
                "the queue stayed full past the hold limit: server or link are too slow"
            }
            Self::TooManyWrites => {
                "a write that must not wait came when as many were outstanding as the session tracks"
            }
            Self::ServiceLost => "the service was away, or the link was cut",
            Self::PayloadUnavailable => "the data of a write could not be read",
            Self::UrgentWrite => {
                "a write that must not wait, such as one to a paging file, could not be captured at \
                 once"
            }
            Self::WriteFailed => "the disk failed a write",
            Self::LengthChanged => "the volume's length changed",
            Self::ReadFailed => {
                "the disk failed to read a block for as long as a write to it could be held"
            }
            Self::Restarted => {
                "the machine or its driver was restarted, or the volume was away: what changed \
                 meanwhile is not known"
            }
            Self::Diverged => {
                "driver and server do not agree: one of them was put back to an older state"
            }
            Self::Repair => {
                "the copy was found to differ from the volume: what differs is read again"
            }
            Self::Slept => {
                "the machine has slept, and its disk may have been written to meanwhile: what \
                 changed is not known"
            }
            Self::Resized => "the session goes on with the volume's new length",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_reasons_keep_their_numbers() {
        for (number, &reason) in (1..).zip(GapReason::ALL) {
            assert_eq!(reason.to_wire(), number);
            assert_eq!(GapReason::from_wire(number), Some(reason));
        }
        assert_eq!(GapReason::ALL.len(), 13);
        assert_eq!((GapReason::from_wire(0), GapReason::from_wire(14)), (None, None));
    }
}

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
        QueueFull = 1 => "the queue stayed full past the hold limit: server or link are too slow",
        /// No slot was free for another outstanding write.
        TooManyWrites = 2 => "more writes were outstanding than the session tracks",
        /// No service drains the session: it detached, it died, or its link was given up.
        ServiceLost = 3 => "the service was away, or the link was cut",
        /// The data of a write could not be mapped or read.
        PayloadUnavailable = 4 => "the data of a write could not be read",
        /// A write that must not wait, such as one to a paging file, found no room in the queue or
        /// an unsynced block.
        UrgentWrite = 5 => "a write that must not wait, such as one to a paging file, \
                            could not be captured at once",
        /// A write failed or was cancelled below (rule TRUTH).
        WriteFailed = 6 => "the disk failed a write",
        /// A write was longer than one write may take of the queue.
        WriteTooLong = 7 => "a write was longer than the queue takes",
        /// The volume grew past the session's table.
        Outgrown = 8 => "the volume has grown past its session",
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
        assert_eq!(GapReason::ALL.len(), 8);
        assert_eq!((GapReason::from_wire(0), GapReason::from_wire(9)), (None, None));
    }
}

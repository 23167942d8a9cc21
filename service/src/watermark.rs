//! Watermarks: while nothing is written to the volume, the server is told so, and every instant
//! stays one that can be restored.
//!
//! A watermark says that at its instant the driver had captured no record past one. The driver
//! reads its clocks before it looks at its stream, under the lock under which records are appended:
//! a write that an application saw complete before that instant has its record in the stream, or
//! has opened a gap there. One that was held or under way then may be in the image or not, as after
//! a power cut.
//!
//! Rule: a watermark is made only for a stream that describes the volume (rule LOSS,
//! rules.md#loss), and the [`Window`](crate::window::Window) lets it go only if the server has
//! acknowledged all of that stream and nothing newer was drained.

use snapless_driver_client::SessionStatus;
use snapless_types::Seq;
use snapless_wire::frame::Watermark;

/// What the watermark depends on of a session's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The stream describes the volume: no gap is open.
    pub consistent: bool,
    /// The watermark.
    pub watermark: Watermark,
}

impl Captured {
    /// What the driver's status says.
    pub fn of(status: &SessionStatus) -> Self {
        let watermark = Watermark::new(status.last_seq, status.time, status.monotonic);
        Self { consistent: status.consistent, watermark }
    }

    /// The watermark, if it can be one: the session has begun, and is in no gap.
    pub fn watermark(&self) -> Option<Watermark> {
        let has_begun = self.watermark.seq() > Seq::new(0);
        (self.consistent && has_begun).then_some(self.watermark)
    }
}

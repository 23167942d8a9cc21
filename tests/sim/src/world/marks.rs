//! Watermarks, and the lulls in which there can be some: the service asks the driver for its status
//! at random moments, and sends what follows from that by the real service's rules.

use snapless_engine::Tick;
use snapless_service::watermark::Captured;
use snapless_types::Seq;
use snapless_wire::frame::Watermark;
use snapless_wire::id::FileTime;

use super::{Stage, World};
use crate::failure::Broken;
use crate::host::MS;
use crate::link::Mark;
use crate::options::Sabotage;
use crate::plan::Pace;

/// The service asks in one step of so many, on average.
const ASKS_ONCE_IN: u64 = 3;

impl World {
    /// Perhaps a lull begins; perhaps the service asks the driver whether there is anything new.
    pub(super) fn perhaps_mark(&mut self) -> Result<(), Broken> {
        let now = self.host.ticks();
        let lulls = &mut self.lulls;
        if now >= lulls.until && lulls.rng.once_in(self.plan.lulls_once_in) {
            lulls.until = now + lulls.rng.scaled(MS..=Pace::LULL_MAX);
        }
        if self.stage != Stage::Running || !self.link.is_settled() {
            return Ok(());
        }
        if !self.lulls.rng.once_in(ASKS_ONCE_IN) {
            return Ok(());
        }
        let now_captured = self.ask();
        let captured = match self.options.sabotage {
            Some(Sabotage::NewerInQueue) => {
                let acknowledged = self.link.acknowledged();
                Captured { watermark: at(acknowledged, &now_captured.watermark), ..now_captured }
            }
            Some(Sabotage::LateWatermark) => {
                let Some(asked) = self.lulls.asked.take() else {
                    self.lulls.asked = Some(now_captured);
                    return Ok(());
                };
                let last = asked.watermark.seq().get();
                Captured { watermark: at(last, &now_captured.watermark), ..asked }
            }
            _ => now_captured,
        };
        let Some(watermark) = captured.watermark() else { return Ok(()) };
        let mark = Mark { watermark, step: self.step };
        self.link.mark(mark, self.calm, &mut self.rng, now)
    }

    /// What the driver answers. Its thread may have been preempted after it read the clocks.
    fn ask(&mut self) -> Captured {
        if self.plan.pace.odd_clocks && self.lulls.rng.once_in(8) {
            self.host.0.lag.set(self.lulls.rng.below(MS));
        }
        let status = self.session.as_ref().map(|session| session.status()).unwrap_or_default();
        self.host.0.lag.set(0);
        let (time, Tick(monotonic)) = (FileTime::new(status.time), status.monotonic);
        let watermark = Watermark::new(Seq::new(status.last_seq), time, monotonic);
        Captured { consistent: status.consistent, watermark }
    }
}

/// The watermark's instant, after another record.
fn at(seq: u64, watermark: &Watermark) -> Watermark {
    Watermark::new(Seq::new(seq), watermark.time(), watermark.monotonic())
}

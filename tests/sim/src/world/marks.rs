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
use crate::rng::Rng;

/// The service asks in one step of so many, on average.
const ASKS_ONCE_IN: u64 = 3;

/// When there are lulls, and what the service was told.
#[derive(Debug)]
pub(super) struct Marks {
    /// By itself, so that watermarks change nothing else of a run.
    rng: Rng,
    /// The applications write nothing until then.
    pub(super) lull_until: u64,
    /// A status that the service was given, and has not used (sabotage).
    asked: Option<Captured>,
}

impl Marks {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed, 4), lull_until: 0, asked: None }
    }
}

impl World {
    /// Perhaps a lull begins; perhaps the service asks the driver whether there is anything new.
    pub(super) fn perhaps_mark(&mut self) -> Result<(), Broken> {
        let now = self.host.ticks();
        let marks = &mut self.marks;
        if now >= marks.lull_until && marks.rng.once_in(self.plan.lulls_once_in) {
            marks.lull_until = now + marks.rng.scaled(MS..=Pace::LULL_MAX);
        }
        if self.stage != Stage::Running || !self.link.is_settled() {
            return Ok(());
        }
        if !self.marks.rng.once_in(ASKS_ONCE_IN) {
            return Ok(());
        }
        let now_captured = self.ask();
        let captured = match self.options.sabotage {
            Some(Sabotage::NewerInQueue) => {
                let acknowledged = self.link.acknowledged();
                Captured { watermark: at(acknowledged, &now_captured.watermark), ..now_captured }
            }
            Some(Sabotage::LateWatermark) => {
                let Some(asked) = self.marks.asked.take() else {
                    self.marks.asked = Some(now_captured);
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
        if self.plan.pace.odd_clocks && self.marks.rng.once_in(8) {
            self.host.0.lag.set(self.marks.rng.below(MS));
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

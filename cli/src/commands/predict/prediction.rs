//! What was measured, with what follows.

use std::time::Duration;

use snapless_service::config::QUEUE_SIZE_DEFAULT;

use super::forecast::{Forecast, Known, forecast};
use super::measure::Measured;
use crate::arguments::PredictArguments;

/// What was measured, and what follows.
pub(super) struct Prediction {
    pub(super) volume: String,
    pub(super) device: String,
    pub(super) measured: Measured,
    pub(super) known: Known,
    pub(super) forecast: Forecast,
}

impl Prediction {
    pub(super) fn new(arguments: &PredictArguments, device: String, measured: Measured) -> Self {
        let known = Known {
            length: measured.length,
            churn: measured.churn.as_ref().ok().copied(),
            disk: measured.disk.as_ref().ok().map(|disk| disk.sequential),
            link: arguments.link,
            sweep_rate: arguments.sweep_rate,
            queue: QUEUE_SIZE_DEFAULT.0,
        };
        let (volume, forecast) = (arguments.volume.to_string(), forecast(&known));
        Self { volume, device, measured, known, forecast }
    }
}

/// A look comes some milliseconds late.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

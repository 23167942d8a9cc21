//! The scenario's settings of the test volume, from its service's `Parameters` key.
//!
//! The rule: a value that is absent or makes no sense is an error; there are no defaults.

use core::ops::Range;

use nt::{
    println,
    registry::Key,
    status::{Failure, Result},
    unicode::Wide,
};
use protocol::names::{STATE_AREA_LEN, parameters};
use wdk_sys::{DO_BUFFERED_IO, DO_DIRECT_IO, STATUS_INVALID_PARAMETER};

/// Bytes of a sector.
pub(crate) const SECTOR: u32 = 512;

/// The settings; `protocol::names::parameters` describes them.
pub(crate) struct Config {
    pub(crate) image_path: Wide,
    pub(crate) journal_path: Wide,
    pub(crate) seed: u32,
    pub(crate) workers: u32,
    pub(crate) slow_percent: u32,
    pub(crate) slow_ms: u32,
    pub(crate) jitter_us: u32,
    /// Of no length if there is none.
    pub(crate) state_area: Range<u64>,
    /// `DO_…`
    pub(crate) io_model: u32,
}

impl Config {
    /// Reads the key below a service's registry path.
    pub(crate) fn read(service: &Wide) -> Result<Self> {
        let key = Key::open(&service.with(r"\Parameters"))?;
        let complain = |name: &str, failure: &Failure| {
            println!("snapless-test-volume: the value {name}: {failure}");
        };
        let path =
            |name| key.string(&Wide::new(name)).inspect_err(|failure| complain(name, failure));
        let number = |name, highest| {
            let value = key.dword(&Wide::new(name)).and_then(|value| {
                if value <= highest { Ok(value) } else { Err(Failure(STATUS_INVALID_PARAMETER)) }
            });
            value.inspect_err(|failure| complain(name, failure))
        };
        Ok(Self {
            image_path: path(parameters::IMAGE_PATH)?,
            journal_path: path(parameters::JOURNAL_PATH)?,
            seed: number(parameters::SEED, u32::MAX)?,
            workers: number(parameters::WORKERS, 64)?,
            slow_percent: number(parameters::SLOW_PERCENT, 100)?,
            slow_ms: number(parameters::SLOW_MS, 10_000)?,
            jitter_us: number(parameters::JITTER_US, 1_000_000)?,
            state_area: state_area(number(parameters::STATE_AREA_KIB, u32::MAX)?),
            io_model: [DO_DIRECT_IO, DO_BUFFERED_IO, 0][number(parameters::IO_MODEL, 2)? as usize],
        })
    }
}

fn state_area(kib: u32) -> Range<u64> {
    let start = u64::from(kib) << 10;
    start..if kib == 0 { 0 } else { start + STATE_AREA_LEN }
}

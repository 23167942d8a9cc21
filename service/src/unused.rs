//! What no file of a volume has is neither read nor sent (rule T0, rules.md#t0).
//!
//! Before a session starts, the driver notes what is changed ([`Unused::find`]); then the file
//! system says which clusters are free, and writes down what it has in memory. After t0 the driver
//! is told which blocks are unused ([`Unused::say`]); those that were changed in between it leaves
//! out.
//!
//! Rule: nothing here delays or ends protection. What is not said is read.

use std::time::Duration;

use snapless_driver_client::error::Call;
use snapless_driver_client::unused_blocks::UnusedBlocks;
use snapless_driver_client::{Driver, DriverError, DriverPort};
use snapless_types::{BlockIndex, BlockRange};
use snapless_wire::ioctl::{DeviceName, UNUSED_MAX, UnusedRequest};

use crate::stop::StopSignal;

/// How long the driver's queue has to get room for what is left to be said.
const ROOM_POLL: Duration = Duration::from_millis(50);

/// The unused blocks of a volume on which a session starts next.
#[derive(Debug)]
pub struct Unused {
    blocks: UnusedBlocks,
    /// The next one to tell the driver of; `None` once it knows all.
    next: Option<BlockIndex>,
}

impl Unused {
    /// Finds them, for a session with blocks of so many bytes that `port` starts next; none if the
    /// file system does not tell. `None` if the driver does not note changes now.
    pub fn find(
        name: &str,
        driver: &dyn Driver,
        port: &dyn DriverPort,
        (device, block_size): (&DeviceName, u32),
    ) -> Option<Self> {
        if let Err(why) = port.note(device, block_size) {
            log::info!("{name}: {why}: free space is read as well");
            return None;
        }
        let blocks = driver.unused_blocks(device, block_size).unwrap_or_else(|why| {
            log::warn!("{name}: {why}: free space is read as well");
            None
        });
        let blocks = blocks.unwrap_or_default();
        let bytes = blocks.count().saturating_mul(block_size.into());
        log::info!("{name}: {bytes} bytes are of no file, and are not read");
        Some(Self { blocks, next: Some(BlockIndex(0)) })
    }

    /// Tells the driver, after t0 of the session that the port has claimed, as long as it has room
    /// for more. True if it knows all.
    ///
    /// # Errors
    /// As [`DriverPort::unused`]; the driver is told no more then.
    pub fn say(&mut self, port: &dyn DriverPort) -> Result<bool, DriverError> {
        while let Some(start) = self.next.take() {
            let all = self.blocks.end().max(start);
            let end = BlockIndex(all.0.min(start.0.saturating_add(UNUSED_MAX.into())));
            let run = BlockRange::new(start, end);
            let is_unused = |block| self.blocks.has(block);
            let request = UnusedRequest::new(run, end == all, is_unused);
            let too_long = || DriverError::answer(Call::Unused, "a request that is too long");
            let reached = port.unused(&request.ok_or_else(too_long)?)?;
            if reached < end {
                self.next = Some(reached);
                return Ok(false);
            }
            self.next = (end < all).then_some(end);
        }
        Ok(true)
    }

    /// Tells the driver the rest, until `over`.
    pub fn say_rest(&mut self, name: &str, port: &dyn DriverPort, over: &StopSignal) {
        while self.next.is_some() && !over.wait_for(ROOM_POLL) {
            if let Err(why) = self.say(port) {
                log::info!("{name}: {why}; the rest of the volume's free space is read");
            }
        }
    }
}

//! The driver's settings, read once at load. `snapless_driver_logic::settings` decides what values
//! mean.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::excluded_names::LinkName;
use snapless_driver_logic::protection::Choices;
use snapless_driver_logic::settings::{EXCLUDED_MAX, EXCLUDED_VOLUMES, Name, Settings};
use snapless_driver_logic::starts::{self, Starts};
use snapless_driver_logic::state_areas::{self, StateAreas, VALUE_LEN_MAX};
use snapless_wire::ioctl::DeviceName;
use wdk_sys::NTSTATUS;

use crate::framework::driver::Driver;
use crate::framework::parameters::ParametersKey;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::unicode::UnicodeString;
use crate::kernel::{link, log, reserved};

/// The object manager's folder of volume names.
const LINKS: &str = r"\??\";

/// Limits and the volumes that are never protected.
pub struct DriverSettings {
    /// Kill switch and limits.
    pub limits: Settings,
    driver: Driver,
    /// Where the volumes have their state areas.
    areas: PassiveLock<StateAreas>,
    starts_failed: bool,
    /// A program has reached the driver since it was loaded.
    reached: AtomicBool,
    excluded: Vec<DeviceName>,
}

impl DriverSettings {
    /// Reads them; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn read(driver: Driver) -> Option<Self> {
        let parameters = ParametersKey::open(driver);
        let limits = Settings::read(|name| parameters.number(name.as_str()), complain);
        let mut excluded = Vec::new();
        let mut whole = true;
        let readable = parameters.strings(EXCLUDED_VOLUMES, EXCLUDED_MAX, |units| {
            match DeviceName::new(units.iter().copied()) {
                Some(name) => whole &= reserved::push(&mut excluded, name).is_some(),
                None => whole = false,
            }
        });
        if !readable || !whole {
            log::line(c"the value ExcludedVolumes cannot be used, or not all of it");
        }
        if limits.pass_through {
            log::line(c"PassThrough is set: nothing is protected");
        }
        let starts_failed = !limits.pass_through && count_start(&parameters);
        let reached = AtomicBool::new(false);
        let areas = parameters.bytes(state_areas::VALUE, VALUE_LEN_MAX)?;
        let areas = PassiveLock::new(StateAreas::read(&areas).ok()?)?;
        Some(Self { limits, driver, areas, starts_failed, reached, excluded })
    }

    /// Calls `act` with where the volumes have their state areas. PASSIVE_LEVEL.
    pub fn with_areas<R>(&self, act: impl FnOnce(&StateAreas) -> R) -> R {
        self.areas.with(|areas| act(areas))
    }

    /// Changes where the volumes have their state areas; `change` is true if something changed.
    /// `None` if that cannot be kept. PASSIVE_LEVEL.
    pub fn change_areas(&self, change: impl FnOnce(&mut StateAreas) -> bool) -> Option<()> {
        self.areas.with(|areas| {
            if !change(areas) {
                return Some(());
            }
            ParametersKey::open(self.driver).set_bytes(state_areas::VALUE, areas.value())
        })
    }

    /// True if earlier starts of the machine have failed: requests pass through without being
    /// looked at. IRQL <= DISPATCH_LEVEL.
    pub fn starts_failed(&self) -> bool {
        self.starts_failed
    }

    /// What they say of a volume that is excluded or not. IRQL <= DISPATCH_LEVEL.
    pub fn choices(&self, excluded: bool) -> Choices {
        Choices { starts_failed: self.starts_failed, excluded }
    }

    /// Notes that a program has reached the driver: the machine has come up. PASSIVE_LEVEL.
    pub fn note_reached(&self) {
        // Relaxed: the count is set back once or twice.
        if self.reached.load(Ordering::Relaxed) || self.starts_failed {
            return;
        }
        if ParametersKey::open(self.driver).set_number(starts::VALUE, 0).is_some() {
            self.reached.store(true, Ordering::Relaxed);
        }
    }

    /// True if the volume with this device name is excluded: by that name, by its drive letter or
    /// by its GUID. An error if there was no memory to find out.
    /// PASSIVE_LEVEL.
    #[inline(never)] // Its buffers are on the stack only while they are needed.
    pub fn excludes(&self, device: &DeviceName) -> Result<bool, NTSTATUS> {
        for entry in &self.excluded {
            if entry.matches(device) {
                return Ok(true);
            }
            let Some(name) = LinkName::of(entry) else { continue };
            if leads_to(&name, device)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// True if the link is one to this device.
#[inline(never)]
fn leads_to(name: &LinkName, device: &DeviceName) -> Result<bool, NTSTATUS> {
    let link = UnicodeString::joined(LINKS.encode_utf16(), name.units())?;
    Ok(link::target(&link)?.is_some_and(|target| target.matches(device)))
}

/// Counts this start; true if too many before it were not reached by a program.
fn count_start(parameters: &ParametersKey) -> bool {
    let starts = Starts::before(parameters.number(starts::VALUE));
    if let Some(count) = starts.counted() {
        // A count that cannot be kept keeps no machine from being protected.
        let _ = parameters.set_number(starts::VALUE, count);
    }
    if starts.have_failed() {
        log::line(c"the machine started twice without coming up: nothing is protected");
    }
    starts.have_failed()
}

fn complain(name: Name) {
    log::line(match name {
        Name::PassThrough => c"the value PassThrough is no number: it counts as set",
        Name::QueueLimit => c"the value QueueLimitMiB is out of range and counts as absent",
        Name::HoldLimit => c"the value HoldLimitMs is out of range and counts as absent",
    });
}

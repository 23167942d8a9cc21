//! Calls to which the framework returns a status: the rig returns the same ones.
//!
//! The rule: `kmdf/CONFORMANCE.md` names each of them; calls that end the run are cases of
//! `cases.rs`.

use core::ptr;

use nt::unicode::Wide;
use wdk_sys::{
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_INVALID_PARAMETER_4, STATUS_SUCCESS,
};

use crate::{
    cases,
    device::{self, ControlDevice, MANUAL},
    framework::{Attributes, Framework, Handle, QueueConfig, index},
};

/// Makes the calls.
pub(crate) fn check(framework: &Framework, driver: Handle) {
    let device = ControlDevice::create(framework, driver, device::complete, None);
    queues(framework, driver, device.handle);
    links(framework, device.handle);
    cases::delete(framework, device.handle);
}

fn queues(framework: &Framework, driver: Handle, device: Handle) {
    let create = |config: QueueConfig, attributes: Option<&Attributes>, has_out: bool| {
        let mut queue: Handle = 0;
        let out = if has_out { &raw mut queue as usize } else { 0 };
        let attributes = attributes.map_or(0, |attributes| ptr::from_ref(attributes) as usize);
        let config = &raw const config as usize;
        framework.status(index::IO_QUEUE_CREATE, &[device, config, attributes, out])
    };
    let manual = || QueueConfig {
        size: size_of::<QueueConfig>() as u32,
        dispatch: MANUAL,
        power_managed: 2,
        ..QueueConfig::default()
    };
    assert_eq!(create(manual(), None, false), STATUS_INVALID_PARAMETER_4, "without a handle");
    let limited = QueueConfig { presented: 1, ..manual() };
    assert_eq!(create(limited, None, true), STATUS_INVALID_PARAMETER, "a limit of a manual queue");
    let late = QueueConfig { default_queue: 1, ..manual() };
    assert_eq!(create(late, None, true), STATUS_INVALID_DEVICE_STATE, "a default queue, too late");
    let elsewhere = Attributes::below(driver);
    let elsewhere = create(manual(), Some(&elsewhere), true);
    assert_eq!(elsewhere, STATUS_INVALID_DEVICE_REQUEST, "below an object that is no device");
}

fn links(framework: &Framework, device: Handle) {
    let link = |name: &str| {
        let name = Wide::new(name);
        let name = name.borrow();
        framework.status(index::DEVICE_CREATE_SYMBOLIC_LINK, &[device, name.as_ptr() as usize])
    };
    assert_eq!(link(""), STATUS_INVALID_DEVICE_REQUEST, "an empty link");
    assert_eq!(link(r"\DosDevices\SnaplessSelftestA"), STATUS_SUCCESS, "a link");
    let second = link(r"\DosDevices\SnaplessSelftestB");
    assert_eq!(second, STATUS_INVALID_DEVICE_REQUEST, "a second link");
}

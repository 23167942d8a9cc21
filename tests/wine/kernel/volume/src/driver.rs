//! The driver's start and end, and the dispatch of requests to its devices.
//!
//! The rule: parts are stopped in the opposite order of their start, also when the start fails.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicPtr, Ordering};

use nt::{
    device::{Device, NewDevice, create_link, delete_link},
    irp::Irp,
    println,
    status::{Failure, Result},
    thread::Thread,
    unicode::Wide,
};
use protocol::names::{
    CONTROL_DEVICE, CONTROL_LINK, SECOND_DEVICE, VOLUME_DEVICE, VOLUME_GUID, VOLUME_LINK,
};
use wdk_sys::{
    DO_DIRECT_IO, FILE_DEVICE_DISK, FILE_DEVICE_UNKNOWN, NTSTATUS, PCUNICODE_STRING,
    PDEVICE_OBJECT, PDRIVER_OBJECT, PIRP, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    config::{Config, SECTOR},
    control::Control,
    journal::Store,
    pnp::Stack,
    scheduler::{Scheduler, Workers},
    second::SecondVolume,
    volume::Volume,
};

/// Everything that lives from the start to the end.
struct Driver {
    volume: Volume,
    second: Arc<SecondVolume>,
    devices: Devices,
    control: Control,
    stacks: [Arc<Stack>; 2],
    guid_link: Wide,
    threads: Threads,
}

/// The devices that exist while the driver runs.
#[derive(Clone, Copy)]
struct Devices {
    volume: Device,
    /// Attached to the volume.
    between: Device,
    second: Device,
    control: Device,
}

impl Devices {
    /// # Safety
    /// `driver` is this driver's object.
    unsafe fn create(driver: PDRIVER_OBJECT, io_model: u32) -> Result<Self> {
        let kinds = [
            (Some(VOLUME_DEVICE), FILE_DEVICE_DISK),
            (None, FILE_DEVICE_DISK),
            (Some(SECOND_DEVICE), FILE_DEVICE_DISK),
            (Some(CONTROL_DEVICE), FILE_DEVICE_UNKNOWN),
        ];
        let mut made: [Option<Device>; 4] = [None; 4];
        for (place, (name, kind)) in made.iter_mut().zip(kinds) {
            // SAFETY: the caller vouches for the driver object.
            match unsafe { create(driver, name, kind) } {
                Ok(device) => *place = Some(device),
                Err(failure) => {
                    made.into_iter().flatten().for_each(Device::delete);
                    return Err(failure);
                }
            }
        }
        let [Some(volume), Some(between), Some(second), Some(control)] = made else {
            return Err(Failure(STATUS_NO_SUCH_DEVICE));
        };
        let devices = Self { volume, between, second, control };
        for device in [volume, second] {
            // SAFETY: the device was just created and is not shared yet.
            unsafe { (*device.raw()).SectorSize = SECTOR as u16 };
        }
        volume.set_flags(io_model);
        between.set_flags(io_model);
        second.set_flags(DO_DIRECT_IO);
        match between.attach_to(volume) {
            Ok(()) => Ok(devices),
            Err(failure) => {
                devices.delete();
                Err(failure)
            }
        }
    }

    fn finish_initializing(self) {
        for device in [self.volume, self.between, self.second, self.control] {
            device.finish_initializing();
        }
    }

    fn delete(self) {
        self.volume.detach_upper();
        for device in [self.control, self.second, self.between, self.volume] {
            device.delete();
        }
    }
}

struct Threads {
    workers: Workers,
    commands: Thread,
}

/// The running driver. Written by the start, taken by the end; devices exist only in between.
static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(core::ptr::null_mut());

/// The driver's entry point.
///
/// # Safety
/// Called by the kernel, once.
#[unsafe(export_name = "DriverEntry")]
pub(crate) unsafe extern "system" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    if let Some(answer) = nt::entry::answer_to_library_call(registry_path.cast()) {
        return answer;
    }
    // SAFETY: the kernel's string.
    let service = unsafe { Wide::copy_of(registry_path) };
    // SAFETY: the kernel's driver object.
    match unsafe { start(driver, &service) } {
        Ok(()) => STATUS_SUCCESS,
        Err(Failure(status)) => {
            println!("snapless-test-volume: cannot start: {status:#010x}");
            status
        }
    }
}

/// # Safety
/// `driver` is this driver's object.
unsafe fn start(driver: PDRIVER_OBJECT, service: &Wide) -> Result {
    let config = Config::read(service)?;
    let store = Store::open(&config).inspect_err(|failure| {
        println!(
            "snapless-test-volume: the image {} or the journal {} cannot be opened: {failure}",
            config.image_path.to_text(),
            config.journal_path.to_text()
        );
    })?;
    let length = store.length();
    let scheduler = Arc::new(Scheduler::new(&config, store));
    // SAFETY: the caller vouches for the driver object.
    let devices = unsafe { Devices::create(driver, config.io_model) }?;
    let stack = Stack::new(devices.volume.raw(), devices.between.raw());
    let second_stack = Stack::new(devices.second.raw(), devices.second.raw());
    let stacks = [stack, second_stack];
    let second = Arc::new(SecondVolume::new());
    let workers = Workers::start(&scheduler, config.workers).inspect_err(|_| devices.delete())?;
    let (control, commands) = match Control::start(&scheduler, &stacks, &second) {
        Ok(started) => started,
        Err(failure) => {
            workers.stop();
            devices.delete();
            return Err(failure);
        }
    };
    let guid_link = Wide::new(r"\DosDevices\Volume").with(VOLUME_GUID);
    let running = Box::new(Driver {
        volume: Volume { scheduler, io_model: config.io_model },
        second,
        devices,
        control,
        stacks,
        guid_link,
        threads: Threads { workers, commands },
    });
    create_links(&running)?;
    // SAFETY: the caller vouches for the driver object; the I/O manager calls nothing in it yet.
    let object = unsafe { &mut *driver };
    object.MajorFunction.fill(Some(dispatch));
    object.DriverUnload = Some(unload);
    // Release: pairs with `running`.
    DRIVER.store(Box::into_raw(running), Ordering::Release);
    devices.finish_initializing();
    println!("snapless-test-volume: {length} bytes, seed {}", config.seed);
    Ok(())
}

fn create_links(driver: &Driver) -> Result {
    create_link(&Wide::new(VOLUME_LINK), &Wide::new(VOLUME_DEVICE))?;
    create_link(&driver.guid_link, &Wide::new(VOLUME_DEVICE))?;
    create_link(&Wide::new(CONTROL_LINK), &Wide::new(CONTROL_DEVICE))
}

/// # Safety
/// `driver` is this driver's object.
unsafe fn create(driver: PDRIVER_OBJECT, name: Option<&str>, device_type: u32) -> Result<Device> {
    let name = name.map(Wide::new);
    let name = name.as_ref();
    let new = NewDevice { name, device_type, characteristics: 0, extension_size: 0 };
    // SAFETY: the caller says so.
    unsafe { Device::create(driver, &new) }
}

fn running() -> Option<&'static Driver> {
    // Acquire: pairs with the store in `start`.
    // SAFETY: null, or the box that `start` leaked and `unload` takes back when no device is left.
    unsafe { DRIVER.load(Ordering::Acquire).as_ref() }
}

unsafe extern "C" fn dispatch(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands the packet over.
    let irp = unsafe { Irp::from_raw(irp) };
    let Some(driver) = running() else { return irp.complete(STATUS_NO_SUCH_DEVICE, 0) };
    let Devices { volume, between, second, .. } = driver.devices;
    match device {
        _ if device == volume.raw() => driver.volume.dispatch(irp),
        _ if device == between.raw() => irp.pass_down(volume),
        _ if device == second.raw() => driver.second.dispatch(irp),
        _ => driver.control.dispatch(irp),
    }
}

unsafe extern "C" fn unload(_driver: PDRIVER_OBJECT) {
    let Some(driver) = running() else { return };
    if driver.stacks.iter().any(|stack| stack.is_attached()) {
        println!("snapless-test-volume: unloaded with a filter attached: remove the volume first");
        nt::halt::halt();
    }
    driver.control.stop();
    for link in [&Wide::new(CONTROL_LINK), &driver.guid_link, &Wide::new(VOLUME_LINK)] {
        delete_link(link);
    }
    driver.devices.delete();
    // AcqRel: no call finds the driver after this.
    let taken = DRIVER.swap(core::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: `start` leaked this box; the devices, the only way to it, are deleted.
    let driver = *unsafe { Box::from_raw(taken) };
    driver.threads.commands.join();
    driver.threads.workers.stop();
    if let Err(failure) = driver.volume.scheduler.store.flush() {
        println!("snapless-test-volume: the image or the journal cannot be flushed: {failure}");
    }
    println!("snapless-test-volume: stopped");
}

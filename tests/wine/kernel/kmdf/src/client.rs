//! A driver that is bound to the framework: its globals, its image, and the leak checks when it
//! unbinds.
//!
//! The rules: one driver at a time is under test in a device process, so every allocation is that
//! driver's; when it unbinds, nothing of it is left.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering},
};

use nt::{
    println,
    spinlock::SpinLock,
    unicode::Wide,
    win32::{LDR_ADDREF_DLL_PIN, LdrAddRefDll, RtlPcToFileHeader},
};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PDRIVER_OBJECT, STATUS_SUCCESS, UNICODE_STRING};

use crate::{
    abi::{BindInfo, DriverGlobals},
    checks::violation,
    driver,
    gaps::{etw, power, thread},
    imports,
    irql::{PASSIVE_LEVEL, require_at_most},
    ledger, object,
    object::ObjectRef,
    settings, table, watch,
};

/// The framework version that the rig implements: that of Windows Server 2019, the oldest system
/// that is supported. A driver that wants a newer one is not loaded there.
const MAJOR: u32 = 1;
const MINOR: u32 = 27;

/// A bound driver. The record stays for ever: a stray call after unbinding must find it to be
/// recognised.
pub(crate) struct Client {
    globals: UnsafeCell<DriverGlobals>,
    pub(crate) driver_object: PDRIVER_OBJECT,
    pub(crate) registry_path: Wide,
    image_base: *mut c_void,
    image_name: String,
    driver: SpinLock<Option<ObjectRef>>,
    bound: AtomicBool,
}

// SAFETY: the globals are written before the driver runs, and by the driver's own start; the raw
// pointers are only compared or handed back to the kernel.
unsafe impl Sync for Client {}
// SAFETY: as above.
unsafe impl Send for Client {}

static CLIENTS: SpinLock<Vec<&'static Client>> = SpinLock::new(Vec::new());

impl Client {
    /// The bound driver with these globals.
    pub(crate) fn of_globals(globals: *const DriverGlobals) -> Option<&'static Self> {
        Self::find(|client| core::ptr::eq(client.globals.get(), globals))
    }

    /// The bound driver with this driver object.
    pub(crate) fn of_driver_object(driver: *const DRIVER_OBJECT) -> Option<&'static Self> {
        Self::find(|client| core::ptr::eq(client.driver_object, driver))
    }

    /// The bound driver, if there is one.
    pub(crate) fn bound() -> Option<&'static Self> {
        Self::find(|_| true)
    }

    /// The name of the image at an address: a client's, or the framework's.
    pub(crate) fn image_name_of(base: *mut c_void) -> Option<String> {
        if base == own_image() {
            return Some("wdfldr.sys".to_string());
        }
        CLIENTS
            .lock()
            .iter()
            .rev()
            .find(|client| client.image_base == base)
            .map(|client| client.image_name.clone())
    }

    /// The framework object that `WdfDriverCreate` made.
    pub(crate) fn driver(&self) -> Option<ObjectRef> {
        self.driver.lock().clone()
    }

    /// Sets or clears that object.
    pub(crate) fn set_driver(&self, driver: Option<&ObjectRef>) {
        *self.driver.lock() = driver.map(Arc::clone);
        let handle = driver.map_or(0, |driver| driver.handle);
        // The handle is the structure's first field.
        let field = self.globals.get().cast::<usize>();
        // SAFETY: the driver reads this field through its copy of the pointer; it is one aligned
        // word.
        unsafe { field.write_volatile(handle) };
    }

    /// Sets the globals that the driver's entry stub reads after `DriverEntry`.
    pub(crate) fn set_flags(&self, init_flags: u32, pool_tag: u32, displace_unload: bool) {
        // SAFETY: called while the driver is in `WdfDriverCreate`; nothing else touches the globals
        // then.
        let globals = unsafe { &mut *self.globals.get() };
        globals.driver_flags |= init_flags;
        globals.driver_tag = pool_tag;
        globals.displace_driver_unload = u8::from(displace_unload);
    }

    fn find(wanted: impl Fn(&Self) -> bool) -> Option<&'static Self> {
        // Acquire: pairs with the release on unbinding.
        CLIENTS
            .lock()
            .iter()
            .copied()
            .find(|client| client.bound.load(Ordering::Acquire) && wanted(client))
    }
}

/// `WdfVersionBind`: gives the driver its function table and redirects its imports.
///
/// # Safety
/// Called by a driver's entry stub with its own driver object, registry path and bind information.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn WdfVersionBind(
    driver_object: PDRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    info: *mut c_void,
    globals: *mut *mut c_void,
) -> NTSTATUS {
    let function = "WdfVersionBind";
    require_at_most(function, PASSIVE_LEVEL);
    let info = info.cast::<BindInfo>();
    // SAFETY: the stub's structure, which begins with its size.
    let info = unsafe { &*info };
    if info.size as usize != size_of::<BindInfo>() {
        violation!(Parameter, function, "the bind information has {} bytes, not 88", info.size);
    }
    if info.major != MAJOR || info.minor > MINOR || info.function_count as usize > table::LENGTH {
        violation!(
            Parameter,
            function,
            "the driver wants version {}.{} with {} functions; this is {MAJOR}.{MINOR} with {}",
            info.major,
            info.minor,
            info.function_count,
            table::LENGTH
        );
    }
    if let Some(other) = Client::bound() {
        violation!(
            State,
            function,
            "{} is bound already; test one driver per device process",
            other.image_name
        );
    }
    // SAFETY: the kernel's own driver object, initialised before the driver's entry point ran.
    let driver = unsafe { &*driver_object };
    // SAFETY: the stub's string.
    let registry_path = unsafe { Wide::copy_of(registry_path) };
    let service = registry_path.to_text().rsplit('\\').next().unwrap_or_default().to_string();
    let client: &'static Client = Box::leak(Box::new(Client {
        globals: UnsafeCell::new(DriverGlobals {
            driver: 0,
            driver_flags: 0,
            driver_tag: 0,
            driver_name: driver_name(&service),
            displace_driver_unload: 1,
        }),
        driver_object,
        registry_path,
        image_base: driver.DriverStart,
        image_name: service + ".sys",
        driver: SpinLock::new(None),
        bound: AtomicBool::new(true),
    }));
    CLIENTS.lock().push(client);
    settings::read(&client.registry_path);
    // The driver's threads may return into this image after the driver is gone: it stays.
    // SAFETY: the address of the own image, which is loaded.
    let _ = unsafe { LdrAddRefDll(LDR_ADDREF_DLL_PIN, own_image()) };
    // SAFETY: `DriverStart` is the base of the driver's loaded image.
    unsafe { imports::redirect(driver.DriverStart, &client.image_name) };
    // SAFETY: the stub's pointers to its own variables, all of which are valid in a version 2
    // structure.
    unsafe { info.function_table.write(table::functions()) };
    // SAFETY: as above.
    unsafe { info.function_count_out.write(info.function_count) };
    // SAFETY: as above.
    unsafe { info.client_higher_than_framework.write(0) };
    // SAFETY: the stub's out parameter.
    unsafe { globals.write(client.globals.get().cast()) };
    println!("KMDF RIG: {} is bound to KMDF {}.{}", client.image_name, info.major, info.minor);
    STATUS_SUCCESS
}

/// `WdfVersionUnbind`: the driver's last call. Nothing of it may be left.
///
/// # Safety
/// Called by the entry stub of a bound driver with the globals that binding gave it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn WdfVersionUnbind(
    _registry_path: *const UNICODE_STRING,
    _info: *mut c_void,
    globals: *mut c_void,
) -> NTSTATUS {
    let function = "WdfVersionUnbind";
    require_at_most(function, PASSIVE_LEVEL);
    let Some(client) = Client::of_globals(globals.cast()) else {
        violation!(Handle, function, "{globals:p} is no bound driver's globals");
    };
    driver::abandon(client, function);
    let left = object::objects_of(client);
    if let Some((kind, handle)) = left.first() {
        violation!(
            Leak,
            function,
            "{} framework objects are left; the first is {kind} {handle:#x}",
            left.len()
        );
    }
    watch::require_empty(function);
    etw::require_empty(function);
    ledger::require_empty(function);
    if power::is_registered() {
        violation!(Leak, function, "a driver's registration for notices of sleep is left");
    }
    thread::require_priorities(function);
    // Release: pairs with the loads in `find`.
    client.bound.store(false, Ordering::Release);
    println!("KMDF RIG: {} is unbound, with nothing left behind", client.image_name);
    STATUS_SUCCESS
}

fn driver_name(service: &str) -> [core::ffi::c_char; 32] {
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(service.bytes().take(31)) {
        *to = from.cast_signed();
    }
    name
}

fn own_image() -> *mut c_void {
    let mut base = core::ptr::null_mut();
    // SAFETY: looks an address up.
    unsafe { RtlPcToFileHeader(WdfVersionBind as *const c_void, &raw mut base) }
}

//! The framework's functions, called through the table by their published index.
//!
//! The rule: this client uses no framework headers, so that it checks the rig's table
//! independently.

use core::ffi::c_void;

use nt::{
    status::{Result, check},
    unicode::Wide,
};
use wdk_sys::{NTSTATUS, PDRIVER_OBJECT, UNICODE_STRING};

/// Any framework handle.
pub(crate) type Handle = usize;

#[link(name = "WDFLDR.SYS", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn WdfVersionBind(
        driver: PDRIVER_OBJECT,
        registry_path: *const UNICODE_STRING,
        info: *mut BindInfo,
        globals: *mut *mut c_void,
    ) -> NTSTATUS;
    fn WdfVersionUnbind(
        registry_path: *const UNICODE_STRING,
        info: *mut BindInfo,
        globals: *mut c_void,
    ) -> NTSTATUS;
}

#[repr(C)]
struct BindInfo {
    size: u32,
    component: *const u16,
    version: [u32; 3],
    function_count: u32,
    table: *mut *const *const c_void,
    module: *mut c_void,
    minimum_version: *mut u32,
    higher: *mut u8,
    function_count_out: *mut u32,
    structure_count_out: *mut u32,
    structures: *mut c_void,
}

/// A bound framework.
pub(crate) struct Framework {
    pub(crate) globals: *mut c_void,
    table: *const *const c_void,
    registry_path: Wide,
}

/// `WDF_OBJECT_ATTRIBUTES`
#[repr(C)]
pub(crate) struct Attributes {
    pub(crate) size: u32,
    pub(crate) callbacks: [usize; 2],
    pub(crate) execution_level: i32,
    pub(crate) synchronization_scope: i32,
    pub(crate) parent: Handle,
    pub(crate) context: [usize; 2],
}

impl Attributes {
    /// Attributes that only name a parent.
    pub(crate) fn below(parent: Handle) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            callbacks: [0; 2],
            execution_level: 1,
            synchronization_scope: 1,
            parent,
            context: [0; 2],
        }
    }
}

/// `WDF_DRIVER_CONFIG`
#[repr(C)]
pub(crate) struct DriverConfig {
    pub(crate) size: u32,
    pub(crate) device_add: usize,
    pub(crate) unload: usize,
    pub(crate) flags: u32,
    pub(crate) tag: u32,
}

/// `WDF_IO_QUEUE_CONFIG`
#[repr(C)]
#[derive(Default)]
pub(crate) struct QueueConfig {
    pub(crate) size: u32,
    pub(crate) dispatch: i32,
    pub(crate) power_managed: i32,
    pub(crate) zero_length: u8,
    pub(crate) default_queue: u8,
    pub(crate) callbacks: [usize; 8],
    pub(crate) presented: u32,
    pub(crate) driver: Handle,
}

/// `WDF_WORKITEM_CONFIG`
#[repr(C)]
pub(crate) struct WorkItemConfig {
    pub(crate) size: u32,
    pub(crate) callback: usize,
    pub(crate) serialized: u8,
}

/// Indices of `WDFFUNCENUM`.
pub(crate) mod index {
    pub(crate) const ADD_BUS_INFORMATION: usize = 0;
    pub(crate) const CONTROL_DEVICE_INIT_ALLOCATE: usize = 25;
    pub(crate) const CONTROL_FINISH_INITIALIZING: usize = 27;
    pub(crate) const DEVICE_WDM_GET_DEVICE_OBJECT: usize = 31;
    pub(crate) const DEVICE_INIT_FREE: usize = 54;
    pub(crate) const DEVICE_INIT_ASSIGN_NAME: usize = 67;
    pub(crate) const DEVICE_INIT_ASSIGN_PREPROCESS: usize = 73;
    pub(crate) const DEVICE_CREATE: usize = 75;
    pub(crate) const DEVICE_CREATE_SYMBOLIC_LINK: usize = 80;
    pub(crate) const DRIVER_CREATE: usize = 116;
    pub(crate) const DRIVER_OPEN_PARAMETERS_KEY: usize = 119;
    pub(crate) const IO_QUEUE_CREATE: usize = 152;
    pub(crate) const OBJECT_REFERENCE: usize = 205;
    pub(crate) const OBJECT_DELETE: usize = 208;
    pub(crate) const REGISTRY_CLOSE: usize = 231;
    pub(crate) const REQUEST_COMPLETE: usize = 263;
    pub(crate) const REQUEST_COMPLETE_WITH_INFORMATION: usize = 265;
    pub(crate) const REQUEST_FORWARD: usize = 281;
    pub(crate) const WORK_ITEM_CREATE: usize = 379;
    pub(crate) const WORK_ITEM_ENQUEUE: usize = 380;
    pub(crate) const WORK_ITEM_FLUSH: usize = 382;
}

const FUNCTION_COUNT: u32 = 453;

impl Framework {
    /// Binds this driver.
    ///
    /// # Safety
    /// `driver` is this driver's object, in its entry point.
    pub(crate) unsafe fn bind(driver: PDRIVER_OBJECT, registry_path: Wide) -> Result<Self> {
        let component = Wide::new("KmdfLibrary");
        let mut table: *const *const c_void = core::ptr::null();
        let (mut minimum, mut higher, mut functions, mut structures) = (27, 0_u8, 0, 0);
        let mut info = BindInfo {
            size: size_of::<BindInfo>() as u32,
            component: component.as_units().as_ptr(),
            version: [1, 27, 0],
            function_count: FUNCTION_COUNT,
            table: &raw mut table,
            module: core::ptr::null_mut(),
            minimum_version: &raw mut minimum,
            higher: &raw mut higher,
            function_count_out: &raw mut functions,
            structure_count_out: &raw mut structures,
            structures: core::ptr::null_mut(),
        };
        let mut globals = core::ptr::null_mut();
        // SAFETY: the caller vouches for the driver object; the rest is valid for the call.
        let status = unsafe {
            WdfVersionBind(driver, registry_path.borrow().as_ptr(), &raw mut info, &raw mut globals)
        };
        check(status)?;
        Ok(Self { globals, table, registry_path })
    }

    /// Unbinds this driver: its last call.
    pub(crate) fn unbind(self) {
        // SAFETY: bound, with these globals. The rig reads nothing of the bind information here.
        let _ = unsafe {
            WdfVersionUnbind(
                self.registry_path.borrow().as_ptr(),
                core::ptr::null_mut(),
                self.globals,
            )
        };
    }

    /// The registry path that was bound with.
    pub(crate) fn registry_path(&self) -> &Wide {
        &self.registry_path
    }

    /// Calls a function with up to six arguments behind the globals; missing ones are 0.
    ///
    /// The callers pass what the function takes, alive for the call, or the mistake that their case
    /// is about, which the rig reports before it uses the arguments.
    pub(crate) fn call(&self, index: usize, arguments: &[usize]) -> usize {
        self.call_with(self.globals, index, arguments)
    }

    /// The same, for a function that returns a status.
    pub(crate) fn status(&self, index: usize, arguments: &[usize]) -> NTSTATUS {
        self.call(index, arguments) as NTSTATUS
    }

    /// Calls a function with other globals.
    pub(crate) fn call_with(
        &self,
        globals: *mut c_void,
        index: usize,
        arguments: &[usize],
    ) -> usize {
        type Function = unsafe extern "system" fn(
            *mut c_void,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
        ) -> usize;
        // SAFETY: the table has an entry for every index.
        let entry = unsafe { self.table.wrapping_add(index).read() };
        // SAFETY: every entry is a function; it ignores arguments that it does not take.
        let function = unsafe { core::mem::transmute::<*const c_void, Function>(entry) };
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let [first, second, third, fourth, fifth, sixth] = all;
        // SAFETY: see `call`.
        unsafe { function(globals, first, second, third, fourth, fifth, sixth) }
    }
}

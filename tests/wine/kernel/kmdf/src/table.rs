//! The function table that a bound driver calls the framework through.
//!
//! The rule: an entry is either the function that the framework's published index names, or one
//! that reports its index and ends the process. No entry returns made-up values.

use alloc::vec::Vec;
use core::ffi::c_void;

use nt::spinlock::SpinLock;

use crate::{
    checks::violation, code, collection, device, dispatch, driver, init, object, queue, registry,
    request, workitem,
};

/// How many functions version 1.27 has.
pub(crate) const LENGTH: usize = 453;

/// The table, complete.
pub(crate) fn functions() -> *const *const c_void {
    let mut table = TABLE.lock();
    for (index, entry) in table.0.iter_mut().enumerate().filter(|(_, entry)| entry.is_null()) {
        *entry = unimplemented_entry(index);
    }
    for (index, function) in IMPLEMENTED {
        table.0[index] = function;
    }
    // The table is static and is not written again once a driver is bound: one driver is bound at a
    // time.
    table.0.as_ptr()
}

struct Table([*const c_void; LENGTH]);

// SAFETY: the pointers are to code.
unsafe impl Send for Table {}

static TABLE: SpinLock<Table> = SpinLock::new(Table([core::ptr::null(); LENGTH]));

/// The implemented functions, by their index in `WDFFUNCENUM`.
const IMPLEMENTED: [(usize, *const c_void); 43] = [
    (13, collection::collection_create as *const c_void),
    (14, collection::collection_get_count as *const c_void),
    (18, collection::collection_get_item as *const c_void),
    (25, init::control_device_init_allocate as *const c_void),
    (26, init::control_device_init_set_shutdown_notification as *const c_void),
    (27, device::control_finish_initializing as *const c_void),
    (30, device::wdm_device_get_wdf_device_handle as *const c_void),
    (31, device::device_wdm_get_device_object as *const c_void),
    (32, device::device_wdm_get_attached_device as *const c_void),
    (34, dispatch::device_wdm_dispatch_preprocessed_irp as *const c_void),
    (54, init::device_init_free as *const c_void),
    (55, init::device_init_set_pnp_power_event_callbacks as *const c_void),
    (67, init::device_init_assign_name as *const c_void),
    (71, init::device_init_set_file_object_config as *const c_void),
    (73, init::device_init_assign_wdm_irp_preprocess_callback as *const c_void),
    (75, device::device_create as *const c_void),
    (80, device::device_create_symbolic_link as *const c_void),
    (116, driver::driver_create as *const c_void),
    (119, registry::driver_open_parameters_registry_key as *const c_void),
    (129, init::fdo_init_set_filter as *const c_void),
    (152, queue::io_queue_create as *const c_void),
    (159, queue::io_queue_retrieve_request_by_file_object as *const c_void),
    (202, object::object_get_typed_context_worker as *const c_void),
    (205, object::object_reference_actual as *const c_void),
    (208, object::object_delete as *const c_void),
    (231, registry::registry_close as *const c_void),
    (235, registry::registry_query_value as *const c_void),
    (237, registry::registry_query_multi_string as *const c_void),
    (240, registry::registry_query_ulong as *const c_void),
    (241, registry::registry_assign_value as *const c_void),
    (246, registry::registry_assign_ulong as *const c_void),
    (263, request::request_complete as *const c_void),
    (265, request::request_complete_with_information as *const c_void),
    (269, request::request_retrieve_input_buffer as *const c_void),
    (270, request::request_retrieve_output_buffer as *const c_void),
    (272, request::request_retrieve_output_wdm_mdl as *const c_void),
    (277, request::request_get_file_object as *const c_void),
    (281, request::request_forward_to_io_queue as *const c_void),
    (309, collection::string_get_unicode_string as *const c_void),
    (379, workitem::work_item_create as *const c_void),
    (380, workitem::work_item_enqueue as *const c_void),
    (382, workitem::work_item_flush as *const c_void),
    (403, init::device_init_set_remove_lock_options as *const c_void),
];

/// An entry without a function: a few instructions that pass its index on.
fn unimplemented_entry(index: usize) -> *const c_void {
    let mut stub: Vec<u8> = Vec::new();
    stub.extend([0x48, 0xb9]); // mov rcx, index
    stub.extend(index.to_le_bytes());
    stub.extend([0x48, 0xb8]); // mov rax, unimplemented
    stub.extend((unimplemented as *const () as usize).to_le_bytes());
    stub.extend([0xff, 0xe0]); // jmp rax
    code::place(&stub)
}

unsafe extern "system" fn unimplemented(index: usize) -> ! {
    violation!(Unimplemented, "the function table", "function {index} of WDFFUNCENUM")
}

//! The function table that a bound driver calls the framework through.
//!
//! The rule: an entry is either the function that the framework's published index names, or one that reports its index
//! and ends the process. No entry returns made-up values.

use core::ffi::c_void;

use nt::spinlock::SpinLock;

use crate::{
    checks::{Rule, violation},
    collection, device, dispatch, driver, file, init, object, queue, registry, request, workitem,
};

/// How many functions version 1.33 has.
pub(crate) const LENGTH: usize = 458;

/// The table, complete.
pub(crate) fn functions() -> *const *const c_void {
    let mut table = TABLE.lock();
    table.0 = UNIMPLEMENTED;
    for (index, function) in IMPLEMENTED {
        table.0[index] = function;
    }
    // The table is static and is not written again once a driver is bound: one driver is bound at a time.
    table.0.as_ptr()
}

struct Table([*const c_void; LENGTH]);

// SAFETY: the pointers are to code.
unsafe impl Send for Table {}

static TABLE: SpinLock<Table> = SpinLock::new(Table([core::ptr::null(); LENGTH]));

/// What is implemented, by its index in `WDFFUNCENUM`.
const IMPLEMENTED: [(usize, *const c_void); 70] = [
    (13, collection::collection_create as *const c_void),
    (14, collection::collection_get_count as *const c_void),
    (18, collection::collection_get_item as *const c_void),
    (25, init::control_device_init_allocate as *const c_void),
    (26, init::control_device_init_set_shutdown_notification as *const c_void),
    (27, device::control_finish_initializing as *const c_void),
    (30, device::wdm_device_get_wdf_device_handle as *const c_void),
    (31, device::device_wdm_get_device_object as *const c_void),
    (32, device::device_wdm_get_attached_device as *const c_void),
    (33, device::device_wdm_get_physical_device as *const c_void),
    (34, dispatch::device_wdm_dispatch_preprocessed_irp as *const c_void),
    (39, device::device_get_driver as *const c_void),
    (49, device::device_set_special_file_support as *const c_void),
    (54, init::device_init_free as *const c_void),
    (55, init::device_init_set_pnp_power_event_callbacks as *const c_void),
    (62, init::device_init_set_exclusive as *const c_void),
    (66, init::device_init_set_device_type as *const c_void),
    (67, init::device_init_assign_name as *const c_void),
    (68, init::device_init_assign_sddl_string as *const c_void),
    (70, init::device_init_set_characteristics as *const c_void),
    (71, init::device_init_set_file_object_config as *const c_void),
    (72, init::device_init_set_request_attributes as *const c_void),
    (73, init::device_init_assign_wdm_irp_preprocess_callback as *const c_void),
    (75, device::device_create as *const c_void),
    (80, device::device_create_symbolic_link as *const c_void),
    (92, device::device_get_default_queue as *const c_void),
    (116, driver::driver_create as *const c_void),
    (119, registry::driver_open_parameters_registry_key as *const c_void),
    (124, init::fdo_init_wdm_get_physical_device as *const c_void),
    (129, init::fdo_init_set_filter as *const c_void),
    (139, file::file_object_get_device as *const c_void),
    (152, queue::io_queue_create as *const c_void),
    (154, queue::io_queue_start as *const c_void),
    (157, queue::io_queue_get_device as *const c_void),
    (158, queue::io_queue_retrieve_next_request as *const c_void),
    (159, queue::io_queue_retrieve_request_by_file_object as *const c_void),
    (164, queue::io_queue_purge_synchronously as *const c_void),
    (165, queue::io_queue_purge as *const c_void),
    (202, object::object_get_typed_context_worker as *const c_void),
    (203, object::object_allocate_context as *const c_void),
    (204, object::object_context_get_object as *const c_void),
    (205, object::object_reference_actual as *const c_void),
    (206, object::object_dereference_actual as *const c_void),
    (208, object::object_delete as *const c_void),
    (231, registry::registry_close as *const c_void),
    (237, registry::registry_query_multi_string as *const c_void),
    (240, registry::registry_query_ulong as *const c_void),
    (256, request::request_unmark_cancelable as *const c_void),
    (257, request::request_is_canceled as *const c_void),
    (263, request::request_complete as *const c_void),
    (265, request::request_complete_with_information as *const c_void),
    (266, request::request_get_parameters as *const c_void),
    (269, request::request_retrieve_input_buffer as *const c_void),
    (270, request::request_retrieve_output_buffer as *const c_void),
    (272, request::request_retrieve_output_wdm_mdl as *const c_void),
    (275, request::request_set_information as *const c_void),
    (277, request::request_get_file_object as *const c_void),
    (280, request::request_get_requestor_mode as *const c_void),
    (281, request::request_forward_to_io_queue as *const c_void),
    (282, request::request_get_io_queue as *const c_void),
    (285, request::request_wdm_get_irp as *const c_void),
    (308, collection::string_create as *const c_void),
    (309, collection::string_get_unicode_string as *const c_void),
    (379, workitem::work_item_create as *const c_void),
    (380, workitem::work_item_enqueue as *const c_void),
    (381, workitem::work_item_get_parent_object as *const c_void),
    (382, workitem::work_item_flush as *const c_void),
    (393, request::request_mark_cancelable_ex as *const c_void),
    (403, init::device_init_set_remove_lock_options as *const c_void),
    (432, init::device_init_set_io_type_ex as *const c_void),
];

/// One function for each index, so that a call tells which one it was.
const UNIMPLEMENTED: [*const c_void; LENGTH] = unimplemented_entries();

unsafe extern "system" fn unimplemented<
    const HUNDREDS: usize,
    const TENS: usize,
    const ONES: usize,
>() -> ! {
    let index = HUNDREDS * 100 + TENS * 10 + ONES;
    violation(
        Rule::Unimplemented,
        "the function table",
        format_args!("function {index} of WDFFUNCENUM is not implemented by the rig"),
    )
}

const fn unimplemented_entries() -> [*const c_void; LENGTH] {
    macro_rules! ten {
        ($hundreds:literal, $tens:literal) => {
            [
                unimplemented::<$hundreds, $tens, 0> as *const c_void,
                unimplemented::<$hundreds, $tens, 1> as *const c_void,
                unimplemented::<$hundreds, $tens, 2> as *const c_void,
                unimplemented::<$hundreds, $tens, 3> as *const c_void,
                unimplemented::<$hundreds, $tens, 4> as *const c_void,
                unimplemented::<$hundreds, $tens, 5> as *const c_void,
                unimplemented::<$hundreds, $tens, 6> as *const c_void,
                unimplemented::<$hundreds, $tens, 7> as *const c_void,
                unimplemented::<$hundreds, $tens, 8> as *const c_void,
                unimplemented::<$hundreds, $tens, 9> as *const c_void,
            ]
        };
    }
    macro_rules! hundred {
        ($hundreds:literal) => {
            [
                ten!($hundreds, 0),
                ten!($hundreds, 1),
                ten!($hundreds, 2),
                ten!($hundreds, 3),
                ten!($hundreds, 4),
                ten!($hundreds, 5),
                ten!($hundreds, 6),
                ten!($hundreds, 7),
                ten!($hundreds, 8),
                ten!($hundreds, 9),
            ]
        };
    }
    const ALL: [[[*const c_void; 10]; 10]; 5] =
        [hundred!(0), hundred!(1), hundred!(2), hundred!(3), hundred!(4)];
    let mut entries = [core::ptr::null(); LENGTH];
    let mut index = 0;
    while index < LENGTH {
        entries[index] = ALL[index / 100][index / 10 % 10][index % 10];
        index += 1;
    }
    entries
}

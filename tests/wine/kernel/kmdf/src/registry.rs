//! `WDFKEY`: the driver's `Parameters` key.
//!
//! The rule: a query for another type than the value's is STATUS_OBJECT_TYPE_MISMATCH.

use alloc::vec::Vec;

use nt::{registry::Key, status, unicode::Wide};
use wdk_sys::{
    NTSTATUS, REG_MULTI_SZ, STATUS_BUFFER_OVERFLOW, STATUS_OBJECT_TYPE_MISMATCH,
    STATUS_RESOURCE_DATA_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    abi::{DriverGlobals, Handle, ObjectAttributes},
    checks::Call,
    collection::{Collection, StringObject},
    driver::Driver,
    irql::PASSIVE_LEVEL,
    object::{Object, Typed, attributes},
};

/// An open key.
pub(crate) struct KeyObject {
    key: Key,
}

impl Typed for KeyObject {
    const NAME: &str = "WDFKEY";
}

pub(crate) unsafe extern "system" fn driver_open_parameters_registry_key(
    globals: *const DriverGlobals,
    driver: Handle,
    access: u32,
    key_attributes: *const ObjectAttributes,
    key: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfDriverOpenParametersRegistryKey", globals, PASSIVE_LEVEL);
    let driver = call.typed::<Driver>(driver);
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Key", key, 0) };
    // SAFETY: the driver's attributes.
    let key_attributes = unsafe { attributes(&call, key_attributes) };
    let path = call.client.registry_path.with(r"\Parameters");
    // Documented: the key is created if it is not there.
    let opened = Key::create(&path, access).or_else(|_| Key::open_below(None, &path, access));
    let opened = match opened {
        Ok(opened) => opened,
        Err(status::Failure(code)) => return code,
    };
    let parent = key_attributes
        .as_ref()
        .filter(|attributes| attributes.parent != 0)
        .map_or_else(|| driver.object().clone(), |attributes| call.object(attributes.parent));
    let object = Object::create(
        KeyObject { key: opened },
        call.client,
        Some(&parent),
        key_attributes.as_ref(),
    );
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Key", key, object.handle()) };
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn registry_query_ulong(
    globals: *const DriverGlobals,
    key: Handle,
    name: *const UNICODE_STRING,
    value: *mut u32,
) -> NTSTATUS {
    let call = Call::enter("WdfRegistryQueryULong", globals, PASSIVE_LEVEL);
    let key = call.typed::<KeyObject>(key);
    // SAFETY: the driver's string.
    let name = unsafe { Wide::copy_of(name) };
    match key.key.dword(&name) {
        Ok(found) => {
            // SAFETY: the driver's out parameter.
            unsafe { call.write("Value", value, found) };
            STATUS_SUCCESS
        }
        Err(status::Failure(code)) => code,
    }
}

pub(crate) unsafe extern "system" fn registry_assign_ulong(
    globals: *const DriverGlobals,
    key: Handle,
    name: *const UNICODE_STRING,
    value: u32,
) -> NTSTATUS {
    let call = Call::enter("WdfRegistryAssignULong", globals, PASSIVE_LEVEL);
    let key = call.typed::<KeyObject>(key);
    // SAFETY: the driver's string.
    let name = unsafe { Wide::copy_of(name) };
    status::code(key.key.set_dword(&name, value))
}

pub(crate) unsafe extern "system" fn registry_query_value(
    globals: *const DriverGlobals,
    key: Handle,
    name: *const UNICODE_STRING,
    length: u32,
    value: *mut u8,
    length_queried: *mut u32,
    value_type: *mut u32,
) -> NTSTATUS {
    let call = Call::enter("WdfRegistryQueryValue", globals, PASSIVE_LEVEL);
    let key = call.typed::<KeyObject>(key);
    // SAFETY: the driver's string.
    let name = unsafe { Wide::copy_of(name) };
    let (found_type, bytes) = match key.key.any_value(&name) {
        Ok(found) => found,
        Err(status::Failure(code)) => return code,
    };
    if !length_queried.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { call.write("ValueLengthQueried", length_queried, bytes.len() as u32) };
    }
    if !value_type.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { call.write("ValueType", value_type, found_type) };
    }
    if bytes.len() > length as usize {
        return STATUS_BUFFER_OVERFLOW;
    }
    if !value.is_null() {
        // SAFETY: the driver's buffer has as many bytes.
        unsafe { value.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn registry_assign_value(
    globals: *const DriverGlobals,
    key: Handle,
    name: *const UNICODE_STRING,
    value_type: u32,
    length: u32,
    value: *const u8,
) -> NTSTATUS {
    let call = Call::enter("WdfRegistryAssignValue", globals, PASSIVE_LEVEL);
    let key = call.typed::<KeyObject>(key);
    // SAFETY: the driver's string.
    let name = unsafe { Wide::copy_of(name) };
    let data = if value.is_null() {
        &[]
    } else {
        // SAFETY: the driver's bytes, as many as it says.
        unsafe { core::slice::from_raw_parts(value, length as usize) }
    };
    status::code(key.key.set_value(&name, value_type, data))
}

pub(crate) unsafe extern "system" fn registry_query_multi_string(
    globals: *const DriverGlobals,
    key: Handle,
    name: *const UNICODE_STRING,
    string_attributes: *const ObjectAttributes,
    collection: Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfRegistryQueryMultiString", globals, PASSIVE_LEVEL);
    let key = call.typed::<KeyObject>(key);
    let collection = call.typed::<Collection>(collection);
    // SAFETY: the driver's attributes.
    let string_attributes = unsafe { attributes(&call, string_attributes) };
    // SAFETY: the driver's string.
    let name = unsafe { Wide::copy_of(name) };
    match multi_string(&key.key, &name) {
        Ok(strings) => {
            for string in strings {
                let object = StringObject::create(&call, string, string_attributes.as_ref());
                collection.add(object.object().clone());
            }
            STATUS_SUCCESS
        }
        Err(status::Failure(code)) => code,
    }
}

/// Reads a multi-string, which has to end in two NULs.
fn multi_string(key: &Key, name: &Wide) -> status::Result<Vec<Wide>> {
    let bytes = key.value(name, REG_MULTI_SZ)?;
    if bytes.is_empty() {
        return Err(status::Failure(STATUS_RESOURCE_DATA_NOT_FOUND));
    }
    if bytes.len() % 2 != 0 || !bytes.ends_with(&[0; 4]) {
        return Err(status::Failure(STATUS_OBJECT_TYPE_MISMATCH));
    }
    key.strings(name)
}

pub(crate) unsafe extern "system" fn registry_close(globals: *const DriverGlobals, key: Handle) {
    let call = Call::enter("WdfRegistryClose", globals, PASSIVE_LEVEL);
    call.typed::<KeyObject>(key).object().delete(call.function);
}

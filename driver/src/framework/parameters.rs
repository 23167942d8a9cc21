//! Values of the service's `Parameters` registry key. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::ptr::null_mut;

use snapless_driver_logic::settings::Value;
use wdk_sys::{
    KEY_READ, KEY_WRITE, NT_SUCCESS, PCUNICODE_STRING, REG_BINARY, STATUS_OBJECT_NAME_NOT_FOUND,
    ULONG, UNICODE_STRING, WDFCOLLECTION, WDFKEY, WDFOBJECT, WDFSTRING,
};

use super::driver::Driver;
use super::table::wdf;
use crate::kernel::reserved;
use crate::kernel::unicode::UnicodeString;

/// The open key, or none if the service has no such key.
pub struct ParametersKey(Option<WDFKEY>);

impl ParametersKey {
    /// Opens the key of this driver's service. PASSIVE_LEVEL.
    pub fn open(driver: Driver) -> Self {
        let mut key: WDFKEY = null_mut();
        // SAFETY: the driver's object; the key is written on success only.
        let status = unsafe {
            wdf!(
                WdfDriverOpenParametersRegistryKey,
                driver.handle(),
                KEY_READ | KEY_WRITE,
                wdk_sys::WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut key
            )
        };
        Self(NT_SUCCESS(status).then_some(key))
    }

    /// A number. PASSIVE_LEVEL.
    pub fn number(&self, name: &str) -> Value {
        let Some(key) = self.0 else { return Value::Absent };
        let Ok(text) = UnicodeString::new(name) else { return Value::Unreadable };
        let Ok(text) = text.as_kernel() else { return Value::Unreadable };
        let mut number = 0;
        // SAFETY: the key is open; name and number outlive the call.
        let status = unsafe { wdf!(WdfRegistryQueryULong, key, &raw const text, &raw mut number) };
        match status {
            STATUS_OBJECT_NAME_NOT_FOUND => Value::Absent,
            status if NT_SUCCESS(status) => Value::Number(number),
            _ => Value::Unreadable,
        }
    }

    /// Sets a number; `None` if it cannot be written. PASSIVE_LEVEL.
    pub fn set_number(&self, name: &str, number: u32) -> Option<()> {
        let key = self.0?;
        let text = UnicodeString::new(name).ok()?;
        let text = text.as_kernel().ok()?;
        // SAFETY: the key is open; the name outlives the call.
        let status = unsafe { wdf!(WdfRegistryAssignULong, key, &raw const text, number) };
        NT_SUCCESS(status).then_some(())
    }

    /// Bytes, at most `most`; none if they are not there, more, or of another type. `None` if there
    /// is no memory. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn bytes(&self, name: &str, most: usize) -> Option<Vec<u8>> {
        let mut bytes = reserved::collect(most, core::iter::repeat_n(0, most))?;
        let read = self.read_bytes(name, &mut bytes);
        bytes.truncate(read.unwrap_or(0));
        Some(bytes)
    }

    fn read_bytes(&self, name: &str, bytes: &mut [u8]) -> Option<usize> {
        let key = self.0?;
        let text = UnicodeString::new(name).ok()?;
        let text = text.as_kernel().ok()?;
        let (mut len, mut kind) = (0, 0);
        // SAFETY: the key is open; the buffer has the length that is given, and all outlive the
        // call.
        let status = unsafe {
            wdf!(
                WdfRegistryQueryValue,
                key,
                &raw const text,
                ULONG::try_from(bytes.len()).ok()?,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
                &raw mut kind
            )
        };
        (NT_SUCCESS(status) && kind == REG_BINARY).then_some(())?;
        usize::try_from(len).ok().filter(|len| *len <= bytes.len())
    }

    /// Sets bytes; `None` if they cannot be written. PASSIVE_LEVEL.
    pub fn set_bytes(&self, name: &str, bytes: &[u8]) -> Option<()> {
        let key = self.0?;
        let text = UnicodeString::new(name).ok()?;
        let text = text.as_kernel().ok()?;
        // SAFETY: the key is open; the bytes are only read, and all outlive the call.
        let status = unsafe {
            wdf!(
                WdfRegistryAssignValue,
                key,
                &raw const text,
                REG_BINARY,
                ULONG::try_from(bytes.len()).ok()?,
                bytes.as_ptr().cast_mut().cast()
            )
        };
        NT_SUCCESS(status).then_some(())
    }

    /// Calls `take` with each string of a list, at most `most` of them; false if the value is there
    /// but is no list. PASSIVE_LEVEL.
    pub fn strings(&self, name: &str, most: usize, mut take: impl FnMut(&[u16])) -> bool {
        let Some(key) = self.0 else { return true };
        let Ok(text) = UnicodeString::new(name) else { return false };
        let Ok(text) = text.as_kernel() else { return false };
        let mut list: WDFCOLLECTION = null_mut();
        let none = wdk_sys::WDF_NO_OBJECT_ATTRIBUTES;
        // SAFETY: the collection is written on success only.
        if !NT_SUCCESS(unsafe { wdf!(WdfCollectionCreate, none, &raw mut list) }) {
            return false;
        }
        // SAFETY: the key is open, the collection has just been made; the name outlives the call.
        let status = unsafe { wdf!(WdfRegistryQueryMultiString, key, &raw const text, none, list) };
        if NT_SUCCESS(status) {
            each_string(list, most, &mut take);
        }
        // SAFETY: made above. The strings are its driver's objects and go with it.
        unsafe { wdf!(WdfObjectDelete, list as WDFOBJECT) };
        NT_SUCCESS(status) || status == STATUS_OBJECT_NAME_NOT_FOUND
    }
}

impl Drop for ParametersKey {
    fn drop(&mut self) {
        if let Some(key) = self.0 {
            // SAFETY: opened in `open`, closed once.
            unsafe { wdf!(WdfRegistryClose, key) };
        }
    }
}

fn each_string(list: WDFCOLLECTION, most: usize, take: &mut impl FnMut(&[u16])) {
    // SAFETY: the caller's collection.
    let count = unsafe { wdf!(WdfCollectionGetCount, list) };
    for index in (0..count).take(most) {
        // SAFETY: as above; the index is below the count.
        let string = unsafe { wdf!(WdfCollectionGetItem, list, index) } as WDFSTRING;
        if string.is_null() {
            return;
        }
        let mut text = UNICODE_STRING::default();
        // SAFETY: a string object of the collection; its text lives as long as it does.
        unsafe { wdf!(WdfStringGetUnicodeString, string, &raw mut text) };
        take(units(&raw const text));
    }
}

fn units<'a>(text: PCUNICODE_STRING) -> &'a [u16] {
    // SAFETY: a string that the framework has just filled in.
    let text = unsafe { *text };
    if text.Buffer.is_null() {
        return &[];
    }
    // SAFETY: it has `Length` bytes, for as long as its object lives: until the caller is done with
    // it.
    unsafe { core::slice::from_raw_parts(text.Buffer, usize::from(text.Length) / 2) }
}

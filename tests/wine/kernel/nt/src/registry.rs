//! Registry keys and their values.
//!
//! The rule: a value of another type or size than was asked for is an error, never reinterpreted.

use alloc::{vec, vec::Vec};
use core::ptr;

use wdk_sys::{
    _KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation,
    HANDLE, KEY_READ, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, REG_DWORD,
    REG_MULTI_SZ, REG_SZ, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL,
    STATUS_OBJECT_TYPE_MISMATCH,
    ntddk::{ZwClose, ZwCreateKey, ZwOpenKey, ZwQueryValueKey, ZwSetValueKey},
};

use crate::{
    status::{Failure, Result, check},
    unicode::Wide,
};

/// Type, title index and length come before the data of a partial value.
const PARTIAL_HEADER_LENGTH: usize = 12;

/// An open registry key.
pub struct Key {
    handle: HANDLE,
}

// SAFETY: a kernel handle may be used on any thread.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    /// Opens a key for reading.
    pub fn open(path: &Wide) -> Result<Self> {
        Self::open_below(None, path, KEY_READ)
    }

    /// Opens a key, relative to another one if there is one.
    pub fn open_below(parent: Option<&Self>, path: &Wide, access: u32) -> Result<Self> {
        let path = path.borrow();
        let mut attributes = attributes(parent, path.as_ptr());
        let mut handle = ptr::null_mut();
        // SAFETY: everything is valid for the call.
        check(unsafe { ZwOpenKey(&raw mut handle, access, &raw mut attributes) })?;
        Ok(Self { handle })
    }

    /// Opens a key and creates it if it is not there.
    pub fn create(path: &Wide, access: u32) -> Result<Self> {
        let path = path.borrow();
        let mut attributes = attributes(None, path.as_ptr());
        let mut handle = ptr::null_mut();
        // SAFETY: everything is valid for the call.
        check(unsafe {
            ZwCreateKey(
                &raw mut handle,
                access,
                &raw mut attributes,
                0,
                ptr::null_mut(),
                0,
                ptr::null_mut(),
            )
        })?;
        Ok(Self { handle })
    }

    /// Reads a `REG_DWORD`.
    pub fn dword(&self, name: &Wide) -> Result<u32> {
        let data = self.value(name, REG_DWORD)?;
        let bytes = <[u8; 4]>::try_from(data.as_slice())
            .map_err(|_| Failure(STATUS_OBJECT_TYPE_MISMATCH))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a `REG_DWORD`.
    pub fn set_dword(&self, name: &Wide, value: u32) -> Result {
        self.set_value(name, REG_DWORD, &value.to_le_bytes())
    }

    /// Writes a value of any type.
    pub fn set_value(&self, name: &Wide, value_type: u32, data: &[u8]) -> Result {
        let name = name.borrow();
        // SAFETY: name and data are valid for the call, which only reads the data.
        check(unsafe {
            ZwSetValueKey(
                self.handle,
                name.as_ptr(),
                0,
                value_type,
                data.as_ptr().cast_mut().cast(),
                data.len().try_into().unwrap_or(u32::MAX),
            )
        })
    }

    /// Reads a `REG_SZ`.
    pub fn string(&self, name: &Wide) -> Result<Wide> {
        let mut units = to_units(&self.value(name, REG_SZ)?);
        if let Some(end) = units.iter().position(|&unit| unit == 0) {
            units.truncate(end);
        }
        units.push(0);
        Ok(units.into())
    }

    /// Reads a `REG_MULTI_SZ`.
    pub fn strings(&self, name: &Wide) -> Result<Vec<Wide>> {
        let units = to_units(&self.value(name, REG_MULTI_SZ)?);
        let strings = units.split(|&unit| unit == 0).take_while(|string| !string.is_empty());
        Ok(strings
            .map(|string| string.iter().copied().chain([0]).collect::<Vec<_>>().into())
            .collect())
    }

    /// Reads a value's bytes, if it has the type.
    pub fn value(&self, name: &Wide, value_type: u32) -> Result<Vec<u8>> {
        let (found, bytes) = self.any_value(name)?;
        if found == value_type { Ok(bytes) } else { Err(Failure(STATUS_OBJECT_TYPE_MISMATCH)) }
    }

    /// Reads a value's type and bytes.
    pub fn any_value(&self, name: &Wide) -> Result<(u32, Vec<u8>)> {
        let name = name.borrow();
        let mut buffer = vec![0_u32; 64];
        loop {
            let capacity = buffer.len() * 4;
            let mut needed = 0;
            // SAFETY: the buffer is as long as is said and aligned for the structure.
            let status = unsafe {
                ZwQueryValueKey(
                    self.handle,
                    name.as_ptr(),
                    KeyValuePartialInformation,
                    buffer.as_mut_ptr().cast(),
                    capacity.try_into().unwrap_or(u32::MAX),
                    &raw mut needed,
                )
            };
            if (status == STATUS_BUFFER_OVERFLOW || status == STATUS_BUFFER_TOO_SMALL)
                && needed as usize > capacity
            {
                buffer.resize((needed as usize).div_ceil(4), 0);
                continue;
            }
            check(status)?;
            let length = buffer[2] as usize;
            let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_le_bytes()).collect();
            return bytes
                .get(PARTIAL_HEADER_LENGTH..PARTIAL_HEADER_LENGTH + length)
                .map(|bytes| (buffer[1], bytes.to_vec()))
                .ok_or(Failure(STATUS_BUFFER_TOO_SMALL));
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        let _ = unsafe { ZwClose(self.handle) };
    }
}

fn attributes(parent: Option<&Key>, path: *mut wdk_sys::UNICODE_STRING) -> OBJECT_ATTRIBUTES {
    OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: parent.map_or(ptr::null_mut(), |parent| parent.handle),
        ObjectName: path,
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
        ..OBJECT_ATTRIBUTES::default()
    }
}

fn to_units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

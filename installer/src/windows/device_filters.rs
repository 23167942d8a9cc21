//! The `UpperFilters` of single volume devices, present or not.
//!
//! Snapless writes none, but a Windows upgrade may move a class's filters to its devices. Access is
//! through `SetupAPI`, as the registry keys belong to the system.

use std::io;
use std::ptr;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    GUID_DEVCLASS_VOLUME, HDEVINFO, SP_DEVINFO_DATA, SPDRP_UPPERFILTERS,
    SetupDiDestroyDeviceInfoList, SetupDiEnumDeviceInfo, SetupDiGetClassDevsW,
    SetupDiGetDeviceRegistryPropertyW, SetupDiSetDeviceRegistryPropertyW,
};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_DATA, ERROR_NO_MORE_ITEMS,
    INVALID_HANDLE_VALUE,
};

use crate::error::SetupError;
use crate::filter_list::FilterList;

/// The longest list that is read, in bytes.
const LIST_MAX: u32 = 64 << 10;

/// How many devices have `name` in their lists.
pub(super) fn count(name: &str) -> Result<usize, SetupError> {
    let mut found = 0;
    for_each(|devices, device| {
        found += usize::from(devices.upper_filters(device).map_err(failed("read"))?.contains(name));
        Ok(())
    })?;
    Ok(found)
}

/// Removes `name` from every device's list.
pub(super) fn remove(name: &str) -> Result<(), SetupError> {
    for_each(|devices, device| {
        let mut filters = devices.upper_filters(device).map_err(failed("read"))?;
        if filters.remove(name) {
            devices.set_upper_filters(device, &filters).map_err(failed("write"))?;
        }
        Ok(())
    })
}

fn for_each(
    mut act: impl FnMut(&Devices, &mut SP_DEVINFO_DATA) -> Result<(), SetupError>,
) -> Result<(), SetupError> {
    let devices = Devices::of_volume_class().map_err(failed("list"))?;
    for index in 0.. {
        let Some(mut device) = devices.get(index).map_err(failed("list"))? else { break };
        act(&devices, &mut device)?;
    }
    Ok(())
}

fn failed(verb: &'static str) -> impl FnOnce(io::Error) -> SetupError {
    move |source| SetupError::Devices { verb, source }
}

/// A `SetupAPI` device information set.
struct Devices(HDEVINFO);

impl Devices {
    /// All volumes, including those that are not present.
    fn of_volume_class() -> io::Result<Self> {
        // SAFETY: the class GUID is a constant; enumerator and window are optional.
        let set =
            unsafe { SetupDiGetClassDevsW(&GUID_DEVCLASS_VOLUME, ptr::null(), ptr::null_mut(), 0) };
        if set == INVALID_HANDLE_VALUE as HDEVINFO {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(set))
    }

    fn get(&self, index: u32) -> io::Result<Option<SP_DEVINFO_DATA>> {
        let mut device = SP_DEVINFO_DATA {
            cbSize: u32::try_from(size_of::<SP_DEVINFO_DATA>()).unwrap_or(0),
            ..SP_DEVINFO_DATA::default()
        };
        // SAFETY: the set is open; `device` has its size in `cbSize`.
        if unsafe { SetupDiEnumDeviceInfo(self.0, index, &raw mut device) } != 0 {
            return Ok(Some(device));
        }
        or_none(ERROR_NO_MORE_ITEMS)
    }

    /// A device's list; empty if it has none.
    fn upper_filters(&self, device: &SP_DEVINFO_DATA) -> io::Result<FilterList> {
        let mut units = vec![0_u16; LIST_MAX as usize / 2];
        let mut len = 0;
        // SAFETY: the set is open, `device` is in it, and the buffer has `LIST_MAX` bytes.
        let found = unsafe {
            SetupDiGetDeviceRegistryPropertyW(
                self.0,
                device,
                SPDRP_UPPERFILTERS,
                ptr::null_mut(),
                units.as_mut_ptr().cast(),
                LIST_MAX,
                &raw mut len,
            )
        };
        if found != 0 {
            units.truncate(len as usize / 2);
            return Ok(FilterList::from_units(&units));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error().map(i32::cast_unsigned) {
            // The device has no list.
            Some(ERROR_INVALID_DATA | ERROR_FILE_NOT_FOUND) => Ok(FilterList::default()),
            Some(ERROR_INSUFFICIENT_BUFFER) => Err(io::Error::other("a device's list is too long")),
            _ => Err(error),
        }
    }

    fn set_upper_filters(
        &self,
        device: &mut SP_DEVINFO_DATA,
        filters: &FilterList,
    ) -> io::Result<()> {
        let units = filters.to_units();
        // No buffer removes the property.
        let (start, len) =
            if filters.is_empty() { (ptr::null(), 0) } else { (units.as_ptr(), units.len() * 2) };
        let len = u32::try_from(len).map_err(io::Error::other)?;
        // SAFETY: the set is open, `device` is in it, and `len` bytes are at `start`.
        let done = unsafe {
            SetupDiSetDeviceRegistryPropertyW(self.0, device, SPDRP_UPPERFILTERS, start.cast(), len)
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: the set is open and is closed only here.
        unsafe { SetupDiDestroyDeviceInfoList(self.0) };
    }
}

/// `None` if the last error is `code`.
fn or_none<T>(code: u32) -> io::Result<Option<T>> {
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(code.cast_signed()) { Ok(None) } else { Err(error) }
}

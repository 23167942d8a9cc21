//! The volume class's `UpperFilters` in the registry.

use std::fmt::Display;
use std::io;

use windows_registry::{Key, LOCAL_MACHINE, Type};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::RegFlushKey;

use crate::error::SetupError;
use crate::filter_list::FilterList;

/// The key of device setup class Volume.
const CLASS_KEY: &str =
    r"SYSTEM\CurrentControlSet\Control\Class\{71A27CDD-812A-11D0-BEC7-08002BE2092F}";
const VALUE: &str = "UpperFilters";
const WHAT: &str = "UpperFilters of the volume class";
/// `HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND)`: the key or value does not exist.
pub(super) const NOT_THERE: u32 = 0x8007_0002;

/// The list; empty if the value does not exist.
pub(super) fn read() -> Result<FilterList, SetupError> {
    let value = LOCAL_MACHINE.open(CLASS_KEY).and_then(|key| key.get_value(VALUE));
    match value {
        Ok(value) if value.ty() == Type::MultiString => Ok(FilterList::from_units(value.as_wide())),
        Ok(value) => {
            let kind = value.ty();
            Err(SetupError::BadList(format!("{VALUE} is a {kind:?}, not a list of names")))
        }
        Err(error) if error.code().0.cast_unsigned() == NOT_THERE => Ok(FilterList::default()),
        Err(error) => Err(refused("read", WHAT)(error)),
    }
}

/// Replaces the list, on the disk; removes the value if the list is empty, as Windows does.
pub(super) fn write(filters: &FilterList) -> Result<(), SetupError> {
    let key = LOCAL_MACHINE
        .options()
        .read()
        .write()
        .create()
        .open(CLASS_KEY)
        .map_err(refused("open", WHAT))?;
    if filters.is_empty() {
        key.remove_value(VALUE).map_err(refused("remove", WHAT))?;
    } else {
        let bytes: Vec<u8> =
            filters.to_units().iter().flat_map(|unit| unit.to_le_bytes()).collect();
        key.set_bytes(VALUE, Type::MultiString, &bytes).map_err(refused("write", WHAT))?;
    }
    flush(&key).map_err(refused("flush", WHAT))
}

/// Writes the registry to the disk. Driver, service and list are in one hive, which is written as a
/// whole.
fn flush(key: &Key) -> io::Result<()> {
    // SAFETY: the key is open.
    let status = unsafe { RegFlushKey(key.as_raw()) };
    if status == ERROR_SUCCESS {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(status.cast_signed()))
}

/// For `map_err`: adds operation and object to an error of the registry.
pub(super) fn refused<E: Display>(verb: &'static str, what: &str) -> impl FnOnce(E) -> SetupError {
    let what = what.to_owned();
    move |error| SetupError::Registry { verb, what, why: error.to_string() }
}

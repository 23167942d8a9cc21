//! The volume class's `UpperFilters` in the registry.

use windows_registry::{LOCAL_MACHINE, Type};

use crate::error::SetupError;
use crate::filter_list::FilterList;

/// The key of device setup class Volume.
const CLASS_KEY: &str =
    r"SYSTEM\CurrentControlSet\Control\Class\{71A27CDD-812A-11D0-BEC7-08002BE2092F}";
const VALUE: &str = "UpperFilters";
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
        Err(error) => Err(refused("read")(error)),
    }
}

/// Replaces the list; removes the value if the list is empty, as Windows does.
pub(super) fn write(filters: &FilterList) -> Result<(), SetupError> {
    let key =
        LOCAL_MACHINE.options().read().write().create().open(CLASS_KEY).map_err(refused("open"))?;
    if filters.is_empty() {
        return key.remove_value(VALUE).map_err(refused("remove"));
    }
    let bytes: Vec<u8> = filters.to_units().iter().flat_map(|unit| unit.to_le_bytes()).collect();
    key.set_bytes(VALUE, Type::MultiString, &bytes).map_err(refused("write"))
}

fn refused<E: std::fmt::Display>(verb: &'static str) -> impl FnOnce(E) -> SetupError {
    move |error| SetupError::Registry {
        verb,
        what: format!("{VALUE} of the volume class"),
        why: error.to_string(),
    }
}

//! The COM class of the VSS provider (docs: `LocalService` of an `AppID`): COM finds it in the
//! service.

use snapless_vss::ids::{APPLICATION, CLASS, NAME, PROVIDER, PROVIDERS_KEY};
use windows_registry::LOCAL_MACHINE;

use super::class_filters::refused;
use crate::error::SetupError;
use crate::names::SERVICE;
use crate::system::{Deleted, Found};

const WHAT: &str = "the COM class of the VSS provider";
const APPLICATION_VALUE: &str = "AppID";
const SERVICE_VALUE: &str = "LocalService";

/// Whether the class and its application, the service, are registered.
pub(super) fn look() -> Found {
    let value = |key: &str, name: &str| {
        let found = LOCAL_MACHINE.open(key).and_then(|key| key.get_string(name));
        found.unwrap_or_default()
    };
    let is_there = value(&class(), APPLICATION_VALUE) == APPLICATION.to_string()
        && value(&application(), SERVICE_VALUE) == SERVICE;
    if is_there { Found::AsWanted } else { Found::Other }
}

/// Registers both. The class is last: it leads to the application.
pub(super) fn register() -> Result<(), SetupError> {
    let written = LOCAL_MACHINE
        .create(application())
        .and_then(|key| {
            key.set_string("", NAME)?;
            key.set_string(SERVICE_VALUE, SERVICE)
        })
        .and_then(|()| LOCAL_MACHINE.create(class()))
        .and_then(|key| {
            key.set_string("", NAME)?;
            key.set_string(APPLICATION_VALUE, APPLICATION.to_string())
        });
    written.map_err(refused("register", WHAT))
}

/// Removes both, and what a service that ended in the midst of a freeze has left with VSS.
pub(super) fn remove() -> Result<Deleted, SetupError> {
    let left = format!(r"{PROVIDERS_KEY}\{PROVIDER}");
    let mut deleted = Deleted::Absent;
    for key in [left, class(), application()] {
        if LOCAL_MACHINE.open(&key).is_err() {
            continue;
        }
        LOCAL_MACHINE.remove_tree(&key).map_err(refused("remove", WHAT))?;
        deleted = Deleted::Now;
    }
    Ok(deleted)
}

fn class() -> String {
    format!(r"SOFTWARE\Classes\CLSID\{CLASS}")
}

fn application() -> String {
    format!(r"SOFTWARE\Classes\AppID\{APPLICATION}")
}

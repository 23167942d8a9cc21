//! The service's settings in the service manager (docs: `ChangeServiceConfig2`).
//!
//! Wine's service manager knows the description and the time to shut down only. It refuses to show
//! the others (`ERROR_INVALID_LEVEL`), and takes some without an effect: what it does not show
//! counts as unsupported.

use std::ffi::c_void;
use std::io;
use std::slice;

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceSidType,
};
use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::ERROR_INVALID_LEVEL;
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, QueryServiceConfig2W, SERVICE_CONFIG_DELAYED_AUTO_START_INFO,
    SERVICE_CONFIG_DESCRIPTION, SERVICE_CONFIG_PRESHUTDOWN_INFO,
    SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, SERVICE_DELAYED_AUTO_START_INFO, SERVICE_DESCRIPTIONW,
    SERVICE_PRESHUTDOWN_INFO, SERVICE_REQUIRED_PRIVILEGES_INFOW,
};

use super::services::{code, failed, open};
use crate::error::SetupError;
use crate::names::SERVICE;
use crate::service_settings::{
    DESCRIPTION, FAILURES_FORGOTTEN, PRESHUTDOWN_LIMIT, PRIVILEGES, RESTART_DELAYS, Setting,
};
use crate::system::Found;

/// What the service manager shows of one setting at most (docs: `QueryServiceConfig2`).
const LEN_MAX: u32 = 8 << 10;

/// What the service has of a setting.
pub(super) fn look(setting: Setting) -> Result<Found, SetupError> {
    let Some(service) = open(SERVICE, ServiceAccess::QUERY_CONFIG)? else {
        return Ok(Found::Other);
    };
    let is_as_wanted = match setting {
        Setting::Description => description(&service).map(|found| found == DESCRIPTION),
        Setting::RecoveryActions => service.get_failure_actions().map(|found| is_wanted(&found)),
        Setting::RecoveryWithoutCrash => service.get_failure_actions_on_non_crash_failures(),
        Setting::StartNotDelayed => is_delayed(&service).map(|delayed| !delayed),
        Setting::PreshutdownLimit => {
            preshutdown_ms(&service).map(|ms| u128::from(ms) == PRESHUTDOWN_LIMIT.as_millis())
        }
        Setting::Privileges => privileges(&service).map(|found| found == PRIVILEGES),
        Setting::OwnSid => {
            service.get_config_service_sid_info().map(|found| found == ServiceSidType::Unrestricted)
        }
    };
    match is_as_wanted {
        Ok(true) => Ok(Found::AsWanted),
        Ok(false) => Ok(Found::Other),
        Err(error) if is_unsupported(&error) => Ok(Found::Unsupported),
        Err(error) => Err(failed("query", SERVICE)(error)),
    }
}

/// Sets it.
pub(super) fn set(setting: Setting) -> Result<(), SetupError> {
    // `SERVICE_START`: for an action that starts the service.
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let Some(service) = open(SERVICE, access)? else {
        let why = "it is not registered".to_owned();
        return Err(SetupError::Service { verb: "change", name: SERVICE.to_owned(), why });
    };
    let done = match setting {
        Setting::Description => service.set_description(DESCRIPTION),
        Setting::RecoveryActions => service.update_failure_actions(recovery()),
        Setting::RecoveryWithoutCrash => service.set_failure_actions_on_non_crash_failures(true),
        Setting::StartNotDelayed => service.set_delayed_auto_start(false),
        Setting::PreshutdownLimit => service.set_preshutdown_timeout(PRESHUTDOWN_LIMIT),
        Setting::Privileges => set_privileges(&service),
        Setting::OwnSid => service.set_config_service_sid_info(ServiceSidType::Unrestricted),
    };
    done.map_err(failed("change", SERVICE))
}

fn is_unsupported(error: &windows_service::Error) -> bool {
    code(error) == Some(ERROR_INVALID_LEVEL)
}

fn recovery() -> ServiceFailureActions {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FAILURES_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTART_DELAYS.map(restart).to_vec()),
    }
}

fn is_wanted(found: &ServiceFailureActions) -> bool {
    let wanted = recovery();
    found.reset_period == wanted.reset_period && found.actions == wanted.actions
}

fn description(service: &Service) -> windows_service::Result<String> {
    let reply = query(service, SERVICE_CONFIG_DESCRIPTION)?;
    // SAFETY: the reply begins with this structure.
    let info = unsafe { reply.as_ptr().cast::<SERVICE_DESCRIPTIONW>().read() };
    Ok(String::from_utf16_lossy(until_nul(&reply, info.lpDescription, 1)))
}

fn is_delayed(service: &Service) -> windows_service::Result<bool> {
    let reply = query(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO)?;
    // SAFETY: the reply begins with this structure.
    let info = unsafe { reply.as_ptr().cast::<SERVICE_DELAYED_AUTO_START_INFO>().read() };
    Ok(info.fDelayedAutostart != 0)
}

fn preshutdown_ms(service: &Service) -> windows_service::Result<u32> {
    let reply = query(service, SERVICE_CONFIG_PRESHUTDOWN_INFO)?;
    // SAFETY: the reply begins with this structure.
    let info = unsafe { reply.as_ptr().cast::<SERVICE_PRESHUTDOWN_INFO>().read() };
    Ok(info.dwPreshutdownTimeout)
}

fn privileges(service: &Service) -> windows_service::Result<Vec<String>> {
    let reply = query(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO)?;
    // SAFETY: the reply begins with this structure.
    let info = unsafe { reply.as_ptr().cast::<SERVICE_REQUIRED_PRIVILEGES_INFOW>().read() };
    let units = until_nul(&reply, info.pmszRequiredPrivileges, 2);
    let names = units.split(|unit| *unit == 0).filter(|name| !name.is_empty());
    Ok(names.map(String::from_utf16_lossy).collect())
}

fn set_privileges(service: &Service) -> windows_service::Result<()> {
    let list = PRIVILEGES.map(|name| format!("{name}\0")).concat();
    // It ends with one more zero, which the string adds.
    let list = HSTRING::from(list);
    let info =
        SERVICE_REQUIRED_PRIVILEGES_INFOW { pmszRequiredPrivileges: list.as_ptr().cast_mut() };
    let level = SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO;
    let info = (&raw const info).cast::<c_void>();
    // SAFETY: the service is open; structure and list live until the call ends, which reads them.
    let done = unsafe { ChangeServiceConfig2W(service.raw_handle(), level, info) };
    if done == 0 { Err(windows_service::Error::Winapi(io::Error::last_os_error())) } else { Ok(()) }
}

/// A setting as the service manager shows it: a structure, and the texts that it refers to.
fn query(service: &Service, level: u32) -> windows_service::Result<Vec<u64>> {
    // As aligned as the structures.
    let mut reply = vec![0_u64; LEN_MAX as usize / size_of::<u64>()];
    let mut needed = 0;
    let place = reply.as_mut_ptr().cast::<u8>();
    // SAFETY: the service is open, and the place has `LEN_MAX` bytes.
    let done = unsafe {
        QueryServiceConfig2W(service.raw_handle(), level, place, LEN_MAX, &raw mut needed)
    };
    if done == 0 {
        Err(windows_service::Error::Winapi(io::Error::last_os_error()))
    } else {
        Ok(reply)
    }
}

/// The units of a text in `reply`, up to `zeros` zeros in a row; nothing if it is not in there.
fn until_nul(reply: &[u64], text: *const u16, zeros: usize) -> &[u16] {
    let len = size_of_val(reply) / size_of::<u16>();
    // SAFETY: the reply is that long, and any bytes are units.
    let units = unsafe { slice::from_raw_parts(reply.as_ptr().cast::<u16>(), len) };
    let start = (text as usize).wrapping_sub(units.as_ptr() as usize) / size_of::<u16>();
    let Some(rest) = units.get(start..) else { return &[] };
    let end = rest.windows(zeros).position(|window| window.iter().all(|unit| *unit == 0));
    &rest[..end.unwrap_or(0)]
}

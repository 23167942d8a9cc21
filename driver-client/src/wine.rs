//! Whether this is Wine, which has less than Windows and does not always say so.

use std::sync::LazyLock;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::core::w;

/// True on Wine.
pub fn is_wine() -> bool {
    static IS_WINE: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: the name is NUL-terminated; every process has this module.
        let module = unsafe { GetModuleHandleW(w!("ntdll.dll")) };
        // SAFETY: the module stays loaded; the name is NUL-terminated.
        unsafe { GetProcAddress(module, c"wine_get_version".as_ptr().cast()) }.is_some()
    });
    *IS_WINE
}

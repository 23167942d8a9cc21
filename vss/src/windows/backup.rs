//! `IVssBackupComponents`, which `windows` does not have: it is a C++ class of the Windows SDK
//! (`vsbackup.h`) with the table of a COM interface. A table that is out of order calls another
//! method: `tests/slots.rs` compares it with mingw-w64's header. Methods that are not called stand
//! without their parameters.

#![allow(non_snake_case, dead_code, reason = "the names of the header; methods keep their places")]
#![allow(clippy::missing_safety_doc, reason = "the calls are in `requestor`")]
#![allow(clippy::transmute_ptr_to_ptr, reason = "in what `interface` makes")]

use std::ffi::c_void;

use windows::Win32::Storage::Vss::{IVssAsync, VSS_BACKUP_TYPE};
use windows::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
};
use windows::core::{
    BSTR, Error, GUID, HRESULT, IUnknown, IUnknown_Vtbl, Interface, interface, s, w,
};

use crate::conductor::StepError;

#[interface("665c1d5f-c218-414d-a05d-7fef5f9d5c86")]
pub(super) unsafe trait IVssBackupComponents: IUnknown {
    pub unsafe fn GetWriterComponentsCount(&self) -> HRESULT;
    pub unsafe fn GetWriterComponents(&self) -> HRESULT;
    pub unsafe fn InitializeForBackup(&self, xml: *const u16) -> HRESULT;
    pub unsafe fn SetBackupState(
        &self,
        selects_components: bool,
        has_system_state: bool,
        kind: VSS_BACKUP_TYPE,
        has_partial_files: bool,
    ) -> HRESULT;
    pub unsafe fn InitializeForRestore(&self) -> HRESULT;
    pub unsafe fn SetRestoreState(&self) -> HRESULT;
    pub unsafe fn GatherWriterMetadata(&self, task: *mut Option<IVssAsync>) -> HRESULT;
    pub unsafe fn GetWriterMetadataCount(&self) -> HRESULT;
    pub unsafe fn GetWriterMetadata(&self) -> HRESULT;
    pub unsafe fn FreeWriterMetadata(&self) -> HRESULT;
    pub unsafe fn AddComponent(&self) -> HRESULT;
    pub unsafe fn PrepareForBackup(&self, task: *mut Option<IVssAsync>) -> HRESULT;
    pub unsafe fn AbortBackup(&self) -> HRESULT;
    pub unsafe fn GatherWriterStatus(&self, task: *mut Option<IVssAsync>) -> HRESULT;
    pub unsafe fn GetWriterStatusCount(&self, count: *mut u32) -> HRESULT;
    pub unsafe fn FreeWriterStatus(&self) -> HRESULT;
    pub unsafe fn GetWriterStatus(
        &self,
        index: u32,
        instance: *mut GUID,
        writer: *mut GUID,
        name: *mut BSTR,
        state: *mut i32,
        failure: *mut HRESULT,
    ) -> HRESULT;
    pub unsafe fn SetBackupSucceeded(&self) -> HRESULT;
    pub unsafe fn SetBackupOptions(&self) -> HRESULT;
    pub unsafe fn SetSelectedForRestore(&self) -> HRESULT;
    pub unsafe fn SetRestoreOptions(&self) -> HRESULT;
    pub unsafe fn SetAdditionalRestores(&self) -> HRESULT;
    pub unsafe fn SetPreviousBackupStamp(&self) -> HRESULT;
    pub unsafe fn SaveAsXML(&self) -> HRESULT;
    pub unsafe fn BackupComplete(&self, task: *mut Option<IVssAsync>) -> HRESULT;
    pub unsafe fn AddAlternativeLocationMapping(&self) -> HRESULT;
    pub unsafe fn AddRestoreSubcomponent(&self) -> HRESULT;
    pub unsafe fn SetFileRestoreStatus(&self) -> HRESULT;
    pub unsafe fn AddNewTarget(&self) -> HRESULT;
    pub unsafe fn SetRangesFilePath(&self) -> HRESULT;
    pub unsafe fn PreRestore(&self) -> HRESULT;
    pub unsafe fn PostRestore(&self) -> HRESULT;
    pub unsafe fn SetContext(&self, context: i32) -> HRESULT;
    pub unsafe fn StartSnapshotSet(&self, set: *mut GUID) -> HRESULT;
    pub unsafe fn AddToSnapshotSet(
        &self,
        volume: *const u16,
        provider: GUID,
        snapshot: *mut GUID,
    ) -> HRESULT;
    pub unsafe fn DoSnapshotSet(&self, task: *mut Option<IVssAsync>) -> HRESULT;
}

/// `CreateVssBackupComponentsInternal` of `vssapi.dll`.
type Create = unsafe extern "system" fn(*mut *mut c_void) -> HRESULT;

/// A new one. The library is loaded when it is needed: the service runs without it.
pub(super) fn create() -> Result<IVssBackupComponents, StepError> {
    // SAFETY: the name is NUL-terminated; the library is Windows' own, from its own folder.
    let library = unsafe { LoadLibraryExW(w!("vssapi.dll"), None, LOAD_LIBRARY_SEARCH_SYSTEM32) }?;
    // SAFETY: the library stays loaded; the name is NUL-terminated.
    let found = unsafe { GetProcAddress(library, s!("CreateVssBackupComponentsInternal")) };
    let found = found.ok_or_else(Error::from_thread)?;
    // SAFETY: the function of this name has this signature (`vsbackup.h`).
    let create =
        unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, Create>(found) };
    let mut made = std::ptr::null_mut();
    // SAFETY: `made` is a valid place.
    unsafe { create(&raw mut made) }.ok()?;
    if made.is_null() {
        return Err(Error::from_hresult(windows::Win32::Foundation::E_POINTER).into());
    }
    // SAFETY: the call has succeeded: `made` is an interface with a reference of ours.
    Ok(unsafe { IVssBackupComponents::from_raw(made) })
}

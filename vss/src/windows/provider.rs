//! The provider: a software provider (docs: `vsprov.h`) that supports one volume, makes no shadow
//! copy, and takes the instant in `CommitSnapshots`.
//!
//! Rule: while `CommitSnapshots` runs, writers are frozen and writes are held: what is done there
//! is [`OnCommit::commit`] alone, which does no input or output on a disk, nor logs.
#![allow(non_snake_case, reason = "the names of the interfaces")]
#![allow(clippy::inline_always, clippy::ref_as_ptr, reason = "in what `implement` makes")]

use std::ffi::c_void;
use std::sync::Arc;

use windows::Win32::Foundation::{CLASS_E_NOAGGREGATION, E_NOTIMPL, E_POINTER, S_FALSE};
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssEnumObject, IVssEnumObject_Impl, IVssProviderCreateSnapshotSet,
    IVssProviderCreateSnapshotSet_Impl, IVssProviderNotifications, IVssProviderNotifications_Impl,
    IVssSoftwareSnapshotProvider, IVssSoftwareSnapshotProvider_Impl, VSS_E_OBJECT_NOT_FOUND,
    VSS_E_PROVIDER_VETO, VSS_OBJECT_PROP, VSS_OBJECT_TYPE, VSS_SNAPSHOT_PROP,
    VSS_SNAPSHOT_PROPERTY_ID,
};
use windows::Win32::System::Com::{IClassFactory, IClassFactory_Impl};
use windows::Win32::System::Variant::VARIANT;
use windows::core::{
    BOOL, Error, GUID, HSTRING, IUnknown, Interface, OutRef, PCWSTR, Ref, Result, implement,
};

use crate::commit::OnCommit;

/// Makes providers for COM.
#[implement(IClassFactory)]
pub(super) struct Factory {
    volume: HSTRING,
    on_commit: Arc<dyn OnCommit>,
}

impl Factory {
    /// Of providers of this volume.
    pub(super) fn new(volume: HSTRING, on_commit: Arc<dyn OnCommit>) -> Self {
        Self { volume, on_commit }
    }
}

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<'_, IUnknown>,
        wanted: *const GUID,
        made: *mut *mut c_void,
    ) -> Result<()> {
        if !outer.is_null() {
            return Err(CLASS_E_NOAGGREGATION.into());
        }
        let (volume, on_commit) = (self.volume.clone(), Arc::clone(&self.on_commit));
        let provider: IUnknown = Provider { volume, on_commit }.into();
        // SAFETY: COM gives an interface's id and a place for it.
        unsafe { provider.query(wanted, made) }.ok()
    }

    fn LockServer(&self, _lock: BOOL) -> Result<()> {
        // The service is there anyhow.
        Ok(())
    }
}

/// The provider.
#[implement(IVssSoftwareSnapshotProvider, IVssProviderCreateSnapshotSet, IVssProviderNotifications)]
struct Provider {
    volume: HSTRING,
    on_commit: Arc<dyn OnCommit>,
}

impl IVssSoftwareSnapshotProvider_Impl for Provider_Impl {
    fn SetContext(&self, _context: i32) -> Result<()> {
        Ok(())
    }

    fn GetSnapshotProperties(&self, _id: &GUID, _to: *mut VSS_SNAPSHOT_PROP) -> Result<()> {
        Err(VSS_E_OBJECT_NOT_FOUND.into())
    }

    fn Query(
        &self,
        _queried: &GUID,
        _kind: VSS_OBJECT_TYPE,
        _returned: VSS_OBJECT_TYPE,
    ) -> Result<IVssEnumObject> {
        Ok(Nothing.into())
    }

    fn DeleteSnapshots(
        &self,
        source: &GUID,
        _kind: VSS_OBJECT_TYPE,
        _force: BOOL,
        deleted: *mut i32,
        not_deleted: *mut GUID,
    ) -> Result<()> {
        if deleted.is_null() || not_deleted.is_null() {
            return Err(E_POINTER.into());
        }
        // SAFETY: VSS's place for the number.
        unsafe { deleted.write(0) };
        // SAFETY: VSS's place for an id.
        unsafe { not_deleted.write(*source) };
        Ok(())
    }

    fn BeginPrepareSnapshot(
        &self,
        _set: &GUID,
        _id: &GUID,
        _volume: *const u16,
        _context: i32,
    ) -> Result<()> {
        Ok(())
    }

    fn IsVolumeSupported(&self, volume: *const u16) -> Result<BOOL> {
        if volume.is_null() {
            return Err(E_POINTER.into());
        }
        // SAFETY: VSS gives a NUL-terminated name.
        let asked = unsafe { PCWSTR(volume).to_string() }.unwrap_or_default();
        Ok(asked.eq_ignore_ascii_case(&self.volume.to_string()).into())
    }

    fn IsVolumeSnapshotted(
        &self,
        _volume: *const u16,
        is_there: *mut BOOL,
        compatibility: *mut i32,
    ) -> Result<()> {
        if is_there.is_null() || compatibility.is_null() {
            return Err(E_POINTER.into());
        }
        // SAFETY: VSS's place for the answer.
        unsafe { is_there.write(BOOL(0)) };
        // SAFETY: VSS's place for its flags.
        unsafe { compatibility.write(0) };
        Ok(())
    }

    fn SetSnapshotProperty(
        &self,
        _id: &GUID,
        _property: VSS_SNAPSHOT_PROPERTY_ID,
        _value: &VARIANT,
    ) -> Result<()> {
        Err(E_NOTIMPL.into())
    }

    fn RevertToSnapshot(&self, _id: &GUID) -> Result<()> {
        Err(E_NOTIMPL.into())
    }

    fn QueryRevertStatus(&self, _volume: *const u16) -> Result<IVssAsync> {
        Err(E_NOTIMPL.into())
    }
}

impl IVssProviderCreateSnapshotSet_Impl for Provider_Impl {
    fn EndPrepareSnapshots(&self, _set: &GUID) -> Result<()> {
        Ok(())
    }

    fn PreCommitSnapshots(&self, _set: &GUID) -> Result<()> {
        Ok(())
    }

    fn CommitSnapshots(&self, _set: &GUID) -> Result<()> {
        if self.on_commit.commit() { Ok(()) } else { Err(VSS_E_PROVIDER_VETO.into()) }
    }

    fn PostCommitSnapshots(&self, _set: &GUID, _count: i32) -> Result<()> {
        Ok(())
    }

    fn PreFinalCommitSnapshots(&self, _set: &GUID) -> Result<()> {
        Ok(())
    }

    fn PostFinalCommitSnapshots(&self, _set: &GUID) -> Result<()> {
        Ok(())
    }

    fn AbortSnapshots(&self, _set: &GUID) -> Result<()> {
        Ok(())
    }
}

impl IVssProviderNotifications_Impl for Provider_Impl {
    fn OnLoad(&self, _callback: Ref<'_, IUnknown>) -> Result<()> {
        Ok(())
    }

    fn OnUnload(&self, _force: BOOL) -> Result<()> {
        Ok(())
    }
}

/// The shadow copies of the provider: none.
#[implement(IVssEnumObject)]
struct Nothing;

impl IVssEnumObject_Impl for Nothing_Impl {
    fn Next(&self, _wanted: u32, _to: *mut VSS_OBJECT_PROP, given: *mut u32) -> Result<()> {
        if given.is_null() {
            return Err(E_POINTER.into());
        }
        // SAFETY: VSS's place for the number.
        unsafe { given.write(0) };
        Err(Error::from_hresult(S_FALSE))
    }

    fn Skip(&self, _count: u32) -> Result<()> {
        Err(Error::from_hresult(S_FALSE))
    }

    fn Reset(&self) -> Result<()> {
        Ok(())
    }

    fn Clone(&self, to: OutRef<'_, IVssEnumObject>) -> Result<()> {
        to.write(Some(Nothing.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use windows::core::HRESULT;

    use super::*;

    /// Counts how often it is asked; there is an instant once only.
    struct Once(AtomicUsize);

    impl OnCommit for Once {
        fn commit(&self) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst) == 0
        }
    }

    const VOLUME: &str = r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\";

    #[test]
    fn com_gets_a_provider_of_one_volume_that_makes_nothing_and_asks_at_the_commit() {
        let asked = Arc::new(Once(AtomicUsize::new(0)));
        let on_commit = Arc::clone(&asked) as Arc<dyn OnCommit>;
        let factory: IClassFactory = Factory::new(VOLUME.into(), on_commit).into();
        // SAFETY: no object is aggregated.
        let made = unsafe { factory.CreateInstance(None) };
        let provider: IVssSoftwareSnapshotProvider = made.unwrap();
        let supports = |volume: &str| {
            let volume = HSTRING::from(volume);
            // SAFETY: the name is NUL-terminated.
            unsafe { provider.IsVolumeSupported(volume.as_ptr()) }.unwrap().as_bool()
        };
        assert!(supports(&VOLUME.to_uppercase()) && !supports(r"C:\"));
        let set: IVssProviderCreateSnapshotSet = provider.cast().unwrap();
        let id = GUID::zeroed();
        // SAFETY: values only.
        unsafe { set.PreCommitSnapshots(id) }.unwrap();
        assert_eq!(asked.0.load(Ordering::SeqCst), 0);
        // SAFETY: values only.
        unsafe { set.CommitSnapshots(id) }.unwrap();
        assert_eq!(asked.0.load(Ordering::SeqCst), 1);
        // SAFETY: values only.
        let refused = unsafe { set.CommitSnapshots(id) }.unwrap_err();
        assert_eq!(refused.code(), VSS_E_PROVIDER_VETO);
        let (kind, of) = (VSS_OBJECT_TYPE(0), VSS_OBJECT_TYPE(0));
        // SAFETY: values only.
        let copies = unsafe { provider.Query(id, kind, of) }.unwrap();
        let (mut none, mut count) = (VSS_OBJECT_PROP::default(), 1);
        let table = Interface::vtable(&copies);
        // SAFETY: a place for one, and a place for the number.
        let next: HRESULT =
            unsafe { (table.Next)(Interface::as_raw(&copies), 1, &raw mut none, &raw mut count) };
        assert_eq!((next, count), (S_FALSE, 0));
        provider.cast::<IVssProviderNotifications>().unwrap();
    }
}

//! The provider's registration with COM and VSS, for as long as a freeze takes.
//!
//! The class's entry in the registry, which names the service as its application, is put there by
//! the setup (`installer/src/windows/provider.rs`).

use std::sync::Arc;

use windows::Win32::Storage::Vss::{
    IVssAdmin, VSS_E_PROVIDER_ALREADY_REGISTERED, VSS_PROV_SOFTWARE, VSSCoordinator,
};
use windows::Win32::System::Com::{
    CLSCTX_ALL, CLSCTX_LOCAL_SERVER, CoCreateInstance, CoRegisterClassObject, CoRevokeClassObject,
    IClassFactory, REGCLS_MULTIPLEUSE,
};
use windows::core::{GUID, HSTRING};
use windows_registry::LOCAL_MACHINE;

use super::provider::Factory;
use crate::commit::OnCommit;
use crate::conductor::StepError;
use crate::ids;

/// The provider is registered until this is dropped.
pub(super) struct Registered {
    class: u32,
}

impl Registered {
    /// Registers it; what an earlier freeze has left is replaced.
    pub(super) fn new(volume: &HSTRING, on_commit: Arc<dyn OnCommit>) -> Result<Self, StepError> {
        let factory: IClassFactory = Factory::new(volume.clone(), on_commit).into();
        let id = GUID::from(ids::CLASS);
        // SAFETY: the id is valid during the call; COM holds the factory until it is revoked.
        let class = unsafe {
            CoRegisterClassObject(&raw const id, &factory, CLSCTX_LOCAL_SERVER, REGCLS_MULTIPLEUSE)
        }?;
        // From here on it is revoked.
        let registered = Self { class };
        match add() {
            Err(error) if error.code() == VSS_E_PROVIDER_ALREADY_REGISTERED => {
                remove()?;
                add()?;
            }
            added => added?,
        }
        Ok(registered)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The next freeze, or the next start of the service, removes what stays.
        _ = remove();
        // SAFETY: `new` has registered it.
        _ = unsafe { CoRevokeClassObject(self.class) };
    }
}

/// True if the provider is registered with VSS.
pub(super) fn is_left() -> bool {
    LOCAL_MACHINE.open(format!(r"{}\{}", ids::PROVIDERS_KEY, ids::PROVIDER)).is_ok()
}

/// Takes it off.
pub(super) fn remove() -> Result<(), StepError> {
    let admin = admin()?;
    // SAFETY: a value only.
    unsafe { admin.UnregisterProvider(ids::PROVIDER.into()) }?;
    Ok(())
}

fn add() -> windows::core::Result<()> {
    let (name, version) = (HSTRING::from(ids::NAME), HSTRING::from(env!("CARGO_PKG_VERSION")));
    let admin = admin()?;
    // SAFETY: the texts are NUL-terminated, and VSS copies them.
    unsafe {
        admin.RegisterProvider(
            ids::PROVIDER.into(),
            ids::CLASS.into(),
            name.as_ptr(),
            VSS_PROV_SOFTWARE,
            version.as_ptr(),
            ids::PROVIDER_VERSION.into(),
        )
    }
}

fn admin() -> windows::core::Result<IVssAdmin> {
    // SAFETY: the caller is in an apartment.
    unsafe { CoCreateInstance(&VSSCoordinator, None, CLSCTX_ALL) }
}

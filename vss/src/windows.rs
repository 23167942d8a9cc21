//! VSS on Windows: the requestor and the provider, both in the process of the service.
//!
//! A provider is a COM server out of VSS's process (docs: "Developing VSS Hardware Providers").
//! Windows' own is a service (`swprv`), and so is ours: the service that asks for the freeze
//! answers `CommitSnapshots` itself, so that no event, pipe or second program is between. It is
//! registered with VSS only while a freeze is under way: VSS asks every registered provider at
//! every shadow copy of any program, and fails with one that does not answer.

mod apartment;
mod backup;
mod provider;
mod registration;
mod requestor;

use std::sync::Arc;

use crate::code::Code;
use crate::commit::{Commit, OnCommit};
use crate::conductor::{self, FreezeError, Frozen, Step, StepError};
use crate::windows::apartment::Apartment;
use crate::windows::requestor::VssRequestor;

/// Freezes, takes, thaws.
pub(crate) fn freeze<T: Send + 'static, E: Send + 'static>(
    volume: &str,
    commit: &Arc<Commit<T, E>>,
) -> Result<Frozen<T>, FreezeError<E>> {
    let begin = |why| FreezeError::Step { step: Step::Begin, why };
    // Left when the requestor is gone.
    let _apartment = Apartment::enter().map_err(begin)?;
    let provider = Arc::clone(commit) as Arc<dyn OnCommit>;
    let mut requestor = VssRequestor::new(volume, provider).map_err(begin)?;
    conductor::freeze(&mut requestor, commit)
}

/// Removes what was left registered.
pub(crate) fn clean_up() -> Result<(), StepError> {
    if !registration::is_left() {
        return Ok(());
    }
    let _apartment = Apartment::enter()?;
    registration::remove()
}

impl From<windows::core::Error> for StepError {
    fn from(error: windows::core::Error) -> Self {
        Self::Code(Code(error.code().0.cast_unsigned()))
    }
}

impl From<crate::ids::Id> for windows::core::GUID {
    fn from(id: crate::ids::Id) -> Self {
        Self::from_u128(id.0)
    }
}

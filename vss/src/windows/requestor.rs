//! The requestor: [`Requestor`] by `IVssBackupComponents`.
//!
//! Rules:
//! - The backup is a *copy* (`VSS_BT_COPY`): the applications' own chains of backups are not broken
//!   and no log is truncated.
//! - It is of the volume, not of components: each writer freezes what it has on the volume.
//! - The context is the one that QEMU's guest agent has shown to work with a provider that makes no
//!   copy: writers take part, and nothing is recovered in, or read of, a copy that is not there.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use windows::Win32::Foundation::E_UNEXPECTED;
use windows::Win32::Storage::Vss::{
    IVssAsync, VSS_BT_COPY, VSS_CTX_APP_ROLLBACK, VSS_E_UNSUPPORTED_CONTEXT, VSS_S_ASYNC_CANCELLED,
    VSS_S_ASYNC_FINISHED, VSS_S_ASYNC_PENDING, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY,
    VSS_VOLSNAP_ATTR_TRANSPORTABLE, VSS_VOLSNAP_ATTR_TXF_RECOVERY,
};
use windows::core::{BSTR, Error, GUID, HRESULT, HSTRING};

use super::backup::{self, IVssBackupComponents};
use super::registration::Registered;
use crate::code::Code;
use crate::commit::OnCommit;
use crate::conductor::{Requestor, Step, StepError};
use crate::ids;
use crate::writer::Writer;

/// How often it is looked whether VSS is done. It goes on with a freeze only when it is asked.
const POLL: Duration = Duration::from_millis(10);

/// Writers take part; no recovery in the copy; not surfaced on this machine.
const CONTEXT: i32 = VSS_CTX_APP_ROLLBACK.0
    | VSS_VOLSNAP_ATTR_TRANSPORTABLE.0
    | VSS_VOLSNAP_ATTR_NO_AUTORECOVERY.0
    | VSS_VOLSNAP_ATTR_TXF_RECOVERY.0;
/// Windows that is no server does not know [`VSS_VOLSNAP_ATTR_TRANSPORTABLE`].
const CONTEXT_OF_CLIENTS: i32 = CONTEXT & !VSS_VOLSNAP_ATTR_TRANSPORTABLE.0;

/// A backup of one volume, with our provider.
pub(super) struct VssRequestor {
    components: IVssBackupComponents,
    volume: HSTRING,
    _provider: Registered,
}

impl VssRequestor {
    /// Registers the provider, which takes the instant by `on_commit`.
    pub(super) fn new(volume: &str, on_commit: Arc<dyn OnCommit>) -> Result<Self, StepError> {
        let components = backup::create()?;
        let volume = HSTRING::from(volume);
        let provider = Registered::new(&volume, on_commit)?;
        Ok(Self { components, volume, _provider: provider })
    }

    fn begin(&self) -> Result<(), StepError> {
        // SAFETY: there is no XML.
        unsafe { self.components.InitializeForBackup(std::ptr::null()) }.ok()?;
        // SAFETY: values only.
        unsafe { self.components.SetBackupState(false, true, VSS_BT_COPY, false) }.ok()?;
        // SAFETY: a value only.
        let mut set = unsafe { self.components.SetContext(CONTEXT) };
        if set == VSS_E_UNSUPPORTED_CONTEXT {
            // SAFETY: a value only.
            set = unsafe { self.components.SetContext(CONTEXT_OF_CLIENTS) };
        }
        Ok(set.ok()?)
    }

    fn open(&self) -> Result<(), StepError> {
        let (mut set, mut snapshot) = (GUID::zeroed(), GUID::zeroed());
        // SAFETY: `set` is a valid place.
        unsafe { self.components.StartSnapshotSet(&raw mut set) }.ok()?;
        let (volume, provider) = (self.volume.as_ptr(), ids::PROVIDER.into());
        // SAFETY: the name is NUL-terminated, and `snapshot` a valid place.
        unsafe { self.components.AddToSnapshotSet(volume, provider, &raw mut snapshot) }.ok()?;
        Ok(())
    }

    fn writer(&self, index: u32) -> Result<Writer, StepError> {
        let (mut instance, mut class) = (GUID::zeroed(), GUID::zeroed());
        let (mut name, mut state, mut failure) = (BSTR::new(), 0, HRESULT(0));
        // SAFETY: all are valid places.
        let told = unsafe {
            self.components.GetWriterStatus(
                index,
                &raw mut instance,
                &raw mut class,
                &raw mut name,
                &raw mut state,
                &raw mut failure,
            )
        };
        told.ok()?;
        Ok(Writer { name: name.to_string(), state, failure: Code(failure.0.cast_unsigned()) })
    }
}

impl Requestor for VssRequestor {
    fn carry_out(&mut self, step: Step, limit: Duration) -> Result<(), StepError> {
        let it = &self.components;
        match step {
            Step::Begin => self.begin(),
            Step::Open => self.open(),
            // SAFETY: `wait` gives valid places.
            Step::Gather => wait(limit, |task| unsafe { it.GatherWriterMetadata(task) }),
            // SAFETY: the same.
            Step::Prepare => wait(limit, |task| unsafe { it.PrepareForBackup(task) }),
            // SAFETY: the same.
            Step::Freeze => wait(limit, |task| unsafe { it.DoSnapshotSet(task) }),
            // SAFETY: the same.
            Step::Complete => wait(limit, |task| unsafe { it.BackupComplete(task) }),
        }
    }

    fn writers(&mut self, limit: Duration) -> Result<Vec<Writer>, StepError> {
        // SAFETY: `wait` gives a valid place.
        wait(limit, |task| unsafe { self.components.GatherWriterStatus(task) })?;
        let mut count = 0;
        // SAFETY: `count` is a valid place.
        unsafe { self.components.GetWriterStatusCount(&raw mut count) }.ok()?;
        let writers = (0..count).map(|index| self.writer(index)).collect();
        // SAFETY: it frees what was gathered; the writers were copied.
        _ = unsafe { self.components.FreeWriterStatus() };
        writers
    }

    fn abort(&mut self) {
        // It fails where there is nothing to abort.
        // SAFETY: it has no parameters.
        _ = unsafe { self.components.AbortBackup() };
    }
}

/// Begins what VSS does by itself, and waits for it. What takes too long is cancelled.
fn wait(
    limit: Duration,
    call: impl FnOnce(*mut Option<IVssAsync>) -> HRESULT,
) -> Result<(), StepError> {
    let mut task = None;
    call(&raw mut task).ok()?;
    let task = task.ok_or_else(|| Error::from_hresult(E_UNEXPECTED))?;
    let begun = Instant::now();
    loop {
        let mut status = HRESULT(0);
        // SAFETY: `status` is a valid place; the other one is reserved.
        unsafe { task.QueryStatus(&raw mut status, std::ptr::null_mut()) }?;
        if status == VSS_S_ASYNC_FINISHED {
            return Ok(());
        }
        if status != VSS_S_ASYNC_PENDING {
            let failure = if status == VSS_S_ASYNC_CANCELLED { E_UNEXPECTED } else { status };
            return Err(StepError::Code(Code(failure.0.cast_unsigned())));
        }
        if begun.elapsed() >= limit {
            // SAFETY: it has no parameters.
            _ = unsafe { task.Cancel() };
            return Err(StepError::TooLong(limit));
        }
        sleep(POLL);
    }
}

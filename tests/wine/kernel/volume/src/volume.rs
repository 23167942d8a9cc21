//! The volume device: checks requests, answers some, and submits the others to the scheduler.
//!
//! The rule: the volume is as strict as a disk: whole sectors, within its length, and no more than
//! the buffer holds.

use alloc::sync::Arc;

use nt::irp::Irp;
use wdk_sys::{
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS,
    IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_READ, IRP_MJ_SHUTDOWN, IRP_MJ_WRITE,
    IRP_MN_DEVICE_USAGE_NOTIFICATION, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE,
    IRP_MN_SURPRISE_REMOVAL, NTSTATUS, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_INVALID_USER_BUFFER, STATUS_NO_SUCH_DEVICE, STATUS_NOT_SUPPORTED, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};

use crate::{config::SECTOR, dataset, payload, queries, scheduler::Scheduler};

/// The volume device's state.
pub(crate) struct Volume {
    pub(crate) scheduler: Arc<Scheduler>,
    /// `DO_…`
    pub(crate) io_model: u32,
}

impl Volume {
    /// Handles a packet that reached the bottom of the volume's stack.
    pub(crate) fn dispatch(&self, mut irp: Irp) -> NTSTATUS {
        self.scheduler.top.arrived(&irp);
        match u32::from(irp.function().0) {
            IRP_MJ_READ | IRP_MJ_WRITE => match self.check_transfer(&irp) {
                Ok(0) => irp.complete(STATUS_SUCCESS, 0),
                Ok(_) => self.take(irp),
                Err(status) => irp.complete(status, 0),
            },
            IRP_MJ_FLUSH_BUFFERS => self.take(irp),
            IRP_MJ_DEVICE_CONTROL
                if irp.device_control().0 == dataset::CODE
                    && self.scheduler.switches.takes_data_set() =>
            {
                match dataset::ranges(&irp, self.scheduler.store.length()) {
                    Ok(_) => self.take(irp),
                    Err(status) => irp.complete(status, 0),
                }
            }
            IRP_MJ_DEVICE_CONTROL if self.scheduler.is_gone() => {
                irp.complete(STATUS_NO_SUCH_DEVICE, 0)
            }
            IRP_MJ_DEVICE_CONTROL => {
                let (status, information) = queries::answer(self, &mut irp);
                irp.complete(status, information)
            }
            major @ (IRP_MJ_CREATE | IRP_MJ_CLOSE) => {
                self.scheduler.count_handle(major == IRP_MJ_CREATE);
                irp.complete(STATUS_SUCCESS, 0)
            }
            IRP_MJ_CLEANUP | IRP_MJ_SHUTDOWN | IRP_MJ_POWER => irp.complete(STATUS_SUCCESS, 0),
            IRP_MJ_PNP => {
                match u32::from(irp.function().1) {
                    IRP_MN_DEVICE_USAGE_NOTIFICATION if self.scheduler.switches.refuses_usage() => {
                        return irp.complete(STATUS_UNSUCCESSFUL, 0);
                    }
                    IRP_MN_SURPRISE_REMOVAL => self.scheduler.set_gone(true),
                    IRP_MN_REMOVE_DEVICE => self.scheduler.forget_handles(),
                    IRP_MN_START_DEVICE => self.scheduler.set_gone(false),
                    _ => {}
                }
                answer_pnp(irp)
            }
            _ => irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0),
        }
    }

    fn take(&self, mut irp: Irp) -> NTSTATUS {
        irp.mark_pending();
        self.scheduler.submit(irp);
        STATUS_PENDING
    }

    fn check_transfer(&self, irp: &Irp) -> Result<u32, NTSTATUS> {
        let (length, offset) = irp.transfer();
        let offset = u64::try_from(offset).map_err(|_| STATUS_INVALID_PARAMETER)?;
        if !length.is_multiple_of(SECTOR) || !offset.is_multiple_of(u64::from(SECTOR)) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let end = offset.checked_add(u64::from(length)).ok_or(STATUS_INVALID_PARAMETER)?;
        if end > self.scheduler.store.length() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if length == 0 {
            return Ok(0);
        }
        match payload::room(irp, self.io_model) {
            Some(room) if room >= length as usize => Ok(length),
            _ => Err(STATUS_INVALID_USER_BUFFER),
        }
    }
}

/// The bus driver's part of plug and play: announcements succeed; a query that no driver above has
/// answered stays unanswered.
pub(crate) fn answer_pnp(irp: Irp) -> NTSTATUS {
    use wdk_sys::{
        IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_QUERY_REMOVE_DEVICE,
        IRP_MN_QUERY_STOP_DEVICE, IRP_MN_STOP_DEVICE,
    };
    match u32::from(irp.function().1) {
        IRP_MN_START_DEVICE
        | IRP_MN_QUERY_STOP_DEVICE
        | IRP_MN_CANCEL_STOP_DEVICE
        | IRP_MN_STOP_DEVICE
        | IRP_MN_QUERY_REMOVE_DEVICE
        | IRP_MN_CANCEL_REMOVE_DEVICE
        | IRP_MN_REMOVE_DEVICE
        | IRP_MN_SURPRISE_REMOVAL
        | IRP_MN_DEVICE_USAGE_NOTIFICATION => irp.complete(STATUS_SUCCESS, 0),
        _ => {
            let status = irp.status();
            let status = if status == STATUS_PENDING { STATUS_NOT_SUPPORTED } else { status };
            irp.complete(status, 0)
        }
    }
}

//! A second volume, without content, which can hang.
//!
//! The rule: while it hangs it keeps every request, cancelled or not, as a disk does whose path is
//! gone and whose driver waits for it.

use alloc::vec::Vec;

use nt::{irp::Irp, monitor::Monitor};
use protocol::{
    ioctl::{HANG_ALL, HANG_READS},
    names::SECOND_DEVICE,
};
use wdk_sys::{
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS,
    IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_READ, IRP_MJ_SHUTDOWN, IRP_MJ_WRITE, NTSTATUS,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{framework, queries, volume::answer_pnp};

/// Bytes of the volume.
const LENGTH: u64 = 256 << 20;

/// The second volume's state.
pub(crate) struct SecondVolume {
    held: Monitor<Held>,
}

struct Held {
    /// `HANG_…`, or 0.
    hangs: u32,
    requests: Vec<Irp>,
}

impl SecondVolume {
    /// A volume that answers.
    pub(crate) fn new() -> Self {
        Self { held: Monitor::new(Held { hangs: 0, requests: Vec::new() }) }
    }

    /// Lets it hang, or answer again, first of all what it has kept.
    pub(crate) fn set_hanging(&self, hangs: u32) {
        let kept = {
            let mut held = self.held.lock();
            held.hangs = hangs;
            if hangs == 0 { core::mem::take(&mut held.requests) } else { Vec::new() }
        };
        kept.into_iter().for_each(carry_out);
    }

    /// Handles a packet that reached the bottom of its stack.
    pub(crate) fn dispatch(&self, mut irp: Irp) -> NTSTATUS {
        match u32::from(irp.function().0) {
            major @ (IRP_MJ_READ | IRP_MJ_WRITE | IRP_MJ_FLUSH_BUFFERS | IRP_MJ_DEVICE_CONTROL) => {
                irp.mark_pending();
                let mut held = self.held.lock();
                if held.hangs == HANG_ALL || held.hangs == HANG_READS && major == IRP_MJ_READ {
                    held.requests.push(irp);
                } else {
                    drop(held);
                    carry_out(irp);
                }
                STATUS_PENDING
            }
            IRP_MJ_CREATE | IRP_MJ_CLOSE | IRP_MJ_CLEANUP | IRP_MJ_SHUTDOWN | IRP_MJ_POWER => {
                irp.complete(STATUS_SUCCESS, 0)
            }
            IRP_MJ_PNP => answer_pnp(irp),
            _ => irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0),
        }
    }
}

/// Nothing is read and nothing is written.
fn carry_out(mut irp: Irp) {
    let (status, information) = match u32::from(irp.function().0) {
        IRP_MJ_READ | IRP_MJ_WRITE => (STATUS_SUCCESS, irp.transfer().0 as usize),
        IRP_MJ_DEVICE_CONTROL => queries::answer_second(&mut irp, LENGTH, SECOND_DEVICE),
        _ => (STATUS_SUCCESS, 0),
    };
    framework::complete(irp, status, information);
}

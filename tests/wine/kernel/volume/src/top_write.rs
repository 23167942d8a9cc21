//! Writes that the rig sends from the top of the volume's stack, as a file system does in the
//! kernel: with flags and chains of memory descriptor lists that no program can ask for, and for
//! files whose objects only the file system's own stack location has.
//!
//! The rule: the flags at the bottom of the stack are recorded before the packet is handled. Then
//! the sender may change its buffer, which drivers that have passed the packet on may not rely on.

use alloc::{vec, vec::Vec};
use core::{
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::{
    irp::Irp,
    spinlock::SpinLock,
    status::{Failure, Result},
};
use protocol::ioctl::{MAPPED_FILE_OBJECT, PAGING_FILE_OBJECT, TopWrite, TopWriteResult};
use wdk_sys::{
    DO_BUFFERED_IO, DO_DIRECT_IO, FILE_OBJECT, IRP_ASSOCIATED_IRP, IRP_MJ_WRITE, IRP_NOCACHE,
    IRP_PAGING_IO, MDL, MDL_PAGES_LOCKED, PMDL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
    ntddk::{IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl},
};

use crate::pnp::Stack;

/// The address of no packet.
const NONE: usize = 0;

/// The write that is under way, and how it arrived.
pub(crate) struct TopWrites {
    packet: AtomicUsize,
    /// Flags of its location and of the packet.
    seen: SpinLock<Option<(u32, u32)>>,
    /// How its buffer changes when it arrives.
    change: SpinLock<Option<Change>>,
}

/// Another content for a buffer of the sender.
struct Change {
    buffer: *mut u8,
    length: usize,
    fill: u8,
}

// SAFETY: the buffer stays until its write has come back, and the change is made before that.
unsafe impl Send for Change {}

impl Change {
    fn of(data: &mut [u8], write: &TopWrite) -> Option<Self> {
        let (buffer, length) = (data.as_mut_ptr(), data.len());
        (write.changed_fill != 0).then_some(Self { buffer, length, fill: write.changed_fill as u8 })
    }
}

impl TopWrites {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            packet: AtomicUsize::new(NONE),
            seen: SpinLock::new(None),
            change: SpinLock::new(None),
        }
    }

    /// A packet has reached the bottom of the stack.
    pub(crate) fn arrived(&self, irp: &Irp) {
        // Relaxed: the sender set it before it sent the packet.
        if self.packet.load(Ordering::Relaxed) == irp.raw() as usize {
            // SAFETY: the packet is at this driver.
            let flags = unsafe { (*irp.raw()).Flags };
            *self.seen.lock() = Some((u32::from(irp.stack().Flags), flags));
            if let Some(Change { buffer, length, fill }) = self.change.lock().take() {
                // SAFETY: the sender's buffer, which is there until the packet has come back.
                unsafe { buffer.write_bytes(fill, length) };
            }
        }
    }
}

/// Sends a write and waits for it; returns how it arrived and ended.
pub(crate) fn send(stack: &Stack, writes: &TopWrites, write: TopWrite) -> Result<TopWriteResult> {
    if !(1..=write.length).contains(&write.parts) {
        return Err(Failure(STATUS_INVALID_PARAMETER));
    }
    let mut data = vec![write.fill as u8; write.length as usize];
    let mut chain = Chain(Vec::new());
    let master = Master::of(&write)?;
    let own = i8::from(write.sender != TopWrite::DRIVER);
    let irp = stack.send_made(own, |irp, device_flags| {
        if own > 0 {
            fill_own_location(irp, &write, master.as_ref())?;
        }
        // SAFETY: fresh, so ours.
        let packet = unsafe { &mut *irp.raw() };
        if device_flags & DO_DIRECT_IO != 0 {
            packet.MdlAddress = chain.describe(&mut data, write.parts)?;
        } else if master.is_some() {
            // The master is where the system buffer would be.
            return Err(Failure(STATUS_NOT_SUPPORTED));
        } else if device_flags & DO_BUFFERED_IO != 0 {
            irp.set_system_buffer(data.as_mut_ptr().cast());
        } else {
            packet.UserBuffer = data.as_mut_ptr().cast();
        }
        irp.add_flags(write.irp_flags);
        let location = irp.next_location_mut();
        location.MajorFunction = IRP_MJ_WRITE as u8;
        location.Flags = write.location_flags as u8;
        location.Parameters.Write.Length = write.length;
        location.Parameters.Write.ByteOffset.QuadPart = write.offset.cast_signed();
        *writes.change.lock() = Change::of(&mut data, &write);
        // Relaxed: sending orders it.
        writes.packet.store(irp.raw() as usize, Ordering::Relaxed);
        Ok(())
    })?;
    writes.packet.store(NONE, Ordering::Relaxed);
    let (status, length) = (irp.status(), irp.information());
    let raw = irp.into_raw();
    // Wine frees the lists of a packet with it; these are the chain's.
    // SAFETY: ours again.
    let packet = unsafe { &mut *raw };
    packet.MdlAddress = ptr::null_mut();
    packet.AssociatedIrp.SystemBuffer = ptr::null_mut();
    // SAFETY: ours.
    nt::round_trip::free(unsafe { Irp::from_raw(raw) });
    let (location_flags, irp_flags) = writes.seen.lock().take().unwrap_or_default();
    Ok(TopWriteResult { status, length: length as u32, location_flags, irp_flags })
}

/// The file system's own location; the next one is for the device below.
fn fill_own_location(irp: &mut Irp, write: &TopWrite, master: Option<&Master>) -> Result {
    let location = irp.next_location_mut();
    location.MajorFunction = IRP_MJ_WRITE as u8;
    let file = match (write.sender, master) {
        (_, Some(_)) => 0,
        (TopWrite::PAGING_FILE, _) => PAGING_FILE_OBJECT,
        (TopWrite::MAPPED_FILE, _) => MAPPED_FILE_OBJECT,
        _ => return Err(Failure(STATUS_INVALID_PARAMETER)),
    };
    location.FileObject = file as *mut FILE_OBJECT;
    irp.advance_location();
    // SAFETY: fresh, so ours.
    let packet = unsafe { &mut *irp.raw() };
    if let Some(master) = master {
        packet.Flags |= IRP_ASSOCIATED_IRP;
        packet.AssociatedIrp.MasterIrp = master.0.raw();
    } else {
        packet.Flags |= IRP_PAGING_IO | IRP_NOCACHE;
        packet.Tail.Overlay.OriginalFileObject = file as *mut FILE_OBJECT;
    }
    Ok(())
}

/// The memory manager's packet, of which a write is a piece; freed with the value.
struct Master(Irp);

impl Master {
    /// The write's, if it is a piece.
    fn of(write: &TopWrite) -> Result<Option<Self>> {
        if write.sender != TopWrite::PAGING_FILE_PIECE {
            return Ok(None);
        }
        // SAFETY: has no preconditions.
        let raw = unsafe { IoAllocateIrp(1, 0) };
        if raw.is_null() {
            return Err(Failure(STATUS_INSUFFICIENT_RESOURCES));
        }
        // SAFETY: fresh, so ours.
        let mut irp = unsafe { Irp::from_raw(raw) };
        let location = irp.next_location_mut();
        location.MajorFunction = IRP_MJ_WRITE as u8;
        location.FileObject = PAGING_FILE_OBJECT as *mut FILE_OBJECT;
        irp.advance_location();
        irp.add_flags(IRP_PAGING_IO | IRP_NOCACHE);
        Ok(Some(Self(irp)))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // SAFETY: allocated above; its piece has come back.
        unsafe { IoFreeIrp(self.0.raw()) };
    }
}

/// Memory descriptor lists, freed with the value.
struct Chain(Vec<PMDL>);

impl Chain {
    /// Describes `data` in that many parts, locked but not mapped; returns the first.
    fn describe(&mut self, data: &mut [u8], parts: u32) -> Result<PMDL> {
        let part = data.len().div_ceil(parts as usize);
        let mut last: *mut PMDL = ptr::null_mut();
        for piece in data.chunks_mut(part) {
            let (start, length) = (piece.as_mut_ptr(), piece.len() as u32);
            // SAFETY: no packet is given, so the list is ours alone.
            let made = unsafe { IoAllocateMdl(start.cast(), length, 0, 0, ptr::null_mut()) };
            // SAFETY: just allocated, or null.
            let described: &mut MDL =
                unsafe { made.as_mut() }.ok_or(Failure(STATUS_INSUFFICIENT_RESOURCES))?;
            // Nothing is paged out on Wine.
            described.MdlFlags |= MDL_PAGES_LOCKED as i16;
            if !last.is_null() {
                // SAFETY: the link of the list before, which is alive.
                unsafe { *last = made };
            }
            last = &raw mut described.Next;
            self.0.push(made);
        }
        self.0.first().copied().ok_or(Failure(STATUS_INSUFFICIENT_RESOURCES))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for list in self.0.drain(..) {
            // SAFETY: allocated above, and of no packet any more.
            unsafe { IoFreeMdl(list) };
        }
    }
}

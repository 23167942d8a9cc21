//! Memory descriptor lists. On Wine all memory of the device process is mapped and resident, so
//! mapping an MDL only computes its address, and a page frame's number is that of the page's
//! address; counts, state flags and the arrays of frames of the driver's own MDLs are real.
//!
//! The rules: an MDL is freed once; it is mapped only when it describes locked or nonpaged memory;
//! a partial MDL stays within its source, and has its frames when it is passed down; reserved
//! addresses have one mapping at a time, which fits.

use alloc::boxed::Box;
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::{irp::Irp, mdl::virtual_address};
use wdk_sys::{
    _MODE::KernelMode,
    MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL, MDL_PARTIAL_HAS_BEEN_MAPPED,
    MDL_SOURCE_IS_NONPAGED_POOL, PIRP, PMDL,
    ntddk::{IoAllocateMdl, IoFreeMdl},
};

use crate::{
    allocation_failure::{self, Allocation},
    checks::violation,
    irql::{APC_LEVEL, DISPATCH_LEVEL, require_at_most},
    ledger::{self, Account},
};

const PAGE_MASK: usize = 4095;
const PAGE_SHIFT: u32 = 12;
/// With any of these flags the MDL's pages are resident.
const RESIDENT: i16 =
    (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL) as i16;

/// A program's buffer reaches a driver locked, but not mapped. (Wine's I/O manager maps it.)
pub(crate) fn come_unmapped(irp: &Irp) {
    if irp.requestor_mode() == KernelMode as i8 {
        // The packet's creator may have mapped it.
        return;
    }
    // SAFETY: null, or the packet's list, which stays until the packet is completed.
    if let Some(list) = unsafe { irp.mdl().as_mut() } {
        list.MdlFlags |= MDL_PAGES_LOCKED as i16;
        list.MdlFlags &= !(MDL_MAPPED_TO_SYSTEM_VA as i16);
    }
}

pub(crate) unsafe extern "system" fn allocate(
    address: *mut c_void,
    length: u32,
    secondary: u8,
    _quota: u8,
    irp: PIRP,
) -> PMDL {
    require_at_most("IoAllocateMdl", DISPATCH_LEVEL);
    if allocation_failure::fails(Allocation::Kernel) {
        return ptr::null_mut();
    }
    // Wine has a page number in half of the bytes that Windows' headers declare, so that the room
    // that it makes is for half of the pages.
    let room = length.saturating_mul(2).saturating_add(4096);
    // SAFETY: the driver's arguments; Wine knows no quota.
    let list = unsafe { IoAllocateMdl(address, room, secondary, 0, irp) };
    // SAFETY: null, or allocated above.
    if let Some(list) = unsafe { list.as_mut() } {
        list.ByteCount = length;
    }
    ledger::open(Account::Mdl, list as usize);
    list
}

pub(crate) unsafe extern "system" fn free(list: PMDL) {
    let function = "IoFreeMdl";
    require_at_most(function, DISPATCH_LEVEL);
    ledger::close(Account::Mdl, list as usize, function);
    // SAFETY: allocated above and not freed before.
    unsafe { IoFreeMdl(list) };
}

pub(crate) unsafe extern "system" fn build_partial(
    source: *const MDL,
    target: *mut MDL,
    address: *mut c_void,
    length: u32,
) {
    let function = "IoBuildPartialMdl";
    require_at_most(function, DISPATCH_LEVEL);
    // SAFETY: the driver's MDL.
    let source = unsafe { &*source };
    // SAFETY: the driver's other MDL.
    let target = unsafe { &mut *target };
    let start = virtual_address(source) as usize;
    let end = start + source.ByteCount as usize;
    let from = address as usize;
    let length = if length == 0 { end.wrapping_sub(from) } else { length as usize };
    if from < start || from.checked_add(length).is_none_or(|to| to > end) {
        violation!(
            Parameter,
            function,
            "{length} bytes at {from:#x} are not within the source MDL's {start:#x}..{end:#x}"
        );
    }
    let room = room(target);
    if pages(from, length) > room {
        violation!(
            Parameter,
            function,
            "the target MDL has room for {room} pages, the part spans {}",
            pages(from, length)
        );
    }
    if source.MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL as i16 != 0 {
        for page in 0..pages(from, length) {
            let of_source = page + (from >> PAGE_SHIFT) - (start >> PAGE_SHIFT);
            // SAFETY: the source describes that page and has its frame.
            let number = unsafe { frame(source, of_source).read() };
            // SAFETY: the target has room.
            unsafe { frame(target, page).write(number) };
        }
    }
    target.StartVa = (from & !PAGE_MASK) as *mut c_void;
    target.ByteOffset = (from & PAGE_MASK) as u32;
    target.ByteCount = length as u32;
    target.Process = source.Process;
    target.MdlFlags |= MDL_PARTIAL as i16;
    let inherited =
        source.MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA) as i16;
    target.MdlFlags |= inherited;
    target.MappedSystemVa = if inherited == 0 {
        ptr::null_mut()
    } else {
        source.MappedSystemVa.wrapping_byte_add(from - start)
    };
}

/// How many pages an MDL has room for.
fn room(list: &MDL) -> usize {
    let frames = usize::try_from(list.Size).unwrap_or(0).saturating_sub(size_of::<MDL>());
    frames / size_of::<wdk_sys::PFN_NUMBER>()
}

pub(crate) unsafe extern "system" fn build_for_nonpaged_pool(list: PMDL) {
    require_at_most("MmBuildMdlForNonPagedPool", DISPATCH_LEVEL);
    // SAFETY: the driver's MDL.
    let list = unsafe { &mut *list };
    list.MappedSystemVa = virtual_address(list).cast();
    list.MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL as i16;
    let start = virtual_address(list) as usize;
    for page in 0..pages(start, list.ByteCount as usize) {
        // SAFETY: `allocate` has made room for the frames of all pages.
        unsafe { frame(list, page).write(((start >> PAGE_SHIFT) + page) as wdk_sys::PFN_NUMBER) };
    }
}

/// Devices below transfer by frames, not by addresses: a partial MDL has to have them.
pub(crate) fn require_frames(irp: &Irp, function: &str) {
    // SAFETY: null, or the packet's list.
    let Some(list) = (unsafe { irp.mdl().as_ref() }) else { return };
    let is_own = list.MdlFlags & MDL_PARTIAL as i16 != 0
        && list.MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL as i16 != 0;
    if !is_own {
        return;
    }
    let start = virtual_address(list) as usize;
    for page in 0..pages(start, list.ByteCount as usize) {
        let expected = (start >> PAGE_SHIFT) + page;
        // SAFETY: the list was made by `build_partial`, which has checked that it has room.
        let found = unsafe { frame(list, page).read() };
        if found as usize != expected {
            violation!(
                State,
                function,
                "page {page} of the MDL {list:p} has frame {found:#x}, not {expected:#x}"
            );
        }
    }
}

/// Where an MDL has the frame of a page.
fn frame(list: *const MDL, page: usize) -> *mut wdk_sys::PFN_NUMBER {
    // The array follows the structure.
    list.wrapping_add(1).cast::<wdk_sys::PFN_NUMBER>().cast_mut().wrapping_add(page)
}

pub(crate) unsafe extern "system" fn map(
    list: PMDL,
    mode: i8,
    _cache: i32,
    _wanted: *mut c_void,
    _bug_check: u32,
    _priority: u32,
) -> *mut c_void {
    let function = "MmMapLockedPagesSpecifyCache";
    require_at_most(function, if mode == 0 { DISPATCH_LEVEL } else { APC_LEVEL });
    // SAFETY: the driver's MDL.
    let list = unsafe { &mut *list };
    if list.MdlFlags & RESIDENT == 0 {
        violation!(
            State,
            function,
            "{list:p} describes memory that is neither locked nor nonpaged (flags {:#x})",
            list.MdlFlags
        );
    }
    if list.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA as i16 == 0 {
        if allocation_failure::fails(Allocation::Mapping) {
            return ptr::null_mut();
        }
        list.MappedSystemVa = virtual_address(list).cast();
        list.MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA as i16;
        if list.MdlFlags & MDL_PARTIAL as i16 != 0 {
            list.MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED as i16;
        }
    }
    list.MappedSystemVa
}

pub(crate) unsafe extern "system" fn unmap(address: *mut c_void, list: PMDL) {
    let function = "MmUnmapLockedPages";
    require_at_most(function, DISPATCH_LEVEL);
    // SAFETY: the driver's MDL.
    let list = unsafe { &mut *list };
    if list.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA as i16 == 0 || list.MappedSystemVa != address {
        violation!(State, function, "{list:p} is not mapped at {address:p}");
    }
    list.MdlFlags &= !((MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED) as i16);
}

/// What `MmAllocateMappingAddress` gives: the rig's stands for the addresses, and is no memory that
/// the driver may access.
struct Addresses {
    room: usize,
    tag: u32,
    /// The MDL that is mapped there; 0 for none.
    mapped: AtomicUsize,
}

pub(crate) unsafe extern "system" fn allocate_addresses(size: usize, tag: u32) -> *mut c_void {
    require_at_most("MmAllocateMappingAddress", APC_LEVEL);
    if allocation_failure::fails(Allocation::Kernel) {
        return ptr::null_mut();
    }
    let room = size.div_ceil(PAGE_MASK + 1);
    let addresses = Box::new(Addresses { room, tag, mapped: AtomicUsize::new(0) });
    let addresses = Box::into_raw(addresses).cast::<c_void>();
    ledger::open(Account::Mdl, addresses as usize);
    addresses
}

pub(crate) unsafe extern "system" fn free_addresses(addresses: *mut c_void, tag: u32) {
    let function = "MmFreeMappingAddress";
    require_at_most(function, APC_LEVEL);
    ledger::close(Account::Mdl, addresses as usize, function);
    // SAFETY: allocated above, as the ledger knows, and not freed before.
    let addresses = unsafe { Box::from_raw(addresses.cast::<Addresses>()) };
    // Relaxed: the driver orders its own calls.
    if addresses.tag != tag || addresses.mapped.load(Ordering::Relaxed) != 0 {
        violation!(State, function, "another tag, or still mapped");
    }
}

/// # Safety
/// `addresses` came from [`allocate_addresses`] and is not freed.
unsafe fn addresses<'a>(addresses: *mut c_void, tag: u32, function: &str) -> &'a Addresses {
    if !ledger::is_open(Account::Mdl, addresses as usize) {
        violation!(Parameter, function, "{addresses:p} was not allocated");
    }
    // SAFETY: the caller says so.
    let addresses = unsafe { &*addresses.cast::<Addresses>() };
    if addresses.tag != tag {
        violation!(Parameter, function, "another tag than the addresses have");
    }
    addresses
}

pub(crate) unsafe extern "system" fn map_reserved(
    reserved: *mut c_void,
    tag: u32,
    list: PMDL,
    _cache: i32,
) -> *mut c_void {
    let function = "MmMapLockedPagesWithReservedMapping";
    require_at_most(function, DISPATCH_LEVEL);
    // SAFETY: the driver's argument.
    let reserved = unsafe { addresses(reserved, tag, function) };
    // SAFETY: the driver's MDL.
    let described = unsafe { &mut *list };
    if described.MdlFlags & RESIDENT == 0 {
        violation!(State, function, "{list:p} describes memory that is not locked");
    }
    if described.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA as i16 != 0 {
        violation!(State, function, "{list:p} is mapped already");
    }
    let address = virtual_address(described) as usize;
    if pages(address, described.ByteCount as usize) > reserved.room {
        violation!(Parameter, function, "{} bytes do not fit", described.ByteCount);
    }
    // Relaxed: the driver orders its own calls.
    if reserved.mapped.swap(list as usize, Ordering::Relaxed) != 0 {
        violation!(State, function, "the addresses are in use");
    }
    described.MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA as i16;
    described.MappedSystemVa = address as *mut c_void;
    described.MappedSystemVa
}

pub(crate) unsafe extern "system" fn unmap_reserved(reserved: *mut c_void, tag: u32, list: PMDL) {
    let function = "MmUnmapReservedMapping";
    require_at_most(function, DISPATCH_LEVEL);
    // SAFETY: the driver's argument.
    let reserved = unsafe { addresses(reserved, tag, function) };
    // Relaxed: the driver orders its own calls.
    if reserved.mapped.swap(0, Ordering::Relaxed) != list as usize {
        violation!(State, function, "{list:p} is not mapped there");
    }
    // SAFETY: the driver's MDL, mapped above.
    let described = unsafe { &mut *list };
    described.MdlFlags &= !(MDL_MAPPED_TO_SYSTEM_VA as i16);
    described.MappedSystemVa = ptr::null_mut();
}

fn pages(address: usize, length: usize) -> usize {
    ((address & PAGE_MASK) + length).div_ceil(PAGE_MASK + 1)
}

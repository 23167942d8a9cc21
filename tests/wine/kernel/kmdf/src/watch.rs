//! The holder of each packet: the driver or the device below.
//!
//! The rules:
//! - a packet is completed once, by the driver only while it holds it, and without a cancel routine
//!   on it;
//! - a dispatch routine completes the packet, passes it on, or marks it pending and returns
//!   STATUS_PENDING; and it returns STATUS_PENDING exactly when it marked the packet so (or passed
//!   on what the device below pended);
//! - when its device goes, the driver holds no packet of it, and none is below with a completion
//!   routine of the driver;
//! - a completion routine passes `PendingReturned` on; one of a packet of the driver's own takes
//!   the packet back;
//! - a packet from above leaves the driver upwards with the memory descriptor list that it came
//!   with.
//!
//! To observe completion, the rig replaces the driver's completion routine by its own, which calls
//! it.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
};

use nt::{irp::Irp, spinlock::SpinLock, time::sleep_us};
use wdk_sys::{
    IO_COMPLETION_ROUTINE, IO_STACK_LOCATION, NTSTATUS, PDEVICE_OBJECT, PIRP, SL_PENDING_RETURNED,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
};

use crate::{
    abi::Handle,
    checks::violation,
    ledger::{self, Account},
};

static PACKETS: SpinLock<BTreeMap<usize, Packet>> = SpinLock::new(BTreeMap::new());

/// How often it is looked, a millisecond apart, whether a completion routine has returned.
const RETURN_TRIES: u32 = 1000;

/// A packet that the driver has or has passed down.
struct Packet {
    holder: Holder,
    /// The driver's stack location, for a packet that came from above.
    location: usize,
    /// The device that received it; 0 for a packet that the driver allocated.
    device: Handle,
    /// The list of memory that it came with.
    list: usize,
    /// The dispatch call that brought it, while that call runs.
    arrival: Option<Arc<ArrivalState>>,
}

// SAFETY: the location is only compared.
unsafe impl Send for Packet {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Driver,
    Below,
}

/// The outcome of a dispatch call for its packet.
struct ArrivalState {
    fate: AtomicU8,
    marked_pending: AtomicBool,
}

const HELD: u8 = 0;
const COMPLETED: u8 = 1;
const PASSED_ON: u8 = 2;
const FRAMEWORKS: u8 = 3;

/// One dispatch call.
#[must_use = "the call's return value must be checked"]
pub(crate) struct Arrival {
    irp: PIRP,
    state: Arc<ArrivalState>,
}

/// A packet reached the driver's dispatch routine.
pub(crate) fn arrived(irp: &Irp) -> Arrival {
    let state = Arc::new(ArrivalState {
        fate: AtomicU8::new(HELD),
        marked_pending: AtomicBool::new(false),
    });
    Arrival { irp: irp.raw(), state }
}

/// Called before the driver's preprocess callback, with the packet at its current stack location.
pub(crate) fn handed_to_driver(irp: &Irp, device: Handle, arrival: &Arrival) {
    let packet = Packet {
        holder: Holder::Driver,
        location: location_of(irp),
        device,
        list: irp.mdl() as usize,
        arrival: Some(Arc::clone(&arrival.state)),
    };
    PACKETS.lock().insert(irp.raw() as usize, packet);
}

impl Arrival {
    /// The framework handles the packet itself.
    pub(crate) fn is_frameworks(&self) {
        // Relaxed: read on this thread.
        self.state.fate.store(FRAMEWORKS, Ordering::Relaxed);
    }

    /// The dispatch call returns.
    pub(crate) fn returned(self, status: NTSTATUS) {
        let function = "a dispatch routine";
        let pending = status == STATUS_PENDING;
        let mut packets = PACKETS.lock();
        let held = packets.get_mut(&(self.irp as usize)).filter(|packet| {
            packet.arrival.as_ref().is_some_and(|arrival| Arc::ptr_eq(arrival, &self.state))
        });
        if let Some(packet) = held {
            packet.arrival = None;
            // SAFETY: while the packet is on the list, with the list locked, it is not completed.
            let marked = packet.holder == Holder::Below || unsafe { is_marked_at(packet.location) };
            let holder = packet.holder;
            drop(packets);
            if holder == Holder::Below {
                return;
            }
            if !pending {
                violation!(
                    Pending,
                    function,
                    "returned {status:#010x} but neither completed the packet nor passed it on"
                );
            }
            if !marked {
                violation!(Pending, function, "returned STATUS_PENDING without IoMarkIrpPending");
            }
            return;
        }
        drop(packets);
        // Acquire: pairs with the store that took the packet off the list, perhaps on another
        // thread.
        let fate = self.state.fate.load(Ordering::Acquire);
        let marked = self.state.marked_pending.load(Ordering::Relaxed);
        match fate {
            COMPLETED if marked != pending => violation!(
                Pending,
                function,
                "returned {status:#010x} for a completed packet that was {}marked pending",
                if marked { "" } else { "not " }
            ),
            PASSED_ON if marked && !pending => violation!(
                Pending,
                function,
                "returned {status:#010x} for a packet that was marked pending"
            ),
            _ => {}
        }
    }
}

/// The driver hands the packet back to the framework.
pub(crate) fn given_back(irp: &Irp) {
    if let Some(packet) = PACKETS.lock().remove(&(irp.raw() as usize)) {
        packet.end(FRAMEWORKS, false);
    }
}

/// The driver sends a packet to the device below.
pub(crate) fn passed_down(irp: &mut Irp) {
    let key = irp.raw() as usize;
    let next = irp.next_location();
    let own = ledger::is_open(Account::Irp, key);
    let mut packets = PACKETS.lock();
    let known = packets
        .get(&key)
        .map(|packet| (packet.holder, packet.location, packet.device, packet.list));
    if let Some((Holder::Below, ..)) = known {
        drop(packets);
        violation!(State, "IofCallDriver", "{:p} is below the driver already", irp.raw());
    }
    let (location, device, list) =
        known.map_or((0, 0, 0), |(_, location, device, list)| (location, device, list));
    if known.is_some() && next as usize == location {
        // The driver skipped its own location, which holds the values of the driver above.
        if let Some(packet) = packets.remove(&key) {
            packet.end(PASSED_ON, false);
        }
        return;
    }
    if known.is_none() && !own {
        // The I/O manager built it for the driver and frees it on completion.
        return;
    }
    // SAFETY: a location of the driver's packet.
    let next = unsafe { &mut *next };
    // SAFETY: the packet is still the driver's, so its location is valid.
    let marked = location != 0 && unsafe { is_marked_at(location) };
    if let Some(arrival) = packets.remove(&key).and_then(|packet| packet.arrival) {
        arrival.end(PASSED_ON, marked);
    }
    if next.CompletionRoutine.is_none() {
        if own {
            drop(packets);
            violation!(
                State,
                "IofCallDriver",
                "{:p} was allocated by the driver but has no completion routine to take it back",
                irp.raw()
            );
        }
        return;
    }
    let (routine, context) = (next.CompletionRoutine, next.Context);
    let wrapped = Box::new(Wrapped { routine, context, location, device, list, own });
    next.CompletionRoutine = Some(completed_below);
    next.Context = Box::into_raw(wrapped).cast();
    packets.insert(key, Packet { holder: Holder::Below, location, device, list, arrival: None });
}

/// The driver completes a packet.
pub(crate) fn completing(irp: &Irp) {
    let function = "IofCompleteRequest";
    let packet = PACKETS.lock().remove(&(irp.raw() as usize));
    match packet.as_ref().map(|packet| packet.holder) {
        None => violation!(
            Completion,
            function,
            "{:p} was completed before, or is not the driver's to complete",
            irp.raw()
        ),
        Some(Holder::Below) => {
            violation!(Completion, function, "{:p} is with the device below", irp.raw())
        }
        Some(Holder::Driver) => {}
    }
    if irp.status() == STATUS_PENDING {
        violation!(Completion, function, "completed with STATUS_PENDING");
    }
    if irp.has_cancel_routine() {
        violation!(Completion, function, "{:p} still has a cancel routine", irp.raw());
    }
    let Some(packet) = packet else { return };
    require_list(irp.mdl() as usize, packet.list, function);
    // SAFETY: the packet is the driver's until this call returns.
    let marked = unsafe { is_marked_at(packet.location) };
    if packet.arrival.is_none() && !marked {
        violation!(
            Pending,
            function,
            "{:p} was completed after its dispatch routine returned, but was not marked pending",
            irp.raw()
        );
    }
    packet.end(COMPLETED, marked);
}

/// The driver frees a packet of its own.
pub(crate) fn freed(irp: PIRP) {
    let packet = PACKETS.lock().remove(&(irp as usize));
    if packet.is_some_and(|packet| packet.holder == Holder::Below) {
        violation!(State, "IoFreeIrp", "{irp:p} is still below the driver");
    }
}

/// Reports packets that the driver still has when their device is deleted. A completion routine
/// that has let the device go may still have to return, on another thread. PASSIVE_LEVEL.
pub(crate) fn device_gone(device: Handle, function: &str) {
    let left = || {
        let packets = PACKETS.lock();
        let left = packets.iter().find(|(_, packet)| packet.device == device);
        left.map(|(irp, packet)| (*irp, packet.holder))
    };
    let mut tries = 0;
    while tries < RETURN_TRIES && left().is_some() {
        tries += 1;
        sleep_us(1000);
    }
    if let Some((irp, holder)) = left() {
        let place = match holder {
            Holder::Driver => "held by the driver",
            Holder::Below => "below, with a completion routine of the driver",
        };
        violation!(
            Leak,
            function,
            "WDFDEVICE {device:#x} is deleted while its packet {irp:#x} is {place}"
        );
    }
}

/// Reports packets that the driver has neither completed nor passed on.
pub(crate) fn require_empty(function: &str) {
    let packets = PACKETS.lock();
    if let Some((irp, _)) = packets.first_key_value() {
        let (count, irp) = (packets.len(), *irp);
        drop(packets);
        violation!(
            Leak,
            function,
            "{count} packets were neither completed nor passed on for good; the first is {irp:#x}"
        );
    }
}

/// The completion routine that the driver set.
struct Wrapped {
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
    location: usize,
    device: Handle,
    list: usize,
    own: bool,
}

unsafe extern "C" fn completed_below(
    device: PDEVICE_OBJECT,
    raw: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `passed_down` boxed this for this call.
    let wrapped = *unsafe { Box::from_raw(context.cast::<Wrapped>()) };
    let key = raw as usize;
    let Wrapped { location, device: handle, list, .. } = wrapped;
    let packet = Packet { holder: Holder::Driver, location, device: handle, list, arrival: None };
    PACKETS.lock().insert(key, packet);
    // SAFETY: the packet is live for the length of this call.
    let pending = unsafe { (*raw).PendingReturned } != 0;
    let Some(routine) = wrapped.routine else { return STATUS_MORE_PROCESSING_REQUIRED };
    // SAFETY: the driver's own routine and context.
    let status = unsafe { routine(device, raw, wrapped.context) };
    if status == STATUS_MORE_PROCESSING_REQUIRED {
        // The driver has the packet; it may have completed it already.
        return status;
    }
    if wrapped.own {
        violation!(
            Completion,
            "a completion routine",
            "returned {status:#010x} for a packet of the driver's own: it must return \
                 STATUS_MORE_PROCESSING_REQUIRED"
        );
    }
    PACKETS.lock().remove(&key);
    if location != 0 {
        // SAFETY: as below.
        require_list(unsafe { (*raw).MdlAddress } as usize, list, "a completion routine");
    }
    // SAFETY: completion goes on after this routine, so the packet and the driver's location are
    // still valid.
    if pending && wrapped.location != 0 && !unsafe { is_marked_at(wrapped.location) } {
        violation!(
            Pending,
            "a completion routine",
            "PendingReturned is set, but the packet was not marked pending"
        );
    }
    status
}

impl Packet {
    fn end(self, fate: u8, marked: bool) {
        if let Some(arrival) = self.arrival {
            arrival.end(fate, marked);
        }
    }
}

impl ArrivalState {
    fn end(&self, fate: u8, marked: bool) {
        // Relaxed, published by the release below.
        self.marked_pending.store(marked, Ordering::Relaxed);
        // Release: pairs with the load in `returned`.
        self.fate.store(fate, Ordering::Release);
    }
}

/// Drivers above and the I/O manager rely on the list of a packet that completes.
fn require_list(now: usize, came: usize, function: &str) {
    if now != came {
        violation!(State, function, "the packet came with the MDL {came:#x} and has {now:#x} now");
    }
}

fn location_of(irp: &Irp) -> usize {
    core::ptr::from_ref(irp.stack()) as usize
}

/// # Safety
/// `location` is a stack location of a live packet.
unsafe fn is_marked_at(location: usize) -> bool {
    // SAFETY: the caller says so.
    let control = unsafe { (*(location as *const IO_STACK_LOCATION)).Control };
    control & SL_PENDING_RETURNED as u8 != 0
}

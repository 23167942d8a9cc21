//! The callback object `\Callback\PowerState`, and the system's notices of sleep.
//!
//! The rules: the object is opened by its name and not created; a registration ends before its
//! driver is unloaded; notices come at PASSIVE_LEVEL, where the kernel lets drivers page code in. A
//! scenario gives no notice while a registration ends: the kernel waits for it there.

use alloc::vec::Vec;
use core::ffi::c_void;

use nt::{spinlock::SpinLock, unicode::Wide};
use wdk_sys::{
    NTSTATUS, OBJECT_ATTRIBUTES, PCALLBACK_FUNCTION, PO_CB_SYSTEM_STATE_LOCK,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, ntddk::ObfDereferenceObject,
};

use crate::{
    checks::violation,
    irql::{APC_LEVEL, PASSIVE_LEVEL, require_at_most},
};

const NAME: &str = r"\Callback\PowerState";

/// Its address is the object.
static OBJECT: u8 = 0;

struct Registration {
    number: usize,
    routine: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void),
    context: *mut c_void,
}

// SAFETY: the driver's routine and context may be used by any thread.
unsafe impl Send for Registration {}

struct Registered {
    list: Vec<Registration>,
    made: usize,
}

static REGISTERED: SpinLock<Registered> = SpinLock::new(Registered { list: Vec::new(), made: 0 });

fn object() -> *mut c_void {
    (&raw const OBJECT).cast_mut().cast()
}

pub(crate) unsafe extern "system" fn create(
    given: *mut *mut c_void,
    attributes: *const OBJECT_ATTRIBUTES,
    create: u8,
    _allow_multiple: u8,
) -> NTSTATUS {
    let function = "ExCreateCallback";
    require_at_most(function, PASSIVE_LEVEL);
    // SAFETY: the driver's attributes.
    let name = unsafe { (*attributes).ObjectName };
    // SAFETY: the name that they point at.
    let name = unsafe { Wide::copy_of(name) };
    if name != Wide::new(NAME) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    if create != 0 {
        violation!(Parameter, function, "a callback object of the system is created");
    }
    // SAFETY: the driver's out parameter.
    unsafe { given.write(object()) };
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn register(
    given: *mut c_void,
    routine: PCALLBACK_FUNCTION,
    context: *mut c_void,
) -> *mut c_void {
    let function = "ExRegisterCallback";
    require_at_most(function, APC_LEVEL);
    let Some(routine) = routine.filter(|_| given == object()) else {
        violation!(Parameter, function, "no routine, or no callback object");
    };
    let mut registered = REGISTERED.lock();
    registered.made += 1;
    let number = registered.made;
    registered.list.push(Registration { number, routine, context });
    core::ptr::without_provenance_mut(number)
}

pub(crate) unsafe extern "system" fn unregister(registration: *mut c_void) {
    let function = "ExUnregisterCallback";
    require_at_most(function, APC_LEVEL);
    let mut registered = REGISTERED.lock();
    let before = registered.list.len();
    registered.list.retain(|it| it.number != registration.addr());
    if registered.list.len() == before {
        violation!(Parameter, function, "no such registration");
    }
}

/// The object is the rig's; any other is Wine's.
pub(crate) unsafe extern "system" fn dereference(given: *mut c_void) -> isize {
    if given == object() {
        return 1;
    }
    // SAFETY: the driver's object.
    unsafe { ObfDereferenceObject(given) as isize }
}

/// True if a driver has not ended its registration.
pub(crate) fn is_registered() -> bool {
    !REGISTERED.lock().list.is_empty()
}

/// Tells every driver that registered that the system is about to sleep, or is awake again; returns
/// how many did. The test volume calls this when a scenario says so.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigPower(is_awake: u32) -> u32 {
    let notices: Vec<_> =
        REGISTERED.lock().list.iter().map(|it| (it.routine, it.context)).collect();
    for &(routine, context) in &notices {
        let what = core::ptr::without_provenance_mut(PO_CB_SYSTEM_STATE_LOCK as usize);
        let value = core::ptr::without_provenance_mut((is_awake != 0).into());
        // SAFETY: the driver's own routine, with its context.
        unsafe { routine(context, what, value) };
    }
    notices.len() as u32
}

//! The layout of every kernel and framework structure that the driver accesses: a build against
//! headers with another layout does not compile.
//!
//! The rule: the values are the published ones for x64, not taken from headers. Sources:
//!
//! - kernel structures: what a debugger shows for x64 Windows 10 and 11 with Microsoft's public
//!   symbols (`dt nt!_IRP -v` and the like); they have not changed since Windows Vista. The
//!   smallest are in the documentation with their fields (`UNICODE_STRING`, `IO_STATUS_BLOCK`,
//!   `LIST_ENTRY`), and follow from the x64 calling convention's alignment;
//! - framework structures: their fields in the framework's published source
//!   (`src/publicinc/wdf/kmdf/1.27`), aligned in the same way.
//!
//! They hold for arm64 as well: the headers have no part of these structures for one of the two
//! only, and Windows' calling convention for arm64 gives every type the size and the alignment that
//! it has on x64 ("Overview of ARM64 ABI conventions", learn.microsoft.com). Windows CI compiles
//! them.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use core::mem::{align_of, offset_of, size_of};

use wdk_sys::{
    _DISPATCHER_HEADER, DEVICE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT, KSPIN_LOCK,
    LARGE_INTEGER, LIST_ENTRY, MDL, UNICODE_STRING, WDF_DRIVER_CONFIG, WDF_FILEOBJECT_CONFIG,
    WDF_IO_QUEUE_CONFIG, WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO,
    WDF_PNPPOWER_EVENT_CALLBACKS,
};

/// Asserts a structure's size and alignment, and the offsets of its fields.
macro_rules! pinned {
    ($structure:ty, size $size:literal, align $align:literal $($fields:tt)*) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size);
            assert!(align_of::<$structure>() == $align);
        };
        placed!($structure $($fields)*);
    };
}

/// Asserts the offsets of a structure's fields. For structures that only the kernel allocates: it
/// aligns them to 16 bytes, which not all headers say, so that the driver does not rely on their
/// size and alignment.
macro_rules! placed {
    ($structure:ty $(, $($field:ident).+ at $offset:literal)* $(,)?) => {
        const _: () = {
            $(assert!(offset_of!($structure, $($field).+) == $offset);)*
        };
    };
}

// Single words.
pinned!(KSPIN_LOCK, size 8, align 8);
pinned!(LARGE_INTEGER, size 8, align 8, QuadPart at 0);

// `dt nt!_LIST_ENTRY`
pinned!(LIST_ENTRY, size 0x10, align 8, Flink at 0, Blink at 8);

// `dt nt!_UNICODE_STRING`
pinned!(UNICODE_STRING, size 0x10, align 8, Length at 0, MaximumLength at 2, Buffer at 8);

// `dt nt!_IO_STATUS_BLOCK`: the status is in a union with a pointer.
pinned!(
    IO_STATUS_BLOCK, size 0x10, align 8,
    __bindgen_anon_1.Status at 0,
    Information at 8,
);

// `dt nt!_KEVENT`: its header and nothing else.
pinned!(_DISPATCHER_HEADER, size 0x18, align 8, SignalState at 4, WaitListHead at 8);
pinned!(KEVENT, size 0x18, align 8, Header at 0);

// `dt nt!_MDL`: the page numbers follow the structure.
pinned!(
    MDL, size 0x30, align 8,
    Next at 0,
    Size at 8,
    MdlFlags at 0xA,
    Process at 0x10,
    MappedSystemVa at 0x18,
    StartVa at 0x20,
    ByteCount at 0x28,
    ByteOffset at 0x2C,
);

// `dt nt!_IRP -b`: the stack locations follow the structure.
placed!(
    IRP,
    Type at 0,
    Size at 2,
    MdlAddress at 8,
    Flags at 0x10,
    AssociatedIrp.SystemBuffer at 0x18,
    AssociatedIrp.MasterIrp at 0x18,
    ThreadListEntry at 0x20,
    IoStatus at 0x30,
    RequestorMode at 0x40,
    PendingReturned at 0x41,
    StackCount at 0x42,
    CurrentLocation at 0x43,
    Cancel at 0x44,
    CancelIrql at 0x45,
    ApcEnvironment at 0x46,
    AllocationFlags at 0x47,
    UserIosb at 0x48,
    UserEvent at 0x50,
    Overlay at 0x58,
    CancelRoutine at 0x68,
    UserBuffer at 0x70,
    Tail.Overlay.__bindgen_anon_1.__bindgen_anon_1.DriverContext at 0x78,
    Tail.Overlay.Thread at 0x98,
    Tail.Overlay.AuxiliaryBuffer at 0xA0,
    Tail.Overlay.__bindgen_anon_2.ListEntry at 0xA8,
    Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation at 0xB8,
    Tail.Overlay.OriginalFileObject at 0xC0,
);

// `dt nt!_IO_STACK_LOCATION`: each parameter but the first is on a pointer's boundary.
pinned!(
    IO_STACK_LOCATION, size 0x48, align 8,
    MajorFunction at 0,
    MinorFunction at 1,
    Flags at 2,
    Control at 3,
    Parameters at 8,
    Parameters.Read.Length at 8,
    Parameters.Read.ByteOffset at 0x18,
    Parameters.Write.Length at 8,
    Parameters.Write.Key at 0x10,
    Parameters.Write.ByteOffset at 0x18,
    Parameters.DeviceIoControl.OutputBufferLength at 8,
    Parameters.DeviceIoControl.InputBufferLength at 0x10,
    Parameters.DeviceIoControl.IoControlCode at 0x18,
    Parameters.DeviceIoControl.Type3InputBuffer at 0x20,
    Parameters.UsageNotification.InPath at 8,
    Parameters.UsageNotification.Type at 0x10,
    DeviceObject at 0x28,
    FileObject at 0x30,
    CompletionRoutine at 0x38,
    Context at 0x40,
);

// `dt nt!_DEVICE_OBJECT`
placed!(
    DEVICE_OBJECT,
    Type at 0,
    Size at 2,
    ReferenceCount at 4,
    DriverObject at 8,
    NextDevice at 0x10,
    AttachedDevice at 0x18,
    CurrentIrp at 0x20,
    Timer at 0x28,
    Flags at 0x30,
    Characteristics at 0x34,
    Vpb at 0x38,
    DeviceExtension at 0x40,
    DeviceType at 0x48,
    StackSize at 0x4C,
    Queue at 0x50,
    AlignmentRequirement at 0x98,
    DeviceQueue at 0xA0,
    Dpc at 0xC8,
    ActiveThreadCount at 0x108,
    SecurityDescriptor at 0x110,
    DeviceLock at 0x118,
    SectorSize at 0x130,
    DeviceObjectExtension at 0x138,
    Reserved at 0x140,
);

// wdfobject.h
pinned!(
    WDF_OBJECT_ATTRIBUTES, size 56, align 8,
    Size at 0,
    EvtCleanupCallback at 8,
    EvtDestroyCallback at 16,
    ExecutionLevel at 24,
    SynchronizationScope at 28,
    ParentObject at 32,
    ContextSizeOverride at 40,
    ContextTypeInfo at 48,
);
pinned!(
    WDF_OBJECT_CONTEXT_TYPE_INFO, size 40, align 8,
    Size at 0,
    ContextName at 8,
    ContextSize at 16,
    UniqueType at 24,
    EvtDriverGetUniqueContextType at 32,
);

// wdfdriver.h
pinned!(
    WDF_DRIVER_CONFIG, size 32, align 8,
    Size at 0,
    EvtDriverDeviceAdd at 8,
    EvtDriverUnload at 16,
    DriverInitFlags at 24,
    DriverPoolTag at 28,
);

// wdfdevice.h
pinned!(
    WDF_FILEOBJECT_CONFIG, size 40, align 8,
    Size at 0,
    EvtDeviceFileCreate at 8,
    EvtFileClose at 16,
    EvtFileCleanup at 24,
    AutoForwardCleanupClose at 32,
    FileObjectClass at 36,
);
pinned!(
    WDF_PNPPOWER_EVENT_CALLBACKS, size 144, align 8,
    Size at 0,
    EvtDeviceD0Entry at 8,
    EvtDeviceD0Exit at 24,
    EvtDevicePrepareHardware at 40,
    EvtDeviceReleaseHardware at 48,
    EvtDeviceSelfManagedIoCleanup at 56,
    EvtDeviceSurpriseRemoval at 96,
);

// wdfio.h
pinned!(
    WDF_IO_QUEUE_CONFIG, size 96, align 8,
    Size at 0,
    DispatchType at 4,
    PowerManaged at 8,
    AllowZeroLengthRequests at 12,
    DefaultQueue at 13,
    EvtIoDefault at 16,
    EvtIoRead at 24,
    EvtIoWrite at 32,
    EvtIoDeviceControl at 40,
    EvtIoInternalDeviceControl at 48,
    EvtIoStop at 56,
    EvtIoResume at 64,
    EvtIoCanceledOnQueue at 72,
    Settings at 80,
    Driver at 88,
);

/*
 * wdf_types.h: handles, enumerations and globals of KMDF 1.27.
 * The rule: handles are distinct pointer types (a WDFQUEUE cannot be passed as a WDFDEVICE), as in the WDK.
 */
#ifndef SNAPLESS_WDF_TYPES_H
#define SNAPLESS_WDF_TYPES_H

#define SNAPLESS_WDF_HANDLE(name) \
    struct name##__ {             \
        int unused;               \
    };                            \
    typedef struct name##__ *name

/* Any handle may be passed as a WDFOBJECT. */
typedef HANDLE WDFOBJECT, *PWDFOBJECT;

SNAPLESS_WDF_HANDLE(WDFDRIVER);
SNAPLESS_WDF_HANDLE(WDFDEVICE);
SNAPLESS_WDF_HANDLE(WDFQUEUE);
SNAPLESS_WDF_HANDLE(WDFREQUEST);
SNAPLESS_WDF_HANDLE(WDFFILEOBJECT);
SNAPLESS_WDF_HANDLE(WDFTIMER);
SNAPLESS_WDF_HANDLE(WDFWORKITEM);
SNAPLESS_WDF_HANDLE(WDFSPINLOCK);
SNAPLESS_WDF_HANDLE(WDFKEY);
SNAPLESS_WDF_HANDLE(WDFSTRING);
SNAPLESS_WDF_HANDLE(WDFCOLLECTION);
SNAPLESS_WDF_HANDLE(WDFCMRESLIST);

/* Built by the framework, filled in by the driver through functions, never dereferenced. */
typedef struct WDFDEVICE_INIT *PWDFDEVICE_INIT;

typedef size_t *WDF_STRUCT_INFO;

typedef enum _WDF_TRI_STATE {
    WdfFalse = FALSE,
    WdfTrue = TRUE,
    WdfUseDefault = 2,
} WDF_TRI_STATE, *PWDF_TRI_STATE;

typedef enum _WDF_EXECUTION_LEVEL {
    WdfExecutionLevelInvalid = 0,
    WdfExecutionLevelInheritFromParent = 1,
    WdfExecutionLevelPassive = 2,
    WdfExecutionLevelDispatch = 3,
} WDF_EXECUTION_LEVEL;

typedef enum _WDF_SYNCHRONIZATION_SCOPE {
    WdfSynchronizationScopeInvalid = 0,
    WdfSynchronizationScopeInheritFromParent = 1,
    WdfSynchronizationScopeDevice = 2,
    WdfSynchronizationScopeQueue = 3,
    WdfSynchronizationScopeNone = 4,
} WDF_SYNCHRONIZATION_SCOPE;

typedef enum _WDF_DRIVER_INIT_FLAGS {
    WdfDriverInitNonPnpDriver = 0x1,
    WdfDriverInitNoDispatchOverride = 0x2,
    WdfVerifyOn = 0x4,
    WdfVerifierOn = 0x8,
    WdfDriverInitCompanion = 0x10,
} WDF_DRIVER_INIT_FLAGS;

typedef enum _WDF_POWER_DEVICE_STATE {
    WdfPowerDeviceInvalid = 0,
    WdfPowerDeviceD0 = 1,
    WdfPowerDeviceD1 = 2,
    WdfPowerDeviceD2 = 3,
    WdfPowerDeviceD3 = 4,
    WdfPowerDeviceD3Final = 5,
    WdfPowerDevicePrepareForHibernation = 6,
    WdfPowerDeviceMaximum = 7,
} WDF_POWER_DEVICE_STATE, *PWDF_POWER_DEVICE_STATE;

typedef enum _WDF_FILEOBJECT_CLASS {
    WdfFileObjectInvalid = 0,
    WdfFileObjectNotRequired = 1,
    WdfFileObjectWdfCanUseFsContext = 2,
    WdfFileObjectWdfCanUseFsContext2 = 3,
    WdfFileObjectWdfCannotUseFsContexts = 4,
    WdfFileObjectCanBeOptional = 0x80000000,
} WDF_FILEOBJECT_CLASS, *PWDF_FILEOBJECT_CLASS;

typedef enum _WDF_SPECIAL_FILE_TYPE {
    WdfSpecialFileUndefined = 0,
    WdfSpecialFilePaging = 1,
    WdfSpecialFileHibernation = 2,
    WdfSpecialFileDump = 3,
    WdfSpecialFileBoot = 4,
    WdfSpecialFileMax = 5,
} WDF_SPECIAL_FILE_TYPE, *PWDF_SPECIAL_FILE_TYPE;

typedef enum _WDF_REMOVE_LOCK_OPTIONS_FLAGS {
    WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO = 0x1,
} WDF_REMOVE_LOCK_OPTIONS_FLAGS;

typedef enum _WDF_DEVICE_SHUTDOWN_FLAGS {
    WdfDeviceShutdown = 0x1,
    WdfDeviceLastChanceShutdown = 0x2,
} WDF_DEVICE_SHUTDOWN_FLAGS;

typedef enum _WDF_IO_QUEUE_DISPATCH_TYPE {
    WdfIoQueueDispatchInvalid = 0,
    WdfIoQueueDispatchSequential = 1,
    WdfIoQueueDispatchParallel = 2,
    WdfIoQueueDispatchManual = 3,
    WdfIoQueueDispatchMax = 4,
} WDF_IO_QUEUE_DISPATCH_TYPE;

/* The first 28 values are the IRP major function codes. */
#define WDF_DRIVER_GLOBALS_NAME_LEN 32

typedef struct _WDF_DRIVER_GLOBALS {
    WDFDRIVER Driver;
    ULONG DriverFlags;
    ULONG DriverTag;
    CHAR DriverName[WDF_DRIVER_GLOBALS_NAME_LEN];
    /* The entry stub puts itself ahead of the driver's own unload routine where this is TRUE. */
    BOOLEAN DisplaceDriverUnload;
} WDF_DRIVER_GLOBALS, *PWDF_DRIVER_GLOBALS;

extern PWDF_DRIVER_GLOBALS WdfDriverGlobals;

/* Filled in by the loader: how much of the table a framework older than this header has. */
extern BOOLEAN WdfClientVersionHigherThanFramework;
extern ULONG WdfFunctionCount;
extern ULONG WdfStructureCount;
extern WDF_STRUCT_INFO WdfStructures;

/* The oldest framework that the driver accepts; the entry stub passes its address to the loader. */
#ifdef SNAPLESS_WDF_ENTRY_STUB
extern ULONG WdfMinimumVersionRequired;
#else
__declspec(selectany) ULONG WdfMinimumVersionRequired =
#ifdef KMDF_MINIMUM_VERSION_REQUIRED
    KMDF_MINIMUM_VERSION_REQUIRED;
#else
    KMDF_VERSION_MINOR;
#endif
#endif

#endif

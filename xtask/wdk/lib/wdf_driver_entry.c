/*
 * wdf_driver_entry.c: the entry point of a KMDF driver, for builds without the WDK (whose WdfDriverEntry.lib it stands
 * in for).
 * The rule: FxDriverEntry binds the driver to the framework's loader before the driver runs, and unbinds it after the
 * last code of the driver has run, on unload and on a failed start alike. Nothing else happens here.
 */
#define SNAPLESS_WDF_ENTRY_STUB
/* mingw-w64's headers define these in every object file, and the bindings' own object file has them too. */
#define InterlockedBitTestAndSet EntryStubInterlockedBitTestAndSet
#define InterlockedBitTestAndReset EntryStubInterlockedBitTestAndReset
#include <ntifs.h>
#include <ntddk.h>
#include <wdf.h>

/* The version handshake with WDFLDR.SYS: what the driver asks for and where the loader puts the answers. */
typedef struct {
    ULONG Size;
    PWCHAR Component;
    ULONG Major;
    ULONG Minor;
    ULONG Build;
    ULONG FuncCount;
    WDFFUNC **FuncTable;
    PVOID Module;
    ULONG *MinimumVersionRequired;
    BOOLEAN *ClientVersionHigherThanFramework;
    ULONG *FuncCountPtr;
    ULONG *StructCountPtr;
    WDF_STRUCT_INFO *StructTable;
} SNAPLESS_BIND_INFO;

_Static_assert(sizeof(SNAPLESS_BIND_INFO) == 88, "WDF_BIND_INFO2");
_Static_assert(__builtin_offsetof(SNAPLESS_BIND_INFO, FuncTable) == 32, "WDF_BIND_INFO.FuncTable");
_Static_assert(__builtin_offsetof(SNAPLESS_BIND_INFO, MinimumVersionRequired) == 48, "WDF_BIND_INFO2");

__declspec(dllimport) NTSTATUS NTAPI WdfVersionBind(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath,
                                                    SNAPLESS_BIND_INFO *BindInfo, PWDF_DRIVER_GLOBALS *Globals);
__declspec(dllimport) NTSTATUS NTAPI WdfVersionUnbind(PUNICODE_STRING RegistryPath, SNAPLESS_BIND_INFO *BindInfo,
                                                      PWDF_DRIVER_GLOBALS Globals);

/* The driver's own entry point. */
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath);

const WDFFUNC *WdfFunctions;
PWDF_DRIVER_GLOBALS WdfDriverGlobals;
BOOLEAN WdfClientVersionHigherThanFramework;
ULONG WdfFunctionCount = WdfFunctionTableNumEntries;
ULONG WdfStructureCount = SNAPLESS_WDF_STRUCTURE_COUNT;
WDF_STRUCT_INFO WdfStructures;

#define REGISTRY_PATH_CHARACTERS 260

static WCHAR ComponentName[] = {'K', 'm', 'd', 'f', 'L', 'i', 'b', 'r', 'a', 'r', 'y', 0};
static SNAPLESS_BIND_INFO BindInfo = {
    .Size = sizeof(SNAPLESS_BIND_INFO),
    .Component = ComponentName,
    .Major = KMDF_VERSION_MAJOR,
    .Minor = KMDF_VERSION_MINOR,
    .FuncCount = WdfFunctionTableNumEntries,
    .FuncTable = (WDFFUNC **)&WdfFunctions,
    .MinimumVersionRequired = &WdfMinimumVersionRequired,
    .ClientVersionHigherThanFramework = &WdfClientVersionHigherThanFramework,
    .FuncCountPtr = &WdfFunctionCount,
    .StructCountPtr = &WdfStructureCount,
    .StructTable = &WdfStructures,
};

/* The path is the I/O manager's and is gone after DriverEntry; unbinding needs it. */
static WCHAR RegistryPathBuffer[REGISTRY_PATH_CHARACTERS];
static UNICODE_STRING RegistryPathCopy = {.MaximumLength = sizeof(RegistryPathBuffer), .Buffer = RegistryPathBuffer};
static PDRIVER_UNLOAD DriverUnloadRoutine;

static VOID NTAPI UnloadThenUnbind(PDRIVER_OBJECT DriverObject)
{
    DriverUnloadRoutine(DriverObject);
    (VOID)WdfVersionUnbind(&RegistryPathCopy, &BindInfo, WdfDriverGlobals);
}

NTSTATUS NTAPI FxDriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status;

    if (RegistryPath->Length > RegistryPathCopy.MaximumLength) {
        return STATUS_NAME_TOO_LONG;
    }
    RtlCopyUnicodeString(&RegistryPathCopy, RegistryPath);

    status = WdfVersionBind(DriverObject, &RegistryPathCopy, &BindInfo, &WdfDriverGlobals);
    if (!NT_SUCCESS(status)) {
        return status;
    }

    status = DriverEntry(DriverObject, RegistryPath);
    if (!NT_SUCCESS(status)) {
        (VOID)WdfVersionUnbind(&RegistryPathCopy, &BindInfo, WdfDriverGlobals);
        return status;
    }

    if (WdfDriverGlobals->DisplaceDriverUnload && DriverObject->DriverUnload != NULL) {
        DriverUnloadRoutine = DriverObject->DriverUnload;
        DriverObject->DriverUnload = UnloadThenUnbind;
    }
    return status;
}

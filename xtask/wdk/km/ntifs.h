/*
 * ntifs.h: put ahead of mingw-w64's header of this name, which it includes.
 * The rule: it adds what the WDK's headers declare and mingw-w64's lack, and nothing that the WDK does not have, so
 * that code written against wdk-sys is the same on both. A routine that stands here but not in ntoskrnl.names does not
 * link: that is how newer routines than Windows Server 2019 are kept out.
 */
#ifndef SNAPLESS_NTIFS_H
#define SNAPLESS_NTIFS_H

/* An inline function there, an exported routine in the WDK (Windows 8 and later). */
#define KeGetCurrentIrql SnaplessInlineKeGetCurrentIrql
#include_next <ntifs.h>
#undef KeGetCurrentIrql

NTKERNELAPI KIRQL NTAPI KeGetCurrentIrql(VOID);

/* Windows 8 */
NTKERNELAPI VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime);
/* Windows 8.1 */
NTKERNELAPI ULONG64 NTAPI KeQueryInterruptTimePrecise(PULONG64 QpcTimeStamp);

/* Windows 10, version 2004: declared for the crates that name them. */
typedef ULONG64 POOL_FLAGS;
NTKERNELAPI PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);

#endif

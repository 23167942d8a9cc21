/*
 * wdf.h: the part of KMDF 1.27 that Snapless uses, for builds without the WDK.
 *
 * Written from the public description of the framework's binary interface (Windows driver documentation;
 * the constants and layouts that Microsoft publishes as microsoft/Windows-Driver-Frameworks, MIT).
 * The rule: what is declared here has exactly the name, the index, the layout and the signature that the WDK's own
 * headers give it, so that one driver source builds against both. A function that is missing here is added here,
 * with its table index, not worked around in the driver.
 *
 *   wdf_types.h      handles, enumerations, the driver's globals
 *   wdf_events.h     the callbacks that the framework calls
 *   wdf_structs.h    the structures that are passed to it
 *   wdf_functions.h  its function table: an index and a pointer type for each function
 *   wdf_layout.h     compile-time checks of the above
 */
#ifndef SNAPLESS_WDF_H
#define SNAPLESS_WDF_H

#if KMDF_VERSION_MAJOR != 1 || KMDF_VERSION_MINOR != 27
#error "these headers describe KMDF 1.27 only"
#endif

/* A client names the function table by its version: two versions in one binary do not link. */
#define WdfFunctions WdfFunctions_01027

typedef VOID (*WDFFUNC)(VOID);
extern const WDFFUNC *WdfFunctions;

#include "wdf_types.h"
#include "wdf_events.h"
#include "wdf_structs.h"
#include "wdf_functions.h"
#include "wdf_layout.h"

#endif

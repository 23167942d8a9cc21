//! The check that what runs at raised IRQL uses no kernel routine that may not.
//!
//! The rule: a routine is refused unless its documentation allows `DISPATCH_LEVEL` and it is listed
//! here for that. Where the driver is entered raised is listed too, and a test demands each of its
//! callbacks in one list or the other. Calls through the framework's table are not seen: the Wine
//! rig checks the level of each of them as it comes.

use std::collections::BTreeSet;

use super::calls::Graph;
use super::image::Import;
use super::symbols::Symbols;

/// Where others enter the driver at up to `DISPATCH_LEVEL`: callbacks, and what is called through
/// pointers of its own.
pub const RAISED: [&str; 10] = [
    "snapless::framework::filter_device::evt_write",
    "snapless::framework::filter_device::evt_device_control",
    "snapless::framework::filter_device::evt_destroy",
    "snapless::framework::filter_device::evt_cancel",
    "snapless::framework::filter_device::request_completed",
    "snapless::framework::filter_device::usage_completed",
    "snapless::kernel::query::query_completed",
    "snapless::kernel::raw_io::transferred",
    "snapless::kernel::reader::read_completed",
    "snapless::kernel::child_irp::child_completed",
];

/// What they may use: documented for IRQL <= `DISPATCH_LEVEL`, or any.
const ALLOWED: [&str; 24] = [
    "EtwWriteTransfer",
    "ExAllocatePoolWithTag",
    "ExFreePoolWithTag",
    "IoAcquireCancelSpinLock",
    "IoAllocateIrp",
    "IoBuildPartialMdl",
    "IoFreeIrp",
    "IoFreeMdl",
    "IoReleaseCancelSpinLock",
    "IoReuseIrp",
    "IofCallDriver",
    "IofCompleteRequest",
    "KeAcquireSpinLockRaiseToDpc",
    "KeGetCurrentProcessorNumberEx",
    "KeQuerySystemTimePrecise",
    "KeQueryUnbiasedInterruptTime",
    "KeReleaseSpinLock",
    "KeSetEvent",
    "MmMapLockedPagesSpecifyCache",
    "MmMapLockedPagesWithReservedMapping",
    // Of a mapping in the system's address space.
    "MmUnmapLockedPages",
    "MmUnmapReservedMapping",
    "ObfDereferenceObject",
    "PsGetCurrentThread",
];
/// Of the C library: what it touches is its callers'.
const LIBRARY: [&str; 2] = ["memcpy", "memset"];

/// What was found, and whether that is right.
pub fn raised(graph: &Graph, names: &Symbols, imports: &[Import]) -> (String, bool) {
    let mut allowed = BTreeSet::new();
    let mut bad = Vec::new();
    for root in RAISED {
        let address = names.address_of(root);
        let Some(rva) = address.filter(|rva| graph.functions().contains_key(rva)) else {
            return (format!("there is no function {root}"), false);
        };
        for reached in graph.reached_from(rva) {
            let Some(function) = graph.functions().get(&reached) else { continue };
            let uses = imports.iter().filter(|import| function.names.contains(&import.slot));
            for import in uses {
                let name = import.name.as_str();
                if ALLOWED.iter().chain(&LIBRARY).any(|listed| *listed == name) {
                    allowed.insert(name);
                } else {
                    let path = graph.way(rva, reached).unwrap_or_default();
                    bad.push(format!("{name} (by {})", names.way(&path)));
                }
            }
        }
    }
    if bad.is_empty() {
        let allowed: Vec<&str> = allowed.into_iter().collect();
        return (format!("{} entries use {}", RAISED.len(), allowed.join(", ")), true);
    }
    (bad.join("; "), false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::layout::Layout;

    use super::*;

    /// Callbacks that are entered at `PASSIVE_LEVEL` only.
    const PASSIVE: [&str; 13] = [
        "framework::control_device::evt_file_cleanup",
        "framework::control_device::evt_io_device_control",
        "framework::control_device::evt_shutdown_notification",
        "framework::driver::driver_entry",
        "framework::driver::evt_driver_device_add",
        "framework::driver::evt_driver_unload",
        "framework::filter_device::evt_cleanup",
        "framework::filter_device::evt_self_managed_io_cleanup",
        "framework::filter_device::evt_surprise_removal",
        "framework::filter_device::evt_usage",
        "kernel::etw::evt_enable",
        "kernel::power::noticed",
        "kernel::thread::routine",
    ];

    /// A function of the driver, as its source has it.
    struct Function {
        /// Module and name.
        path: String,
        /// Called by others: `extern`, with a body.
        is_callback: bool,
        doc: String,
    }

    impl Function {
        fn runs_raised(&self) -> bool {
            self.doc.contains("DISPATCH_LEVEL") || self.doc.contains("Any IRQL")
        }
    }

    /// The functions of a file that others can call.
    fn functions(module: &str, source: &str) -> Vec<Function> {
        let mut found = Vec::new();
        let mut doc = String::new();
        for line in source.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                doc.push_str(text);
                continue;
            }
            let declared = line.split_once("fn ").filter(|(before, _)| {
                let words = before.split_whitespace();
                words.clone().all(|word| {
                    word.starts_with("pub")
                        || ["const", "unsafe", "extern", "\"C\"", "\"system\""].contains(&word)
                        || word.ends_with(')')
                }) && (before.starts_with("pub") || before.contains("extern"))
            });
            if let Some((before, after)) = declared {
                let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                found.push(Function {
                    path: format!("{module}::{}", name.unwrap_or_default()),
                    is_callback: before.contains("extern"),
                    doc: std::mem::take(&mut doc),
                });
            } else if !line.starts_with('#') && !line.starts_with("//") {
                doc.clear();
            }
        }
        // Imported by hand, not a function of the driver.
        found.retain(|function| !function.path.ends_with("ExAllocatePoolWithTag"));
        found
    }

    fn all_functions(folder: &Path, module: &str, into: &mut Vec<Function>) {
        for entry in std::fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let inside = format!("{module}{}{stem}", if module.is_empty() { "" } else { "::" });
            if path.is_dir() {
                all_functions(&path, &inside, into);
            } else {
                let source = std::fs::read_to_string(&path).expect("a file of ours");
                into.extend(functions(&inside, &source));
            }
        }
    }

    fn of_the_driver() -> Vec<Function> {
        let mut found = Vec::new();
        let source = Layout::of_this_repository().driver().join("src");
        all_functions(&source, "", &mut found);
        assert!(found.len() > 150, "only {} functions were found", found.len());
        found
    }

    #[test]
    fn every_function_of_the_driver_says_at_which_level_it_runs() {
        let unmarked: Vec<String> = of_the_driver()
            .into_iter()
            .filter(|function| !function.runs_raised() && !function.doc.contains("PASSIVE_LEVEL"))
            .map(|function| function.path)
            .collect();
        assert_eq!(unmarked, Vec::<String>::new());
    }

    #[test]
    fn every_callback_of_the_driver_is_in_one_list_and_says_the_same() {
        let raised = |path: &str| RAISED.iter().any(|root| root.ends_with(&format!("::{path}")));
        for callback in of_the_driver().iter().filter(|function| function.is_callback) {
            let path = callback.path.as_str();
            let is_raised = raised(path);
            assert!(is_raised != PASSIVE.contains(&path), "{path} is in no list, or in both");
            assert_eq!(callback.runs_raised(), is_raised, "{path}: {}", callback.doc);
        }
    }
}

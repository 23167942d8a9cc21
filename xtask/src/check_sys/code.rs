//! The checks of the driver's code: no panic is linked, no function takes much stack, none calls
//! itself, none is pageable, and what runs raised uses nothing that may not.
//!
//! The rule: each looks at the binary, not at what the compiler was told; one that cannot look
//! fails.

use object::read::pe::PeFile64;

use super::Check;
use super::calls::{Chain, Graph};
use super::image::Image;
use super::irql;
use super::symbols::Symbols;

/// What one function may take, in bytes.
const FRAME_MAX: u32 = 1 << 10;
/// What a chain of the driver's functions may take, in bytes: a quarter of an x64 system's kernel
/// stack of 24 KiB.
const CHAIN_MAX: u32 = 6 << 10;
/// The same for a chain that begins where a write comes in or completes: file systems above and
/// drivers below are on the same stack, and want their share of it.
const WRITE_CHAIN_MAX: u32 = 2 << 10;
/// Where a write comes in, and where it completes.
const WRITE_PATH: [&str; 2] = [
    "snapless::framework::filter_device::evt_write",
    "snapless::framework::filter_device::request_completed",
];
/// What the image may take in memory, in bytes: it is nonpaged.
const MEMORY_MAX: u32 = 512 << 10;
/// How many of the functions with the most stack are shown.
const SHOWN: usize = 4;

/// Names of functions that panic, abort, or are only there for those that do.
const PANICS: [&str; 10] = [
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::slice::copy_from_slice_impl::len_mismatch_fail",
    "core::str::slice_error_fail",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
];
/// The handler itself is linked whether or not anything panics.
const HANDLERS: [&str; 2] = ["wdk_panic::", "__rustc::rust_begin_unwind"];

/// All checks of an image's code.
pub fn checks(
    file: &PeFile64<'_>,
    bytes: &[u8],
    image: &Image,
    symbols: &Result<Symbols, String>,
) -> Vec<Check> {
    let graph = Graph::read(file, bytes);
    let unnamed = Symbols::default();
    let names = symbols.as_ref().unwrap_or(&unnamed);
    vec![
        pageable(image),
        memory(image, bytes.len()),
        panics(symbols, graph.as_ref().ok()),
        of_graph("every function takes less than 1 KiB of stack", &graph, |g| frames(g, names)),
        of_graph("no function calls itself, directly or through others", &graph, |g| {
            recursion(g, names)
        }),
        of_graph("no chain of calls takes more than 6 KiB of stack", &graph, |g| {
            chain(g.deepest(), CHAIN_MAX, names)
        }),
        of_graph("the path of a write takes at most 2 KiB of stack", &graph, |g| {
            write_path(g, names)
        }),
        of_graph("what runs raised uses no routine that may not", &graph, |g| {
            irql::raised(g, names, &image.imports)
        }),
    ]
}

fn pageable(image: &Image) -> Check {
    let bad = &image.pageable_code_sections;
    Check {
        name: "no code is pageable",
        found: if bad.is_empty() { "none".to_owned() } else { bad.join(", ") },
        passed: bad.is_empty(),
    }
}

fn memory(image: &Image, file_bytes: usize) -> Check {
    Check {
        name: "it takes less than 512 KiB of nonpaged memory",
        found: format!("{} bytes, {file_bytes} in the file", image.memory_bytes),
        passed: image.memory_bytes <= MEMORY_MAX,
    }
}

fn panics(symbols: &Result<Symbols, String>, graph: Option<&Graph>) -> Check {
    let name = "no panic is linked";
    let symbols = match symbols {
        Ok(symbols) => symbols,
        Err(problem) => return Check { name, found: problem.clone(), passed: false },
    };
    let is_handler = |name: &str| HANDLERS.iter().any(|handler| name.starts_with(handler));
    let is_panic = |name: &str| PANICS.iter().any(|panic| name.contains(panic));
    let linked: Vec<String> = symbols
        .iter()
        .filter(|(_, name)| is_panic(name) && !is_handler(name))
        .map(|(rva, name)| {
            let callers = graph.into_iter().flat_map(|graph| graph.callers_of(rva));
            let callers: Vec<String> = callers.map(|caller| symbols.name_of(caller)).collect();
            format!("{name} (called by {})", callers.join(", "))
        })
        .collect();
    let found = if linked.is_empty() { "none".to_owned() } else { linked.join("; ") };
    Check { name, found, passed: linked.is_empty() }
}

fn of_graph(
    name: &'static str,
    graph: &Result<Graph, String>,
    judge: impl FnOnce(&Graph) -> (String, bool),
) -> Check {
    let (found, passed) = match graph {
        Ok(graph) if graph.functions().is_empty() => ("no function was found".to_owned(), false),
        Ok(graph) => judge(graph),
        Err(problem) => (problem.clone(), false),
    };
    Check { name, found, passed }
}

fn frames(graph: &Graph, names: &Symbols) -> (String, bool) {
    let mut by_stack: Vec<(u32, u32)> =
        graph.functions().iter().map(|(rva, function)| (function.stack, *rva)).collect();
    by_stack.sort_unstable_by(|a, b| b.cmp(a));
    let worst = by_stack.first().map_or(0, |(stack, _)| *stack);
    let shown: Vec<String> = by_stack
        .iter()
        .take(SHOWN)
        .map(|(stack, rva)| format!("{stack} {}", names.name_of(*rva)))
        .collect();
    (format!("{} functions, the most: {}", by_stack.len(), shown.join(", ")), worst < FRAME_MAX)
}

fn recursion(graph: &Graph, names: &Symbols) -> (String, bool) {
    match graph.recursion() {
        None => (format!("none of {}", graph.functions().len()), true),
        Some(circle) => (names.way(&circle), false),
    }
}

fn write_path(graph: &Graph, names: &Symbols) -> (String, bool) {
    let mut deepest = Some(Chain::default());
    for name in WRITE_PATH {
        let Some(rva) = names.address_of(name) else {
            return (format!("there is no function {name}"), false);
        };
        let chain = graph.deepest_from(rva);
        deepest = match (deepest, chain) {
            (Some(a), Some(b)) if a.stack > b.stack => Some(a),
            (Some(_), b) => b,
            (None, _) => None,
        };
    }
    chain(deepest, WRITE_CHAIN_MAX, names)
}

fn chain(deepest: Option<Chain>, limit: u32, names: &Symbols) -> (String, bool) {
    match deepest {
        Some(Chain { stack, functions }) => {
            (format!("{stack} bytes: {}", names.way(&functions)), stack <= limit)
        }
        None => ("recursion has no end".to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_panic_is_named_with_its_callers_and_the_handler_is_none() {
        let symbols = |name| Ok(Symbols::of([(1, "wdk_panic::panic"), (2, name)]));
        assert!(panics(&symbols("snapless::driver_entry"), None).passed);
        let failed = panics(&symbols("core::panicking::panic_fmt"), None);
        assert!(!failed.passed && failed.found.contains("panic_fmt"), "{}", failed.found);
        assert!(!panics(&symbols("core::slice::index::slice_end_index_len_fail"), None).passed);
    }

    #[test]
    fn without_symbols_the_check_fails() {
        assert!(!panics(&Err("no snapless.pdb".to_owned()), None).passed);
    }
}

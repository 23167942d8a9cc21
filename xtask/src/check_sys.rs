//! `cargo xtask check-sys`: whether `snapless.sys` is a file that Windows Server 2019 and later
//! will load.
//!
//! The rule: each property is checked by itself and printed with what was found; one that fails
//! does not hide another.

mod calls;
mod checksum;
mod code;
mod image;
mod irql;
#[cfg(test)]
pub(crate) mod sample;
mod symbols;
mod unwind;

use std::fs;
use std::path::Path;

use crate::build;
use crate::console::{Outcome, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::{KMDF_VERSION, Layout};
use crate::setup::import_library::Names;
use crate::version_resource;

use image::Image;
use symbols::Symbols;

/// `IMAGE_SUBSYSTEM_NATIVE`
const SUBSYSTEM_NATIVE: u16 = 1;
const DYNAMIC_BASE: u16 = 0x0040;
const FORCE_INTEGRITY: u16 = 0x0080;
const NX_COMPAT: u16 = 0x0100;

/// The images that a KMDF filter may import from.
const KERNEL: &str = "ntoskrnl.exe";
const FRAMEWORK: &str = "WDFLDR.SYS";

/// What the two export on the oldest system that is supported.
#[derive(Debug)]
pub struct Allowed {
    kernel: Names,
    framework: Names,
}

impl Allowed {
    /// Reads the lists that the import libraries are made from.
    pub fn read(layout: &Layout) -> Result<Self> {
        Ok(Self {
            kernel: Names::read(&layout.ntoskrnl_names())?,
            framework: Names::read(&layout.wdfldr_names())?,
        })
    }
}

/// One property of the driver.
#[derive(Debug)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// Whether it holds.
    pub passed: bool,
}

/// Runs the task: builds the driver, or takes the file that is named, and checks it.
pub fn run(layout: &Layout, file: Option<&Path>) -> Result<()> {
    let built;
    let path = if let Some(file) = file {
        file
    } else {
        built = build::driver_with_prerequisites(layout)?;
        &built.image
    };
    verify(layout, path)
}

/// Checks a driver as one step of a longer task.
pub fn add_to(steps: &Steps, layout: &Layout, path: &Path) -> Result<()> {
    steps.run("check of snapless.sys", |progress| {
        let checks = check_file(layout, path)?;
        for failed in checks.iter().filter(|check| !check.passed) {
            progress.note(&line_of(failed));
        }
        conclude(&checks, path).map(|()| Outcome::Done)
    })
}

/// Checks a driver and prints every check.
pub fn verify(layout: &Layout, path: &Path) -> Result<()> {
    let checks = check_file(layout, path)?;
    for check in &checks {
        say(&line_of(check));
    }
    conclude(&checks, path)
}

/// Checks a file, with the symbol file beside it.
fn check_file(layout: &Layout, path: &Path) -> Result<Vec<Check>> {
    let bytes = read(path)?;
    let symbols = Symbols::beside(path, &bytes);
    check(&bytes, path, &Allowed::read(layout)?, &symbols)
}

/// All checks of one image. Without symbols, what needs them fails and says why.
fn check(
    bytes: &[u8],
    path: &Path,
    allowed: &Allowed,
    symbols: &std::result::Result<Symbols, String>,
) -> Result<Vec<Check>> {
    let (file, image) = Image::parse(bytes)
        .map_err(|problem| Error::Image { path: path.to_path_buf(), problem })?;
    let mut checks = headers(&image, bytes, allowed);
    checks.push(shown_version(bytes));
    checks.extend(code::checks(&file, bytes, &image, symbols));
    Ok(checks)
}

fn headers(image: &Image, bytes: &[u8], allowed: &Allowed) -> Vec<Check> {
    vec![
        machine(image),
        subsystem(image),
        stored_checksum(image, bytes),
        relocations(image),
        characteristic(image, NX_COMPAT, "data is not executable (NX_COMPAT)"),
        characteristic(image, DYNAMIC_BASE, "it can be loaded anywhere (DYNAMIC_BASE)"),
        characteristic(image, FORCE_INTEGRITY, "its signature is enforced (FORCE_INTEGRITY)"),
        sections(image),
        symbols(image),
        framework(image),
        imported_images(image),
        imported_names(image, KERNEL, &allowed.kernel, "kernel imports exist on Server 2019"),
        imported_names(
            image,
            FRAMEWORK,
            &allowed.framework,
            "framework imports exist on Server 2019",
        ),
    ]
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).on("read", path)
}

fn line_of(check: &Check) -> String {
    let verdict = if check.passed { "ok  " } else { "FAIL" };
    format!("  {verdict} {}: {}", check.name, check.found)
}

fn conclude(checks: &[Check], path: &Path) -> Result<()> {
    let failed = checks.iter().filter(|check| !check.passed).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Checks { path: path.to_path_buf(), failed, total: checks.len() })
}

fn machine(image: &Image) -> Check {
    Check {
        name: "machine is x86-64",
        found: format!("{:#06x}", image.machine),
        passed: image.machine == object::pe::IMAGE_FILE_MACHINE_AMD64,
    }
}

fn subsystem(image: &Image) -> Check {
    Check {
        name: "subsystem is native",
        found: image.subsystem.to_string(),
        passed: image.subsystem == SUBSYSTEM_NATIVE,
    }
}

fn stored_checksum(image: &Image, bytes: &[u8]) -> Check {
    let computed = checksum::compute(bytes, image.checksum_offset);
    Check {
        name: "checksum is right",
        found: format!("{:#010x} stored, {computed:#010x} computed", image.checksum),
        passed: image.checksum == computed,
    }
}

fn relocations(image: &Image) -> Check {
    Check {
        name: "relocations are present",
        found: format!("{} bytes", image.relocation_bytes),
        passed: image.relocation_bytes > 0 && !image.relocations_stripped,
    }
}

fn characteristic(image: &Image, flag: u16, name: &'static str) -> Check {
    Check {
        name,
        found: format!("{:#06x}", image.dll_characteristics),
        passed: image.dll_characteristics & flag != 0,
    }
}

fn sections(image: &Image) -> Check {
    let bad = &image.writable_code_sections;
    Check {
        name: "no section is both writable and executable",
        found: if bad.is_empty() { "none".to_owned() } else { bad.join(", ") },
        passed: bad.is_empty(),
    }
}

fn symbols(image: &Image) -> Check {
    let path = image.symbol_file.as_deref();
    Check {
        name: "symbols are named without a build machine's path",
        found: path.unwrap_or("no symbols").to_owned(),
        passed: path.is_none_or(|path| !path.contains(['/', '\\'])),
    }
}

fn framework(image: &Image) -> Check {
    let found = image.framework.map(|(major, minor)| format!("{major}.{minor}"));
    Check {
        name: "it asks for the KMDF of Server 2019",
        passed: found.as_deref() == Some(KMDF_VERSION),
        found: found.unwrap_or_else(|| "no bind information".to_owned()),
    }
}

fn shown_version(bytes: &[u8]) -> Check {
    let read = version_resource::read(bytes).and_then(|version| {
        let described = version.to_string();
        version.check().map(|()| described)
    });
    Check {
        name: "it has a version resource with the version of this repository",
        passed: read.is_ok(),
        found: read.unwrap_or_else(|problem| problem),
    }
}

fn imported_images(image: &Image) -> Check {
    let mut images: Vec<&str> = image.imports.iter().map(|import| import.image.as_str()).collect();
    images.dedup();
    let is_allowed =
        |image: &&str| image.eq_ignore_ascii_case(KERNEL) || image.eq_ignore_ascii_case(FRAMEWORK);
    Check {
        name: "imports come only from ntoskrnl.exe and WDFLDR.SYS",
        found: if images.is_empty() { "no imports".to_owned() } else { images.join(", ") },
        passed: !images.is_empty() && images.iter().all(is_allowed),
    }
}

fn imported_names(image: &Image, from: &str, exported: &Names, name: &'static str) -> Check {
    let names: Vec<&str> = image
        .imports
        .iter()
        .filter(|import| import.image.eq_ignore_ascii_case(from))
        .map(|import| import.name.as_str())
        .collect();
    let unknown: Vec<&str> =
        names.iter().copied().filter(|name| !exported.contains(name)).collect();
    let found = if unknown.is_empty() {
        format!("{} names, all listed: {}", names.len(), names.join(", "))
    } else {
        format!("not listed: {}", unknown.join(", "))
    };
    Check { name, found, passed: !names.is_empty() && unknown.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::sample::{Sample, SampleFunction, WRITE_PATH, address_of_function, caller, leaf};
    use super::*;

    fn failed_checks(bytes: &[u8]) -> Vec<&'static str> {
        let allowed = Allowed::read(&Layout::of_this_repository()).expect("lists are there");
        // Where the driver is entered raised: all at the write path's second function but the first
        // of them.
        let place = |index: usize| address_of_function(WRITE_PATH + usize::from(index > 0));
        let named = irql::RAISED.iter().enumerate().map(|(index, name)| (place(index), *name));
        let symbols = Ok(Symbols::of(named));
        let checks = check(bytes, Path::new("sample.sys"), &allowed, &symbols).expect("an image");
        checks.iter().filter(|check| !check.passed).map(|check| check.name).collect()
    }

    #[test]
    fn a_sound_driver_passes_every_check() {
        assert_eq!(failed_checks(&Sample::default().build()), Vec::<&str>::new());
    }

    #[test]
    fn any_changed_byte_makes_the_checksum_wrong() {
        let mut bytes = Sample::default().build();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(failed_checks(&bytes), ["checksum is right"]);
    }

    #[test]
    fn a_user_mode_subsystem_is_refused() {
        let sample = Sample { subsystem: 2, ..Sample::default() };
        assert_eq!(failed_checks(&sample.build()), ["subsystem is native"]);
    }

    #[test]
    fn a_driver_without_relocations_is_refused() {
        let sample = Sample { relocations: false, ..Sample::default() };
        assert_eq!(failed_checks(&sample.build()), ["relocations are present"]);
    }

    #[test]
    fn each_missing_protection_is_named() {
        let sample = Sample { dll_characteristics: DYNAMIC_BASE, ..Sample::default() };
        let failed = failed_checks(&sample.build());
        let expected =
            ["data is not executable (NX_COMPAT)", "its signature is enforced (FORCE_INTEGRITY)"];
        assert_eq!(failed, expected);
    }

    #[test]
    fn an_import_from_elsewhere_is_refused() {
        let imports = vec![("ntoskrnl.exe", "DbgPrint"), ("kernel32.dll", "Sleep")];
        let failed = failed_checks(&Sample { imports, ..Sample::default() }.build());
        let expected = [
            "imports come only from ntoskrnl.exe and WDFLDR.SYS",
            "framework imports exist on Server 2019",
        ];
        assert_eq!(failed, expected);
    }

    #[test]
    fn a_driver_for_a_newer_framework_is_refused() {
        let sample = Sample { framework: (1, 33), ..Sample::default() };
        assert_eq!(failed_checks(&sample.build()), ["it asks for the KMDF of Server 2019"]);
    }

    #[test]
    fn a_driver_of_another_version_or_of_none_is_refused() {
        let refused = ["it has a version resource with the version of this repository"];
        for version in [None, Some([9, 9, 9, 0])] {
            let sample = Sample { version, ..Sample::default() };
            assert_eq!(failed_checks(&sample.build()), refused);
        }
    }

    #[test]
    fn a_routine_newer_than_server_2019_is_refused() {
        let imports = vec![("ntoskrnl.exe", "ExAllocatePool2"), ("WDFLDR.SYS", "WdfVersionBind")];
        let failed = failed_checks(&Sample { imports, ..Sample::default() }.build());
        assert_eq!(failed, ["kernel imports exist on Server 2019"]);
    }

    #[test]
    fn a_function_with_too_much_stack_is_refused() {
        let frame =
            |units: u8| SampleFunction { code: vec![0xC3], unwind: vec![4, 0x01, units, 0] };
        let with = |units| Sample { functions: vec![frame(units)], ..Sample::default() };
        assert_eq!(failed_checks(&with(126).build()), Vec::<&str>::new());
        let failed = failed_checks(&with(127).build());
        assert_eq!(failed, ["every function takes less than 1 KiB of stack"]);
    }

    #[test]
    fn recursion_is_refused_and_its_stack_has_no_end() {
        let functions = vec![caller(1), caller(-1)];
        let failed = failed_checks(&Sample { functions, ..Sample::default() }.build());
        let expected = [
            "no function calls itself, directly or through others",
            "no chain of calls takes more than 6 KiB of stack",
            "the path of a write takes at most 2 KiB of stack",
        ];
        assert_eq!(failed, expected);
    }

    #[test]
    fn a_chain_with_too_much_stack_is_refused_though_each_function_has_little() {
        let deep = || SampleFunction { unwind: vec![4, 0x01, 120, 0], ..caller(1) };
        let chain = |links: usize| {
            let mut functions: Vec<SampleFunction> = (0..links).map(|_| deep()).collect();
            functions.push(leaf());
            functions
        };
        let long = Sample { functions: chain(7), ..Sample::default() };
        let failed = failed_checks(&long.build());
        assert_eq!(failed, ["no chain of calls takes more than 6 KiB of stack"]);
        let written = Sample { write_path: chain(3), ..Sample::default() };
        let failed = failed_checks(&written.build());
        assert_eq!(failed, ["the path of a write takes at most 2 KiB of stack"]);
    }

    #[test]
    fn a_routine_that_waits_is_refused_where_code_runs_raised_and_nowhere_else() {
        let using = |name: &'static str| {
            let imports = vec![("ntoskrnl.exe", name), ("WDFLDR.SYS", "WdfVersionBind")];
            let sample = Sample { imports, ..Sample::default() };
            let slot = sample.slot_of(name);
            (sample, slot)
        };
        let call = |index: usize, slot: u32| {
            // call qword ptr [rip+x]; ret
            let distance = slot.wrapping_sub(address_of_function(index) + 6);
            let mut code = vec![0xFF, 0x15];
            code.extend(distance.to_le_bytes());
            code.push(0xC3);
            SampleFunction { code, unwind: Vec::new() }
        };
        let raised = |name| {
            let (sample, slot) = using(name);
            let write_path = vec![caller(1), caller(1), call(WRITE_PATH + 2, slot)];
            failed_checks(&Sample { write_path, ..sample }.build())
        };
        assert_eq!(raised("KeSetEvent"), Vec::<&str>::new());
        let refused = ["what runs raised uses no routine that may not"];
        assert_eq!(raised("KeWaitForSingleObject"), refused);
        let (sample, slot) = using("KeWaitForSingleObject");
        let functions = vec![caller(1), call(1, slot)];
        assert_eq!(failed_checks(&Sample { functions, ..sample }.build()), Vec::<&str>::new());
    }

    #[test]
    fn code_that_cannot_be_read_fails_instead_of_being_left_out() {
        // 06h is no instruction of a 64-bit program.
        let bad = SampleFunction { code: vec![0x06, 0xC3], unwind: vec![4, 0x42] };
        let failed = failed_checks(&Sample { functions: vec![bad], ..Sample::default() }.build());
        assert_eq!(failed.len(), 5, "{failed:?}");
        let nothing = Sample { functions: Vec::new(), write_path: Vec::new(), ..Sample::default() };
        assert_eq!(failed_checks(&nothing.build()).len(), 5);
        let far = Sample { functions: vec![caller(0x1000)], ..Sample::default() };
        assert_eq!(failed_checks(&far.build()).len(), 5);
        let unknown = Sample { write_path: Vec::new(), ..Sample::default() };
        let failed = failed_checks(&unknown.build());
        let expected = [
            "the path of a write takes at most 2 KiB of stack",
            "what runs raised uses no routine that may not",
        ];
        assert_eq!(failed, expected);
    }

    #[test]
    fn pageable_code_is_refused() {
        let sample = Sample { section: b"PAGE", ..Sample::default() };
        assert_eq!(failed_checks(&sample.build()), ["no code is pageable"]);
    }

    #[test]
    fn something_that_is_not_an_image_is_an_error_not_a_pass() {
        let allowed = Allowed::read(&Layout::of_this_repository()).expect("lists are there");
        let symbols = Err("none".to_owned());
        assert!(check(b"MZ and nothing else", Path::new("x.sys"), &allowed, &symbols).is_err());
    }
}

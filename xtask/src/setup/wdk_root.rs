//! The WDK content root: a folder with the structure of the Windows Driver Kit, for builds without
//! it.
//!
//! mingw-w64's headers supply the kernel's and our own (`xtask/wdk/`) the framework's; import
//! libraries come from lists of names. The rule: the driver's source and manifest do not know which
//! of the two roots they are built against.
//!
//! ```text
//! Include/10.0.26100.0/km/crt      before all others: replaces or completes mingw-w64's
//! Include/10.0.26100.0/km          mingw-w64's ddk, file by file
//! Include/10.0.26100.0/shared      mingw-w64's include folder
//! Include/wdf/kmdf/1.27            xtask/wdk/kmdf
//! Lib/10.0.26100.0/km/x64          ntoskrnl, hal, wmilib, BufferOverflowFastFailK
//! Lib/wdf/kmdf/x64/1.27            WdfLdr, WdfDriverEntry
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::build::pe::{self, CLANG_FLAGS};
use crate::command::Tool;
use crate::console::{Outcome, Progress};
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::{KIT_VERSION, KMDF_VERSION, Layout};
use crate::setup::import_library::Names;
use crate::stamp::{Fingerprint, Stamp};

/// Where mingw-w64's headers are.
pub const MINGW_INCLUDE: &str = "/usr/share/mingw-w64/include";

/// Headers that the compiler supplies on Windows as well, and that clang's own would clash with
/// mingw-w64's over, and headers of the `storage` subset that mingw-w64 lacks and that declare
/// nothing a volume filter needs.
const EMPTY_HEADERS: &[&str] = &[
    "mmintrin.h",
    "xmmintrin.h",
    "emmintrin.h",
    "pmmintrin.h",
    "tmmintrin.h",
    "smmintrin.h",
    "nmmintrin.h",
    "wmmintrin.h",
    "ammintrin.h",
    "immintrin.h",
    "x86intrin.h",
    "mm3dnow.h",
    "ehstorbandmgmt.h",
    "ehstorioctl.h",
    "ntdddump.h",
    "storport.h",
    "ufs.h",
];

/// Makes the content root.
pub fn make(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let mut inputs = Fingerprint::of_recipe(include_str!("wdk_root.rs"));
    inputs.folder(&layout.wdk_sources())?.folder(&Path::new(MINGW_INCLUDE).join("ddk"))?;
    let stamp = Stamp::new(layout, "wdk-root", &inputs);
    if stamp.is_current() && layout.wdk_root().is_dir() {
        return Ok(Outcome::AlreadyThere);
    }
    stamp.clear()?;
    remove_folder(&layout.wdk_root())?;

    let root = ContentRoot::at(layout);
    progress.detail("headers");
    root.make_headers()?;
    progress.detail("libraries");
    root.make_kernel_libraries()?;
    root.make_framework_libraries()?;

    // Cargo does not notice that headers have changed below wdk-sys.
    pe::Workspace::all(layout).iter().try_for_each(pe::Workspace::forget_bindings)?;
    stamp.set()?;
    Ok(Outcome::Done)
}

struct ContentRoot {
    sources: PathBuf,
    km: PathBuf,
    shared: PathBuf,
    kmdf: PathBuf,
    kernel_libraries: PathBuf,
    framework_libraries: PathBuf,
}

impl ContentRoot {
    fn at(layout: &Layout) -> Self {
        let root = layout.wdk_root();
        let include = root.join("Include");
        let lib = root.join("Lib");
        Self {
            sources: layout.wdk_sources(),
            km: include.join(KIT_VERSION).join("km"),
            shared: include.join(KIT_VERSION).join("shared"),
            kmdf: include.join("wdf/kmdf").join(KMDF_VERSION),
            kernel_libraries: lib.join(KIT_VERSION).join("km/x64"),
            framework_libraries: lib.join("wdf/kmdf/x64").join(KMDF_VERSION),
        }
    }

    fn make_headers(&self) -> Result<()> {
        let crt = self.km.join("crt");
        create_folder(&crt)?;
        // wdk-build wants it to be there.
        create_folder(&self.km.join("ufx/1.1"))?;
        for name in EMPTY_HEADERS {
            let path = crt.join(name);
            fs::write(&path, "/* Nothing of this header is needed. */\n").on("write", &path)?;
        }
        copy_files(&self.sources.join("km"), &crt)?;
        link_files(&Path::new(MINGW_INCLUDE).join("ddk"), &self.km)?;
        symlink(MINGW_INCLUDE, &self.shared).on("link", &self.shared)?;

        create_folder(&self.kmdf)?;
        copy_files(&self.sources.join("kmdf"), &self.kmdf)
    }

    fn make_kernel_libraries(&self) -> Result<()> {
        let folder = &self.kernel_libraries;
        create_folder(folder)?;
        let names = Names::read(&self.sources.join("lib/ntoskrnl.names"))?;
        names.make_library("ntoskrnl.exe", &folder.join("ntoskrnl.lib"))?;
        // Nothing is imported from these; wdk-sys names them on the link line.
        Names::default().make_library("HAL.dll", &folder.join("hal.lib"))?;
        Names::default().make_library("WMILIB.SYS", &folder.join("wmilib.lib"))?;
        self.compile("buffer_overflow_fast_fail_k.c", &folder.join("BufferOverflowFastFailK.lib"))
    }

    fn make_framework_libraries(&self) -> Result<()> {
        let folder = &self.framework_libraries;
        create_folder(folder)?;
        let names = Names::read(&self.sources.join("lib/wdfldr.names"))?;
        names.make_library("WDFLDR.SYS", &folder.join("WdfLdr.lib"))?;
        self.compile("wdf_driver_entry.c", &folder.join("WdfDriverEntry.lib"))
    }

    /// Compiles one of our C files into a static library.
    fn compile(&self, source: &str, library: &Path) -> Result<()> {
        let object = library.with_extension("obj");
        let include = |folder: &Path| format!("-I{}", folder.display());
        let minor = KMDF_VERSION.rsplit('.').next().unwrap_or_default();
        Tool::new(format!("compiling {source}"), "clang-cl-19")
            .args(["--target=x86_64-pc-windows-msvc", "-c", "-O2", "-GS-", "-Wno-everything"])
            .args(CLANG_FLAGS)
            .args(["-D_WIN64", "-D_AMD64_", "-DAMD64", "-D_KERNEL_MODE", "-DKMDF_VERSION_MAJOR=1"])
            .arg(format!("-DKMDF_VERSION_MINOR={minor}"))
            .arg(include(&self.km.join("crt")))
            .args([include(&self.km), include(&self.shared), include(&self.kmdf)])
            .arg(format!("-Fo{}", object.display()))
            // A path that begins with a slash would be taken for an option.
            .arg("--")
            .arg(self.sources.join("lib").join(source))
            .run()?;
        Tool::new(format!("making {}", library.display()), "llvm-lib-19")
            .arg(format!("/out:{}", library.display()))
            .arg(&object)
            .run()
    }
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on("create", folder)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for path in files_of(from)? {
        let copy = to.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &copy).on("write", &copy)?;
    }
    Ok(())
}

fn link_files(from: &Path, to: &Path) -> Result<()> {
    for path in files_of(from)? {
        let link = to.join(path.file_name().unwrap_or_default());
        symlink(&path, &link).on("link", &link)?;
    }
    Ok(())
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

//! Where everything is: the repository's folders and what the tasks make under `target/`.
//!
//! The rule: a path is spelled once, here; everything that a task makes lies under `target/`, so
//! that deleting that folder undoes every task but the installation of Debian packages.

use std::path::{Path, PathBuf};

/// The version of the Windows kit whose folder structure the content root has.
pub const KIT_VERSION: &str = "10.0.26100.0";
/// The KMDF version that the driver targets (`driver/Cargo.toml` says the same to wdk-build).
pub const KMDF_VERSION: &str = "1.27";

/// The target of everything that runs in the kernel.
pub const KERNEL_TARGET: &str = "x86_64-pc-windows-msvc";
/// The target of everything that runs in Windows' user mode.
pub const WINDOWS_TARGET: &str = "x86_64-pc-windows-gnu";

/// The repository and the folders that tasks fill.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    target: PathBuf,
}

impl Layout {
    /// The repository that this program was built from.
    #[must_use]
    pub fn of_this_repository() -> Self {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir.parent().unwrap_or(manifest_dir).to_path_buf();
        Self::at(root)
    }

    /// A repository elsewhere.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        let target = root.join("target");
        Self { root, target }
    }

    /// The repository's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `target/`.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Our own sources for the content root.
    #[must_use]
    pub fn wdk_sources(&self) -> PathBuf {
        self.root.join("xtask/wdk")
    }

    /// What the driver may import from ntoskrnl.exe.
    #[must_use]
    pub fn ntoskrnl_names(&self) -> PathBuf {
        self.wdk_sources().join("lib/ntoskrnl.names")
    }

    /// What the driver may import from WDFLDR.SYS.
    #[must_use]
    pub fn wdfldr_names(&self) -> PathBuf {
        self.wdk_sources().join("lib/wdfldr.names")
    }

    /// The driver's workspace.
    #[must_use]
    pub fn driver(&self) -> PathBuf {
        self.root.join("driver")
    }

    /// The workspace of the rig's kernel binaries.
    #[must_use]
    pub fn rig_kernel(&self) -> PathBuf {
        self.root.join("tests/wine/kernel")
    }

    /// The content root that stands in for the WDK's.
    #[must_use]
    pub fn wdk_root(&self) -> PathBuf {
        self.target.join("wdk")
    }

    /// The patched copy of the wdk-build crate.
    #[must_use]
    pub fn wdk_build(&self) -> PathBuf {
        self.target.join("wdk-build")
    }

    /// Where PE files are built; each workspace has a folder of its own in it.
    #[must_use]
    pub fn pe(&self) -> PathBuf {
        self.target.join("pe")
    }

    /// What administrators install.
    #[must_use]
    pub fn package(&self) -> PathBuf {
        self.target.join("package")
    }

    /// The test certificate and its key.
    #[must_use]
    pub fn signing(&self) -> PathBuf {
        self.target.join("signing")
    }

    /// Where programs are installed that only the tasks use.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where tests are built with this `--cfg`.
    #[must_use]
    pub fn flagged(&self, flag: &str) -> PathBuf {
        self.target.join(flag)
    }

    /// Where the stress test is built for `ThreadSanitizer`.
    #[must_use]
    pub fn tsan(&self) -> PathBuf {
        self.target.join("tsan")
    }

    /// Where the fuzz targets are built and what they find.
    #[must_use]
    pub fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// Where benchmarks make their files.
    #[must_use]
    pub fn bench(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// How many instructions the engine's verbs take.
    #[must_use]
    pub fn instructions(&self) -> PathBuf {
        self.root.join("bench/instructions.toml")
    }

    /// The Wine prefix of the rig.
    #[must_use]
    pub fn wine_prefix(&self) -> PathBuf {
        self.target.join("wine")
    }

    /// What virtual machines are made of, and their runs.
    #[must_use]
    pub fn vm(&self) -> PathBuf {
        self.target.join("vm")
    }

    /// Stamps of finished setup steps.
    #[must_use]
    pub fn stamps(&self) -> PathBuf {
        self.target.join("setup")
    }
}

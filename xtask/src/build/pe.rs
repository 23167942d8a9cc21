//! Building PE files with Debian's Rust, whose sources match its compiler, so that cargo can build
//! `core` and `std` for Windows targets.
//!
//! The rule: manifests and lock files stay what a Windows user has. Everything that only a Linux
//! host needs (the patched wdk-build, the linker, where the content root is) is in configuration
//! files generated under `target/pe`, and the lock file that results from the patch is kept there
//! as well.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::command::Tool;
use crate::console::Progress;
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::{KERNEL_TARGET, Layout};

const CARGO: &str = "/usr/bin/cargo";
const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
const LLVM: &str = "/usr/lib/llvm-19/lib";

/// What a C file for the kernel is compiled with, besides include folders.
pub const CLANG_FLAGS: &[&str] =
    &["-D__GNUC__=4", "-D__GNUC_MINOR__=2", "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000006"];

/// Names the manifest whose `metadata.wdk` a build script reads; without it wdk-build takes the
/// first `Cargo.lock` above `OUT_DIR` for the driver's, which is the root workspace's when all
/// output lies under `target/`.
pub const MANIFEST_VARIABLE: &str = "SNAPLESS_WDK_MANIFEST";

/// A cargo workspace that builds for the kernel.
pub struct Workspace {
    name: &'static str,
    folder: PathBuf,
    output: PathBuf,
}

impl Workspace {
    /// `driver/`
    #[must_use]
    pub fn driver(layout: &Layout) -> Self {
        Self { name: "driver", folder: layout.driver(), output: layout.pe().join("driver") }
    }

    /// `tests/wine/kernel/`
    #[must_use]
    pub fn rig_kernel(layout: &Layout) -> Self {
        let output = layout.pe().join("rig-kernel");
        Self { name: "rig kernel", folder: layout.rig_kernel(), output }
    }

    /// Both of them.
    #[must_use]
    pub fn all(layout: &Layout) -> [Self; 2] {
        [Self::driver(layout), Self::rig_kernel(layout)]
    }

    /// Where its manifest is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What to call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Fetches all crates, also those of the standard library.
    pub fn fetch(&self, layout: &Layout, progress: &Progress) -> Result<()> {
        // With the lock file that a Windows user has: wdk-build asks for the metadata of all of it.
        let what = format!("fetching the crates of the {} workspace", self.name);
        fetch(|| Ok(cargo(what.clone()).current_dir(&self.folder).arg("fetch")), progress)?;
        fetch(|| self.cargo(layout, "fetch"), progress)
    }

    /// Builds all of it in release and returns the folder of the products.
    pub fn build(&self, layout: &Layout, progress: &Progress) -> Result<PathBuf> {
        offline(self.cargo(layout, "build")?)
            .args(["--release", "--workspace"])
            .run_with_progress(progress)?;
        Ok(self.output.join(KERNEL_TARGET).join("release"))
    }

    /// Runs clippy over all of it; a warning is an error.
    pub fn lint(&self, layout: &Layout, progress: &Progress) -> Result<()> {
        offline(self.cargo(layout, "clippy")?)
            .args(["--release", "--workspace", "--", "-D", "warnings"])
            .run_with_progress(progress)
    }

    /// Makes the next build generate the bindings anew.
    pub fn forget_bindings(&self) -> Result<()> {
        if !self.output.is_dir() {
            return Ok(());
        }
        let mut doomed = Vec::new();
        for entry in WalkDir::new(&self.output).max_depth(4) {
            let entry = entry.map_err(std::io::Error::from).on("list", &self.output)?;
            let name = entry.file_name().to_string_lossy();
            // wdk-sys generates the bindings; scratch keeps wdk-macros' digest of them.
            let generated = name.starts_with("wdk-sys-") || name.starts_with("scratch-");
            let parent = entry.path().parent().and_then(Path::file_name).unwrap_or_default();
            if generated
                && entry.file_type().is_dir()
                && (parent == "build" || parent == ".fingerprint")
            {
                doomed.push(entry.into_path());
            }
        }
        doomed.iter().try_for_each(|folder| remove_folder(folder))
    }

    fn cargo(&self, layout: &Layout, verb: &str) -> Result<Tool> {
        let config = write_kernel_config(layout)?;
        let lock = self.seed_lock()?;
        let setting = |key: &str, path: &Path| format!("{key}='{}'", path.display());
        let what = format!("cargo {verb} of the {} workspace", self.name);
        let cargo = if verb == "clippy" { clippy(what) } else { cargo(what) };
        Ok(cargo
            .current_dir(&self.folder)
            .env(MANIFEST_VARIABLE, self.folder.join("Cargo.toml"))
            .arg(verb)
            .args(["--target", KERNEL_TARGET, "-Zlockfile-path", "--config"])
            .arg(config)
            .arg("--config")
            .arg(setting("resolver.lockfile-path", &lock))
            .arg("--config")
            .arg(setting("build.target-dir", &self.output))
            // Said of the standard library's own workspace, which the patch does not concern.
            .without_warning("warning: patch `wdk-build"))
    }

    /// Starts the patched lock file from the real one, so that both name the same versions.
    fn seed_lock(&self) -> Result<PathBuf> {
        fs::create_dir_all(&self.output).on("create", &self.output)?;
        let real = self.folder.join("Cargo.lock");
        let lock = self.output.join("Cargo.lock");
        let seed = self.output.join("Cargo.lock.seed");
        let content = fs::read(&real).on("read", &real)?;
        if !lock.is_file() || !fs::read(&seed).is_ok_and(|found| found == content) {
            fs::write(&lock, &content).on("write", &lock)?;
            fs::write(&seed, &content).on("write", &seed)?;
        }
        Ok(lock)
    }
}

/// Builds the DLL that Wine 8 lacks.
pub fn build_bcryptprimitives(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let folder = layout.wdk_sources().join("bcryptprimitives");
    let output = layout.pe().join("bcryptprimitives");
    let flags = ["+crt-static", "/NODEFAULTLIB", "/ENTRY:DllMain", "/MANIFEST:NO"];
    let rustflags = format!(
        "target.{KERNEL_TARGET}.rustflags=['-Ctarget-feature={}','-Clink-arg={}','-Clink-arg={}',\
         '-Clink-arg={}']",
        flags[0], flags[1], flags[2], flags[3]
    );
    offline(cargo("building bcryptprimitives.dll"))
        .current_dir(&folder)
        .args(["build", "--release", "--target", KERNEL_TARGET])
        .args(["-Zbuild-std=core,compiler_builtins"])
        .args(["-Zbuild-std-features=compiler-builtins-mem", "-Zlockfile-path"])
        .args(["--config", &format!("target.{KERNEL_TARGET}.linker='lld-link-19'")])
        .args(["--config", &rustflags])
        .args(["--config", &format!("resolver.lockfile-path='{}/Cargo.lock'", output.display())])
        .args(["--config", &format!("build.target-dir='{}'", output.display())])
        .run_with_progress(progress)?;
    Ok(output.join(KERNEL_TARGET).join("release/bcryptprimitives.dll"))
}

/// Debian's cargo with Debian's compiler, whatever toolchain runs this program.
pub fn cargo(what: impl Into<String>) -> Tool {
    debian_rust(what, CARGO)
}

/// Debian's clippy. `cargo clippy` would take the first `cargo-clippy` on the path.
pub fn clippy(what: impl Into<String>) -> Tool {
    debian_rust(what, CARGO_CLIPPY)
}

/// Uses only what has been fetched.
pub fn offline(cargo: Tool) -> Tool {
    cargo.env("CARGO_NET_OFFLINE", "true")
}

/// Runs a command that fetches crates: from what is on this machine, and only where that is not
/// enough from the network.
pub fn fetch(command: impl Fn() -> Result<Tool>, progress: &Progress) -> Result<()> {
    if offline(command()?).run().is_ok() {
        return Ok(());
    }
    command()?.run_with_progress(progress)
}

fn debian_rust(what: impl Into<String>, program: &str) -> Tool {
    let clean = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| belongs_to_the_outer_build(name))
        .fold(Tool::new(what, program), |tool, name| tool.env_remove(&name));
    clean
        .env("CARGO", CARGO)
        .env("RUSTC", RUSTC)
        .env("RUSTDOC", RUSTDOC)
        .env("RUSTC_BOOTSTRAP", "1")
}

/// Variables that describe the build of this program, or flags meant for Linux programs.
fn belongs_to_the_outer_build(name: &str) -> bool {
    const KEPT: &[&str] =
        &["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
    let of_cargo = name == "CARGO" || name.starts_with("CARGO_");
    let of_rust = name.starts_with("RUST") && name != "RUSTUP_HOME" && name != "RUST_BACKTRACE";
    (of_cargo && !KEPT.iter().any(|kept| name.starts_with(kept)))
        || of_rust
        || name == "LD_LIBRARY_PATH"
        || name == "CLIPPY_ARGS"
}

fn write_kernel_config(layout: &Layout) -> Result<PathBuf> {
    let path = layout.pe().join("kernel.toml");
    let content = format!(
        r#"# Generated by `cargo xtask`: what a Linux host needs to build kernel binaries.
[patch.crates-io]
wdk-build = {{ path = '{wdk_build}' }}

[target.{KERNEL_TARGET}]
linker = "lld-link-19"
rustflags = ["-Ctarget-feature=+crt-static", "-Clink-arg=/RELEASE"]

[unstable]
build-std = ["core", "alloc", "compiler_builtins"]
build-std-features = ["compiler-builtins-mem"]

[env]
WDKContentRoot = '{wdk_root}'
LIBCLANG_PATH = '{LLVM}'
BINDGEN_EXTRA_CLANG_ARGS = '{flags} --target={KERNEL_TARGET} -resource-dir={LLVM}/clang/19'
CC_x86_64_pc_windows_msvc = "clang-cl-19"
AR_x86_64_pc_windows_msvc = "llvm-lib-19"
RC_x86_64_pc_windows_msvc = "llvm-rc-19"
CFLAGS_x86_64_pc_windows_msvc = '{flags} -Wno-everything'
"#,
        wdk_build = layout.wdk_build().display(),
        wdk_root = layout.wdk_root().display(),
        flags = CLANG_FLAGS.join(" "),
    );
    // Rewriting an equal file would make cargo think that something has changed.
    if !fs::read_to_string(&path).is_ok_and(|found| found == content) {
        fs::create_dir_all(layout.pe()).on("create", &layout.pe())?;
        fs::write(&path, content).on("write", &path)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_leaks_nothing_but_where_to_fetch_from() {
        for kept in ["CARGO_HOME", "CARGO_NET_OFFLINE", "PATH", "RUST_BACKTRACE", "RUSTUP_HOME"] {
            assert!(!belongs_to_the_outer_build(kept), "{kept}");
        }
        for dropped in
            ["CARGO", "CARGO_MANIFEST_DIR", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN"]
        {
            assert!(belongs_to_the_outer_build(dropped), "{dropped}");
        }
    }
}

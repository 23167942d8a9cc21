//! What virtual machines are made of where there is no Windows: QEMU with its firmware, and the
//! kernel and busybox of a small Linux guest, from Debian's packages.
//!
//! The packages are unpacked below `target/`, not installed: a kernel would become the machine's
//! own, and Debian's emulator removes newer tools of QEMU that a machine may have.

use std::fs;
use std::path::Path;

use crate::command::Tool;
use crate::console::{Outcome, Progress};
use crate::error::{Error, IoContext, Result};
use crate::files::{files_below, remove_folder};
use crate::layout::Layout;
use crate::setup::packages::{apt_get, is_root, refuse};
use crate::stamp::{Fingerprint, Stamp};

/// Unpacked, with what they need and the system has not.
const PACKAGES: [&str; 6] =
    ["qemu-system-x86", "qemu-system-data", "seabios", "ipxe-qemu", "ovmf", "busybox-static"];
/// Depends on the kernel of the day.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Downloads and unpacks what is missing.
pub fn make(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let stamp = Stamp::new(layout, "vm", &Fingerprint::of_recipe(include_str!("vm_parts.rs")));
    if stamp.is_current() {
        return Ok(Outcome::AlreadyThere);
    }
    if !is_root()? {
        return Err(refuse(&PACKAGES, "Downloading them needs root"));
    }
    stamp.clear()?;
    let (packages, root) = (layout.vm().join("packages"), layout.vm().join("root"));
    remove_folder(&packages)?;
    remove_folder(&root)?;
    fs::create_dir_all(&packages).on("create", &packages)?;
    download(&packages, progress)?;
    for package in files_below(&packages)? {
        if package.extension().is_some_and(|extension| extension == "deb") {
            progress.detail(&format!("unpacking {}", package.display()));
            let unpack = Tool::new("unpacking a package", "dpkg-deb").arg("-x");
            unpack.arg(&package).arg(&root).run()?;
        }
    }
    remove_folder(&packages)?;
    stamp.set()?;
    Ok(Outcome::Done)
}

fn download(folder: &Path, progress: &Progress) -> Result<()> {
    apt_get("update").arg("update").run_with_progress(progress)?;
    // What the system has already is not downloaded, unless it is named here.
    apt_get("install")
        .args(["install", "-y", "--no-install-recommends", "--download-only", "--reinstall", "-o"])
        .arg(format!("Dir::Cache::archives={}", folder.display()))
        .args(PACKAGES)
        .run_with_progress(progress)?;
    let kernel =
        kernel_of(&Tool::new("apt-cache", "apt-cache").args(["depends", KERNEL]).output()?)
            .ok_or_else(|| Error::Packages {
                missing: KERNEL.to_owned(),
                reason: "Debian's list of packages has no kernel for it".to_owned(),
            })?;
    let kernel = apt_get("download").current_dir(folder).args(["download", &kernel]);
    kernel.run_with_progress(progress)
}

/// The kernel's package that a package without content depends on.
fn kernel_of(depends: &str) -> Option<String> {
    let dependency = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    dependency.filter(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_day_is_found_in_what_apt_says() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-57-cloud-amd64\n";
        assert_eq!(kernel_of(said).as_deref(), Some("linux-image-6.1.0-57-cloud-amd64"));
        assert_eq!(kernel_of("linux-image-cloud-amd64\n"), None);
    }
}

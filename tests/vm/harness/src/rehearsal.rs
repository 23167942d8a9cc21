//! A small Linux guest that plays the part of Windows: the harness's own tests run the same
//! program, protocol and machines with it, by emulation and without an ISO.
//!
//! Its kernel is Debian's, its first file system has busybox and what it needs. The program comes
//! by the medium and results go to the result disk, as in a run with Windows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cpio::newc::{self, Builder};

use crate::error::VmError;
use crate::machine::{Accelerator, Bus, Disk, Firmware, Kernel, Machine, Qemu};
use crate::medium::{self, Content};

/// What the guest is made of; the set-up of `cargo xtask test` makes it.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The emulator.
    pub qemu: Qemu,
    /// The folder into which Debian's kernel and busybox were unpacked.
    pub root: PathBuf,
    /// The program, linked statically.
    pub agent: PathBuf,
}

/// Modules of the kernel, in the order in which they are loaded.
const MODULES: [&str; 6] = [
    "fs/fat/fat.ko",
    "fs/fat/vfat.ko",
    "fs/nls/nls_cp437.ko",
    "fs/nls/nls_ascii.ko",
    "drivers/misc/pvpanic/pvpanic.ko",
    "drivers/misc/pvpanic/pvpanic-mmio.ko",
];
/// The kernel's command line. On a host that is busy, the timer of an emulated machine is late,
/// which the kernel would take for a defect.
const ARGUMENTS: &str = "console=ttyS0 quiet no_timer_check panic=1 unknown_nmi_panic=1";
/// Bytes of the result disk.
const RESULTS: u64 = 40 << 20;
/// Bytes of the disk that has the guest's memory while it hibernates, by which the guest knows it.
const SWAP: u64 = 255 << 20;
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// What busybox is called by.
const TOOLS: [&str; 17] = [
    "sh", "mount", "umount", "insmod", "reboot", "poweroff", "sleep", "uname", "echo", "cat",
    "kill", "ls", "dd", "ln", "mkswap", "swapon", "touch",
];
/// The guest's first program; `SWAP_SECTORS` is a number. A guest that has hibernated goes on where
/// it looks for its memory. `rehearse=mute` on the kernel's command line: the guest never says
/// hello.
const INIT: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec >/dev/console 2>&1
echo 1 >/proc/sys/kernel/sysrq
for module in /modules/*; do insmod "$module"; done
while [ ! -b /dev/nvme0n1 ] || [ ! -b /dev/nvme1n1 ] || [ ! -b /dev/nvme2n1 ]; do sleep 1; done
for disk in nvme0n1 nvme1n1 nvme2n1; do
    if [ "$(cat /sys/block/$disk/size)" = SWAP_SECTORS ]; then
        ln -s $disk /dev/swap
        cat /sys/block/$disk/dev >/sys/power/resume
    fi
done
for disk in nvme0n1 nvme1n1 nvme2n1; do
    mount -t vfat /dev/$disk /media || continue
    [ -e /media/snapless-e2e ] && continue
    umount /media
    mount -t vfat -o sync /dev/$disk /results
done
case "$(cat /proc/cmdline)" in
*rehearse=mute*) sleep 1000 ;;
esac
/media/snapless-e2e --line /dev/ttyS1 --results /results
echo "snapless-e2e has ended"
poweroff -f
"#;

impl Parts {
    /// What the set-up of `cargo xtask` has made in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        let root = folder.join("root");
        Self { qemu: Qemu::unpacked(&root), root, agent: folder.join("snapless-e2e") }
    }

    /// Makes a guest's files in a folder. `mood` is a word on the kernel's command line.
    pub fn machine(
        &self,
        folder: &Path,
        firmware: Firmware,
        mood: &str,
    ) -> Result<(Machine, PathBuf), VmError> {
        fs::create_dir_all(folder).map_err(VmError::file("create", folder))?;
        let initrd = folder.join("initrd");
        self.write_initrd(&initrd)?;
        let results = folder.join("results.img");
        medium::make_results(&results, RESULTS)?;
        let medium = folder.join("medium.img");
        medium::make(&medium, &[Content::file(&self.agent)])?;
        let data = folder.join("data.img");
        medium::empty_disk(&data, 1 << 20)?;
        let swap = folder.join("swap.img");
        medium::empty_disk(&swap, SWAP)?;
        let machine = Machine {
            qemu: self.qemu.clone(),
            accelerator: Accelerator::Tcg,
            firmware,
            variables: folder.join("variables.fd"),
            memory_mib: 256,
            processors: 1,
            disks: vec![
                Disk::new("results", &results, Bus::Nvme),
                Disk::new("medium", &medium, Bus::Nvme),
                Disk::new("swap", &swap, Bus::Nvme),
                Disk::new("data", &data, Bus::Usb),
            ],
            discs: Vec::new(),
            tpm: None,
            kernel: Some(Kernel {
                image: self.kernel()?,
                initrd,
                arguments: format!("{ARGUMENTS} {mood}"),
            }),
            network: false,
            hyper_v: false,
        };
        Ok((machine, results))
    }

    fn kernel(&self) -> Result<PathBuf, VmError> {
        one_in(&self.root.join("boot"), "vmlinuz-")
    }

    fn write_initrd(&self, path: &Path) -> Result<(), VmError> {
        let modules = one_in(&self.root.join("lib/modules"), "")?.join("kernel");
        let busybox = self.root.join("bin/busybox");
        let mut entries: Vec<Entry> =
            ["bin", "dev", "media", "modules", "proc", "results", "sys", "tmp"]
                .map(|folder| Entry::new(folder, DIRECTORY, Vec::new()))
                .into();
        let init = INIT.replace("SWAP_SECTORS", &(SWAP / 512).to_string());
        entries.push(Entry::new("init", PROGRAM, init.into()));
        entries.push(Entry::new("bin/busybox", PROGRAM, read(&busybox)?));
        for tool in TOOLS {
            entries.push(Entry::new(&format!("bin/{tool}"), LINK, b"busybox".to_vec()));
        }
        for (index, module) in MODULES.iter().enumerate() {
            let content = read(&modules.join(module))?;
            entries.push(Entry::new(&format!("modules/{index}.ko"), PROGRAM, content));
        }
        let written = File::create(path).and_then(|file| write(file, entries));
        written.map_err(VmError::file("write", path))
    }
}

struct Entry {
    name: String,
    mode: u32,
    content: Vec<u8>,
}

impl Entry {
    fn new(name: &str, mode: u32, content: Vec<u8>) -> Self {
        Self { name: name.to_owned(), mode, content }
    }
}

fn write(file: File, entries: Vec<Entry>) -> io::Result<()> {
    let mut archive = io::BufWriter::new(file);
    for (number, entry) in (1..).zip(entries) {
        let length = u32::try_from(entry.content.len()).map_err(io::Error::other)?;
        let builder = Builder::new(&entry.name).ino(number).mode(entry.mode).nlink(1);
        let mut writer = builder.write(archive, length);
        io::Write::write_all(&mut writer, &entry.content)?;
        archive = writer.finish()?;
    }
    newc::trailer(archive).map(drop)
}

fn read(path: &Path) -> Result<Vec<u8>, VmError> {
    fs::read(path).map_err(VmError::file("read", path))
}

/// The entry of a folder whose name begins so.
fn one_in(folder: &Path, beginning: &str) -> Result<PathBuf, VmError> {
    let entries = fs::read_dir(folder).map_err(VmError::file("list", folder))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
    };
    let nothing = || VmError::Unusable(format!("{} has no {beginning}", folder.display()));
    names.filter(is_it).min().ok_or_else(nothing)
}

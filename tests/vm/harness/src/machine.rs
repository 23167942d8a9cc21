//! A virtual machine as QEMU's command line.
//!
//! The rule: everything that Windows Server has no driver for is left out, so that one ISO is
//! enough: `NVMe`, SATA and USB disks, a PC's serial port, an Intel network card.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program that emulates, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// `qemu-system-x86_64`
    pub program: PathBuf,
    /// A folder of libraries that the system has not.
    pub libraries: Option<PathBuf>,
    /// Folders with the firmware of PCs and devices; none if QEMU knows its own.
    pub data: Vec<PathBuf>,
    /// The folder of OVMF's firmware.
    pub ovmf: PathBuf,
}

impl Qemu {
    /// That of the system, as Debian has it.
    pub fn of_the_system() -> Self {
        Self {
            program: "qemu-system-x86_64".into(),
            libraries: None,
            data: Vec::new(),
            ovmf: "/usr/share/OVMF".into(),
        }
    }

    /// One that was unpacked from Debian's packages into a folder.
    pub fn unpacked(folder: &Path) -> Self {
        let share = folder.join("usr/share");
        Self {
            program: folder.join("usr/bin/qemu-system-x86_64"),
            libraries: Some(folder.join("usr/lib/x86_64-linux-gnu")),
            data: vec![share.join("qemu"), share.join("seabios")],
            ovmf: share.join("OVMF"),
        }
    }
}

/// What starts the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS.
    Bios,
    /// UEFI without Secure Boot.
    Uefi,
    /// UEFI with Secure Boot and Microsoft's keys.
    SecureBoot,
}

/// How a guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By emulation.
    Tcg,
}

/// What a disk is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `NVMe`.
    Nvme,
    /// The chip set's SATA.
    Sata,
    /// USB: can be pulled out without a word.
    Usb,
    /// virtio, for which Windows needs a driver.
    Virtio,
}

/// The sectors of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sectors {
    /// 512 bytes.
    Native512,
    /// 512 bytes, in physical ones of 4,096.
    Emulated512,
    /// 4,096 bytes.
    Native4096,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its name in QEMU, and its serial number.
    pub name: String,
    /// The raw image.
    pub image: PathBuf,
    /// What it is attached to.
    pub bus: Bus,
    /// Its sectors.
    pub sectors: Sectors,
    /// True if trimmed space is given back to the host.
    pub trim: bool,
}

impl Disk {
    /// A disk of 512-byte sectors.
    pub fn new(name: &str, image: &Path, bus: Bus) -> Self {
        let (name, image) = (name.to_owned(), image.to_path_buf());
        Self { name, image, bus, sectors: Sectors::Native512, trim: false }
    }
}

/// A Linux that QEMU loads itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `vmlinuz`
    pub image: PathBuf,
    /// The first file system.
    pub initrd: PathBuf,
    /// The command line.
    pub arguments: String,
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The emulator.
    pub qemu: Qemu,
    /// How instructions are run.
    pub accelerator: Accelerator,
    /// What starts the guest.
    pub firmware: Firmware,
    /// The file that keeps UEFI's variables; a copy of OVMF's.
    pub variables: PathBuf,
    /// MiB of memory.
    pub memory_mib: u32,
    /// Processors.
    pub processors: u32,
    /// Its disks; it starts from the first one.
    pub disks: Vec<Disk>,
    /// Disks of the CD drives.
    pub discs: Vec<PathBuf>,
    /// The socket of a TPM that swtpm emulates.
    pub tpm: Option<PathBuf>,
    /// A Linux to load in the place of what a disk has.
    pub kernel: Option<Kernel>,
    /// True if it has a network card; the host is 10.0.2.2 there.
    pub network: bool,
    /// True if the guest's Windows gets what Hyper-V offers, by which it names a bug check.
    pub hyper_v: bool,
}

/// The sockets and files of a machine that runs.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The monitor.
    pub monitor: PathBuf,
    /// The line to the program in the guest.
    pub line: PathBuf,
    /// What the guest prints at its first serial port.
    pub console: PathBuf,
}

impl Machine {
    /// OVMF's code, and the variables that a copy is made of. None for a BIOS.
    pub fn firmware_files(&self) -> Option<(PathBuf, PathBuf)> {
        let (code, variables) = match self.firmware {
            Firmware::Bios => return None,
            Firmware::Uefi => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            Firmware::SecureBoot => ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
        };
        Some((self.qemu.ovmf.join(code), self.qemu.ovmf.join(variables)))
    }

    /// QEMU's arguments.
    pub fn arguments(&self, ends: &Ends) -> Vec<OsString> {
        let mut line = CommandLine::default();
        line.add(["-nodefaults", "-no-user-config", "-display", "none", "-device", "VGA"]);
        for folder in &self.qemu.data {
            line.add(["-L".into(), text(folder)]);
        }
        let is_secure = self.firmware == Firmware::SecureBoot;
        let smm = if is_secure { "on" } else { "off" };
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Kvm if self.hyper_v => ("kvm", HYPER_V),
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg", "max"),
        };
        line.add(["-machine".into(), format!("q35,smm={smm},accel={accelerator}")]);
        line.add(["-cpu".into(), processor.to_owned()]);
        line.add(["-smp".into(), self.processors.to_string()]);
        line.add(["-m".into(), format!("{}M", self.memory_mib)]);
        line.add(["-rtc", "base=utc"]);
        if let Some((code, _)) = self.firmware_files() {
            if is_secure {
                line.add(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
            }
            let code = quoted(&code);
            line.add([
                "-drive".into(),
                format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
            ]);
            let variables = quoted(&self.variables);
            line.add(["-drive".into(), format!("if=pflash,format=raw,unit=1,file={variables}")]);
        }
        // A guest that has noticed its own end is left to write its dump and restart.
        line.add(["-device", "pvpanic", "-action", "panic=none"]);
        line.chardev(
            "monitor",
            &format!("socket,server=on,wait=off,path={}", quoted(&ends.monitor)),
        );
        line.add(["-mon", "chardev=monitor,mode=control"]);
        line.chardev("console", &format!("file,append=on,path={}", quoted(&ends.console)));
        line.chardev("line", &format!("socket,server=on,wait=off,path={}", quoted(&ends.line)));
        line.add(["-serial", "chardev:console", "-serial", "chardev:line"]);
        line.add(["-device", "qemu-xhci,id=usb"]);
        for (index, disk) in self.disks.iter().enumerate() {
            // A kernel that QEMU loads is what starts.
            line.disk(disk, index, self.kernel.is_none());
        }
        // The chip set has six SATA ports; disks have the first ones.
        for (index, disc) in self.discs.iter().enumerate() {
            let file = quoted(disc);
            let drive = format!("if=none,id=disc{index},format=raw,readonly=on,file={file}");
            let boot = format!("bootindex={}", self.disks.len() + index);
            let device = format!("ide-cd,drive=disc{index},bus=ide.{},{boot}", 5 - index);
            line.add(["-drive".into(), drive, "-device".into(), device]);
        }
        if let Some(socket) = &self.tpm {
            line.chardev("tpm", &format!("socket,path={}", quoted(socket)));
            line.add(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
        }
        if let Some(kernel) = &self.kernel {
            line.add(["-kernel".into(), text(&kernel.image)]);
            line.add(["-initrd".into(), text(&kernel.initrd)]);
            line.add(["-append".into(), kernel.arguments.clone()]);
        }
        if self.network {
            line.add(["-nic", "user,model=e1000e"]);
        } else {
            line.add(["-nic", "none"]);
        }
        line.arguments
    }
}

/// What lets Windows name its bug check to QEMU, and what that feature wants with it.
const HYPER_V: &str = "host,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time,hv-crash";

#[derive(Default)]
struct CommandLine {
    arguments: Vec<OsString>,
}

impl CommandLine {
    fn add<S: Into<OsString>, const N: usize>(&mut self, arguments: [S; N]) {
        self.arguments.extend(arguments.map(Into::into));
    }

    fn chardev(&mut self, name: &str, kind: &str) {
        let (kind, rest) = kind.split_once(',').unwrap_or((kind, ""));
        self.add(["-chardev".to_owned(), format!("{kind},id={name},{rest}")]);
    }

    fn disk(&mut self, disk: &Disk, index: usize, starts: bool) {
        let Disk { name, image, bus, sectors, trim } = disk;
        let trim = if *trim { "discard=unmap,detect-zeroes=unmap" } else { "discard=ignore" };
        let image = quoted(image);
        let drive =
            format!("if=none,id={name}-image,format=raw,cache=writeback,{trim},file={image}");
        let kind = match bus {
            Bus::Nvme => "nvme".to_owned(),
            Bus::Sata => format!("ide-hd,bus=ide.{index}"),
            Bus::Usb => "usb-storage,bus=usb.0,removable=on".to_owned(),
            Bus::Virtio => "virtio-blk-pci".to_owned(),
        };
        let (logical, physical) = match sectors {
            Sectors::Native512 => (512, 512),
            Sectors::Emulated512 => (512, 4096),
            Sectors::Native4096 => (4096, 4096),
        };
        let size = format!("logical_block_size={logical},physical_block_size={physical}");
        let boot = if starts { format!(",bootindex={index}") } else { String::new() };
        let device = format!("{kind},id={name},drive={name}-image,serial={name},{size}{boot}");
        self.add(["-drive".into(), drive, "-device".into(), device]);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path in a list of options, where a comma ends it unless it is doubled.
fn quoted(path: &Path) -> String {
    text(path).replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(firmware: Firmware) -> Machine {
        Machine {
            qemu: Qemu::of_the_system(),
            accelerator: Accelerator::Kvm,
            firmware,
            variables: "/run/v,1.fd".into(),
            memory_mib: 4096,
            processors: 2,
            disks: vec![
                Disk::new("boot", Path::new("/run/boot.img"), Bus::Nvme),
                Disk {
                    sectors: Sectors::Native4096,
                    trim: true,
                    ..Disk::new("data", Path::new("/run/data.img"), Bus::Usb)
                },
            ],
            discs: vec!["/iso/server.iso".into()],
            tpm: None,
            kernel: None,
            network: true,
            hyper_v: true,
        }
    }

    fn line(machine: &Machine) -> String {
        let ends = Ends { monitor: "/m".into(), line: "/l".into(), console: "/c".into() };
        let arguments = machine.arguments(&ends);
        arguments.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_machine_has_its_disks_with_their_sectors_and_starts_from_the_first() {
        let line = line(&machine(Firmware::Uefi));
        for part in [
            "nvme,id=boot,drive=boot-image,serial=boot,logical_block_size=512,\
             physical_block_size=512,bootindex=0",
            "discard=unmap,detect-zeroes=unmap,file=/run/data.img",
            "usb-storage,bus=usb.0,removable=on,id=data,drive=data-image,serial=data,\
             logical_block_size=4096,physical_block_size=4096,bootindex=1",
            "ide-cd,drive=disc0,bus=ide.5,bootindex=2",
            "-serial chardev:console -serial chardev:line",
            "unit=1,file=/run/v,,1.fd",
            "hv-crash",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn secure_boot_protects_its_variables_and_a_bios_has_none() {
        let secure = line(&machine(Firmware::SecureBoot));
        assert!(secure.contains("smm=on") && secure.contains("property=secure,value=on"));
        assert!(secure.contains("OVMF_CODE_4M.secboot.fd"));
        assert!(!line(&machine(Firmware::Bios)).contains("pflash"));
        assert!(line(&machine(Firmware::Uefi)).contains("smm=off"));
    }
}

//! `autounattend.xml`: Windows Setup's answers, so that nothing is asked.
//!
//! Setup looks for the file on removable media. At the first logon the medium is copied to the boot
//! disk, and the program in the guest starts at this and every later logon.

use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;

use crate::error::VmError;
use crate::machine::Firmware;

/// Where the guest has its programs.
pub const FOLDER: &str = r"C:\snapless-e2e";
/// The machine is reachable from its host only.
const PASSWORD: &str = "Snapless-e2e-1";

/// What differs from one installation to another.
#[derive(Clone, Debug)]
pub struct Answers {
    /// UEFI wants other partitions than a BIOS.
    pub firmware: Firmware,
    /// Which image of the ISO.
    pub image_index: u32,
    /// The key of a release that is no evaluation.
    pub product_key: Option<String>,
    /// A folder on the drives with drivers that Setup loads.
    pub drivers: Option<String>,
}

type Xml = Writer<Vec<u8>>;

impl Answers {
    /// The file's text.
    pub fn text(&self) -> Result<String, VmError> {
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 1);
        let written = xml
            .create_element("unattend")
            .with_attribute(("xmlns", "urn:schemas-microsoft-com:unattend"))
            .with_attribute(("xmlns:wcm", WCM))
            .write_inner_content(|xml| {
                pass(xml, "windowsPE", |xml| self.windows_pe(xml))?;
                pass(xml, "specialize", specialize)?;
                pass(xml, "oobeSystem", oobe_system)
            });
        written.map_err(|error| VmError::Unusable(format!("the answers: {error}")))?;
        let text = String::from_utf8(xml.into_inner());
        text.map_err(|error| VmError::Unusable(format!("the answers: {error}")))
    }

    fn windows_pe(&self, xml: &mut Xml) -> io::Result<()> {
        component(xml, "Microsoft-Windows-International-Core-WinPE", |xml| {
            parent(xml, "SetupUILanguage", |xml| leaf(xml, "UILanguage", "en-US"))?;
            locales(xml)
        })?;
        if let Some(drivers) = &self.drivers {
            component(xml, "Microsoft-Windows-PnpCustomizationsWinPE", |xml| {
                parent(xml, "DriverPaths", |xml| {
                    // Which letter a CD drive gets, Setup decides.
                    for (key, letter) in (1_u32..).zip('D'..='H') {
                        let path = format!(r"{letter}:\{drivers}");
                        let key = key.to_string();
                        xml.create_element("PathAndCredentials")
                            .with_attribute((ACTION, "add"))
                            .with_attribute(("wcm:keyValue", key.as_str()))
                            .write_inner_content(|xml| leaf(xml, "Path", &path))?;
                    }
                    Ok(())
                })
            })?;
        }
        component(xml, "Microsoft-Windows-Setup", |xml| {
            parent(xml, "DiskConfiguration", |xml| {
                leaf(xml, "WillShowUI", "OnError")?;
                parent_of_list(xml, "Disk", |xml| self.disk(xml))
            })?;
            parent(xml, "ImageInstall", |xml| {
                parent(xml, "OSImage", |xml| {
                    parent(xml, "InstallFrom", |xml| {
                        parent_of_list(xml, "MetaData", |xml| {
                            leaf(xml, "Key", "/IMAGE/INDEX")?;
                            leaf(xml, "Value", &self.image_index.to_string())
                        })
                    })?;
                    parent(xml, "InstallTo", |xml| {
                        leaf(xml, "DiskID", "0")?;
                        leaf(xml, "PartitionID", if self.is_uefi() { "3" } else { "2" })
                    })
                })
            })?;
            parent(xml, "UserData", |xml| {
                leaf(xml, "AcceptEula", "true")?;
                parent(xml, "ProductKey", |xml| {
                    if let Some(key) = &self.product_key {
                        leaf(xml, "Key", key)?;
                    }
                    leaf(xml, "WillShowUI", "OnError")
                })
            })
        })
    }

    fn is_uefi(&self) -> bool {
        self.firmware != Firmware::Bios
    }

    /// The boot disk: what the firmware starts, and all the rest for Windows.
    fn disk(&self, xml: &mut Xml) -> io::Result<()> {
        let partitions: &[(&str, Option<&str>)] = if self.is_uefi() {
            &[("EFI", Some("260")), ("MSR", Some("16")), ("Primary", None)]
        } else {
            &[("Primary", Some("500")), ("Primary", None)]
        };
        leaf(xml, "DiskID", "0")?;
        leaf(xml, "WillWipeDisk", "true")?;
        parent(xml, "CreatePartitions", |xml| {
            for (order, (kind, size)) in (1..).zip(partitions) {
                added(xml, "CreatePartition", order, |xml| {
                    leaf(xml, "Type", kind)?;
                    match size {
                        Some(size) => leaf(xml, "Size", size),
                        None => leaf(xml, "Extend", "true"),
                    }
                })?;
            }
            Ok(())
        })?;
        parent(xml, "ModifyPartitions", |xml| {
            let formats: &[(u32, &str)] = if self.is_uefi() {
                &[(1, "FAT32"), (3, "NTFS")]
            } else {
                &[(1, "NTFS"), (2, "NTFS")]
            };
            for (order, (partition, format)) in (1..).zip(formats) {
                added(xml, "ModifyPartition", order, |xml| {
                    leaf(xml, "PartitionID", &partition.to_string())?;
                    leaf(xml, "Format", format)?;
                    if !self.is_uefi() && *partition == 1 {
                        leaf(xml, "Active", "true")?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}

fn specialize(xml: &mut Xml) -> io::Result<()> {
    component(xml, "Microsoft-Windows-Shell-Setup", |xml| leaf(xml, "ComputerName", "SNAPLESS-E2E"))
}

fn oobe_system(xml: &mut Xml) -> io::Result<()> {
    component(xml, "Microsoft-Windows-International-Core", locales)?;
    component(xml, "Microsoft-Windows-Shell-Setup", |xml| {
        parent(xml, "AutoLogon", |xml| {
            leaf(xml, "Enabled", "true")?;
            leaf(xml, "LogonCount", "9999")?;
            leaf(xml, "Username", "Administrator")?;
            parent(xml, "Password", password)
        })?;
        parent(xml, "UserAccounts", |xml| parent(xml, "AdministratorPassword", password))?;
        parent(xml, "OOBE", |xml| leaf(xml, "HideEULAPage", "true"))?;
        parent(xml, "FirstLogonCommands", |xml| {
            for (order, command) in (1..).zip(first_logon()) {
                added(xml, "SynchronousCommand", order, |xml| leaf(xml, "CommandLine", &command))?;
            }
            Ok(())
        })
    })
}

/// What is done once, after the installation.
fn first_logon() -> Vec<String> {
    let control = r"HKLM\SYSTEM\CurrentControlSet\Control\CrashControl";
    let run = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Run";
    let start = format!(r"{FOLDER}\snapless-e2e.exe --line COM2");
    let mut commands = vec![
        format!(
            r"cmd /c for %d in (D E F G H I J) do if exist %d:\snapless-e2e.exe xcopy %d:\* {FOLDER}\ /y"
        ),
        "powercfg /change standby-timeout-ac 0".to_owned(),
    ];
    // A kernel dump, which an interrupt from outside makes too; then the machine restarts.
    for (name, value) in
        [("CrashDumpEnabled", 2), ("AutoReboot", 1), ("Overwrite", 1), ("NMICrashDump", 1)]
    {
        commands.push(format!("reg add {control} /v {name} /t REG_DWORD /d {value} /f"));
    }
    commands.push(format!(r#"reg add {run} /v snapless-e2e /t REG_SZ /d "{start}" /f"#));
    commands.push(format!(r#"cmd /c start "" /d {FOLDER} {start}"#));
    commands
}

fn locales(xml: &mut Xml) -> io::Result<()> {
    ["InputLocale", "SystemLocale", "UILanguage", "UserLocale"]
        .into_iter()
        .try_for_each(|name| leaf(xml, name, "en-US"))
}

fn password(xml: &mut Xml) -> io::Result<()> {
    leaf(xml, "Value", PASSWORD)?;
    leaf(xml, "PlainText", "true")
}

fn pass(
    xml: &mut Xml,
    name: &str,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element("settings")
        .with_attribute(("pass", name))
        .write_inner_content(inner)
        .map(drop)
}

fn component(
    xml: &mut Xml,
    name: &str,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element("component")
        .with_attribute(("name", name))
        .with_attribute(("processorArchitecture", "amd64"))
        .with_attribute(("publicKeyToken", "31bf3856ad364e35"))
        .with_attribute(("language", "neutral"))
        .with_attribute(("versionScope", "nonSxS"))
        .write_inner_content(inner)
        .map(drop)
}

fn parent(
    xml: &mut Xml,
    name: &str,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name).write_inner_content(inner).map(drop)
}

/// An entry of a list.
fn parent_of_list(
    xml: &mut Xml,
    name: &str,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    let element = xml.create_element(name).with_attribute((ACTION, "add"));
    element.write_inner_content(inner).map(drop)
}

/// An entry of a list that has an order.
fn added(
    xml: &mut Xml,
    name: &str,
    order: u32,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    parent_of_list(xml, name, |xml| {
        leaf(xml, "Order", &order.to_string())?;
        inner(xml)
    })
}

const ACTION: &str = "wcm:action";
const WCM: &str = "http://schemas.microsoft.com/WMIConfig/2002/State";

fn leaf(xml: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(text)).map(drop)
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    fn text(firmware: Firmware) -> String {
        let drivers = Some(r"viostor\2k22\amd64".to_owned());
        let product_key = Some("A&B".to_owned());
        Answers { firmware, image_index: 2, product_key, drivers }.text().unwrap()
    }

    #[test]
    fn the_answers_are_xml_whose_prefixes_are_declared() {
        let text = text(Firmware::Uefi);
        let mut reader = Reader::from_str(&text);
        let mut depth = 0;
        loop {
            match reader.read_event().expect("XML") {
                Event::Start(_) => depth += 1,
                Event::End(_) => depth -= 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        assert!(text.contains("A&amp;B") && text.contains(&format!("xmlns:wcm=\"{WCM}\"")));
    }

    #[test]
    fn windows_goes_to_the_last_partition_of_its_disk() {
        assert!(text(Firmware::Uefi).contains("<PartitionID>3</PartitionID>"));
        let bios = text(Firmware::Bios);
        assert!(bios.contains("<Active>true</Active>") && !bios.contains("EFI"));
    }

    #[test]
    fn each_command_of_the_first_logon_fits_into_its_element() {
        assert!(first_logon().iter().all(|command| command.len() < 1024));
    }
}

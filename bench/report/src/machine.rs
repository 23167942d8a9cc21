//! The machine of the measurement: results of one machine say little about another.

use std::path::Path;
use std::process::Command;

/// Hardware and versions.
pub fn describe(folder: &Path) -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    vec![
        ("CPU".to_owned(), format!("{cpus} × {cpu}")),
        ("memory".to_owned(), memory),
        ("kernel".to_owned(), said("uname", &["-sr"])),
        ("file system of the files".to_owned(), file_system(folder)),
        ("QEMU".to_owned(), said("qemu-storage-daemon", &["--version"])),
        ("fio".to_owned(), said("fio", &["--version"])),
        ("Snapless".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]
}

fn file_system(folder: &Path) -> String {
    let folder = folder.display().to_string();
    let lines = said("df", &["--output=fstype,size", "-h", &folder]);
    lines.split_whitespace().collect::<Vec<_>>().join(" ").replace("Type Size ", "")
}

/// The first line that a program prints; for `df`, all of it.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_else(|_| "unknown".to_owned());
    if program == "df" { text } else { text.lines().next().unwrap_or_default().to_owned() }
}

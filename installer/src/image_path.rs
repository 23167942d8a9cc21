//! The file that a service's image path means.
//!
//! Drivers have paths of the kernel's namespace (`\SystemRoot\System32\drivers\x.sys`, `\??\C:\…`)
//! or paths relative to the folder of Windows; programs have quoted ones.

/// Prefixes of the folder of Windows.
const WINDOWS: [&str; 2] = [r"\systemroot\", r"%systemroot%\"];
/// The prefix of the kernel's names of files.
const NAMESPACE: &str = r"\??\";
/// A driver's path without a folder in front is relative to the folder of Windows.
const RELATIVE: &str = r"system32\";

/// True if `image_path` means `file`, which is below `windows` or elsewhere. Case is ignored.
pub fn means(image_path: &str, file: &str, windows: &str) -> bool {
    let lower = image_path.trim().trim_matches('"').to_lowercase();
    let path = lower.strip_prefix(NAMESPACE).unwrap_or(&lower);
    let in_windows = WINDOWS
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .or_else(|| path.starts_with(RELATIVE).then_some(path));
    let full = match in_windows {
        Some(rest) => format!(r"{}\{rest}", windows.to_lowercase().trim_end_matches('\\')),
        None => path.to_owned(),
    };
    full == file.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_path_means_the_same_file() {
        let file = r"C:\Windows\System32\drivers\snapless.sys";
        for path in [
            r"\SystemRoot\System32\drivers\snapless.sys",
            r"%SystemRoot%\system32\DRIVERS\snapless.sys",
            r"System32\drivers\snapless.sys",
            r"\??\C:\Windows\System32\drivers\snapless.sys",
            r"c:\windows\system32\drivers\snapless.sys",
        ] {
            assert!(means(path, file, r"C:\Windows"), "{path}");
            assert!(means(path, file, r"C:\Windows\"), "{path}");
        }
        let program = r"C:\Program Files\Snapless\snapless-service.exe";
        assert!(means(&format!("\"{program}\""), program, r"C:\Windows"));
    }

    #[test]
    fn other_files_are_other_files() {
        let file = r"C:\Windows\System32\drivers\snapless.sys";
        for path in [
            "",
            r"\SystemRoot\System32\drivers\snapless2.sys",
            r"D:\Windows\System32\drivers\snapless.sys",
            r"drivers\snapless.sys",
        ] {
            assert!(!means(path, file, r"C:\Windows"), "{path}");
        }
    }
}

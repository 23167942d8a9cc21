//! Stamps `inf/snapless.inx` into `snapless.inf`, as the WDK's stampinf does on Windows.
//!
//! The rule: every variable of the source is replaced; one that this does not know stops the build.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::layout::{KMDF_VERSION, Layout};

/// The architecture as INF files spell it.
const ARCHITECTURE: &str = "amd64";
/// The driver's version: four numbers.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), ".0");

/// Writes `snapless.inf` into `folder`; returns its path.
pub fn stamp(layout: &Layout, folder: &Path) -> Result<PathBuf> {
    let text = text(layout)?;
    let inf = folder.join("snapless.inf");
    // Setup programs of old expect the line ends of Windows.
    fs::write(&inf, text.replace('\n', "\r\n")).on("write", &inf)?;
    Ok(inf)
}

/// The text of `snapless.inf`, stamped with today's date.
pub fn text(layout: &Layout) -> Result<String> {
    let source = layout.root().join("inf/snapless.inx");
    let text = fs::read_to_string(&source).on("read", &source)?;
    let today = jiff::Timestamp::now().strftime("%m/%d/%Y").to_string();
    stamped(&text, &today).map_err(|problem| Error::Malformed { file: source, problem })
}

fn stamped(source: &str, date: &str) -> std::result::Result<String, String> {
    let mut text = String::new();
    for line in source.lines() {
        let code = line.split(';').next().unwrap_or_default();
        if code.trim_end().ends_with('=') && code.trim_start().starts_with("DriverVer") {
            let _ = writeln!(text, "{} {date},{VERSION}", code.trim_end());
            continue;
        }
        let line = line.replace("$ARCH$", ARCHITECTURE).replace("$KMDFVERSION$", KMDF_VERSION);
        if line.split(';').next().unwrap_or_default().contains('$')
            && !line.contains("$WINDOWS NT$")
        {
            return Err(format!("`{line}` has a variable that this build does not know"));
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_date_and_version_are_filled_in() {
        let source = "; $ARCH$ is the architecture\nSignature = \"$WINDOWS NT$\"\nDriverVer   =\n\
                      [DefaultInstall.NT$ARCH$]\nKmdfLibraryVersion = $KMDFVERSION$\n";
        let text = stamped(source, "01/02/2030").unwrap();
        assert!(text.contains("DriverVer   = 01/02/2030,"), "{text}");
        assert!(text.contains("[DefaultInstall.NTamd64]\n"), "{text}");
        assert!(text.contains("KmdfLibraryVersion = 1.27\n"), "{text}");
    }

    #[test]
    fn an_unknown_variable_stops_the_build() {
        assert!(stamped("A = $NEW$\n", "").unwrap_err().contains("$NEW$"));
    }
}

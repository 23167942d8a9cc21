//! Stamps `inf/snapless.inx` into `snapless.inf`, as the WDK's stampinf does on Windows.
//!
//! The rule: every variable of the source is replaced; one that this does not know stops the build.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, IoContext, Result};
use crate::layout::{KMDF_VERSION, Layout};

/// The architecture as INF files spell it.
const ARCHITECTURE: &str = "amd64";
/// The driver's version: four numbers.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), ".0");

/// Writes `snapless.inf` into `folder`; returns its path.
pub fn stamp(layout: &Layout, folder: &Path) -> Result<PathBuf> {
    let source = layout.root().join("inf/snapless.inx");
    let text = fs::read_to_string(&source).on("read", &source)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamped = stamped(&text, &date(since.as_secs() / 86_400))
        .map_err(|problem| Error::Malformed { file: source, problem })?;
    let inf = folder.join("snapless.inf");
    // Setup programs of old expect the line ends of Windows.
    fs::write(&inf, stamped.replace('\n', "\r\n")).on("write", &inf)?;
    Ok(inf)
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

/// A day as INF files write it, month first, from the number of days since 1970-01-01.
fn date(days: u64) -> String {
    let (mut year, mut left) = (1970, days);
    let length = |year: u64| if is_leap(year) { 366 } else { 365 };
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{month:02}/{:02}/{year}", left + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
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
        assert!(text.contains("KmdfLibraryVersion = 1.33\n"), "{text}");
    }

    #[test]
    fn an_unknown_variable_stops_the_build() {
        assert!(stamped("A = $NEW$\n", "").unwrap_err().contains("$NEW$"));
    }

    #[test]
    fn days_become_dates() {
        for (days, text) in
            [(0, "01/01/1970"), (58, "02/28/1970"), (11_016, "02/29/2000"), (20_819, "01/01/2027")]
        {
            assert_eq!(date(days), text);
        }
    }
}

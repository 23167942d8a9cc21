//! `snapless version`: the version of this program and of the driver interface.

use std::io::Write;

use serde::Serialize;
use snapless_wire::ioctl::ABI_VERSION;

use super::common::print_json;
use crate::error::CliError;

#[derive(Serialize)]
struct Answer {
    version: &'static str,
    driver_interface: u32,
}

/// Prints the versions.
pub(crate) fn run(json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = Answer { version: env!("CARGO_PKG_VERSION"), driver_interface: ABI_VERSION };
    if json {
        return print_json(&answer, out);
    }
    let Answer { version, driver_interface } = answer;
    writeln!(out, "snapless {version} (driver interface {driver_interface})")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_both_versions_and_so_has_the_text() {
        let answer = |json| {
            let mut out = Vec::new();
            run(json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let json = crate::schema::parse("version", &answer(true));
        assert_eq!(json["driver_interface"], ABI_VERSION);
        let version = json["version"].as_str().unwrap();
        assert_eq!(answer(false), format!("snapless {version} (driver interface {ABI_VERSION})\n"));
    }
}

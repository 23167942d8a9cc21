//! `snapless volumes`: the volumes that the driver filters.

use std::io::Write;

use serde::Serialize;
use snapless_driver_client::protection::obstacle;
use snapless_driver_client::status::special_files;
use snapless_driver_client::{Driver, Volume};
use snapless_wire::ioctl::Protection;

use super::common::{RESTART_NEEDED, guid_of, print_json, restart_needed};
use crate::error::CliError;
use crate::format;

/// Prints the list.
pub(crate) fn run(json: bool, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    let mut lines = Vec::new();
    let port = driver.open()?;
    for volume in port.list()? {
        lines.push(Line::new(driver, &volume)?);
    }
    if json {
        let answer = Answer { restart_needed: restart_needed(&*port), volumes: lines };
        return print_json(&answer, out);
    }
    if lines.is_empty() {
        writeln!(out, "The driver filters no volume. Was the machine restarted after the setup?")?;
    }
    for line in &lines {
        line.print(out)?;
    }
    if restart_needed(&*port) {
        out.write_all(RESTART_NEEDED.as_bytes())?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Answer {
    /// The loaded driver is older than this program.
    restart_needed: bool,
    volumes: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    device: String,
    /// GUID; `null` if Windows knows none.
    volume: Option<String>,
    length: Option<u64>,
    sector_size: Option<u32>,
    phase: &'static str,
    session: Option<String>,
    /// `possible`, or the name of the obstacle; `null` if the driver does not say.
    protection: Option<&'static str>,
    #[serde(skip)]
    obstacle: Option<&'static str>,
    special_files: Vec<&'static str>,
}

impl Line {
    fn new(driver: &dyn Driver, volume: &Volume) -> Result<Self, CliError> {
        Ok(Self {
            device: volume.device.clone(),
            volume: guid_of(driver, volume)?.map(|guid| guid.to_string()),
            length: volume.length,
            sector_size: volume.sector_size,
            phase: volume.phase.name(),
            session: volume.session.map(|session| session.to_string()),
            protection: volume.protection.map(Protection::name),
            // `print` reports a silent volume in place of its size.
            obstacle: volume
                .protection
                .filter(|protection| *protection != Protection::Silent)
                .and_then(obstacle),
            special_files: special_files(volume.special_files),
        })
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.device)?;
        if let Some(volume) = &self.volume {
            writeln!(out, "  volume    {{{volume}}}")?;
        }
        match (self.length, self.sector_size) {
            (Some(length), Some(sector)) => {
                writeln!(out, "  size      {}, sectors of {sector} B", format::bytes(length))?;
            }
            _ => writeln!(out, "  size      the volume does not answer")?,
        }
        if !self.special_files.is_empty() {
            writeln!(out, "  holds     system files: {}", self.special_files.join(", "))?;
        }
        match (&self.session, self.obstacle) {
            (Some(session), _) => writeln!(out, "  session   {session} ({})", self.phase),
            (None, Some(why)) => writeln!(out, "  session   none: cannot be protected, {why}"),
            (None, None) => writeln!(out, "  session   none: not protected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_driver::{DEVICE, GUID, SESSION, TestDriver};

    fn answer(json: bool, driver: &TestDriver) -> String {
        let mut out = Vec::new();
        run(json, driver, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn json(driver: &TestDriver) -> serde_json::Value {
        crate::schema::parse("volumes", &answer(true, driver))
    }

    #[test]
    fn a_volume_that_does_not_answer_is_in_the_schema_too() {
        json(&TestDriver::idle().with_obstacle(Protection::Silent));
        json(&TestDriver::empty());
    }

    #[test]
    fn the_text_has_name_size_and_session() {
        let text = answer(false, &TestDriver::protecting());
        for part in [DEVICE, GUID, "100 MiB", SESSION, "first_sync"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(answer(false, &TestDriver::idle()).contains("not protected"));
        assert!(answer(false, &TestDriver::empty()).contains("no volume"));
    }

    #[test]
    fn the_text_has_the_obstacle_and_the_system_files() {
        let text = answer(false, &TestDriver::idle().with_obstacle(Protection::Removable));
        assert!(text.contains("cannot be protected, its medium can be taken out"), "{text}");
        assert!(text.contains("system files: paging"), "{text}");
    }

    #[test]
    fn an_older_driver_calls_for_a_restart() {
        assert!(!answer(false, &TestDriver::idle()).contains("estart the machine"));
        assert!(answer(false, &TestDriver::idle().older()).contains("estart the machine"));
        assert_eq!(json(&TestDriver::idle().older())["restart_needed"], true);
    }

    #[test]
    fn the_json_has_the_same() {
        let idle = json(&TestDriver::idle());
        assert!(idle["volumes"][0]["session"].is_null());
        let json = json(&TestDriver::protecting());
        let volume = &json["volumes"][0];
        assert_eq!(volume["device"], DEVICE);
        assert_eq!(volume["volume"], GUID);
        assert_eq!(volume["length"], 100 << 20);
        assert_eq!(volume["session"], SESSION);
        assert_eq!(volume["protection"], "possible");
        assert_eq!(json["restart_needed"], false);
    }
}

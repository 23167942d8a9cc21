//! `snapless volumes`: what the driver sits on.

use std::io::Write;

use serde::Serialize;
use snapless_driver_client::protection::{obstacle, protection_name};
use snapless_driver_client::status::{phase_name, special_files};
use snapless_driver_client::{Driver, Volume};
use snapless_wire::ioctl::Protection;

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
        let answer = Answer { restart_needed: super::restart_needed(&*port), volumes: lines };
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(());
    }
    if lines.is_empty() {
        writeln!(out, "The driver sits on no volume. Was the machine restarted after the setup?")?;
    }
    for line in &lines {
        line.print(out)?;
    }
    super::say_restart_needed(&*port, out)?;
    Ok(())
}

#[derive(Serialize)]
struct Answer {
    /// The driver is of an older release, which stays until the machine restarts.
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
    /// Whether it can be protected: `possible`, or the name of what is in the way; `null` if the driver does not say.
    protection: Option<&'static str>,
    #[serde(skip)]
    obstacle: Option<&'static str>,
    special_files: Vec<&'static str>,
}

impl Line {
    fn new(driver: &dyn Driver, volume: &Volume) -> Result<Self, CliError> {
        Ok(Self {
            device: volume.device.clone(),
            volume: super::status::guid_of(driver, volume)?.map(|guid| guid.to_string()),
            length: volume.length,
            sector_size: volume.sector_size,
            phase: phase_name(volume.phase),
            session: volume.session.map(|session| session.to_string()),
            protection: volume.protection.map(protection_name),
            // That it does not answer is said where its size would be.
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
            writeln!(out, "  holds     files of the system: {}", self.special_files.join(", "))?;
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

    #[test]
    fn people_see_name_size_and_session() {
        let text = answer(false, &TestDriver::protecting());
        for part in [DEVICE, GUID, "100 MiB", SESSION, "first_sync"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(answer(false, &TestDriver::idle()).contains("not protected"));
        assert!(answer(false, &TestDriver::empty()).contains("no volume"));
    }

    #[test]
    fn people_see_why_a_volume_cannot_be_protected_and_what_it_holds() {
        let text = answer(false, &TestDriver::idle().with_obstacle(Protection::Removable));
        assert!(text.contains("cannot be protected, its medium can be taken out"), "{text}");
        assert!(text.contains("files of the system: paging"), "{text}");
    }

    #[test]
    fn an_older_driver_asks_for_a_restart() {
        assert!(!answer(false, &TestDriver::idle()).contains("estart the machine"));
        assert!(answer(false, &TestDriver::idle().older()).contains("estart the machine"));
        let json: serde_json::Value =
            serde_json::from_str(&answer(true, &TestDriver::idle().older())).unwrap();
        assert_eq!(json["restart_needed"], true);
    }

    #[test]
    fn scripts_see_the_same() {
        let json: serde_json::Value =
            serde_json::from_str(&answer(true, &TestDriver::protecting())).unwrap();
        let volume = &json["volumes"][0];
        assert_eq!(volume["device"], DEVICE);
        assert_eq!(volume["volume"], GUID);
        assert_eq!(volume["length"], 100 << 20);
        assert_eq!(volume["session"], SESSION);
        assert_eq!(volume["protection"], "possible");
        assert_eq!(json["restart_needed"], false);
        let idle: serde_json::Value =
            serde_json::from_str(&answer(true, &TestDriver::idle())).unwrap();
        assert_eq!(idle["volumes"][0]["session"], serde_json::Value::Null);
    }
}

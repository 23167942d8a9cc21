//! `snapless status`: each session's progress, rate, time left, held writes and gaps.

mod answer;
mod live;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;

use snapless_driver_client::Driver;

use crate::arguments::StatusArguments;
use crate::error::CliError;
use answer::Query;

/// Prints the sessions, once or repeatedly.
pub(crate) fn run(
    arguments: &StatusArguments,
    driver: &dyn Driver,
    state_dir: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let port = driver.open()?;
    let mut query = Query::new(driver, &*port, state_dir);
    if arguments.watch && !arguments.json && io::stdout().is_terminal() {
        let last = live::show(arguments.interval, &mut query)?;
        return Ok(out.write_all(last.as_bytes())?);
    }
    loop {
        let answer = query.answer()?;
        match (arguments.json, arguments.watch) {
            (true, true) => writeln!(out, "{}", serde_json::to_string(&answer)?)?,
            (true, false) => writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?,
            (false, _) => out.write_all(text::render(&answer).as_bytes())?,
        }
        out.flush()?;
        if !arguments.watch {
            return Ok(());
        }
        thread::sleep(arguments.interval);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schema;
    use crate::test_driver::{DEVICE, GUID, SESSION, TestDriver};
    use snapless_service::report::{Activity, REPORT_VERSION, Report};
    use snapless_service::verification::Verification;
    use snapless_types::{Extent, Seq};
    use snapless_wire::verified::{Differing, Verified};

    fn answer(json: bool, driver: &TestDriver, state_dir: &Path) -> String {
        let arguments = StatusArguments { json, watch: false, interval: Duration::from_secs(1) };
        let mut out = Vec::new();
        run(&arguments, driver, state_dir, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn report() -> Report {
        Report {
            version: REPORT_VERSION,
            volume: "0a0b0c0d-0000-4000-8000-000000000000".into(),
            device: Some(DEVICE.into()),
            session: Some(SESSION.into()),
            server: "backup:4850".into(),
            activity: Activity::Streaming,
            last_error: None,
            bytes_drained: 100,
            bytes_sent: 90,
            bytes_elided: 10,
            bytes_unchanged: 20,
            bytes_compressed: 30,
            frames_sent: 3,
            connections: 1,
            acknowledged_epoch: 2,
            acknowledged_seq: 20,
            checked_seq: 0,
            verification: None,
            latest_point_unix_ms: Some(1_600_000_000_000),
            written_unix_ms: 0,
        }
    }

    #[test]
    fn the_json_has_counters_figures_and_the_services_report() {
        let folder = tempfile::tempdir().unwrap();
        report().write(folder.path()).unwrap();
        let text = answer(true, &TestDriver::protecting(), folder.path());
        let json = schema::parse("status", &text);
        let session = &json["sessions"][0];
        assert_eq!(session["session"], SESSION);
        assert_eq!(session["phase"], "first_sync");
        assert_eq!(session["blocks_synced"], 400);
        assert_eq!(session["progress"], 0.25);
        assert_eq!(session["hold_median_us"], 5461);
        assert_eq!((&session["paused"], &session["outgrown"]), (&true.into(), &true.into()));
        assert_eq!(session["blocks_unallocated"], 77);
        assert_eq!(session["protection"], "possible");
        assert_eq!(session["service"]["bytes_sent"], 90);
        assert_eq!(session["service"]["bytes_unchanged"], 20);
        assert_eq!(session["service"]["bytes_compressed"], 30);
        assert_eq!(session["volume"], report().volume, "the service's GUID goes first");
        assert!(session["rate_bytes_per_second"].as_f64().unwrap() > 0.0);
        assert!(session["seconds_left"].as_u64().is_some());
        assert_eq!(session["latest"], "2020-09-13T12:26:40Z");
        assert!(session["rpo_seconds"].as_u64().unwrap() > 100_000_000);
    }

    #[test]
    fn the_text_has_progress_holds_and_the_services_report() {
        let folder = tempfile::tempdir().unwrap();
        let alone = answer(false, &TestDriver::protecting(), folder.path());
        let figures = ["25.0 %", "3 held", "5.4 ms", "77 blocks unused, not copied"];
        let states = ["no service", "paused", "has grown", "paging"];
        for part in [DEVICE, GUID, SESSION].iter().chain(&figures).chain(&states) {
            assert!(alone.contains(part), "{part}: {alone}");
        }
        report().write(folder.path()).unwrap();
        let served = answer(false, &TestDriver::protecting(), folder.path());
        assert!(served.contains("backup:4850"), "{served}");
        assert!(served.contains("not sent, as the server had it"), "{served}");
        assert!(served.contains("latest    2020-09-13T12:26:40Z, "), "{served}");
        assert!(alone.contains("latest    unknown"), "{alone}");
        let idle = answer(false, &TestDriver::idle(), folder.path());
        assert!(idle.contains("No volume is protected"), "{idle}");
    }

    #[test]
    fn the_map_shows_which_parts_of_the_volume_the_server_has() {
        let text = answer(false, &TestDriver::protecting(), Path::new("absent"));
        let map: Vec<_> = text.lines().skip_while(|line| !line.contains("  map ")).collect();
        let rows = map[..4].iter().map(|line| line.get(12..).unwrap());
        let cells: Vec<char> = rows.flat_map(str::chars).collect();
        assert_eq!(cells.len(), 256, "{text}");
        let signs = [0, 100, 200, 254, 255].map(|cell| cells[cell]);
        assert_eq!(signs, ['#', '+', '.', '!', '*'], "{text}");
        assert!(map[4].contains("! to be read again  * writes held"), "{text}");
    }

    #[test]
    fn a_session_that_is_verified_says_how_much_is_left_to_read() {
        let driver = TestDriver::protecting().continued();
        let text = answer(false, &driver, Path::new("absent"));
        assert!(text.contains("t0 from before the last restart"), "{text}");
        assert!(text.contains("75.0 MiB left to read"), "{text}");
        let text = answer(true, &driver, Path::new("absent"));
        let json = schema::parse("status", &text);
        let session = &json["sessions"][0];
        assert_eq!(session["continues"], true);
        assert_eq!(session["t0"], serde_json::Value::Null);
    }

    #[test]
    fn a_verification_says_how_far_it_is_and_what_differs() {
        let driver = TestDriver::protecting().verifying(3 << 20);
        let folder = tempfile::tempdir().unwrap();
        let text = answer(false, &driver, folder.path());
        assert!(text.contains("3.0 MiB of 100 MiB passed") && text.contains("nothing is compared"));
        let verified = |differing| {
            let extent = Extent::new(65_536, 512).unwrap();
            let extents = vec![Differing { extent, seq: Seq::new(1) }];
            Verification::of(&Verified { same: 1024, differing, extents, ..Verified::default() })
        };
        for (differing, want) in [(0, "nothing differs"), (512, "512 B differ: 512 bytes at 65536")]
        {
            let verification = Some(verified(differing));
            Report { verification, ..report() }.write(folder.path()).unwrap();
            let text = answer(false, &driver, folder.path());
            assert!(text.contains(&format!("1.0 KiB are the same, {want}")), "{text}");
            let json = schema::parse("status", &answer(true, &driver, folder.path()));
            let verification = &json["sessions"][0]["service"]["verification"];
            assert_eq!(verification["differing_bytes"], differing);
        }
    }

    #[test]
    fn a_torn_report_is_named_and_hides_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        report().write(folder.path()).unwrap();
        let torn = report().path(folder.path());
        let whole = std::fs::read(&torn).unwrap();
        std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
        for driver in [TestDriver::protecting(), TestDriver::idle()] {
            let text = answer(false, &driver, folder.path());
            assert!(text.contains(&torn.display().to_string()), "{text}");
            assert!(text.contains("is damaged") && text.contains("check that it runs"), "{text}");
        }
        let text = answer(false, &TestDriver::protecting(), folder.path());
        assert!(text.contains("25.0 %") && text.contains("no service"), "{text}");
        let text = answer(true, &TestDriver::protecting(), folder.path());
        let json = schema::parse("status", &text);
        assert_eq!(json["sessions"][0]["service"], serde_json::Value::Null);
        assert_eq!(json["damaged_reports"][0]["file"], torn.to_str().unwrap());
    }

    #[test]
    fn an_older_driver_calls_for_a_restart() {
        let text = answer(false, &TestDriver::protecting().older(), Path::new("absent"));
        assert!(text.contains("estart the machine"), "{text}");
    }

    #[test]
    fn the_second_answer_has_the_rate_since_the_first() {
        let driver = TestDriver::protecting();
        let port = driver.open().unwrap();
        let state_dir = Path::new("absent");
        let mut query = Query::new(&driver, &*port, state_dir);
        assert!(query.answer().unwrap().sessions[0].rate_bytes_per_second.is_some());
        let still = query.answer().unwrap();
        assert_eq!(still.sessions[0].rate_bytes_per_second, None, "nothing moved");
        driver.sync_more(100);
        let moved = query.answer().unwrap();
        assert!(moved.sessions[0].rate_bytes_per_second.unwrap() > 0.0);
    }
}

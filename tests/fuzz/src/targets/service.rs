//! Files of a protected machine: the configuration, the remembered session, the report of a
//! pipeline. The first byte of an input says which.

use std::path::Path;

use jiff::ToSpan;
use jiff::civil::date;
use snapless_service::config::{Config, ConfigError};
use snapless_service::report::Report;
use snapless_service::schedule::ENTRIES_MAX;
use snapless_service::state::Remembered;
use snapless_service::throttle::SEND_RATE_MIN;
use snapless_trust::text;

use super::{Target, stream};

pub(super) const TARGET: Target = Target {
    name: "service",
    repairs: &[],
    run,
    reached: &[
        "configuration",
        "schedule",
        "value",
        "no TOML",
        "encoding",
        "session",
        "no session",
        "report",
        "no report",
        "short",
    ],
};

fn run(input: &[u8]) -> &'static str {
    let Some((kind, bytes)) = input.split_first() else { return "short" };
    match kind % 3 {
        0 => configuration(bytes),
        1 => match Remembered::parse(bytes, stream::VOLUME) {
            Ok(found) => {
                assert_eq!(found.volume, stream::VOLUME);
                assert_eq!(Remembered::parse(&found.to_bytes(), stream::VOLUME), Ok(found));
                "session"
            }
            Err(why) => {
                assert!(!why.is_empty());
                "no session"
            }
        },
        _ => match Report::parse(bytes) {
            Ok(Some(report)) => {
                let again = report.to_bytes().expect("a report is text");
                assert_eq!(Report::parse(&again).expect("it was written"), Some(report));
                "report"
            }
            Ok(None) | Err(_) => "no report",
        },
    }
}

fn configuration(bytes: &[u8]) -> &'static str {
    let text = match text::decode(bytes) {
        Ok(text) => text,
        Err(why) => {
            assert!(why.to_string().contains("save it as UTF-8"));
            return "encoding";
        }
    };
    // In UTF-16 it is the same text.
    let marked = "\u{feff}".encode_utf16().chain(text.encode_utf16());
    let utf16: Vec<u8> = marked.flat_map(u16::to_le_bytes).collect();
    match text::decode(&utf16) {
        Ok(again) => assert_eq!(again, text),
        // A zero at its begin is taken for a longer mark.
        Err(_) => assert!(text.starts_with('\0')),
    }
    match Config::parse(Path::new("service.toml"), &text) {
        Ok(config) => {
            assert!(config.server.is_some() || config.volumes.is_empty());
            assert!(config.send_rate.is_none_or(|rate| rate >= SEND_RATE_MIN));
            let schedule = config.send_rates.entries();
            assert!(schedule.len() <= ENTRIES_MAX);
            for entry in schedule {
                assert!(entry.rate().is_none_or(|rate| rate >= SEND_RATE_MIN));
            }
            // A week, by the quarter of an hour.
            let week = date(2026, 11, 30).at(0, 0, 0, 0).series(15.minutes()).take(7 * 24 * 4);
            for now in week.map(|at| config.send_rate_at(at)) {
                let entry = now.entry.map(|place| schedule[place].rate());
                assert_eq!(now.rate, entry.unwrap_or(config.send_rate));
            }
            for volume in &config.volumes {
                assert!(volume.block_size.is_power_of_two() && volume.queue_bytes > 0);
            }
            if schedule.is_empty() { "configuration" } else { "schedule" }
        }
        Err(ConfigError::Value { .. }) => "value",
        Err(_) => "no TOML",
    }
}

//! Schedules of rates: `[[send_rates]]`, `[[sweep_rates]]`.

use serde::Deserialize;
use toml::Value;

use super::check::{Checker, ConfigError};
use crate::schedule::{DAY_NAMES, Days, ENTRIES_MAX, Entry, Schedule, TimeOfDay};
use crate::size::Size;

/// The rate that is no limit.
const NO_LIMIT: &str = "none";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntry {
    days: Option<Vec<String>>,
    from: Option<Value>,
    to: Option<Value>,
    rate: Value,
}

impl Checker<'_> {
    /// The schedule under a key, of rates that are `least` bytes a second or more.
    pub(super) fn rates(
        &self,
        key: &str,
        raw: &[RawEntry],
        least: u64,
    ) -> Result<Schedule, ConfigError> {
        let entries = raw.iter().enumerate();
        let entries: Result<_, _> = entries
            .map(|(index, raw)| self.entry(&format!("{key}[{index}]"), raw, least))
            .collect();
        Schedule::new(entries?).ok_or_else(|| {
            let allowed = format!("at most {ENTRIES_MAX} entries");
            self.not_allowed(key, format!("{} entries", raw.len()), allowed)
        })
    }

    fn entry(&self, key: &str, raw: &RawEntry, least: u64) -> Result<Entry, ConfigError> {
        let days = match &raw.days {
            None => Days::ALL,
            Some(names) => Days::named(names.iter().map(String::as_str)).ok_or_else(|| {
                let allowed =
                    format!("one or more of {DAY_NAMES:?}, or no such line for every day");
                self.not_allowed(&format!("{key}.days"), format!("{names:?}"), allowed)
            })?,
        };
        let from = self.time(&format!("{key}.from"), raw.from.as_ref(), TimeOfDay::BEGIN)?;
        let to = self.time(&format!("{key}.to"), raw.to.as_ref(), TimeOfDay::END)?;
        let rate = self.rate(&format!("{key}.rate"), &raw.rate, least)?;
        Entry::new(days, from, to, rate).ok_or_else(|| {
            let found = format!("from {from} to {to}");
            self.not_allowed(key, found, "a begin before 24:00, and an end at another time")
        })
    }

    fn time(
        &self,
        key: &str,
        value: Option<&Value>,
        default: TimeOfDay,
    ) -> Result<TimeOfDay, ConfigError> {
        let Some(value) = value else { return Ok(default) };
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let allowed = "\"00:00\" to \"24:00\", in quotes and with two digits each";
            self.not_allowed(key, value, allowed)
        })
    }

    fn rate(&self, key: &str, value: &Value, least: u64) -> Result<Option<u64>, ConfigError> {
        let bytes = match value {
            Value::String(text) if text == NO_LIMIT => return Ok(None),
            Value::String(text) => text.parse().ok().map(|Size(bytes)| bytes),
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            _ => None,
        };
        bytes.filter(|bytes| *bytes >= least).map(Some).ok_or_else(|| {
            let least = Size(least);
            let allowed = format!("\"{least}\" or more a second, or \"{NO_LIMIT}\"");
            self.not_allowed(key, value, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::civil::date;

    use super::*;
    use crate::config::Config;
    use crate::schedule::InForce;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("service.toml"), text)
    }

    fn refused(lines: &str) -> String {
        parse(&format!("[[send_rates]]\n{lines}")).unwrap_err().to_string()
    }

    #[test]
    fn a_schedule_is_read_in_its_order() {
        let text = "send_rate = \"100 MiB\"\n\
                    [[send_rates]]\ndays = [\"mon\", \"tue\"]\nfrom = \"08:00\"\nto = \"18:00\"\n\
                    rate = \"20 MiB\"\n\
                    [[send_rates]]\nfrom = \"22:00\"\nto = \"06:00\"\nrate = \"none\"\n\
                    [[send_rates]]\ndays = [\"sun\"]\nrate = 1048576\n";
        let config = parse(text).unwrap();
        assert_eq!(config.send_rates.entries().len(), 3);
        for (day, hour, entry, rate) in [
            (30, 8, Some(0), Some(20 << 20)),
            (30, 18, None, Some(100 << 20)),
            (30, 22, Some(1), None),
            (29, 12, Some(2), Some(1 << 20)),
        ] {
            let at = date(2026, 11, day).at(hour, 0, 0, 0);
            assert_eq!(config.send_rate_at(at), InForce { entry, rate }, "{at}");
        }
        assert_eq!(parse("").unwrap().send_rates, Schedule::default());
    }

    #[test]
    fn the_sweeps_have_a_schedule_of_their_own() {
        let text = "[[sweep_rates]]\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"20 MiB\"\n";
        let config = parse(text).unwrap();
        assert_eq!(config.send_rates, Schedule::default());
        for (hour, entry, rate) in [(8, Some(0), Some(20 << 20)), (18, None, None)] {
            let at = date(2026, 11, 30).at(hour, 0, 0, 0);
            assert_eq!(config.sweep_rate_at(at), InForce { entry, rate }, "{at}");
        }
        let refused = parse("[[sweep_rates]]\nrate = \"1023 KiB\"").unwrap_err().to_string();
        assert!(refused.contains("sweep_rates[0].rate") && refused.contains("1 MiB"), "{refused}");
    }

    #[test]
    fn an_error_names_the_entry_its_key_and_the_allowed_values() {
        for (lines, key, allowed) in [
            ("rate = \"20 MB\"", "send_rates[0].rate = \"20 MB\"", "1 MiB"),
            ("rate = \"1023 KiB\"", "send_rates[0].rate = \"1023 KiB\"", "or \"none\""),
            ("rate = -1", "send_rates[0].rate = -1", "or more a second"),
            ("rate = true", "send_rates[0].rate = true", "or \"none\""),
            ("rate = \"none\"\nfrom = \"8:00\"", "send_rates[0].from = \"8:00\"", "two digits"),
            ("rate = \"none\"\nto = 18:00:00", "send_rates[0].to = 18:00:00", "in quotes"),
            ("rate = \"none\"\nfrom = \"24:00\"", "send_rates[0] = from 24:00", "before 24:00"),
            ("rate = \"none\"\nto = \"00:00\"", "from 00:00 to 00:00", "another time"),
            ("rate = \"none\"\ndays = []", "send_rates[0].days = []", "\"mon\", \"tue\""),
            ("rate = \"none\"\ndays = [\"Monday\"]", "days = [\"Monday\"]", "\"sun\"]"),
        ] {
            let message = refused(lines);
            for part in ["service.toml", key, allowed] {
                assert!(message.contains(part), "{lines}: {message}");
            }
        }
        assert!(refused("from = \"08:00\"").contains("rate"), "a rate is required");
        assert!(refused("rate = \"none\"\nday = \"mon\"").contains("line 3"));
        let many = "[[send_rates]]\nrate = \"none\"\n".repeat(65);
        let message = parse(&many).unwrap_err().to_string();
        assert!(message.contains("send_rates = 65 entries") && message.contains("64"), "{message}");
    }
}

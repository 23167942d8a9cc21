//! `snapless predict`: measures a volume for a while, before it is protected, and says what
//! protection will take.

mod answer;
mod forecast;
mod measure;
mod prediction;
mod text;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snapless_driver_client::Driver;
use snapless_driver_client::probe::Probe;
use snapless_driver_client::volume::device_text;
use snapless_wire::ioctl::DeviceName;

use super::common::{Line, print_json, tell};
use crate::arguments::PredictArguments;
use crate::error::CliError;
use crate::format;
use answer::Answer;
use measure::{Progress, SystemClock, measure};
use prediction::Prediction;

/// Measures a volume of this machine, and prints what follows.
pub(crate) fn run(
    arguments: &PredictArguments,
    driver: &dyn Driver,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    // It needs the names of the machine's volumes, and no driver of ours.
    let device = driver.device_of(&arguments.volume)?;
    let probe = open(&device)?;
    let mut watch = Watch::new(arguments);
    let see = &mut |progress| watch.show(progress);
    let measured = measure(&*probe, arguments.seconds, &SystemClock::new(), seed(), see)?;
    watch.line.end();
    let device = device_text(&device).unwrap_or_default();
    print(&Prediction::new(arguments, device, measured), arguments.json, out)
}

#[cfg(windows)]
fn open(device: &DeviceName) -> Result<Box<dyn Probe>, CliError> {
    Ok(Box::new(snapless_driver_client::volume_probe::VolumeProbe::open(device)?))
}

#[cfg(not(windows))]
fn open(_device: &DeviceName) -> Result<Box<dyn Probe>, CliError> {
    Err(CliError::WindowsOnly)
}

/// Other places are read each time: the disk keeps those of the last time in its cache.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos())
}

/// What is measured, on standard error.
struct Watch {
    volume: String,
    line: Line,
}

impl Watch {
    fn new(arguments: &PredictArguments) -> Self {
        let volume = arguments.volume.to_string();
        let line = Line::new(arguments.json);
        if !arguments.json && !line.is_shown() {
            let time = format::duration(Duration::from_secs(arguments.seconds.into()));
            tell(format_args!("measuring {volume} for {time}; nothing is changed\n"));
        }
        Self { volume, line }
    }

    fn show(&mut self, progress: Progress) {
        if self.line.is_shown() {
            self.line.show(&text::progress(&self.volume, &progress));
        }
    }
}

fn print(prediction: &Prediction, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if json {
        return print_json(&Answer::from(prediction), out);
    }
    Ok(out.write_all(text::prediction(prediction).as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::measure::tests::Bench;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn arguments() -> PredictArguments {
        let volume = "D:".parse().unwrap();
        PredictArguments { volume, seconds: 60, link: None, sweep_rate: None, json: false }
    }

    fn printed(bench: &Bench, arguments: &PredictArguments) -> String {
        let measured = bench.measure(arguments.seconds);
        let device = r"\Device\HarddiskVolume3".to_owned();
        let mut out = Vec::new();
        let prediction = Prediction::new(arguments, device, measured);
        print(&prediction, arguments.json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn json(bench: &Bench, link: Option<u64>) -> serde_json::Value {
        let arguments = PredictArguments { json: true, link, ..arguments() };
        crate::schema::parse("predict", &printed(bench, &arguments))
    }

    /// 1 MiB a second, and 8 in one of the seconds.
    fn busy() -> Bench {
        Bench::new(|second| if second == 40 { 8 * MIB } else { MIB })
    }

    #[test]
    fn a_script_gets_what_was_measured_and_what_follows() {
        let value = json(&busy(), Some(20 * MIB));
        assert_eq!((&value["volume"], &value["measured_seconds"]), (&"D:".into(), &60.into()));
        assert_eq!((&value["length"], &value["used"]), (&(1000 * MIB).into(), &(250 * MIB).into()));
        assert_eq!(value["writes"]["worst_bytes_per_second"], 8 * MIB);
        assert_eq!(
            (&value["writes"]["worst_seconds"], &value["disk"]["reads"]),
            (&1.into(), &200.into())
        );
        assert_eq!(value["hold"], serde_json::json!({"median_us": 5000, "p99_us": 5000}));
        let bandwidth = (8 * MIB) + 2048 * 64;
        assert_eq!(value["bandwidth"]["worst_bytes_per_second"], bandwidth);
        assert_eq!(value["queue"]["worst_seconds"], 256 * MIB / bandwidth);
        assert_eq!(value["first_sync"]["limit"], "link");
        assert_eq!(value["first_sync"]["seconds"], 54);
        assert!(value["writes_error"].is_null() && value["disk_error"].is_null());
        assert_eq!(json(&busy(), None)["first_sync"]["limit"], "disk");
        assert_eq!(json(&busy(), Some(MIB))["first_sync"]["outcome"], "never");
        assert!(json(&Bench::new(|_| 0), None)["queue"]["mean_seconds"].is_null());
    }

    #[test]
    fn what_cannot_be_measured_is_said_and_the_rest_is_there() {
        let uncounted = || Bench { written: None, ..Bench::new(|_| 0) };
        let value = json(&uncounted(), Some(20 * MIB));
        assert!(value["writes_error"].as_str().unwrap().contains("IOCTL_DISK_PERFORMANCE"));
        assert!(value["writes"].is_null() && value["journal_bytes_per_day"].is_null());
        assert_eq!(value["first_sync"]["seconds"], 50);
        let text = printed(&uncounted(), &arguments());
        assert!(text.contains("writes could not be counted: "), "{text}");
        assert!(text.contains("without what is written"), "{text}");
        let unreadable = Bench { read: |_| None, ..busy() };
        assert_eq!(json(&unreadable, None)["first_sync"]["outcome"], "unknown");
        let unreadable = Bench { read: |_| None, ..busy() };
        let text = printed(&unreadable, &arguments());
        assert!(text.contains("the disk could not be read: "), "{text}");
    }

    #[test]
    fn the_text_says_what_protection_will_take() {
        let text = printed(&busy(), &PredictArguments { link: Some(20 * MIB), ..arguments() });
        for part in [
            "D: \\Device\\HarddiskVolume3, 1000 MiB, 250 MiB in use",
            "8.4 MB/s in the worst second",
            "64.0 KiB: 5.0 ms median, 5.0 ms p99",
            "first sync  54 s at 19.",
            "the link is the limit",
            "not compressed",
            "queue of 256 MiB",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let text = printed(&busy(), &PredictArguments { seconds: 61, ..arguments() });
        assert!(
            text.contains("in the worst minute") && text.contains("disk is the limit"),
            "{text}"
        );
        let text = printed(&Bench::new(|_| 0), &arguments());
        assert!(text.contains("as long as nothing is written"), "{text}");
    }

    #[test]
    fn that_a_first_sync_never_finishes_is_said_plainly() {
        let text = printed(&busy(), &PredictArguments { link: Some(MIB), ..arguments() });
        assert!(text.contains("never finishes"), "{text}");
        assert!(text.contains("more is written than the link takes"), "{text}");
        // On average it finishes, but not in the worst second.
        let text = printed(&busy(), &PredictArguments { link: Some(4 * MIB), ..arguments() });
        assert!(!text.contains("never") && text.contains("less than what is written in the worst"));
    }

    #[cfg(not(windows))]
    #[test]
    fn where_no_volumes_of_windows_are_it_is_said() {
        let driver = crate::test_driver::TestDriver::idle();
        let error = run(&arguments(), &driver, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("on Windows only"), "{error}");
    }

    #[test]
    fn progress_has_a_rate_and_the_time_that_is_left() {
        let (passed, left) = (Duration::from_secs(12), Duration::from_secs(48));
        let progress = Progress { passed, left, written: Some(3_200_000) };
        let line = text::progress("D:", &progress);
        assert_eq!(line, "measuring D:: 12 s, 48 s left, 3.2 MB/s written");
        let line = text::progress("D:", &Progress { written: None, ..progress });
        assert_eq!(line, "measuring D:: 12 s, 48 s left");
    }
}

//! What the driver costs: diskspd's figures as ratios to those without it.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use vm_protocol::message::Command;

/// Queue depths.
pub const DEPTHS: [u32; 6] = [1, 8, 32, 128, 512, 1024];
/// Seconds of a measurement.
const SECONDS: u32 = 30;

/// What the driver does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// It is not installed.
    Absent,
    /// It is a filter, without a session.
    Attached,
    /// It has a session in a gap: writes pass.
    PassThrough,
    /// It captures every write.
    Protecting,
}

/// In the order of the table.
const DRIVERS: [Driver; 4] =
    [Driver::Absent, Driver::Attached, Driver::PassThrough, Driver::Protecting];

impl fmt::Display for Driver {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Absent => "absent",
            Self::Attached => "attached",
            Self::PassThrough => "pass-through",
            Self::Protecting => "protecting",
        })
    }
}

/// Random writes of 4 KiB past the cache, with so many under way.
pub fn command(volume: &str, depth: u32, driver: Driver) -> Command {
    let file = format!(r"{volume}\measure.dat");
    let (seconds, depth_option) = (format!("-d{SECONDS}"), format!("-o{depth}"));
    let options = [&seconds, "-W5", &depth_option, "-t1", "-b4K", "-r4K", "-w100", "-Sh", "-L"];
    let more = ["-c4G", "-Rxml", &file];
    let run = Command::new("diskspd.exe", &[&options[..], &more[..]].concat());
    Command { save_as: Some(file_name(depth, driver)), ..run }
}

fn file_name(depth: u32, driver: Driver) -> String {
    format!("diskspd-{driver}-{depth}.xml")
}

/// The figures of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Requests per second.
    pub iops: f64,
    /// Milliseconds within which 99 of 100 requests ended.
    pub p99_ms: f64,
}

impl Figures {
    /// Reads diskspd's XML. None if it has not all of them.
    pub fn read(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        let (mut path, mut text) = (Vec::new(), String::new());
        let (mut seconds, mut requests, mut percentile, mut p99_ms) = (None, 0.0, None, None);
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    path.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part.decode().ok()?),
                Event::End(_) => {
                    let number = text.trim().parse::<f64>().ok();
                    let names: Vec<&str> = path.iter().rev().map(String::as_str).collect();
                    match names.as_slice() {
                        ["TestTimeSeconds", ..] => seconds = number,
                        ["ReadCount" | "WriteCount", "Target", ..] => requests += number?,
                        ["Percentile", ..] => percentile = number,
                        ["TotalMilliseconds", "Bucket", ..] if is_99(percentile) => p99_ms = number,
                        ["WriteMilliseconds", "Bucket", ..]
                            if is_99(percentile) && p99_ms.is_none() =>
                        {
                            p99_ms = number;
                        }
                        _ => {}
                    }
                    path.pop();
                    text.clear();
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
        Some(Self { iops: requests / seconds, p99_ms: p99_ms? })
    }
}

fn is_99(percentile: Option<f64>) -> bool {
    percentile.is_some_and(|it| (it - 99.0).abs() < 1e-6)
}

/// The table of a run's folder; empty if nothing was measured.
pub fn table(files: &Path) -> String {
    let figures = |depth, driver| {
        let xml = fs::read_to_string(files.join(file_name(depth, driver))).ok()?;
        Figures::read(&xml)
    };
    let mut rows = String::new();
    for depth in DEPTHS {
        let Some(without) = figures(depth, Driver::Absent) else { continue };
        let _ = write!(rows, "| {depth} ");
        for driver in DRIVERS {
            let cell = figures(depth, driver).map_or_else(String::new, |with| {
                let (iops, p99) = (with.iops / without.iops, with.p99_ms / without.p99_ms);
                format!("{:.0} ({iops:.2}), {:.2} ms ({p99:.2})", with.iops, with.p99_ms)
            });
            let _ = write!(rows, "| {cell} ");
        }
        rows.push_str("|\n");
    }
    if rows.is_empty() {
        return rows;
    }
    let names = DRIVERS.map(|driver| driver.to_string()).join(" | ");
    format!(
        "Writes of 4 KiB: IOPS and p99, in brackets the ratio to those without the driver.\n\n\
         | depth | {names} |\n| --- | --- | --- | --- | --- |\n{rows}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(requests: u32, p99: &str) -> String {
        let target = format!(
            "<Thread><Target><ReadCount>0</ReadCount><WriteCount>{requests}</WriteCount></Target></Thread>"
        );
        format!(
            "<Results><TimeSpan><TestTimeSeconds>10.00</TestTimeSeconds>{target}{target}<Latency>\
             <Bucket><Percentile>50</Percentile><TotalMilliseconds>1</TotalMilliseconds></Bucket>\
             <Bucket><Percentile>99</Percentile><WriteMilliseconds>9</WriteMilliseconds>\
             <TotalMilliseconds>{p99}</TotalMilliseconds></Bucket>\
             <Bucket><Percentile>99.9</Percentile><TotalMilliseconds>99</TotalMilliseconds></Bucket>\
             </Latency></TimeSpan></Results>"
        )
    }

    #[test]
    fn requests_of_all_threads_count_and_the_99th_percentile_is_taken() {
        let found = Figures::read(&xml(500, "2.5")).unwrap();
        assert_eq!(found, Figures { iops: 100.0, p99_ms: 2.5 });
        for broken in ["", "<Results><TimeSpan>", "<a></b>", &xml(5, "x")] {
            assert_eq!(Figures::read(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_table_has_ratios_to_the_machine_without_the_driver() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(table(dir.path()), "");
        let write = |driver, text: String| {
            fs::write(dir.path().join(file_name(32, driver)), text).unwrap();
        };
        write(Driver::Absent, xml(1000, "2"));
        write(Driver::Protecting, xml(900, "3"));
        let table = table(dir.path());
        let row = "| 32 | 200 (1.00), 2.00 ms (1.00) |  |  | 180 (0.90), 3.00 ms (1.50) |";
        assert!(table.contains(row), "{table}");
    }
}

//! What the driver costs, and what a shadow copy costs on the same machine: diskspd's figures as
//! ratios to those with neither.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use vm_protocol::message::Command;

/// Queue depths.
pub const DEPTHS: [u32; 6] = [1, 8, 32, 128, 512, 1024];
/// The file in the root of the volume that diskspd writes to: made once, so that all states write
/// to the same clusters, none of which is free when a shadow copy is made.
pub const FILE: &str = "measure.dat";
/// Its bytes, which FAT32 can have.
pub const FILE_BYTES: u64 = 3 << 30;
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
    /// It is a filter, without a session, and a shadow copy of the volume was made right before.
    ShadowCopy,
}

/// In the order of the table.
pub const DRIVERS: [Driver; 5] =
    [Driver::Absent, Driver::Attached, Driver::PassThrough, Driver::Protecting, Driver::ShadowCopy];

impl fmt::Display for Driver {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Absent => "absent",
            Self::Attached => "attached",
            Self::PassThrough => "pass-through",
            Self::Protecting => "protecting",
            Self::ShadowCopy => "shadow-copy",
        })
    }
}

/// Random writes of 4 KiB past the cache, with so many under way.
pub fn command(volume: &str, depth: u32, driver: Driver) -> Command {
    let file = format!(r"{volume}\{FILE}");
    let (seconds, depth_option) = (format!("-d{SECONDS}"), format!("-o{depth}"));
    let options = [&seconds, "-W5", &depth_option, "-t1", "-b4K", "-r4K", "-w100", "-Sh", "-L"];
    let run = Command::new("diskspd.exe", &[&options[..], &["-Rxml", &file]].concat());
    Command { save_as: Some(file_name(depth, driver)), ..run }
}

fn file_name(depth: u32, driver: Driver) -> String {
    format!("diskspd-{driver}-{depth}.xml")
}

/// The file that says whether the shadow copy outlived a measurement.
pub fn shadow_copy_file(depth: u32) -> String {
    format!("shadow-copy-{depth}.txt")
}

/// What that file says if it did.
pub const SHADOW_COPY_KEPT: &str = "kept";

/// The figures of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Requests per second.
    pub iops: f64,
    /// Milliseconds within which 99 of 100 requests ended.
    pub p99_ms: f64,
    /// Milliseconds that the longest request took.
    pub longest_ms: f64,
}

impl Figures {
    /// Reads diskspd's XML. None if it has not all of them.
    pub fn read(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        let (mut path, mut text) = (Vec::new(), String::new());
        let (mut seconds, mut requests, mut percentile) = (None, 0.0, None);
        let (mut p99_ms, mut longest_ms) = (None, None);
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
                        ["TotalMilliseconds" | "WriteMilliseconds", "Bucket", ..] => {
                            // Writes are all there is; the total comes behind them, if at all.
                            if is(percentile, 99.0) {
                                p99_ms = number;
                            } else if is(percentile, 100.0) {
                                longest_ms = number;
                            }
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
        Some(Self { iops: requests / seconds, p99_ms: p99_ms?, longest_ms: longest_ms? })
    }
}

fn is(percentile: Option<f64>, number: f64) -> bool {
    percentile.is_some_and(|it| (it - number).abs() < 1e-9)
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
            let cell = match figures(depth, driver) {
                Some(_) if driver == Driver::ShadowCopy && !is_kept(files, depth) => {
                    "Windows deleted the shadow copy meanwhile".to_owned()
                }
                Some(with) => compared(&with, &without),
                None => String::new(),
            };
            let _ = write!(rows, "| {cell} ");
        }
        rows.push_str("|\n");
    }
    if rows.is_empty() {
        return rows;
    }
    let names = DRIVERS.map(|driver| driver.to_string()).join(" | ");
    format!(
        "Writes of 4 KiB: IOPS, p99 and the longest, in brackets the ratios to those without the \
         driver. shadow-copy: the driver is attached, and for each depth a shadow copy of the \
         volume was made right before.\n\n\
         | depth | {names} |\n| ---{} |\n{rows}",
        " | ---".repeat(DRIVERS.len())
    )
}

fn compared(with: &Figures, without: &Figures) -> String {
    let of = |number: f64, base: f64| format!("{number:.2} ms ({:.2})", number / base);
    format!(
        "{:.0} ({:.2}), {}, {}",
        with.iops,
        with.iops / without.iops,
        of(with.p99_ms, without.p99_ms),
        of(with.longest_ms, without.longest_ms)
    )
}

fn is_kept(files: &Path, depth: u32) -> bool {
    let said = fs::read_to_string(files.join(shadow_copy_file(depth)));
    said.is_ok_and(|said| said.trim() == SHADOW_COPY_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(requests: u32, p99: &str, longest: &str) -> String {
        let target = format!(
            "<Thread><Target><ReadCount>0</ReadCount><WriteCount>{requests}</WriteCount></Target></Thread>"
        );
        format!(
            "<Results><TimeSpan><TestTimeSeconds>10.00</TestTimeSeconds>{target}{target}<Latency>\
             <Bucket><Percentile>50</Percentile><TotalMilliseconds>1</TotalMilliseconds></Bucket>\
             <Bucket><Percentile>99</Percentile><WriteMilliseconds>9</WriteMilliseconds>\
             <TotalMilliseconds>{p99}</TotalMilliseconds></Bucket>\
             <Bucket><Percentile>99.9</Percentile><TotalMilliseconds>99</TotalMilliseconds></Bucket>\
             <Bucket><Percentile>100</Percentile>\
             <WriteMilliseconds>{longest}</WriteMilliseconds></Bucket>\
             </Latency></TimeSpan></Results>"
        )
    }

    #[test]
    fn requests_of_all_threads_count_and_the_99th_and_the_last_percentile_are_taken() {
        let found = Figures::read(&xml(500, "2.5", "120")).unwrap();
        assert_eq!(found, Figures { iops: 100.0, p99_ms: 2.5, longest_ms: 120.0 });
        let broken = [xml(5, "x", "1"), xml(5, "1", "x")];
        for broken in ["", "<Results><TimeSpan>", "<a></b>", &broken[0], &broken[1]] {
            assert_eq!(Figures::read(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_table_has_ratios_to_the_machine_without_the_driver() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(table(dir.path()), "");
        let write = |name: String, text: &str| fs::write(dir.path().join(name), text).unwrap();
        for depth in [32, 128] {
            write(file_name(depth, Driver::Absent), &xml(1000, "2", "10"));
            write(file_name(depth, Driver::Protecting), &xml(900, "3", "5"));
            write(file_name(depth, Driver::ShadowCopy), &xml(100, "40", "900"));
        }
        write(shadow_copy_file(32), "kept\r\n");
        write(shadow_copy_file(128), "lost\r\n");
        let table = table(dir.path());
        for row in [
            "| depth | absent | attached | pass-through | protecting | shadow-copy |\n\
             | --- | --- | --- | --- | --- | --- |\n",
            "| 32 | 200 (1.00), 2.00 ms (1.00), 10.00 ms (1.00) |  |  \
             | 180 (0.90), 3.00 ms (1.50), 5.00 ms (0.50) \
             | 20 (0.10), 40.00 ms (20.00), 900.00 ms (90.00) |\n",
            "5.00 ms (0.50) | Windows deleted the shadow copy meanwhile |\n",
        ] {
            assert!(table.contains(row), "{row} is not in {table}");
        }
    }
}

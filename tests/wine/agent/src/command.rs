//! The commands that the agent takes.

use std::str::FromStr;

use protocol::disguise::{Disguise, TopWrite};
use protocol::ioctl::Step;
use protocol::memory::Scarcity;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Show that the agent runs.
    Hello,
    /// For the rig's control device.
    Rig(Rig),
    /// Through the volume's stack, as an application.
    Volume(Request),
    /// To the product's driver.
    Malformed(Malformed),
    /// To the product's driver, which lacks memory or may not take the volume.
    Refused(Refused),
}

/// What the rig's control device is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rig {
    /// Say what the volume has counted.
    Query,
    /// Build the volume's stack with the registered filters and start it.
    Attach,
    /// Take the volume's stack down.
    Remove,
    /// Make the journal's file complete.
    FlushJournal,
    /// Let the volume take requests, but not work on them.
    Pause,
    /// Let the volume work again.
    Resume,
    /// Set the power state of the volume's stack: 1 is working, 4 is off.
    Power(u32),
    /// Tell the drivers that the system shuts down.
    Shutdown,
    /// Make the volume this many bytes long.
    Resize(u64),
    /// Make the volume say that it is write-protected, or not.
    Protect(bool),
    /// Tell the stack that a special file of this kind comes to the volume, or leaves it.
    Usage {
        /// As `DEVICE_USAGE_NOTIFICATION_TYPE` numbers it.
        kind: u32,
        /// Whether it comes.
        in_path: bool,
    },
    /// Take the volume away without asking.
    SurpriseRemove,
    /// Take the volume's stack down, without waiting for the end.
    BeginRemove,
    /// Wait for the end of the removal that was begun.
    EndRemove,
    /// Send one packet of plug and play.
    Step(Step),
    /// Make the bottom of the stack refuse that many usage notifications.
    RefuseUsage(u32),
    /// Refuse memory to the product's driver.
    Scarce(Scarcity),
    /// Say what memory it asked for and has.
    Memory,
    /// Make the volume say something else of itself.
    Disguise(Disguise),
    /// Make the volume answer requests that clear in this way.
    Clearing(u32),
    /// Write from the top of the volume's stack, in the kernel.
    TopWrite(TopWrite),
}

/// Requests that the product's driver is to refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// A start on the volume.
    Start,
    /// A start, whose first allocation fails, then its second, and so on until it succeeds.
    EachAllocation,
    /// To attach to the volume, in the same way.
    EachAllocationOfAttach,
    /// Every kind of request, while there is no memory.
    NoMemory,
}

/// Malformed requests for the product's driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Malformed {
    /// While nobody has a session.
    Alone,
    /// While somebody else has one, and then so many random ones.
    Beside {
        /// Chooses the random ones.
        seed: u64,
        /// How many.
        count: u64,
    },
}

/// What an application asks of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// How long it is.
    Length,
    /// To write bytes that are all `fill`.
    Write(Extent),
    /// The same, without waiting for the end.
    BeginWrite(Extent),
    /// The outcome of the write that was begun first of those that were not asked for yet.
    EndWrite,
    /// The same, and to cancel it while it is under way.
    CancelWrite(Extent),
    /// To clear ranges, by this action of data set management.
    Clear {
        /// The action.
        action: u32,
        /// Offset and length of each range.
        ranges: Vec<(u64, u64)>,
    },
    /// Any device control request.
    Control {
        /// Its code.
        code: u32,
        /// Its input.
        input: Vec<u8>,
    },
}

/// Bytes to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) fill: u8,
}

const TRIM: u32 = 1;
const WRITE_ZEROES: u32 = 0x19;

impl Command {
    /// Reads one line.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        parse(verb, &arguments).ok_or_else(|| format!("{line:?} is not a command"))
    }
}

fn parse(verb: &str, arguments: &[&str]) -> Option<Command> {
    let rig = |command| Some(Command::Rig(command));
    let volume = |request| Some(Command::Volume(request));
    match (verb, arguments) {
        ("hello", []) => Some(Command::Hello),
        ("query", []) => rig(Rig::Query),
        ("attach", []) => rig(Rig::Attach),
        ("remove", []) => rig(Rig::Remove),
        ("surprise-remove", []) => rig(Rig::SurpriseRemove),
        ("begin-remove", []) => rig(Rig::BeginRemove),
        ("end-remove", []) => rig(Rig::EndRemove),
        ("pnp", [step]) => rig(Rig::Step(Step::named(step)?)),
        ("flush-journal", []) => rig(Rig::FlushJournal),
        ("pause", []) => rig(Rig::Pause),
        ("resume", []) => rig(Rig::Resume),
        ("power", [state]) => rig(Rig::Power(number(state)?)),
        ("shutdown", []) => rig(Rig::Shutdown),
        ("malformed", ["alone"]) => Some(Command::Malformed(Malformed::Alone)),
        ("malformed", ["beside", seed, count]) => {
            let (seed, count) = (number(seed)?, number(count)?);
            Some(Command::Malformed(Malformed::Beside { seed, count }))
        }
        ("resize", [len]) => rig(Rig::Resize(number(len)?)),
        ("scarce", [kinds, nth]) => {
            rig(Rig::Scarce(Scarcity { kinds: number(kinds)?, nth: number(nth)? }))
        }
        ("memory", []) => rig(Rig::Memory),
        ("disguise", words) => rig(Rig::Disguise(disguise(words)?)),
        ("clearing", [how]) => rig(Rig::Clearing(number(how)?)),
        ("top-write", [offset, len, fill, parts, flags @ ..]) => {
            let write = TopWrite {
                offset: number(offset)?,
                length: number(len)?,
                fill: number(fill)?,
                parts: number(parts)?,
                ..with_flags(flags)?
            };
            rig(Rig::TopWrite(write))
        }
        ("refused", ["start"]) => Some(Command::Refused(Refused::Start)),
        ("refused", ["each-allocation"]) => Some(Command::Refused(Refused::EachAllocation)),
        ("refused", ["attach"]) => Some(Command::Refused(Refused::EachAllocationOfAttach)),
        ("refused", ["no-memory"]) => Some(Command::Refused(Refused::NoMemory)),
        ("protect", [on]) => rig(Rig::Protect(switch(on)?)),
        ("usage", [kind, on]) => rig(Rig::Usage { kind: number(kind)?, in_path: switch(on)? }),
        ("refuse-usage", [times]) => rig(Rig::RefuseUsage(number(times)?)),
        ("length", []) => volume(Request::Length),
        ("write", [offset, len, fill]) => volume(Request::Write(extent(offset, len, fill)?)),
        ("begin-write", [offset, len, fill]) => {
            volume(Request::BeginWrite(extent(offset, len, fill)?))
        }
        ("end-write", []) => volume(Request::EndWrite),
        ("cancel-write", [offset, len, fill]) => {
            volume(Request::CancelWrite(extent(offset, len, fill)?))
        }
        ("trim", list) => volume(Request::Clear { action: TRIM, ranges: ranges(list)? }),
        ("zero", list) => volume(Request::Clear { action: WRITE_ZEROES, ranges: ranges(list)? }),
        ("control", [code, input @ ..]) => {
            let input = input.iter().map(|byte| u8::from_str_radix(byte, 16).ok());
            let code = u32::from_str_radix(code, 16).ok()?;
            volume(Request::Control { code, input: input.collect::<Option<_>>()? })
        }
        _ => None,
    }
}

fn number<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

fn switch(word: &str) -> Option<bool> {
    match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn extent(offset: &str, len: &str, fill: &str) -> Option<Extent> {
    Some(Extent { offset: number(offset)?, len: number(len)?, fill: number(fill)? })
}

/// Nothing, or in hexadecimal: type, characteristics, flags, cleared flags, attributes.
fn disguise(words: &[&str]) -> Option<Disguise> {
    let [device_type, characteristics, flags, cleared, attributes] = words else {
        return words.is_empty().then(Disguise::default);
    };
    let word = |word| u32::from_str_radix(word, 16).ok();
    Some(Disguise {
        device_type: word(device_type)?,
        characteristics: word(characteristics)?,
        flags: word(flags)?,
        flags_cleared: word(cleared)?,
        gpt_attributes: u64::from_str_radix(attributes, 16).ok()?,
    })
}

/// Nothing, or in hexadecimal: flags of the location, flags of the packet.
fn with_flags(words: &[&str]) -> Option<TopWrite> {
    let [location, packet] = words else {
        return words.is_empty().then(TopWrite::default);
    };
    let word = |word| u32::from_str_radix(word, 16).ok();
    Some(TopWrite {
        location_flags: word(location)?,
        irp_flags: word(packet)?,
        ..TopWrite::default()
    })
}

fn ranges(words: &[&str]) -> Option<Vec<(u64, u64)>> {
    words
        .iter()
        .map(|word| {
            let (offset, len) = word.split_once('+')?;
            Some((number(offset)?, number(len)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_any_line_ending() {
        assert_eq!(Command::parse("query\r\n"), Ok(Command::Rig(Rig::Query)));
        assert_eq!(Command::parse("flush-journal"), Ok(Command::Rig(Rig::FlushJournal)));
        assert!(Command::parse("format").unwrap_err().contains("format"));
        let beside = Malformed::Beside { seed: 7, count: 100 };
        assert_eq!(Command::parse("malformed beside 7 100\n"), Ok(Command::Malformed(beside)));
        assert!(Command::parse("malformed beside 7").is_err());
        assert_eq!(Command::parse("power 4"), Ok(Command::Rig(Rig::Power(4))));
    }

    #[test]
    fn commands_take_their_arguments_and_no_others() {
        let write = Request::Write(Extent { offset: 512, len: 0, fill: 7 });
        assert_eq!(Command::parse("write 512 0 7"), Ok(Command::Volume(write)));
        let trim = Request::Clear { action: 1, ranges: vec![(0, 512), (4096, 1024)] };
        assert_eq!(Command::parse("trim 0+512 4096+1024"), Ok(Command::Volume(trim)));
        let control = Request::Control { code: 0x7_405c, input: vec![0xff, 1] };
        assert_eq!(Command::parse("control 7405c ff 01"), Ok(Command::Volume(control)));
        let usage = Rig::Usage { kind: 1, in_path: true };
        assert_eq!(Command::parse("usage 1 on"), Ok(Command::Rig(usage)));
        assert_eq!(Command::parse("pnp query-stop"), Ok(Command::Rig(Rig::Step(Step::QueryStop))));
        let disguise = Disguise { device_type: 2, gpt_attributes: 1 << 60, ..Disguise::default() };
        let asked = Command::parse("disguise 2 0 0 0 1000000000000000");
        assert_eq!(asked, Ok(Command::Rig(Rig::Disguise(disguise))));
        let write = TopWrite {
            offset: 512,
            length: 1024,
            fill: 7,
            parts: 2,
            location_flags: 0x14,
            irp_flags: 0x20001,
        };
        let asked = Command::parse("top-write 512 1024 7 2 14 20001");
        assert_eq!(asked, Ok(Command::Rig(Rig::TopWrite(write))));
        for wrong in [
            "pnp",
            "pnp eject",
            "write 1 2",
            "trim 5",
            "usage 1 maybe",
            "resize x",
            "query now",
            "control zz",
            "disguise 1",
        ] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }
}

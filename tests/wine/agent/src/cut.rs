//! A cut of a session of the agent's own: a write that arrives in it goes to the disk when it has
//! ended.
//!
//! The rule: each time here is of the driver's clock, as a status or a record has it. So nothing
//! depends on how fast the machine is.

use std::time::Duration;

use protocol::names::VOLUME_DEVICE;
use snapless_types::RecordKind;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, CUT_LEN_MAX, CutRequest, CutTime, DRAIN_BUFFER_MIN, IOCTL_CUT, IOCTL_DRAIN,
    IOCTL_START, IOCTL_STATUS, IOCTL_STOP, SessionPhase, SessionReply, SessionRequest, StatusReply,
};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};
use zerocopy::{FromBytes, IntoBytes};

use crate::cases::{self, Case, status};
use crate::handle::Handle;
use crate::volume;

/// The agent's own session.
const OWN: SessionId = SessionId([0xAB; 16]);
/// How far ahead the cut is, in ticks of 100 ns: 2 s.
const AHEAD: u64 = 20_000_000;
/// Later than any cut may be: 60 s.
const TOO_FAR: u64 = 600_000_000;
/// What is written, and its place before the volume's end, which belongs to no file.
const LEN: u64 = 512;
const FROM_END: u64 = 1024;
/// How often the session is looked at until it is as it has to be: for a minute.
const LOOKS_MAX: usize = 12_000;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Starts the session, writes in a cut, and looks at the write's record. Returns by how much that
/// is later than the cut's begin.
pub(crate) fn waits() -> Result<String, String> {
    let (claimant, other) = (Handle::open()?, Handle::open()?);
    let start = cases::sound_start(VOLUME_DEVICE, OWN);
    let room = size_of::<SessionReply>();
    Case::new("a start", IOCTL_START, start.as_bytes(), room, status::SUCCESS).run(&claimant)?;
    let begun = wait(&other, |it| it.phase.get() == SessionPhase::FirstSync as u32)?;
    let cut = set_cut(&other, begun.monotonic.get())?;
    wait(&other, |it| it.monotonic.get() >= cut.from)?;
    let offset = write()?;
    let after = ask(&other)?;
    let time = record_of(&claimant, offset)?;
    let id = SessionRequest::new(ABI_VERSION, OWN);
    Case::new("a stop", IOCTL_STOP, id.as_bytes(), 0, status::SUCCESS).run(&other)?;

    let CutTime { from, until } = cut;
    if after.monotonic.get() < until || time < until {
        return Err(format!(
            "ORDER: a write that arrived in a cut from {from} until {until} has a record of {time}"
        ));
    }
    match after.writes_past_cut.get() {
        0 => Ok(format!("after_ms={}", (time - from) / 10_000)),
        count => Err(format!("ORDER: {count} writes did not wait for the end of the cut")),
    }
}

/// Sets a cut, of a handle without the claim, among those that the driver does not take.
fn set_cut(handle: &Handle, now: u64) -> Result<CutTime, String> {
    let from = now + AHEAD;
    let cut = CutTime { from, until: from + CUT_LEN_MAX };
    for (name, from, until, expected) in [
        ("a cut that has begun", now, now + CUT_LEN_MAX, status::DEVICE_NOT_READY),
        ("a cut that is too far ahead", now + TOO_FAR, now + TOO_FAR + 1, status::DEVICE_NOT_READY),
        ("a cut", cut.from, cut.until, status::SUCCESS),
        ("a second cut", cut.until, cut.until + 1, status::DEVICE_NOT_READY),
    ] {
        let request = CutRequest::new(ABI_VERSION, OWN, CutTime { from, until });
        Case::new(name, IOCTL_CUT, request.as_bytes(), 0, expected).run(handle)?;
    }
    Ok(cut)
}

/// Writes to the end of the volume; returns where.
fn write() -> Result<u64, String> {
    let request = |verb, arguments: &[&str]| {
        volume::request(verb, arguments).expect("a request").map_err(|error| error.to_string())
    };
    let length = request("length", &[])?;
    let length: u64 = length.trim_start_matches("length=").parse().expect("a number");
    let offset = length - FROM_END;
    match &*request("write", &[&offset.to_string(), &LEN.to_string(), "199"])? {
        "done" => Ok(offset),
        other => Err(format!("a write in a cut ended as {other}")),
    }
}

/// The time of the record of that write.
fn record_of(claimant: &Handle, offset: u64) -> Result<u64, String> {
    loop {
        let answer = claimant.ask(IOCTL_DRAIN, &[], DRAIN_BUFFER_MIN)?;
        if answer.status != status::SUCCESS {
            return Err(format!("a drain ended with {:#010x}", answer.status));
        }
        let mut rest = answer.output();
        while !rest.is_empty() {
            let header = RecordHeader::read(rest).map_err(|error| error.to_string())?;
            if header.kind() == RecordKind::Write && header.extent_offset() == offset {
                return Ok(header.monotonic());
            }
            let len = RECORD_HEADER_LEN + header.payload_len();
            rest = rest.get(len..).ok_or("a drain ends within a record")?;
        }
    }
}

fn ask(handle: &Handle) -> Result<StatusReply, String> {
    let id = SessionRequest::new(ABI_VERSION, OWN);
    let answer = handle.ask(IOCTL_STATUS, id.as_bytes(), size_of::<StatusReply>())?;
    let reply = StatusReply::read_from_bytes(answer.output());
    reply.map_err(|_| format!("a status ended with {:#010x}", answer.status))
}

/// Asks until the session is as it is waited for.
fn wait(handle: &Handle, is_it: impl Fn(&StatusReply) -> bool) -> Result<StatusReply, String> {
    for _ in 0..LOOKS_MAX {
        let reply = ask(handle)?;
        if is_it(&reply) {
            return Ok(reply);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Err("the session stays as it is".into())
}

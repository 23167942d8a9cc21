//! Control requests: a code, the length of the output buffer, and the input buffer. How each
//! structure is parsed is looked at here; what the driver does with it, in `dispatch.rs`.

use snapless_types::Geometry;
use snapless_wire::ioctl::{
    ALWAYS_MAX, AcknowledgeRequest, BadRequest, CUT_LEN_MAX, CutRequest, DEVICE_NAME_MAX,
    DRAIN_BUFFER_MIN, DeviceName, DrainFromRequest, HOLD_LIMIT_MAX_MS, IOCTL_ACKNOWLEDGE,
    IOCTL_CUT, IOCTL_DRAIN, IOCTL_DRAIN_FROM, IOCTL_KEEP_STATE, IOCTL_LIMIT_SWEEP,
    IOCTL_LIST_VOLUMES, IOCTL_NOTE, IOCTL_RESUME, IOCTL_REVIEW, IOCTL_START, IOCTL_STATUS,
    IOCTL_STOP, IOCTL_UNUSED, IOCTL_VERIFY, IOCTL_VERSION, KeepStateRequest, NoteRequest,
    QUEUE_BYTES_MAX, QUEUE_BYTES_MIN, ReviewRequest, SWEEP_LATENCY_MAX_MS, SWEEP_RATE_MIN,
    SessionPhase, SessionRequest, StartRequest, SweepLimits, SweepRequest, UNUSED_MAX,
    UnusedRequest, Verify, VerifyRequest, is_spoken,
};
use snapless_wire::state_area::{AREA_LEN, STAMP_LEN};
use zerocopy::FromBytes;

use super::{Target, split};

pub(super) const TARGET: Target = Target {
    name: "control",
    repairs: &[],
    run,
    reached: &[
        "version",
        "list",
        "start",
        "start: bad version",
        "start: bad session",
        "start: bad block size",
        "start: bad queue",
        "start: bad hold limit",
        "start: bad overflow",
        "start: bad sweep rate",
        "start: bad sweep latency",
        "start: bad reason",
        "start: bad excluded extents",
        "start: bad name",
        "session",
        "session: bad version",
        "session: bad session",
        "acknowledge",
        "review",
        "review: odd",
        "note",
        "note: bad version",
        "note: bad block size",
        "unused",
        "unused: bad",
        "limit sweep",
        "limit sweep: bad rate",
        "limit sweep: bad latency",
        "limit sweep: odd",
        "keep state",
        "keep state: no area",
        "keep state: bad",
        "drain from",
        "drain from: bad record",
        "drain from: odd",
        "verify",
        "verify: bad session",
        "verify: bad rate",
        "verify: repair",
        "verify: bad extent",
        "verify: odd",
        "cut",
        "cut: bad session",
        "cut: bad time",
        "drain",
        "drain: no room",
        "length",
        "unknown code",
    ],
};

const CODE_LEN: usize = 4;

fn run(input: &[u8]) -> &'static str {
    let Some((code, input)) = split::<CODE_LEN>(input) else { return "length" };
    match u32::from_le_bytes(code) {
        IOCTL_VERSION => "version",
        IOCTL_LIST_VOLUMES => "list",
        IOCTL_START => StartRequest::read(input).map_or("length", start),
        IOCTL_RESUME | IOCTL_STATUS | IOCTL_STOP => {
            SessionRequest::read_from_bytes(input).map_or("length", |it| session(&it))
        }
        IOCTL_ACKNOWLEDGE => {
            AcknowledgeRequest::read_from_bytes(input).map_or("length", |_| "acknowledge")
        }
        IOCTL_REVIEW => ReviewRequest::read_from_bytes(input)
            .map_or("length", |it| if it.parse().is_ok() { "review" } else { "review: odd" }),
        IOCTL_DRAIN_FROM => {
            DrainFromRequest::read_from_bytes(input).map_or("length", |it| drain_from(&it))
        }
        IOCTL_NOTE => NoteRequest::ref_from_bytes(input).map_or("length", |it| match it.parse() {
            Ok((_, bytes)) => {
                assert!((Geometry::BLOCK_SIZE_MIN..=Geometry::BLOCK_SIZE_MAX).contains(&bytes));
                "note"
            }
            Err(BadRequest::Version) => "note: bad version",
            Err(_) => "note: bad block size",
        }),
        IOCTL_UNUSED => UnusedRequest::ref_from_bytes(input).map_or("length", |it| {
            // Whatever it says, it has no more blocks than bits.
            let blocks: u64 = it.runs().map(|run| run.len()).sum();
            assert!(blocks <= u64::from(UNUSED_MAX));
            if it.check().is_ok() { "unused" } else { "unused: bad" }
        }),
        IOCTL_LIMIT_SWEEP => {
            SweepRequest::read_from_bytes(input).map_or("length", |it| limit_sweep(&it))
        }
        IOCTL_KEEP_STATE => KeepStateRequest::ref_from_bytes(input).map_or("length", keep_state),
        IOCTL_VERIFY => VerifyRequest::read_from_bytes(input).map_or("length", |it| verify(&it)),
        IOCTL_CUT => CutRequest::read_from_bytes(input).map_or("length", |it| cut(&it)),
        IOCTL_DRAIN => drain(input),
        other => {
            // A number on the wire is a phase or none, whatever it is.
            let phase = SessionPhase::from_wire(other);
            assert!(phase.is_none_or(|phase| phase as u32 == other));
            "unknown code"
        }
    }
}

fn drain_from(request: &DrainFromRequest) -> &'static str {
    match request.parse() {
        Ok(from) => {
            assert_ne!(from.durable.get(), u64::MAX, "a record can follow");
            assert_ne!(from.origin.get(), u64::MAX, "a number can follow");
            "drain from"
        }
        Err(BadRequest::Seq) => "drain from: bad record",
        Err(_) => "drain from: odd",
    }
}

fn limit_sweep(request: &SweepRequest) -> &'static str {
    match request.parse() {
        Ok(limits) => {
            check_sweep(limits);
            "limit sweep"
        }
        Err(BadRequest::SweepRate) => "limit sweep: bad rate",
        Err(BadRequest::SweepLatency) => "limit sweep: bad latency",
        Err(_) => "limit sweep: odd",
    }
}

/// Limits that a session can have.
fn check_sweep(SweepLimits { bytes_per_second, latency_ms }: SweepLimits) {
    assert!(bytes_per_second == 0 || bytes_per_second >= SWEEP_RATE_MIN);
    assert!(latency_ms <= SWEEP_LATENCY_MAX_MS);
}

fn keep_state(request: &KeepStateRequest) -> &'static str {
    match request.check() {
        Ok(true) => {
            assert!(!request.area().is_nil());
            assert!(request.extent().is_some_and(|area| area.len() == AREA_LEN as u64));
            let stamped: u64 = request.stamp().iter().map(|range| range.len()).sum();
            assert!((1..=STAMP_LEN as u64).contains(&stamped));
            assert!(request.always().iter().count() <= ALWAYS_MAX);
            "keep state"
        }
        Ok(false) => {
            assert!(request.area().is_nil());
            "keep state: no area"
        }
        Err(_) => "keep state: bad",
    }
}

fn verify(request: &VerifyRequest) -> &'static str {
    match request.parse() {
        Ok((session, verify)) => {
            assert!(!session.is_nil());
            if let Verify::Begin { bytes_per_second } = verify {
                assert!(bytes_per_second == 0 || bytes_per_second >= SWEEP_RATE_MIN);
            }
            if let Verify::Repair(_) = verify { "verify: repair" } else { "verify" }
        }
        Err(BadRequest::Version | BadRequest::Session) => "verify: bad session",
        Err(BadRequest::VerifyRate) => "verify: bad rate",
        Err(BadRequest::VerifyExtent) => "verify: bad extent",
        Err(_) => "verify: odd",
    }
}

fn cut(request: &CutRequest) -> &'static str {
    match request.parse() {
        Ok((session, cut)) => {
            assert!(!session.is_nil());
            assert!(cut.from < cut.until && cut.until - cut.from <= CUT_LEN_MAX);
            "cut"
        }
        Err(BadRequest::Cut) => "cut: bad time",
        Err(_) => "cut: bad session",
    }
}

fn start(request: &StartRequest) -> &'static str {
    let settings = match request.settings() {
        Ok(settings) => settings,
        Err(BadRequest::Short | BadRequest::Long) => {
            panic!("a request that was read has its length")
        }
        Err(BadRequest::Version) => return "start: bad version",
        Err(BadRequest::Session) => return "start: bad session",
        Err(BadRequest::BlockSize) => return "start: bad block size",
        Err(BadRequest::QueueBytes) => return "start: bad queue",
        Err(BadRequest::HoldLimit) => return "start: bad hold limit",
        Err(BadRequest::Overflow) => return "start: bad overflow",
        Err(BadRequest::SweepRate) => return "start: bad sweep rate",
        Err(BadRequest::SweepLatency) => return "start: bad sweep latency",
        Err(BadRequest::Continues) => return "start: bad reason",
        Err(BadRequest::Excluded) => return "start: bad excluded extents",
        Err(
            BadRequest::Review
            | BadRequest::Sweep
            | BadRequest::Cut
            | BadRequest::Seq
            | BadRequest::Lose
            | BadRequest::StateArea
            | BadRequest::Verify
            | BadRequest::VerifyRate
            | BadRequest::VerifyExtent
            | BadRequest::Unused,
        ) => panic!("a start has no such field"),
    };
    let block_size = settings.block_size;
    assert!((Geometry::BLOCK_SIZE_MIN..=Geometry::BLOCK_SIZE_MAX).contains(&block_size));
    assert_eq!(block_size, request.block_size.get());
    assert!((QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&settings.queue_bytes));
    assert!((1..=HOLD_LIMIT_MAX_MS).contains(&settings.hold_limit_ms));
    assert!(!settings.session.is_nil());
    assert!(is_spoken(request.version.get()));
    assert_eq!(settings.overflow as u32, request.settings.overflow.get());
    check_sweep(settings.sweep);
    let mut end = 0;
    for extent in request.excluded.iter() {
        assert!(extent.offset() >= end, "excluded extents ascend");
        end = extent.end();
    }
    let Some(units) = request.device.units() else {
        assert!(!request.device.matches(&request.device), "a malformed name matches none");
        return "start: bad name";
    };
    let units: Vec<u16> = units.collect();
    assert!((1..=DEVICE_NAME_MAX).contains(&units.len()));
    let again = DeviceName::new(units).expect("it was a name before");
    assert!(again.matches(&request.device));
    "start"
}

fn session(request: &SessionRequest) -> &'static str {
    match request.parse() {
        Ok(id) => {
            assert!(!id.is_nil() && id == request.session);
            "session"
        }
        Err(BadRequest::Session) => "session: bad session",
        Err(_) => "session: bad version",
    }
}

/// A drain's input stands for the length of its output buffer.
fn drain(input: &[u8]) -> &'static str {
    let Some((room, _)) = split::<4>(input) else { return "length" };
    if (u32::from_le_bytes(room) as usize) < DRAIN_BUFFER_MIN { "drain: no room" } else { "drain" }
}

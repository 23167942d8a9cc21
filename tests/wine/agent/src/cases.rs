//! The enumerated requests, each with the one status that it must end with.

use snapless_types::{BlockIndex, BlockRange, EpochId, Extent, Geometry, Made, Seq};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, AcknowledgeRequest, CUT_LEN_MAX, CutRequest, CutTime, DRAIN_BUFFER_MIN,
    DeviceName, DrainFrom, DrainFromReply, DrainFromRequest, ExcludedExtents, HOLD_LIMIT_MAX_MS,
    IOCTL_ACKNOWLEDGE, IOCTL_CUT, IOCTL_DRAIN, IOCTL_DRAIN_FROM, IOCTL_KEEP_STATE,
    IOCTL_LIMIT_SWEEP, IOCTL_LIST_VOLUMES, IOCTL_MAP, IOCTL_NOTE, IOCTL_RESUME, IOCTL_REVIEW,
    IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_UNUSED, IOCTL_VERIFY, IOCTL_VERSION,
    KeepStateRequest, ListRequest, MapReply, NoteRequest, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN,
    ReviewRequest, SWEEP_LATENCY_MAX_MS, SWEEP_RATE_MIN, SessionReply, SessionRequest, SettingsLe,
    StartRequest, StatusReply, SweepLimits, SweepRequest, UNUSED_MAX, UnusedReply, UnusedRequest,
    Verify, VerifyRequest, VersionReply,
};
use windows_sys::Win32::Foundation::NTSTATUS;
use zerocopy::IntoBytes;

use crate::handle::Handle;

/// The statuses that occur.
pub(crate) mod status {
    pub(crate) use windows_sys::Win32::Foundation::{
        STATUS_BUFFER_TOO_SMALL as BUFFER_TOO_SMALL, STATUS_CANCELLED as CANCELLED,
        STATUS_DEVICE_BUSY as DEVICE_BUSY, STATUS_DEVICE_NOT_READY as DEVICE_NOT_READY,
        STATUS_INSUFFICIENT_RESOURCES as INSUFFICIENT_RESOURCES,
        STATUS_INVALID_DEVICE_REQUEST as INVALID_DEVICE_REQUEST,
        STATUS_INVALID_PARAMETER as INVALID_PARAMETER, STATUS_IO_TIMEOUT as IO_TIMEOUT,
        STATUS_NOT_FOUND as NOT_FOUND, STATUS_NOT_SUPPORTED as NOT_SUPPORTED,
        STATUS_REVISION_MISMATCH as REVISION_MISMATCH, STATUS_SUCCESS as SUCCESS,
    };
}

/// A request and what it must end with.
pub(crate) struct Case {
    name: String,
    code: u32,
    input: Vec<u8>,
    /// Bytes of the output buffer.
    room: usize,
    expected: NTSTATUS,
}

/// The id of no session.
const UNKNOWN_SESSION: SessionId = SessionId([0xEE; 16]);
const NO_DEVICE: &str = r"\Device\NoSuchVolume";
/// A code of our device type that has no function, and one of another device type.
const UNKNOWN_CODES: [u32; 4] = [0x8053_E044, 0x8053_FFFC, 0x0022_2000, 0];

impl Case {
    /// A case.
    pub(crate) fn new(
        name: impl Into<String>,
        code: u32,
        input: &[u8],
        room: usize,
        expected: NTSTATUS,
    ) -> Self {
        Self { name: name.into(), code, input: input.to_vec(), room, expected }
    }

    /// What to call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends the request; an error if it ends otherwise, or if more was written than the answer.
    pub(crate) fn run(&self, handle: &Handle) -> Result<(), String> {
        let Self { name, code, input, room, expected } = self;
        let answer = handle.ask(*code, input, *room).map_err(|why| format!("{name}: {why}"))?;
        if answer.status != *expected {
            let found = answer.status;
            return Err(format!("{name}: ended with {found:#010x}, not with {expected:#010x}"));
        }
        answer.check_untouched(name)
    }
}

/// A start that the driver takes.
pub(crate) fn sound_start(device: &str, session: SessionId) -> StartRequest {
    StartRequest {
        version: ABI_VERSION.into(),
        block_size: (64 << 10).into(),
        session,
        device: DeviceName::new(device.encode_utf16()).expect("a short name"),
        settings: SettingsLe {
            queue_bytes: QUEUE_BYTES_MIN.into(),
            hold_limit_ms: 1.into(),
            overflow: 0.into(),
            sweep_bytes_per_second: 0.into(),
            sweep_latency_ms: 20.into(),
        },
        continues: 0.into(),
        excluded: ExcludedExtents::NONE,
    }
}

/// Cases that end in the same way with and without sessions.
pub(crate) fn always() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(fields_of_a_start());
    cases.extend(fields_of_a_session_request());
    cases.extend(cuts());
    for code in UNKNOWN_CODES {
        let refused = status::INVALID_DEVICE_REQUEST;
        cases.push(Case::new(format!("code {code:#x}"), code, &[1; 64], 64, refused));
    }
    let acknowledge = AcknowledgeRequest::new(EpochId::new(1));
    let bytes = acknowledge.as_bytes();
    cases.extend([
        Case::new("a drain without a claim", IOCTL_DRAIN, &[], DRAIN_BUFFER_MIN, status::NOT_FOUND),
        Case::new("a word without a claim", IOCTL_ACKNOWLEDGE, bytes, 0, status::NOT_FOUND),
        Case::new(
            "a drain from a record without a claim",
            IOCTL_DRAIN_FROM,
            drain_from(1).as_bytes(),
            size_of::<DrainFromReply>(),
            status::NOT_FOUND,
        ),
        Case::new(
            "a drain from behind the last record",
            IOCTL_DRAIN_FROM,
            drain_from(u64::MAX).as_bytes(),
            size_of::<DrainFromReply>(),
            status::INVALID_PARAMETER,
        ),
        Case::new(
            "a verification of an unknown session",
            IOCTL_VERIFY,
            verify(SWEEP_RATE_MIN).as_bytes(),
            0,
            status::NOT_FOUND,
        ),
        Case::new(
            "a verification that is too slow",
            IOCTL_VERIFY,
            verify(SWEEP_RATE_MIN - 1).as_bytes(),
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new(
            "a repair of bytes that no volume has",
            IOCTL_VERIFY,
            &impossible_repair(),
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new("a review without a claim", IOCTL_REVIEW, &[1, 0, 0, 0], 0, status::NOT_FOUND),
        Case::new(
            "a place for the state without a claim",
            IOCTL_KEEP_STATE,
            KeepStateRequest::FORGET.as_bytes(),
            0,
            status::NOT_FOUND,
        ),
        Case::new(
            "a place that no volume has",
            IOCTL_KEEP_STATE,
            &[0xFF; size_of::<KeepStateRequest>()],
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new("unused blocks without a claim", IOCTL_UNUSED, &unused(0), 8, status::NOT_FOUND),
        Case::new("more blocks than bits", IOCTL_UNUSED, &unused(1), 8, status::INVALID_PARAMETER),
        Case::new("notes of no volume", IOCTL_NOTE, &note(64 << 10), 0, status::NOT_FOUND),
        Case::new("notes of odd blocks", IOCTL_NOTE, &note(1), 0, status::INVALID_PARAMETER),
        Case::new(
            "limits of the sweep without a claim",
            IOCTL_LIMIT_SWEEP,
            &limits(SWEEP_RATE_MIN, SWEEP_LATENCY_MAX_MS),
            0,
            status::NOT_FOUND,
        ),
        Case::new(
            "a limit of the sweep that is too low",
            IOCTL_LIMIT_SWEEP,
            &limits(SWEEP_RATE_MIN - 1, 0),
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new(
            "a limit of the latency that is too long",
            IOCTL_LIMIT_SWEEP,
            &limits(0, SWEEP_LATENCY_MAX_MS + 1),
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new(
            "limits with more than that",
            IOCTL_LIMIT_SWEEP,
            &[0xFF; size_of::<SweepRequest>()],
            0,
            status::INVALID_PARAMETER,
        ),
        Case::new("an odd review", IOCTL_REVIEW, &[2, 0, 0, 0], 0, status::INVALID_PARAMETER),
    ]);
    cases
}

/// As many unused blocks as a request has bits, and some more.
fn unused(more: u32) -> Vec<u8> {
    let most = BlockRange::new(BlockIndex(0), BlockIndex(UNUSED_MAX.into()));
    let sound = UnusedRequest::new(most, true, |_| true).expect("as many as there are bits");
    let mut bytes = sound.as_bytes().to_vec();
    bytes[8..12].copy_from_slice(&(UNUSED_MAX + more).to_le_bytes());
    bytes
}

/// A request to note what is changed on a volume that is not there.
fn note(block_size: u32) -> Vec<u8> {
    let device = DeviceName::new(NO_DEVICE.encode_utf16()).expect("a short name");
    NoteRequest::new(ABI_VERSION, block_size, device).as_bytes().to_vec()
}

/// Limits of the sweep.
fn limits(bytes_per_second: u64, latency_ms: u32) -> Vec<u8> {
    let limits = SweepLimits { bytes_per_second, latency_ms };
    SweepRequest::new(limits).as_bytes().to_vec()
}

/// A verification at a rate.
fn verify(bytes_per_second: u64) -> VerifyRequest {
    VerifyRequest::new(ABI_VERSION, UNKNOWN_SESSION, Verify::Begin { bytes_per_second })
}

/// Cuts of no session.
fn cuts() -> [Case; 3] {
    [
        Case::new(
            "a cut of an unknown session",
            IOCTL_CUT,
            &cut(CUT_LEN_MAX),
            0,
            status::NOT_FOUND,
        ),
        Case::new("an empty cut", IOCTL_CUT, &cut(0), 0, status::INVALID_PARAMETER),
        Case::new("a long cut", IOCTL_CUT, &cut(CUT_LEN_MAX + 1), 0, status::INVALID_PARAMETER),
    ]
}

/// A cut of so many ticks.
fn cut(ticks: u64) -> Vec<u8> {
    let cut = CutTime { from: 1, until: 1 + ticks };
    CutRequest::new(ABI_VERSION, UNKNOWN_SESSION, cut).as_bytes().to_vec()
}

/// A repair of bytes that no volume has: the request ends with their offset and their length.
fn impossible_repair() -> Vec<u8> {
    let last = Extent::from_parts(u64::MAX - 1, 1);
    let repair = VerifyRequest::new(ABI_VERSION, UNKNOWN_SESSION, Verify::Repair(last));
    let mut bytes = repair.as_bytes().to_vec();
    let end = bytes.len();
    bytes[end - 8..].copy_from_slice(&512_u64.to_le_bytes());
    bytes
}

/// What follows a record.
pub(crate) fn drain_from(durable: u64) -> DrainFromRequest {
    DrainFromRequest::new(DrainFrom {
        durable: Seq::new(durable),
        made: Made::default(),
        origin: EpochId::new(1),
        lose: false,
    })
}

/// Cases on a volume that has a session of another program.
pub(crate) fn beside_a_session(device: &str) -> Vec<Case> {
    let start = sound_start(device, UNKNOWN_SESSION);
    let room = size_of::<SessionReply>();
    vec![Case::new("a taken volume", IOCTL_START, start.as_bytes(), room, status::DEVICE_BUSY)]
}

/// Each structure too short, too long and missing; each answer without room for it.
fn lengths() -> Vec<Case> {
    let start = sound_start(NO_DEVICE, UNKNOWN_SESSION);
    let session = SessionRequest::new(ABI_VERSION, UNKNOWN_SESSION);
    let acknowledge = AcknowledgeRequest::new(EpochId::new(1));
    let review = ReviewRequest::new(true);
    let from = drain_from(1);
    let verify = VerifyRequest::new(ABI_VERSION, UNKNOWN_SESSION, Verify::End);
    let reply = size_of::<SessionReply>();
    let mut cases = Vec::new();
    for (name, code, whole, room) in [
        ("start", IOCTL_START, start.as_bytes(), reply),
        ("resume", IOCTL_RESUME, session.as_bytes(), reply),
        ("acknowledge", IOCTL_ACKNOWLEDGE, acknowledge.as_bytes(), 0),
        ("drain from", IOCTL_DRAIN_FROM, from.as_bytes(), size_of::<DrainFromReply>()),
        ("review", IOCTL_REVIEW, review.as_bytes(), 0),
        ("note", IOCTL_NOTE, &note(64 << 10), 0),
        ("unused blocks", IOCTL_UNUSED, &unused(0), size_of::<UnusedReply>()),
        ("limit sweep", IOCTL_LIMIT_SWEEP, &limits(0, 0), 0),
        ("keep state", IOCTL_KEEP_STATE, KeepStateRequest::FORGET.as_bytes(), 0),
        ("status", IOCTL_STATUS, session.as_bytes(), size_of::<StatusReply>()),
        ("map", IOCTL_MAP, session.as_bytes(), size_of::<MapReply>()),
        ("verify", IOCTL_VERIFY, verify.as_bytes(), 0),
        ("cut", IOCTL_CUT, &cut(1), 0),
        ("stop", IOCTL_STOP, session.as_bytes(), 0),
    ] {
        let long = [whole, &[0]].concat();
        let much = [whole, &[0xFF; 4096]].concat();
        for (how, input, expected) in [
            ("without input", &[][..], status::BUFFER_TOO_SMALL),
            ("of one byte", &whole[..1], status::BUFFER_TOO_SMALL),
            ("one byte short", &whole[..whole.len() - 1], status::BUFFER_TOO_SMALL),
            ("one byte long", &long, status::INVALID_PARAMETER),
            ("pages long", &much, status::INVALID_PARAMETER),
        ] {
            cases.push(Case::new(format!("{name} {how}"), code, input, room, expected));
        }
    }
    let version = size_of::<VersionReply>();
    let request = ListRequest::new(ABI_VERSION);
    let list = |how: &str, input, room| {
        let name = format!("a list {how}");
        Case::new(name, IOCTL_LIST_VOLUMES, input, room, status::BUFFER_TOO_SMALL)
    };
    cases.extend([
        Case::new("a version", IOCTL_VERSION, &[], version, status::SUCCESS),
        Case::new("a version with much room", IOCTL_VERSION, &[], 4096, status::SUCCESS),
        Case::new("a version without room", IOCTL_VERSION, &[], 0, status::BUFFER_TOO_SMALL),
        Case::new("half a version", IOCTL_VERSION, &[], version - 1, status::BUFFER_TOO_SMALL),
        list("without input", &[], 4096),
        list("without room", request.as_bytes(), 0),
        list("with little room", request.as_bytes(), 16),
    ]);
    cases
}

/// Each field of a start out of its range, by one where it has an edge.
fn fields_of_a_start() -> Vec<Case> {
    type Change = fn(&mut StartRequest);
    let invalid = status::INVALID_PARAMETER;
    let changes: [(&str, Change, NTSTATUS); 22] = [
        ("version 0", |r| r.version = 0.into(), status::REVISION_MISMATCH),
        ("a newer version", |r| r.version = (ABI_VERSION + 1).into(), status::REVISION_MISMATCH),
        ("the last version", |r| r.version = u32::MAX.into(), status::REVISION_MISMATCH),
        ("no session", |r| r.session = SessionId::NIL, invalid),
        ("block size 0", |r| r.block_size = 0.into(), invalid),
        ("a small block", |r| r.block_size = (Geometry::BLOCK_SIZE_MIN / 2).into(), invalid),
        ("a large block", |r| r.block_size = (Geometry::BLOCK_SIZE_MAX * 2).into(), invalid),
        ("an odd block", |r| r.block_size = (Geometry::BLOCK_SIZE_MIN + 512).into(), invalid),
        ("no queue", |r| r.settings.queue_bytes = 0.into(), invalid),
        ("a small queue", |r| r.settings.queue_bytes = (QUEUE_BYTES_MIN - 1).into(), invalid),
        ("a large queue", |r| r.settings.queue_bytes = (QUEUE_BYTES_MAX + 1).into(), invalid),
        ("the largest queue", |r| r.settings.queue_bytes = u64::MAX.into(), invalid),
        ("no hold limit", |r| r.settings.hold_limit_ms = 0.into(), invalid),
        (
            "a long hold limit",
            |r| r.settings.hold_limit_ms = (HOLD_LIMIT_MAX_MS + 1).into(),
            invalid,
        ),
        ("an unknown overflow", |r| r.settings.overflow = 2.into(), invalid),
        ("the last overflow", |r| r.settings.overflow = u32::MAX.into(), invalid),
        (
            "a low sweep rate",
            |r| r.settings.sweep_bytes_per_second = (SWEEP_RATE_MIN - 1).into(),
            invalid,
        ),
        (
            "a long latency",
            |r| r.settings.sweep_latency_ms = (SWEEP_LATENCY_MAX_MS + 1).into(),
            invalid,
        ),
        ("a reason that continues none", |r| r.continues = 1.into(), invalid),
        ("an unknown reason", |r| r.continues = u32::MAX.into(), invalid),
        ("excluded extents that cannot be", |r| r.excluded.as_mut_bytes().fill(0xff), invalid),
        ("a sound start but no volume", |_| {}, status::NOT_FOUND),
    ];
    let room = size_of::<SessionReply>();
    let mut cases: Vec<Case> = changes
        .into_iter()
        .map(|(name, change, expected)| {
            let mut request = sound_start(NO_DEVICE, UNKNOWN_SESSION);
            change(&mut request);
            let (name, input) = (format!("a start with {name}"), request.as_bytes());
            Case::new(name, IOCTL_START, input, room, expected)
        })
        .collect();
    let sound = sound_start(NO_DEVICE, UNKNOWN_SESSION);
    let cut = &sound.as_bytes()[..size_of::<StartRequest>() - 1];
    cases.push(Case::new("a start, cut off", IOCTL_START, cut, room, status::BUFFER_TOO_SMALL));
    // The name's length is its first field: none at all, one past the end, all bits set.
    let name_at = std::mem::offset_of!(StartRequest, device);
    for length in [0_u16, 129, u16::MAX] {
        let mut bytes = sound_start(NO_DEVICE, UNKNOWN_SESSION).as_bytes().to_vec();
        bytes[name_at..name_at + 2].copy_from_slice(&length.to_le_bytes());
        let name = format!("a name of {length} units");
        cases.push(Case::new(name, IOCTL_START, &bytes, room, status::NOT_FOUND));
    }
    cases
}

fn fields_of_a_session_request() -> Vec<Case> {
    let sound = SessionRequest::new(ABI_VERSION, UNKNOWN_SESSION);
    let with = |change: fn(&mut SessionRequest)| {
        let mut request = sound;
        change(&mut request);
        request.as_bytes().to_vec()
    };
    let mut cases = Vec::new();
    let other = status::REVISION_MISMATCH;
    for (name, code, room) in [
        ("resume", IOCTL_RESUME, size_of::<SessionReply>()),
        ("status", IOCTL_STATUS, size_of::<StatusReply>()),
        ("map", IOCTL_MAP, size_of::<MapReply>()),
        ("stop", IOCTL_STOP, 0),
    ] {
        for (how, input, expected) in [
            ("of version 0", with(|r| r.version = 0.into()), other),
            ("of the last version", with(|r| r.version = u32::MAX.into()), other),
            ("with a reserved bit", with(|r| r.reserved = 1.into()), other),
            ("of no session", with(|r| r.session = SessionId::NIL), status::INVALID_PARAMETER),
            ("of an unknown session", with(|_| {}), status::NOT_FOUND),
        ] {
            cases.push(Case::new(format!("a {name} {how}"), code, &input, room, expected));
        }
    }
    cases
}

//! Malformed requests to the product's driver: each enumerated one has one right answer, and a
//! random one must come back with an answer and no other byte written.
//!
//! The rule: no request of this module ends or disturbs a session of another program.

mod random;

use std::time::Duration;

use protocol::names::VOLUME_DEVICE;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, AcknowledgeRequest, DRAIN_BUFFER_MIN, DrainFromReply, IOCTL_ACKNOWLEDGE,
    IOCTL_DRAIN, IOCTL_DRAIN_FROM, IOCTL_RESUME, IOCTL_START, IOCTL_STOP, SessionReply,
    SessionRequest,
};
use zerocopy::IntoBytes;

use crate::cases::{self, Case, status};
use crate::handle::Handle;

/// The agent's own session.
const OWN: SessionId = SessionId([0xA6; 16]);

/// Runs the cases without a session, then those that need one, with a session of the agent's own.
pub(crate) fn alone() -> Result<String, String> {
    let handle = Handle::open()?;
    let mut done = all(&handle, &cases::always())?;
    done += with_a_session()?;
    // Its claimant is gone, and so is the session: the volume is free.
    done += all(&handle, &cases::always())?;
    Ok(format!("cases={done}"))
}

/// Runs the cases while another program's session is on the volume, then random requests.
pub(crate) fn beside(seed: u64, count: u64) -> Result<String, String> {
    let handle = Handle::open()?;
    let mut done = all(&handle, &cases::always())?;
    done += all(&handle, &cases::beside_a_session(VOLUME_DEVICE))?;
    let answered = random::send(&handle, seed, count)?;
    Ok(format!("cases={done} random={count} succeeded={answered}"))
}

fn all(handle: &Handle, cases: &[Case]) -> Result<usize, String> {
    cases.iter().try_for_each(|case| case.run(handle))?;
    Ok(cases.len())
}

/// A request, its code, its input, its room, its status, and who sends it.
type Row<'a> = (&'a str, u32, &'a [u8], usize, i32, &'a Handle);

/// Starts a session of the agent's own, sends it wrong requests, and stops it.
fn with_a_session() -> Result<usize, String> {
    let (claimant, other) = (Handle::open()?, Handle::open()?);
    let start = cases::sound_start(VOLUME_DEVICE, OWN);
    let id = SessionRequest::new(ABI_VERSION, OWN);
    let reply = size_of::<SessionReply>();
    let far = AcknowledgeRequest::new(snapless_types::EpochId::new(u64::MAX));
    let again = cases::sound_start(VOLUME_DEVICE, SessionId([0xA7; 16]));
    let (start, again, id, far) =
        (start.as_bytes(), again.as_bytes(), id.as_bytes(), far.as_bytes());
    let place = cases::drain_from(u64::MAX - 1);
    let (place, answer) = (place.as_bytes(), size_of::<DrainFromReply>());
    let (short, enough) = (DRAIN_BUFFER_MIN - 1, DRAIN_BUFFER_MIN);
    let run = |cases: &[Row]| {
        cases.iter().try_for_each(|&(name, code, input, room, expected, handle)| {
            Case::new(name, code, input, room, expected).run(handle)
        })?;
        Ok::<_, String>(cases.len())
    };
    let mut done = run(&[
        ("a sound start", IOCTL_START, start, reply, status::SUCCESS, &claimant),
        ("a second claim", IOCTL_START, again, reply, status::INVALID_DEVICE_REQUEST, &claimant),
        ("the same claim", IOCTL_START, start, reply, status::INVALID_DEVICE_REQUEST, &claimant),
        ("its own resume", IOCTL_RESUME, id, reply, status::INVALID_DEVICE_REQUEST, &claimant),
        ("a claimed resume", IOCTL_RESUME, id, reply, status::DEVICE_BUSY, &other),
        ("a known id", IOCTL_START, start, reply, status::INVALID_PARAMETER, &other),
        ("a taken volume", IOCTL_START, again, reply, status::DEVICE_BUSY, &other),
        ("a short drain", IOCTL_DRAIN, &[], short, status::BUFFER_TOO_SMALL, &claimant),
        ("another's drain", IOCTL_DRAIN, &[], enough, status::NOT_FOUND, &other),
        ("another's acknowledgement", IOCTL_ACKNOWLEDGE, far, 0, status::NOT_FOUND, &other),
        ("another's place", IOCTL_DRAIN_FROM, place, answer, status::NOT_FOUND, &other),
        ("a future record", IOCTL_DRAIN_FROM, place, answer, status::INVALID_PARAMETER, &claimant),
        ("a future epoch", IOCTL_ACKNOWLEDGE, far, 0, status::INVALID_PARAMETER, &claimant),
    ])?;
    cancelled_drains(&claimant)?;
    done += run(&[
        ("a stop", IOCTL_STOP, id, 0, status::SUCCESS, &other),
        ("a second stop", IOCTL_STOP, id, 0, status::NOT_FOUND, &other),
    ])?;
    Ok(done + 1)
}

/// Drains that are cancelled while they wait for records.
fn cancelled_drains(claimant: &Handle) -> Result<(), String> {
    // More than the queue can answer without an end: the load goes on, so some may succeed.
    let drains: Vec<_> =
        (0..8).map(|_| claimant.begin(IOCTL_DRAIN, &[], DRAIN_BUFFER_MIN)).collect();
    for drain in drains {
        let answer = drain.cancel_after(Duration::from_millis(20))?;
        let known = [status::SUCCESS, status::CANCELLED];
        if !known.contains(&answer.status) {
            return Err(format!("a cancelled drain ended with {:#010x}", answer.status));
        }
        answer.check_untouched("a cancelled drain")?;
    }
    Ok(())
}

//! Malformed requests to the product's driver: each of the enumerated ones has one right answer, and a random one must
//! come back with an answer and with no byte that the driver did not mean to give.
//!
//! Upholds: no request of this module ends or disturbs a session of somebody else.

pub(crate) mod cases;
pub(crate) mod handle;
mod random;

use std::time::Duration;

use protocol::names::VOLUME_DEVICE;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, AcknowledgeRequest, DRAIN_BUFFER_MIN, IOCTL_ACKNOWLEDGE, IOCTL_DRAIN,
    IOCTL_RESUME, IOCTL_START, IOCTL_STOP, SessionReply, SessionRequest,
};
use zerocopy::IntoBytes;

use cases::{Case, status};
use handle::Handle;

/// The agent's own session.
const OWN: SessionId = SessionId([0xA6; 16]);

/// Runs the cases while nobody has a session, then those that need a session, with one of the agent's own.
pub(crate) fn alone() -> Result<String, String> {
    let handle = Handle::open()?;
    let mut done = all(&handle, &cases::always())?;
    done += with_a_session()?;
    // Its claimant is gone, and so is the session: the volume is free.
    done += all(&handle, &cases::always())?;
    Ok(format!("cases={done}"))
}

/// Runs the cases while somebody else's session is on the volume, then random requests.
pub(crate) fn beside(seed: u64, count: u64) -> Result<String, String> {
    let handle = Handle::open()?;
    let mut done = all(&handle, &cases::always())?;
    done += all(&handle, &cases::beside_a_session(VOLUME_DEVICE))?;
    let answered = random::throw(&handle, seed, count)?;
    Ok(format!("cases={done} random={count} succeeded={answered}"))
}

fn all(handle: &Handle, cases: &[Case]) -> Result<usize, String> {
    cases.iter().try_for_each(|case| case.run(handle))?;
    Ok(cases.len())
}

/// Starts a session of the agent's own, asks it wrongly, and stops it.
fn with_a_session() -> Result<usize, String> {
    let (claimant, other) = (Handle::open()?, Handle::open()?);
    let start = cases::sound_start(VOLUME_DEVICE, OWN);
    let id = SessionRequest::new(ABI_VERSION, OWN);
    let reply = size_of::<SessionReply>();
    let case = Case::new("a sound start", IOCTL_START, start.as_bytes(), reply, status::SUCCESS);
    case.run(&claimant)?;
    let far = AcknowledgeRequest::new(snapless_types::EpochId::new(u64::MAX));
    let again = cases::sound_start(VOLUME_DEVICE, SessionId([0xA7; 16]));
    let (mut done, refused) = (1, status::INVALID_DEVICE_REQUEST);
    for (case, on) in [
        (Case::new("a second claim", IOCTL_START, again.as_bytes(), reply, refused), &claimant),
        (Case::new("the same claim", IOCTL_START, start.as_bytes(), reply, refused), &claimant),
        (Case::new("its own resume", IOCTL_RESUME, id.as_bytes(), reply, refused), &claimant),
        (
            Case::new("a claimed resume", IOCTL_RESUME, id.as_bytes(), reply, status::DEVICE_BUSY),
            &other,
        ),
        (
            Case::new(
                "a known id",
                IOCTL_START,
                start.as_bytes(),
                reply,
                status::INVALID_PARAMETER,
            ),
            &other,
        ),
        (
            Case::new("a taken volume", IOCTL_START, again.as_bytes(), reply, status::DEVICE_BUSY),
            &other,
        ),
        (
            Case::new(
                "a short drain",
                IOCTL_DRAIN,
                &[],
                DRAIN_BUFFER_MIN - 1,
                status::BUFFER_TOO_SMALL,
            ),
            &claimant,
        ),
        (
            Case::new("another's drain", IOCTL_DRAIN, &[], DRAIN_BUFFER_MIN, status::NOT_FOUND),
            &other,
        ),
        (
            Case::new("another's word", IOCTL_ACKNOWLEDGE, far.as_bytes(), 0, status::NOT_FOUND),
            &other,
        ),
        (
            Case::new("an epoch far off", IOCTL_ACKNOWLEDGE, far.as_bytes(), 0, status::SUCCESS),
            &claimant,
        ),
    ] {
        case.run(on)?;
        done += 1;
    }
    cancelled_drains(&claimant)?;
    Case::new("a stop", IOCTL_STOP, id.as_bytes(), 0, status::SUCCESS).run(&other)?;
    Case::new("a second stop", IOCTL_STOP, id.as_bytes(), 0, status::NOT_FOUND).run(&other)?;
    Ok(done + 4)
}

/// Drains that nobody waits for: they are cancelled where there are no records left for them.
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

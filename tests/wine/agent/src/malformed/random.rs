//! Random requests: a code of the driver, or one bit beside it, with random input and output
//! length.

use std::time::Duration;

use snapless_wire::ioctl::{
    DRAIN_BUFFER_MIN, IOCTL_ACKNOWLEDGE, IOCTL_CUT, IOCTL_DRAIN, IOCTL_DRAIN_FROM,
    IOCTL_KEEP_STATE, IOCTL_LIST_VOLUMES, IOCTL_NOTE, IOCTL_RESUME, IOCTL_REVIEW, IOCTL_START,
    IOCTL_STATUS, IOCTL_STOP, IOCTL_UNUSED, IOCTL_VERIFY, IOCTL_VERSION, SessionRequest,
    StartRequest,
};

use crate::handle::{Answer, Handle, Request};

const CODES: [u32; 15] = [
    IOCTL_VERSION,
    IOCTL_LIST_VOLUMES,
    IOCTL_START,
    IOCTL_RESUME,
    IOCTL_DRAIN_FROM,
    IOCTL_DRAIN,
    IOCTL_ACKNOWLEDGE,
    IOCTL_REVIEW,
    IOCTL_NOTE,
    IOCTL_UNUSED,
    IOCTL_KEEP_STATE,
    IOCTL_STATUS,
    IOCTL_VERIFY,
    IOCTL_CUT,
    IOCTL_STOP,
];
/// Lengths around those of the structures.
const LENGTHS: [usize; 11] = [
    0,
    1,
    8,
    12,
    size_of::<SessionRequest>(),
    size_of::<SessionRequest>() + 1,
    size_of::<StartRequest>(),
    size_of::<StartRequest>() - 1,
    // As version 2 has it.
    298,
    512,
    5000,
];
/// Requests that are sometimes under way together, on a handle of their own.
const TOGETHER: usize = 16;

/// Sends random requests; returns how many succeeded. Each gets an answer and writes no byte behind
/// it.
pub(super) fn send(handle: &Handle, seed: u64, count: u64) -> Result<u64, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut succeeded = 0;
    let mut done = 0;
    while done < count {
        if rng.u8(..8) == 0 {
            // Several at once; the handle may be closed with some of them under way.
            let other = Handle::open()?;
            let requests: Vec<_> = (0..TOGETHER).map(|_| begin(&other, &mut rng)).collect();
            for (name, request) in requests {
                let answer = request.cancel_after(Duration::from_millis(rng.u64(..3)));
                succeeded += check(&name, answer)?;
            }
            done += TOGETHER as u64;
        } else {
            let (name, request) = begin(handle, &mut rng);
            succeeded += check(&name, request.cancel_after(Duration::from_secs(20)))?;
            done += 1;
        }
    }
    Ok(succeeded)
}

fn begin<'a>(handle: &'a Handle, rng: &mut fastrand::Rng) -> (String, Request<'a>) {
    let mut code = CODES[rng.usize(..CODES.len())];
    if rng.u8(..4) == 0 {
        // Another function, method, access or device type.
        code ^= 1 << rng.u32(..32);
    }
    let mut input = vec![0; LENGTHS[rng.usize(..LENGTHS.len())]];
    input.fill_with(|| if rng.u8(..3) == 0 { rng.u8(..) } else { 0 });
    // Past the check of the version, where there is one.
    if let Some(version) = input.first_chunk_mut::<4>()
        && rng.bool()
    {
        *version = 1_u32.to_le_bytes();
    }
    // A buffer as long as a drain's takes Wine a while.
    let room = match rng.u8(..100) {
        0 => DRAIN_BUFFER_MIN,
        _ => LENGTHS[rng.usize(..LENGTHS.len())],
    };
    let name = format!("code {code:#x} with {} bytes of input and room for {room}", input.len());
    (name, handle.begin(code, &input, room))
}

fn check(name: &str, answer: Result<Answer, String>) -> Result<u64, String> {
    let answer = answer.map_err(|why| format!("{name}: {why}"))?;
    answer.check_untouched(name)?;
    Ok(u64::from(answer.status == 0))
}

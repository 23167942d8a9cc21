//! Random requests: a code that the driver knows, or nearly, with random input and room.

use std::time::Duration;

use snapless_wire::ioctl::{
    DRAIN_BUFFER_MIN, IOCTL_ACKNOWLEDGE, IOCTL_DRAIN, IOCTL_LIST_VOLUMES, IOCTL_RESUME,
    IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_VERSION, SessionRequest, StartRequest,
};

use super::handle::Handle;

const CODES: [u32; 8] = [
    IOCTL_VERSION,
    IOCTL_LIST_VOLUMES,
    IOCTL_START,
    IOCTL_RESUME,
    IOCTL_DRAIN,
    IOCTL_ACKNOWLEDGE,
    IOCTL_STATUS,
    IOCTL_STOP,
];
/// Lengths around those of the structures.
const LENGTHS: [usize; 10] = [
    0,
    1,
    8,
    size_of::<SessionRequest>(),
    size_of::<SessionRequest>() + 1,
    size_of::<StartRequest>(),
    size_of::<StartRequest>() - 1,
    // As version 2 has it.
    298,
    512,
    5000,
];
/// Requests that are under way together now and then, on a handle of their own.
const TOGETHER: usize = 16;

/// Throws random requests; returns how many the driver answered with success. Each gets an answer, and writes no byte
/// behind it.
pub(super) fn throw(handle: &Handle, seed: u64, count: u64) -> Result<u64, String> {
    let mut rng = Rng(seed);
    let mut succeeded = 0;
    let mut done = 0;
    while done < count {
        if rng.below(8) == 0 {
            // Several at once, and the handle closed with some of them under way or not.
            let other = Handle::open()?;
            let requests: Vec<_> = (0..TOGETHER).map(|_| begin(&other, &mut rng)).collect();
            for (name, request) in requests {
                let answer = request.cancel_after(Duration::from_millis(rng.below(3)));
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

fn begin<'a>(handle: &'a Handle, rng: &mut Rng) -> (String, super::handle::Request<'a>) {
    let mut code = CODES[rng.index(CODES.len())];
    if rng.below(4) == 0 {
        // Another function, method, access or device type.
        code ^= 1 << rng.below(32);
    }
    let mut input = vec![0; LENGTHS[rng.index(LENGTHS.len())]];
    input.fill_with(|| if rng.below(3) == 0 { rng.byte() } else { 0 });
    // Past the check of the version, where there is one.
    if let Some(version) = input.first_chunk_mut::<4>()
        && rng.below(2) == 0
    {
        *version = 1_u32.to_le_bytes();
    }
    // A buffer as long as a drain's takes Wine a while.
    let room = match rng.below(100) {
        0 => DRAIN_BUFFER_MIN,
        _ => LENGTHS[rng.index(LENGTHS.len())],
    };
    let name = format!("code {code:#x} with {} bytes of input and room for {room}", input.len());
    (name, handle.begin(code, &input, room))
}

fn check(name: &str, answer: Result<super::handle::Answer, String>) -> Result<u64, String> {
    let answer = answer.map_err(|why| format!("{name}: {why}"))?;
    answer.check_untouched(name)?;
    Ok(u64::from(answer.status == 0))
}

/// A small generator (`SplitMix64`).
struct Rng(u64);

impl Rng {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or(0)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[7]
    }
}

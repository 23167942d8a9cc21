//! Machines as they are at an instant.

use snapless_console::model::MachineLine;

use crate::numbers::mix;
use crate::past;
use crate::present::{OF_MACHINE, line, machine_id};

pub(crate) fn machines(volumes: u64, now_ms: u64) -> impl Iterator<Item = MachineLine> {
    (0..volumes.div_ceil(OF_MACHINE)).map(move |number| {
        let of_it = number * OF_MACHINE..((number + 1) * OF_MACHINE).min(volumes);
        let is_connected = |volume| line(volume, now_ms).connected;
        MachineLine {
            machine: machine_id(number),
            name: match number {
                3 => "<script>alert('machine')</script>".to_owned(),
                _ => format!(
                    "{}-{number}",
                    ["web", "sql", "files", "mail"][usize::try_from(number % 4).unwrap_or(0)]
                ),
            },
            role: "client".to_owned(),
            connected: of_it.clone().any(is_connected),
            enrolled_ms: Some(past::t0_ms(number, now_ms)),
            expires_ms: Some(now_ms - now_ms % 1000 + (8 + mix(number, 3) % 80) * 24 * 3_600_000),
            revoked: false,
            volumes: of_it.end - of_it.start,
        }
    })
}

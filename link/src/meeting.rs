//! A meeting: volumes of several machines, whose clocks differ, get a common bookmark.
//!
//! ```text
//! service of any machine   server                     service of each volume of the group
//!   Question meet ───────▶  calls all volumes  ─────▶  Meeting, on the volume's connection
//!                           its clock         ◀──────  Question clock, a few times
//!                           waits for all     ◀──────  Question join
//!                           an instant        ──────▶  Reply cut: writes wait around it
//!                           waits for all     ◀──────  Question end: the last record before it
//!   Reply met ◀───────────  names all or none ──────▶  Reply bookmarked
//! ```
//!
//! All times here are ticks of 100 ns of the server's own clock, which is never set and begins when
//! the server does.
//!
//! A Meeting frame is JSON. It is sent only on a connection whose service has told that it takes
//! such ([`crate::report::SessionReport::meets`]).

use serde::{Deserialize, Serialize};

/// The longest invitation, in bytes.
pub const INVITATION_MAX: usize = 1 << 10;

/// Calls the service of a volume to a meeting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// The meeting.
    pub meeting: u64,
    /// The consistency group, by its name at the server and in the configuration of each machine.
    pub group: String,
}

impl Invitation {
    /// Reads a frame's payload; `None` if it is none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let payload = Some(payload).filter(|it| it.len() <= INVITATION_MAX)?;
        serde_json::from_slice(payload).ok()
    }

    /// A frame's payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        // There is no text and no number that JSON cannot have.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_pinned_and_what_is_none_is_not_read() {
        let invitation = Invitation { meeting: u64::MAX, group: "sql".to_owned() };
        let bytes = invitation.to_bytes();
        assert_eq!(bytes, br#"{"meeting":18446744073709551615,"group":"sql"}"#);
        assert_eq!(Invitation::read(&bytes), Some(invitation));
        let newer = br#"{"meeting":7,"group":"g","mood":"good"}"#;
        assert_eq!(Invitation::read(newer).unwrap().meeting, 7);
        let long = Invitation { meeting: 7, group: "g".repeat(INVITATION_MAX) }.to_bytes();
        for none in [&b""[..], b"[]", br#"{"meeting":7}"#, br#"{"meeting":-1,"group":"g"}"#, &long]
        {
            assert_eq!(Invitation::read(none), None);
        }
    }
}

//! How often a volume in an object store is looked at: lists and reads cost money there.
//!
//! A look reads the part of the log that is old enough, and lists all objects of the volume's
//! sessions. In a directory that costs little, and every round looks. Among objects a volume is
//! looked at once a day, or when its policy has changed; sooner if another command or server was in
//! the way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use snapless_wire::id::VolumeGuid;

use super::policy::Policy;
use crate::storage::Store;

/// The time from a look to the next one.
const EVERY: Duration = Duration::from_hours(24);
/// The same if something was in the way.
const SOON: Duration = Duration::from_hours(1);

/// When each volume is looked at next.
#[derive(Debug)]
pub struct Idle {
    /// False in a directory: every round looks.
    rests: bool,
    next: HashMap<VolumeGuid, Next>,
}

#[derive(Debug)]
struct Next {
    at: Instant,
    /// What held for the volume at the last look.
    policy: Policy,
}

/// What a look has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Nothing is left to do.
    Done,
    /// Something was in the way.
    Hindered,
}

impl Idle {
    /// Nothing was looked at yet.
    pub fn new(store: &Store) -> Self {
        Self { rests: store.objects().is_some(), next: HashMap::new() }
    }

    /// True if a volume is to be looked at now.
    pub fn is_due(&self, volume: VolumeGuid, policy: &Policy, now: Instant) -> bool {
        let next = self.next.get(&volume).filter(|_| self.rests);
        next.is_none_or(|next| next.at <= now || next.policy != *policy)
    }

    /// Notes a look at a volume.
    pub fn looked(&mut self, volume: VolumeGuid, policy: Policy, now: Instant, look: Look) {
        let rest = match look {
            Look::Done => EVERY,
            Look::Hindered => SOON,
        };
        self.next.insert(volume, Next { at: now + rest, policy });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::policy::Keep;

    const VOLUME: VolumeGuid = VolumeGuid([1; 16]);

    fn policy(keep_all: Keep) -> Policy {
        Policy { keep_all, ..Policy::default() }
    }

    #[test]
    fn among_objects_a_volume_rests_unless_its_policy_changes_or_something_was_in_the_way() {
        let (now, mut idle) = (Instant::now(), Idle { rests: true, next: HashMap::new() });
        let forever = policy(Keep::Forever);
        assert!(idle.is_due(VOLUME, &forever, now));
        idle.looked(VOLUME, forever.clone(), now, Look::Done);
        assert!(!idle.is_due(VOLUME, &forever, now + SOON));
        assert!(idle.is_due(VOLUME, &policy(Keep::For(9)), now + SOON));
        assert!(idle.is_due(VolumeGuid([2; 16]), &forever, now), "another volume");
        assert!(idle.is_due(VOLUME, &forever, now + EVERY));
        idle.looked(VOLUME, forever.clone(), now, Look::Hindered);
        assert!(idle.is_due(VOLUME, &forever, now + SOON));
    }

    #[test]
    fn in_a_directory_every_round_looks() {
        let (now, mut idle) = (Instant::now(), Idle { rests: false, next: HashMap::new() });
        let forever = policy(Keep::Forever);
        idle.looked(VOLUME, forever.clone(), now, Look::Done);
        assert!(idle.is_due(VOLUME, &forever, now));
    }
}

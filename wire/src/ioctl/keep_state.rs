//! Where the driver keeps a session's state on the volume while the machine is off.

use snapless_types::Extent;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, SettingsLe, StartSettings};
use crate::id::{AreaId, Extents, SessionId};
use crate::state_area::{AREA_LEN, STAMP_LEN, STAMP_RANGES_MAX};

/// Ranges that the boot loader writes, at most.
pub const ALWAYS_MAX: usize = 16;

/// Input of [`IOCTL_KEEP_STATE`](super::IOCTL_KEEP_STATE).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct KeepStateRequest {
    /// The area's identity; nil if there is no area.
    area: AreaId,
    /// Where it begins on the volume, in bytes.
    offset: U64,
    /// 1 if the driver keeps a write-intent log there; 0 if not.
    log: U32,
    /// 0.
    reserved: U32,
    stamp: Extents<STAMP_RANGES_MAX>,
    always: Extents<ALWAYS_MAX>,
    /// What the session is started with when the machine comes up; zeros if nothing else than it
    /// was started with last.
    settings: SettingsLe,
    /// 0.
    unused: U32,
}

impl KeepStateRequest {
    /// Nothing is to be kept: the volume has no area.
    pub const FORGET: Self = Self {
        area: AreaId::NIL,
        offset: U64::ZERO,
        log: U32::ZERO,
        reserved: U32::ZERO,
        stamp: Extents::NONE,
        always: Extents::NONE,
        settings: SettingsLe::NONE,
        unused: U32::ZERO,
    };

    /// Asks for the state to be kept in the area that begins at `offset`.
    ///
    /// `stamp`: the ranges, up to [`STAMP_RANGES_MAX`] of [`STAMP_LEN`] bytes together, of which
    /// any file system driver that mounts the volume for writing changes one. `always`: up to
    /// [`ALWAYS_MAX`] ranges that are written past every file system while the machine is off or
    /// starts; they are compared after each restart.
    ///
    /// # Errors
    /// [`BadRequest::StateArea`] for what the driver would refuse.
    pub fn new(
        area: AreaId,
        offset: u64,
        stamp: &[Extent],
        always: &[Extent],
    ) -> Result<Self, BadRequest> {
        let bad = BadRequest::StateArea;
        let request = Self {
            area,
            offset: U64::new(offset),
            stamp: Extents::new(stamp).ok_or(bad)?,
            always: Extents::new(always).ok_or(bad)?,
            ..Self::FORGET
        };
        if request.check()? { Ok(request) } else { Err(bad) }
    }

    /// The same, with a write-intent log or without.
    #[must_use]
    pub fn with_log(self, has_log: bool) -> Self {
        Self { log: U32::new(u32::from(has_log)), ..self }
    }

    /// The same, with what the session is started with when the machine comes up.
    #[must_use]
    pub fn with_settings(self, settings: SettingsLe) -> Self {
        Self { settings, ..self }
    }

    /// What the session is started with then that was started with `last`. The request was checked.
    pub fn settings(&self, last: &StartSettings) -> StartSettings {
        let StartSettings { session, continues, block_size, .. } = *last;
        self.settings.settings(session, continues, block_size).unwrap_or(*last)
    }

    /// True if there is an area, false if there is none. The request is used in place: it is long
    /// for a kernel's stack.
    ///
    /// # Errors
    /// [`BadRequest::StateArea`] for an area that no volume can have, for no or too many bytes that
    /// show writes, and for something that belongs to no area.
    pub fn check(&self) -> Result<bool, BadRequest> {
        if self.area.is_nil() {
            let is_empty = self.as_bytes() == Self::FORGET.as_bytes();
            return if is_empty { Ok(false) } else { Err(BadRequest::StateArea) };
        }
        let stamped = self.stamp.iter().fold(0_u64, |sum, it| sum.saturating_add(it.len()));
        let is_sound = self.extent().is_some()
            && self.stamp.is_sound()
            && self.always.is_sound()
            && self.log.get() <= 1
            && (self.reserved.get(), self.unused.get()) == (0, 0)
            && self.has_sound_settings()
            && (1..=STAMP_LEN as u64).contains(&stamped);
        if is_sound { Ok(true) } else { Err(BadRequest::StateArea) }
    }

    fn has_sound_settings(&self) -> bool {
        let is_none = self.settings.as_bytes() == SettingsLe::NONE.as_bytes();
        is_none || self.settings.settings(SessionId::NIL, None, 0).is_ok()
    }

    /// The area's identity.
    pub fn area(&self) -> AreaId {
        self.area
    }

    /// True if the driver keeps a write-intent log there.
    pub fn has_log(&self) -> bool {
        self.log.get() == 1
    }

    /// The area's bytes; `None` if no volume has them.
    pub fn extent(&self) -> Option<Extent> {
        Extent::new(self.offset.get(), AREA_LEN as u64)
    }

    /// The ranges of which a file system driver that mounts the volume for writing changes one.
    pub fn stamp(&self) -> &Extents<STAMP_RANGES_MAX> {
        &self.stamp
    }

    /// The ranges that are compared after each restart.
    pub fn always(&self) -> &Extents<ALWAYS_MAX> {
        &self.always
    }
}

const _: () = assert!(size_of::<KeepStateRequest>() == 64 + 16 * (STAMP_RANGES_MAX + ALWAYS_MAX));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::SweepLimits;
    use snapless_types::Overflow;

    const AREA: AreaId = AreaId([7; 16]);

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    #[test]
    fn a_sound_request_comes_back() {
        let (stamp, always) = ([extent(0, 512), extent(8192, 8192)], [extent(1 << 30, 4096)]);
        let request = KeepStateRequest::new(AREA, 1 << 20, &stamp, &always).unwrap();
        assert_eq!(request.check(), Ok(true));
        assert_eq!((request.area(), request.extent()), (AREA, Some(extent(1 << 20, 65_536))));
        assert_eq!(request.stamp().iter().collect::<Vec<_>>(), stamp);
        assert_eq!(request.always().iter().collect::<Vec<_>>(), always);
        assert!(KeepStateRequest::new(AREA, 0, &stamp, &[]).is_ok());
        assert_eq!(KeepStateRequest::FORGET.check(), Ok(false));
    }

    #[test]
    fn a_request_says_what_the_session_is_started_with_or_leaves_it() {
        let last = StartSettings {
            session: SessionId([3; 16]),
            continues: None,
            block_size: 64 << 10,
            queue_bytes: 64 << 20,
            hold_limit_ms: 200,
            overflow: Overflow::Gap,
            sweep: SweepLimits::DEFAULT,
        };
        let request = KeepStateRequest::new(AREA, 0, &[extent(0, 512)], &[]).unwrap();
        assert_eq!(request.settings(&last), last);
        let next = StartSettings { queue_bytes: 128 << 20, hold_limit_ms: 7, ..last };
        let request = request.with_settings(SettingsLe::of(&next));
        assert_eq!((request.check(), request.settings(&last)), (Ok(true), next));
    }

    #[test]
    fn what_no_volume_can_have_is_refused() {
        let new = |offset, stamp: &[Extent], always: &[Extent]| {
            KeepStateRequest::new(AREA, offset, stamp, always).err()
        };
        let bad = Some(BadRequest::StateArea);
        let one = extent(0, 512);
        assert_eq!(new(0, &[], &[]), bad, "nothing shows a write");
        assert_eq!(new(0, &[one; STAMP_RANGES_MAX + 1], &[]), bad);
        assert_eq!(new(0, &[extent(0, STAMP_LEN as u64 + 1)], &[]), bad);
        assert_eq!(new(0, &[one, extent(0, STAMP_LEN as u64)], &[]), bad, "together too long");
        assert_eq!(new(0, &[one], &[one; ALWAYS_MAX + 1]), bad);
        assert_eq!(new(u64::MAX, &[one], &[]), bad);
        assert_eq!(KeepStateRequest::new(AreaId::NIL, 0, &[one], &[]).err(), bad);
        let sound = KeepStateRequest::new(AREA, 0, &[one], &[]).unwrap();
        let nameless = KeepStateRequest { area: AreaId::NIL, ..sound };
        assert_eq!(nameless.check(), Err(BadRequest::StateArea));
        let mut behind_none = sound;
        behind_none.stamp.as_mut_bytes()[16 * 2..16 * 3].fill(1);
        assert_eq!(behind_none.check(), Err(BadRequest::StateArea));
        for odd in [
            KeepStateRequest { log: U32::new(2), ..sound },
            KeepStateRequest { reserved: U32::new(1), ..sound },
            KeepStateRequest { unused: U32::new(1), ..sound },
            sound.with_settings(SettingsLe { hold_limit_ms: U32::new(1), ..SettingsLe::NONE }),
            KeepStateRequest::FORGET.with_log(true),
        ] {
            assert_eq!(odd.check(), Err(BadRequest::StateArea));
        }
        assert!(sound.with_log(true).has_log() && !sound.has_log());
        let mut odd = sound;
        odd.always.as_mut_bytes()[..16].fill(0xff);
        assert_eq!(odd.check(), Err(BadRequest::StateArea));
    }
}

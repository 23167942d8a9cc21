//! What a slot says of the session besides its state: how it is started when the machine comes up,
//! before any service is there.

use snapless_types::{ENDS_MAX, Extent, GapReason};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ENDS_AT, EndLe, MAP_AT, SLOT_LEN, SavedState};
use crate::id::Extents;
use crate::ioctl::{ALWAYS_MAX, ExcludedExtents, SettingsLe, StartSettings};

/// Where a slot has it, in its first page.
pub(super) const STARTUP_AT: usize = ENDS_AT + ENDS_MAX * size_of::<EndLe>();
const _: () = assert!(STARTUP_AT + size_of::<Startup>() <= MAP_AT);

/// What a session is started with. It is used in place: it is long for a kernel's stack.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Startup {
    settings: SettingsLe,
    /// 0.
    reserved: U32,
    /// As [`KeepStateRequest::always`](crate::ioctl::KeepStateRequest::always).
    pub always: Extents<ALWAYS_MAX>,
    /// The extents of paging, swap and hibernation files, as the last start had them.
    pub excluded: ExcludedExtents,
}

impl Startup {
    /// That of a slot.
    pub(super) fn of(slot: &[u8]) -> Option<&Self> {
        Some(Self::ref_from_prefix(slot.get(STARTUP_AT..)?).ok()?.0)
    }

    /// The settings of the session, which continues the one of the slot; `None` if the slot says
    /// nothing of them, or what no session can have.
    pub fn settings(&self, saved: &SavedState) -> Option<StartSettings> {
        let length = saved.geometry.length();
        let is_sound = self.reserved.get() == 0
            && self.always.is_sound()
            && self.always.iter().chain(self.excluded.iter()).all(|it| it.end() <= length);
        self.excluded.check().ok().filter(|()| is_sound)?;
        let block_size = saved.geometry.block_size();
        self.settings.settings(saved.session, Some(GapReason::Restarted), block_size).ok()
    }
}

/// What is put into a slot.
#[derive(Clone, Copy, Debug)]
pub struct StartedWith<'a> {
    /// The settings.
    pub settings: &'a StartSettings,
    /// As [`Startup::always`].
    pub always: &'a Extents<ALWAYS_MAX>,
    /// As [`Startup::excluded`].
    pub excluded: &'a [Extent],
}

impl StartedWith<'_> {
    /// Puts it into a slot that is not sealed yet, and is empty there.
    pub(super) fn put(&self, slot: &mut [u8; SLOT_LEN]) {
        let bytes = slot.get_mut(STARTUP_AT..).unwrap_or_default();
        let Ok((place, _)) = Startup::mut_from_prefix(bytes) else { return };
        (place.settings, place.always) = (SettingsLe::of(self.settings), *self.always);
        place.excluded.fill(self.excluded);
    }
}

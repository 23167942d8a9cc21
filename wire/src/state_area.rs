//! The state area: 64 KiB of a volume in which the driver keeps a session's state while the machine
//! is off.
//!
//! The service makes the area as a file, by [`blank_area`]; the driver reads and writes its bytes
//! past the file system. It has two *slots*, each of which is numbered and has a checksum: the one
//! that [`newest`] finds counts. A slot that is [`Kind::Saved`] has a [`SavedState`], a bit for
//! each region of the volume that the server may lack ([`Regions`]), and the *stamp*: bytes of the
//! volume, as they were. A slot that is [`Kind::Live`] is written while the volume is: it has a
//! hash of the stamp in place of its bytes. Either says nothing any more once there is a newer
//! slot that is [`Kind::Used`] or [`Kind::Void`].
//!
//! Rule: what is written goes to the slot that does not count. If power fails meanwhile, the other
//! one still counts.
//!
//! | bytes of a slot | what |
//! | --- | --- |
//! | 0 to 4,095 | header, the stamp's hash of a live one, ends of epochs, what the session is started with, zeros behind them |
//! | 4,096 to 8,191 | one bit for each region, from the lowest bit of the first byte on |
//! | 8,192 to 32,767 | the stamp's ranges one after the other, zeros behind them |

use crc::{CRC_32_ISCSI, CRC_64_XZ, Crc, Digest, Table};
use snapless_types::{ENDS_MAX, End, Ends, Geometry, REGIONS_MAX, Regions, Seq};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{AreaId, Extents, FileTime, MadeLe, SeqLe, SessionId};

mod startup;

pub use startup::{StartedWith, Startup};

/// Bytes of an area.
pub const AREA_LEN: usize = 2 * SLOT_LEN;
/// Bytes of a slot.
pub const SLOT_LEN: usize = 32 << 10;
/// Bytes of a slot's map.
pub const MAP_LEN: usize = 4 << 10;
/// Bytes of the stamp, at most.
pub const STAMP_LEN: usize = SLOT_LEN - STAMP_AT;
/// Ranges of the stamp, at most.
pub const STAMP_RANGES_MAX: usize = 4;
/// Bytes of a sector, at most: each part of a slot is whole sectors.
pub const SECTOR_SIZE_MAX: u32 = 4 << 10;

/// Bytes of a live or a void slot: what is behind them is not written.
pub const LOG_LEN: usize = STAMP_AT;

/// Where a slot's map begins.
pub const MAP_AT: usize = 4 << 10;
/// Where a slot's stamp begins.
pub const STAMP_AT: usize = MAP_AT + MAP_LEN;

const MAGIC: [u8; 8] = *b"SNPLSTAT";
const VERSION: u32 = 2;

const _: () = assert!(MAP_LEN as u64 * 8 == REGIONS_MAX);

snapless_types::numbered_enum! {
    /// What a slot says.
    pub enum Kind: u32 {
        /// Nothing: the volume was written to since.
        Used = 0 => "used",
        /// What the server may lack of the volume.
        Saved = 1 => "saved",
        /// What the server may lack of the volume if the machine crashes now.
        Live = 2 => "live",
        /// Nothing: what was live does not hold. Of a slot whose first bytes only are written.
        Void = 3 => "void",
    }
}

/// The beginning of a slot.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    kind: U32,
    area: AreaId,
    generation: U64,
    session: SessionId,
    length: U64,
    sector_size: U32,
    block_size: U32,
    region_size: U64,
    acknowledged: SeqLe,
    captured: SeqLe,
    stamp: Extents<STAMP_RANGES_MAX>,
    saved_at: FileTime,
    reserved: U32,
    /// CRC-32C of the slot with zeros here; of the first [`LOG_LEN`] bytes of a live or void one.
    crc: U32,
}

const HEADER_LEN: usize = size_of::<Header>();
const CRC_AT: usize = HEADER_LEN - size_of::<U32>();
const _: () = assert!(HEADER_LEN == 176);
/// Where a live slot has the stamp's hash.
const HASH_AT: usize = HEADER_LEN;
/// Where a saved or a live slot has the ends of epochs, from the oldest on, zeros behind them.
const ENDS_AT: usize = HASH_AT + size_of::<u64>();
const _: () = assert!(ENDS_AT + ENDS_MAX * size_of::<EndLe>() <= MAP_AT);

/// An [`End`] in a slot.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EndLe {
    seq: SeqLe,
    made: MadeLe,
}

/// What a saved slot says of the session and its volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedState {
    /// Whose state it is.
    pub session: SessionId,
    /// The volume.
    pub geometry: Geometry,
    /// The last record of the newest acknowledged epoch.
    pub acknowledged: Seq,
    /// The last record that the driver had made.
    pub captured: Seq,
    /// What a server whose stream ends with one of these may lack of the volume, is in regions
    /// whose bits are set. Of another server nothing is known: it has another past, or an older
    /// one, or this volume was put back.
    pub ends: Ends,
    /// Where the stamp's bytes are on the volume, in the order in which the slot has them.
    pub stamp: Extents<STAMP_RANGES_MAX>,
    /// When it was saved.
    pub saved_at: FileTime,
}

/// A sound slot.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    index: usize,
    generation: u64,
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> Slot<'a> {
    /// Which of the two it is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The state, if it is [`Kind::Saved`] or [`Kind::Live`].
    #[inline(never)] // On a kernel's stack only meanwhile.
    pub fn saved(&self) -> Option<SavedState> {
        let (header, _) = Header::ref_from_prefix(self.bytes).ok()?;
        header.saved(read_ends(self.bytes)).filter(|_| self.is_saved())
    }

    /// True if it is [`Kind::Saved`] or [`Kind::Live`].
    pub fn is_saved(&self) -> bool {
        matches!(self.kind, Kind::Saved | Kind::Live)
    }

    /// The stamp's hash, if it is [`Kind::Live`]: then it has no stamp.
    pub fn stamp_hash(&self) -> Option<u64> {
        let hash = self.bytes.get(HASH_AT..).and_then(|hash| hash.first_chunk());
        hash.filter(|_| self.kind == Kind::Live).map(|hash| u64::from_le_bytes(*hash))
    }

    /// What its session is started with, if it is [`Kind::Saved`] or [`Kind::Live`].
    pub fn startup(&self) -> Option<&'a Startup> {
        Startup::of(self.bytes).filter(|_| self.is_saved())
    }

    /// A bit for each region.
    pub fn map(&self) -> &'a [u8] {
        self.bytes.get(MAP_AT..STAMP_AT).unwrap_or_default()
    }

    /// The stamp's bytes, zeros behind them.
    pub fn stamp(&self) -> &'a [u8] {
        self.bytes.get(STAMP_AT..).unwrap_or_default()
    }

    fn read(index: usize, bytes: &'a [u8], area: AreaId) -> Option<Self> {
        let (header, _) = Header::ref_from_prefix(bytes).ok()?;
        let is_it = bytes.len() == SLOT_LEN
            && header.magic == MAGIC
            && header.version.get() == VERSION
            && !area.is_nil()
            && header.area == area;
        let kind = Kind::from_wire(header.kind.get()).filter(|_| is_it)?;
        if header.crc.get() != checksum(bytes.get(..kind.len())?) {
            return None;
        }
        let slot = Self { index, generation: header.generation.get(), kind, bytes };
        (!slot.is_saved() || slot.saved().is_some()).then_some(slot)
    }
}

impl Kind {
    /// Bytes of a slot that are written, and that its checksum is about.
    fn len(self) -> usize {
        match self {
            Self::Used | Self::Saved => SLOT_LEN,
            Self::Live | Self::Void => LOG_LEN,
        }
    }
}

impl Header {
    fn of(kind: Kind, state: &SavedState) -> Self {
        let SavedState { session, geometry, acknowledged, captured, stamp, saved_at, .. } = *state;
        Self {
            kind: U32::new(kind.to_wire()),
            session,
            length: U64::new(geometry.length()),
            sector_size: U32::new(geometry.sector_size()),
            block_size: U32::new(geometry.block_size()),
            region_size: U64::new(Regions::of(&geometry).size()),
            acknowledged: acknowledged.into(),
            captured: captured.into(),
            stamp,
            saved_at,
            ..Self::new_zeroed()
        }
    }

    fn saved(&self, ends: Ends) -> Option<SavedState> {
        let (length, sector_size) = (self.length.get(), self.sector_size.get());
        let geometry = Geometry::new(length, sector_size, self.block_size.get()).ok()?;
        let (acknowledged, captured) = (self.acknowledged.get(), self.captured.get());
        let stamped = stamped(&self.stamp, &geometry)?;
        let is_sound = !self.session.is_nil()
            && sector_size <= SECTOR_SIZE_MAX
            && self.region_size.get() == Regions::of(&geometry).size()
            && acknowledged <= captured
            && captured.get() < u64::MAX
            && stamped > 0
            && ends.iter().all(|end| (acknowledged..=captured).contains(&end.seq));
        let Self { session, stamp, saved_at, .. } = *self;
        is_sound.then_some(SavedState {
            session,
            geometry,
            acknowledged,
            captured,
            ends,
            stamp,
            saved_at,
        })
    }
}

fn read_ends(slot: &[u8]) -> Ends {
    let mut ends = Ends::NONE;
    let places = slot.get(ENDS_AT..).unwrap_or_default().chunks_exact(size_of::<EndLe>());
    for place in places.take(ENDS_MAX).filter_map(|place| EndLe::read_from_bytes(place).ok()) {
        if place.seq.get() > Seq::default() {
            ends.add(End { seq: place.seq.get(), made: place.made.get() });
        }
    }
    ends
}

fn put_ends(slot: &mut [u8; SLOT_LEN], ends: &Ends) {
    let places = slot.get_mut(ENDS_AT..).unwrap_or_default().chunks_exact_mut(size_of::<EndLe>());
    for (place, End { seq, made }) in places.zip(ends.iter()) {
        place.copy_from_slice(EndLe { seq: seq.into(), made: made.into() }.as_bytes());
    }
}

/// Bytes of a stamp of these ranges; `None` if the volume has not all of them in whole sectors, or
/// they are too many.
pub fn stamped(ranges: &Extents<STAMP_RANGES_MAX>, geometry: &Geometry) -> Option<usize> {
    let mut sum = 0_u64;
    for range in ranges.iter() {
        if range.end() > geometry.length() || !geometry.is_sector_aligned(&range) {
            return None;
        }
        sum = sum.checked_add(range.len())?;
    }
    let sum = usize::try_from(sum).ok()?;
    (ranges.is_sound() && sum <= STAMP_LEN).then_some(sum)
}

/// The identity of an area; `None` if no slot is sound.
pub fn area_id(area: &[u8]) -> Option<AreaId> {
    area.chunks_exact(SLOT_LEN).find_map(|bytes| {
        let (header, _) = Header::ref_from_prefix(bytes).ok()?;
        newest(area, header.area).map(|_| header.area)
    })
}

/// The slot of the area with this identity that counts; `None` if no slot is sound.
pub fn newest(area: &[u8], id: AreaId) -> Option<Slot<'_>> {
    if area.len() != AREA_LEN {
        return None;
    }
    let slots = area.chunks_exact(SLOT_LEN).enumerate();
    let sound = slots.filter_map(|(index, bytes)| Slot::read(index, bytes, id));
    // If two have one number, the one that says less counts.
    sound.max_by_key(|slot| (slot.generation, !slot.is_saved()))
}

/// Makes a slot of `slot` that says nothing.
pub fn seal_used(slot: &mut [u8; SLOT_LEN], area: AreaId, generation: u64) {
    slot.fill(0);
    seal(slot, Kind::Used, Header::new_zeroed(), area, generation);
}

/// Makes a slot of `slot`, whose map and stamp are in place; `started`: what its session is started
/// with, if that is known.
pub fn seal_saved(
    slot: &mut [u8; SLOT_LEN],
    area: AreaId,
    generation: u64,
    state: &SavedState,
    started: Option<&StartedWith<'_>>,
) {
    begin_page(slot, state, started);
    seal(slot, Kind::Saved, Header::of(Kind::Saved, state), area, generation);
}

/// Makes a live slot of `slot`, whose map is in place: its first [`LOG_LEN`] bytes. `started`: as
/// for [`seal_saved`].
pub fn seal_live(
    slot: &mut [u8; SLOT_LEN],
    area: AreaId,
    generation: u64,
    (state, stamp_hash): (&SavedState, u64),
    started: Option<&StartedWith<'_>>,
) {
    begin_page(slot, state, started);
    if let Some(place) = slot.get_mut(HASH_AT..).and_then(|place| place.first_chunk_mut()) {
        *place = stamp_hash.to_le_bytes();
    }
    seal(slot, Kind::Live, Header::of(Kind::Live, state), area, generation);
}

/// Makes a slot of `slot` that says nothing: its first [`LOG_LEN`] bytes.
pub fn seal_void(slot: &mut [u8; SLOT_LEN], area: AreaId, generation: u64) {
    if let Some(bytes) = slot.get_mut(..LOG_LEN) {
        bytes.fill(0);
    }
    let mut header = Header::new_zeroed();
    header.kind = U32::new(Kind::Void.to_wire());
    seal(slot, Kind::Void, header, area, generation);
}

/// Makes a slot's first page, but for its header.
fn begin_page(slot: &mut [u8; SLOT_LEN], state: &SavedState, started: Option<&StartedWith<'_>>) {
    if let Some(page) = slot.get_mut(..MAP_AT) {
        page.fill(0);
    }
    put_ends(slot, &state.ends);
    if let Some(started) = started {
        started.put(slot);
    }
}

fn seal(slot: &mut [u8; SLOT_LEN], kind: Kind, header: Header, area: AreaId, generation: u64) {
    let generation = U64::new(generation);
    let mut header =
        Header { magic: MAGIC, version: U32::new(VERSION), area, generation, ..header };
    header.crc = U32::ZERO;
    put(slot, &header);
    header.crc = U32::new(checksum(slot.get(..kind.len()).unwrap_or_default()));
    put(slot, &header);
}

fn put(slot: &mut [u8; SLOT_LEN], header: &Header) {
    if let Some(place) = slot.get_mut(..HEADER_LEN) {
        place.copy_from_slice(header.as_bytes());
    }
}

/// Makes an area of `area` that says nothing.
pub fn blank_area(area: &mut [u8; AREA_LEN], id: AreaId) {
    let (slots, _) = area.as_chunks_mut::<SLOT_LEN>();
    for (slot, generation) in slots.iter_mut().zip([2, 1]) {
        seal_used(slot, id, generation);
    }
}

/// CRC-32C, by a crate that the kernel can have.
static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// CRC-64/XZ: a change of the stamp by another writer is no attack.
static CRC64: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&CRC_64_XZ);

/// The hash of a stamp, whose ranges are given one after the other.
pub struct StampHash(Digest<'static, u64, Table<1>>);

impl Default for StampHash {
    fn default() -> Self {
        Self(CRC64.digest())
    }
}

impl StampHash {
    /// Takes the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of what was given.
    pub fn finish(self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of a slot, with zeros for the one in it.
fn checksum(slot: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(slot.get(..CRC_AT).unwrap_or_default());
    digest.update(&[0; HEADER_LEN - CRC_AT]);
    digest.update(slot.get(HEADER_LEN..).unwrap_or_default());
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::{StartSettings, SweepLimits};
    use snapless_types::{Extent, GapReason, Made, Overflow, Tick};

    const ID: AreaId = AreaId([7; 16]);

    fn ends(seqs: &[u64]) -> Ends {
        let mut ends = Ends::NONE;
        for &seq in seqs {
            ends.add(End { seq: Seq::new(seq), made: Made { time: 7, monotonic: Tick(seq) } });
        }
        ends
    }

    fn blank() -> Vec<u8> {
        let mut area = vec![0; AREA_LEN];
        blank_area(area.as_mut_slice().try_into().unwrap(), ID);
        area
    }

    fn slot(area: &mut [u8], index: usize) -> &mut [u8; SLOT_LEN] {
        (&mut area[index * SLOT_LEN..][..SLOT_LEN]).try_into().unwrap()
    }

    fn state() -> SavedState {
        let stamp = [(0, 512), (1 << 20, 8192)].map(|(at, len)| Extent::new(at, len).unwrap());
        SavedState {
            session: SessionId([3; 16]),
            geometry: Geometry::new(1 << 30, 512, 64 << 10).unwrap(),
            acknowledged: Seq::new(5),
            captured: Seq::new(9),
            ends: ends(&[5, 9]),
            stamp: Extents::new(&stamp).unwrap(),
            saved_at: FileTime::new(77),
        }
    }

    /// A blank area whose second slot has this state.
    fn saved(state: &SavedState) -> Vec<u8> {
        let mut area = blank();
        let slot = slot(&mut area, 1);
        slot[MAP_AT] = 0b101;
        slot[STAMP_AT..][..3].copy_from_slice(b"abc");
        seal_saved(slot, ID, 3, state, None);
        area
    }

    fn kind(area: &[u8]) -> Option<(usize, u64, Option<SavedState>)> {
        newest(area, ID).map(|slot| (slot.index(), slot.generation(), slot.saved()))
    }

    /// A blank area whose second slot is live, with what is left of another one behind it.
    fn live(state: &SavedState) -> Vec<u8> {
        let mut area = blank();
        let slot = slot(&mut area, 1);
        slot.fill(0x5a);
        slot[MAP_AT..STAMP_AT].fill(0);
        slot[MAP_AT] = 0b110;
        seal_live(slot, ID, 3, (state, 0x0123_4567_89ab_cdef), None);
        area
    }

    #[test]
    fn a_live_slot_has_its_map_and_the_stamps_hash_and_only_its_first_bytes_count() {
        let mut area = live(&state());
        let found = newest(&area, ID).unwrap();
        assert_eq!((found.index(), found.generation(), found.saved()), (1, 3, Some(state())));
        assert_eq!((found.stamp_hash(), found.map()[0]), (Some(0x0123_4567_89ab_cdef), 0b110));
        area[SLOT_LEN + LOG_LEN..].fill(0x77);
        assert_eq!(kind(&area), Some((1, 3, Some(state()))));
        for at in (0..LOG_LEN).step_by(61).chain([HASH_AT, LOG_LEN - 1]) {
            let mut torn = area.clone();
            torn[SLOT_LEN + at] ^= 0x40;
            assert_eq!(kind(&torn), Some((0, 2, None)), "byte {at}: the other one counts");
        }
        let saved = saved(&state());
        assert_eq!(newest(&saved, ID).unwrap().stamp_hash(), None);
    }

    #[test]
    fn a_void_slot_ends_what_was_live() {
        let mut area = live(&state());
        slot(&mut area, 0)[LOG_LEN..].fill(0x33);
        seal_void(slot(&mut area, 0), ID, 4);
        assert_eq!(kind(&area), Some((0, 4, None)));
        area[MAP_AT] ^= 1;
        assert_eq!(kind(&area), Some((1, 3, Some(state()))), "torn: nothing was let go yet");
    }

    #[test]
    fn a_stamps_hash_is_of_all_its_bytes_in_order() {
        let hash = |parts: &[&[u8]]| {
            let mut hash = StampHash::default();
            for part in parts {
                hash.update(part);
            }
            hash.finish()
        };
        assert_eq!(hash(&[b"1234", b"56789"]), 0x995d_c9bb_df19_39fa, "the published check value");
        assert_ne!(hash(&[b"12345", b"6789"]), hash(&[b"123456798"]));
    }

    #[test]
    fn a_blank_area_says_nothing() {
        assert_eq!(kind(&blank()), Some((0, 2, None)));
        assert!(newest(&blank(), AreaId([8; 16])).is_none(), "another area's");
        assert!(newest(&blank()[1..], ID).is_none());
        assert!(newest(&vec![0; AREA_LEN], AreaId::NIL).is_none());
    }

    #[test]
    fn a_saved_state_comes_back_until_it_is_used() {
        let mut area = saved(&state());
        assert_eq!(kind(&area), Some((1, 3, Some(state()))));
        let found = newest(&area, ID).unwrap();
        assert_eq!((found.map()[0], &found.stamp()[..4]), (0b101, &b"abc\0"[..]));
        assert_eq!((found.map().len(), found.stamp().len()), (MAP_LEN, STAMP_LEN));
        seal_used(slot(&mut area, 1), ID, 4);
        assert_eq!(kind(&area), Some((1, 4, None)));
    }

    #[test]
    fn a_damaged_slot_does_not_count_wherever_the_damage_is() {
        let sound = saved(&state());
        for at in [0, 8, 12, 16, 32, CRC_AT, HEADER_LEN, MAP_AT, STAMP_AT, SLOT_LEN - 1] {
            let mut area = sound.clone();
            area[SLOT_LEN + at] ^= 1;
            assert_eq!(kind(&area), Some((0, 2, None)), "{at}");
        }
        let mut both = sound;
        both[9] ^= 1;
        both[SLOT_LEN + 9] ^= 1;
        assert_eq!(kind(&both), None);
    }

    #[test]
    fn a_slot_of_an_older_or_a_newer_release_does_not_count() {
        for version in [VERSION - 1, VERSION + 1] {
            let mut area = saved(&state());
            let index = newest(&area, ID).unwrap().index();
            let slot = slot(&mut area, index);
            slot[8..12].copy_from_slice(&version.to_le_bytes());
            let crc = checksum(slot);
            slot[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
            // The other one says nothing: every block is verified.
            assert!(newest(&area, ID).is_none_or(|slot| slot.saved().is_none()), "{version}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_does_not_count() {
        let geometry = |sector_size| Geometry::new(1 << 30, sector_size, 64 << 10).unwrap();
        let stamp = |offset, len| Extents::new(&[Extent::new(offset, len).unwrap()]).unwrap();
        let odd = [
            SavedState { session: SessionId::NIL, ..state() },
            SavedState { acknowledged: Seq::new(10), ..state() },
            SavedState { captured: Seq::new(u64::MAX), ..state() },
            SavedState { ends: ends(&[4]), ..state() },
            SavedState { ends: ends(&[7, 10]), ..state() },
            SavedState { stamp: Extents::NONE, ..state() },
            SavedState { stamp: stamp(1 << 30, 512), ..state() },
            SavedState { stamp: stamp(1, 512), ..state() },
            SavedState { stamp: stamp(0, STAMP_LEN as u64 + 512), ..state() },
            SavedState { geometry: geometry(8 << 10), ..state() },
        ];
        for state in odd {
            assert_eq!(kind(&saved(&state)), Some((0, 2, None)), "{state:?}");
        }
        assert!(kind(&saved(&SavedState { geometry: geometry(512), ..state() })).is_some());
    }

    #[test]
    fn of_two_slots_of_one_number_the_one_counts_that_says_less() {
        for used in [0, 1] {
            let mut area = blank();
            seal_used(slot(&mut area, used), ID, 9);
            seal_saved(slot(&mut area, 1 - used), ID, 9, &state(), None);
            assert_eq!(kind(&area), Some((used, 9, None)));
        }
    }

    #[test]
    fn a_slot_says_what_its_session_is_started_with() {
        let extent = |offset, len| Extent::new(offset, len).unwrap();
        let settings = StartSettings {
            session: state().session,
            continues: Some(GapReason::Restarted),
            block_size: 64 << 10,
            queue_bytes: 256 << 20,
            hold_limit_ms: 200,
            overflow: Overflow::Hold,
            sweep: SweepLimits { bytes_per_second: 1 << 20, latency_ms: 7 },
        };
        let (always, excluded) = (Extents::new(&[extent(3, 4)]).unwrap(), [extent(4096, 512)]);
        let started = StartedWith { settings: &settings, always: &always, excluded: &excluded };
        let mut areas = [blank(), blank()];
        seal_saved(slot(&mut areas[0], 1), ID, 3, &state(), Some(&started));
        seal_live(slot(&mut areas[1], 1), ID, 3, (&state(), 5), Some(&started));
        for area in areas {
            let slot = newest(&area, ID).unwrap();
            assert_eq!(slot.saved(), Some(state()), "it does not reach into the ends");
            let startup = slot.startup().unwrap();
            assert_eq!(startup.settings(&state()), Some(settings));
            assert_eq!(startup.always, always);
            assert_eq!(startup.excluded.iter().collect::<Vec<_>>(), excluded);
        }
        let always = Extents::new(&[extent((1 << 30) - 1, 2)]).unwrap();
        let mut area = blank();
        let outside = StartedWith { always: &always, ..started };
        seal_saved(slot(&mut area, 1), ID, 3, &state(), Some(&outside));
        let startup = newest(&area, ID).unwrap().startup().unwrap();
        assert_eq!(startup.settings(&state()), None, "the volume does not have that");
        let silent = saved(&state());
        let startup = newest(&silent, ID).unwrap().startup().unwrap();
        assert_eq!(startup.settings(&state()), None, "of an older driver");
        assert!(newest(&blank(), ID).unwrap().startup().is_none());
    }

    #[test]
    fn the_bytes_of_a_slot_are_pinned() {
        let area = saved(&state());
        let slot = &area[SLOT_LEN..];
        assert_eq!(&slot[..16], b"SNPLSTAT\x02\0\0\0\x01\0\0\0");
        assert_eq!(slot[16..32], [7; 16]);
        assert_eq!(slot[32..40], 3_u64.to_le_bytes());
        assert_eq!(slot[40..56], [3; 16]);
        assert_eq!(slot[56..64], (1_u64 << 30).to_le_bytes());
        assert_eq!(slot[72..80], (64_u64 << 10).to_le_bytes());
        assert_eq!((slot[80], slot[88], slot[160]), (5, 9, 77));
        assert_eq!(slot[172..176], checksum(slot).to_le_bytes());
        assert_eq!((slot[184], slot[192], slot[200], slot[208], slot[224]), (5, 7, 5, 9, 9));
        assert!(slot[232..MAP_AT].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // RFC 3720, B.4: 32 bytes of zeros, of ones, and counting up.
        let crc = |bytes: &[u8]| CRC.checksum(bytes);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(crc(&counting), 0x46dd_794e);
    }
}

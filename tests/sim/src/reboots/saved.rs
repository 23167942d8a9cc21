//! What the simulator has of a state that is kept on the volume: the driver's own tracker and log,
//! and the bytes of the area.

use snapless_driver_logic::intent_log::{SlotPlace, StampRead, Unmarked};
use snapless_driver_logic::tracker::{Taken, Tracker};
use snapless_tracking::marks::Marks;
use snapless_types::{Ends, Extent, Geometry, Regions};
use snapless_wire::id::{AreaId, Extents, SessionId};
use snapless_wire::state_area::{self, AREA_LEN, SLOT_LEN, STAMP_AT, Slot};

use super::server::{SECTOR, extent};

/// The area's identity.
pub(super) const AREA: AreaId = AreaId([9; 16]);
/// The sector that every writer to the volume changes.
pub(super) const STAMP: usize = 0;
/// Bytes that the disk writes at once.
const ATOM: usize = 512;

/// Bytes on their way to a slot.
pub(super) struct SlotWrite {
    pub(super) place: SlotPlace,
    pub(super) bytes: Vec<u8>,
}

/// How far a save is.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    None,
    /// So many regions were looked at, and before that what the server's stream may end with.
    Looking { ends: Ends, region: u64 },
    /// It is on its way to the disk.
    Writing(SlotWrite),
    /// It is there.
    Done,
}

/// How far a sleep is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Nap {
    /// The machine is awake.
    #[default]
    None,
    /// It has told that it is about to sleep.
    Falling,
    /// It goes on, and has not told yet that it is awake.
    Waking,
}

/// What is being done for the log.
#[derive(Default)]
pub(super) enum LogStage {
    #[default]
    Idle,
    /// Marks are taken off, from a region on. One of them waits for the engine's word.
    Passing { region: u64, unmarked: Option<Unmarked>, then_stamp: bool },
    /// The stamp was read, before it was seen that it holds.
    Read(StampRead),
    /// A slot is on its way to the disk.
    Writing(SlotWrite),
}

/// The state of a volume.
pub(super) struct Saved<F> {
    pub(super) tracker: Tracker,
    pub(super) marks: Marks,
    pub(super) stage: Stage,
    pub(super) log: LogStage,
    /// Writes of void slots that the disk has failed in a row.
    pub(super) failures: u32,
    /// The service knows that the log is not to be trusted.
    pub(super) is_distrusted: bool,
    /// The area's bytes on the disk.
    area: Vec<u8>,
    /// What makes the state on the disk void is on its way.
    pub(super) is_voiding: bool,
    /// Writes that wait.
    pub(super) waiting: Vec<F>,
    /// What the session has taken, until the server has said what it has.
    pub(super) taken: Option<Taken>,
    /// Which of the sessions it is.
    pub(super) session: u8,
}

/// What of it is on the disk.
pub(super) struct Kept {
    area: Vec<u8>,
    is_distrusted: bool,
}

impl<F> Saved<F> {
    /// What of it is on the disk.
    pub(super) fn kept(&self) -> Kept {
        Kept { area: self.area.clone(), is_distrusted: self.is_distrusted }
    }

    /// The disk is put back to this.
    pub(super) fn put_back(&mut self, Kept { area, is_distrusted }: Kept) {
        (self.area, self.is_distrusted) = (area, is_distrusted);
    }

    pub(super) fn new(geometry: &Geometry) -> Self {
        let mut area = vec![0; AREA_LEN];
        state_area::blank_area(area.first_chunk_mut().expect("it is an area"), AREA);
        Self {
            tracker: Tracker::NONE,
            marks: Marks::new(Regions::of(geometry)).expect("there is memory"),
            stage: Stage::None,
            log: LogStage::Idle,
            failures: 0,
            is_distrusted: false,
            area,
            is_voiding: false,
            waiting: Vec::new(),
            taken: None,
            session: 1,
        }
    }

    /// True once a state is on the disk.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// The slot on the disk that counts; whatever was torn, one is sound, or a breach is played.
    pub(super) fn newest(&self) -> Option<Slot<'_>> {
        state_area::newest(&self.area, AREA)
    }

    /// Where it is.
    pub(super) fn place(&self) -> SlotPlace {
        let place =
            |slot: Slot<'_>| SlotPlace { index: slot.index(), generation: slot.generation() };
        self.newest().map_or(SlotPlace { index: 0, generation: 1 }, place)
    }

    /// A slot that is made by `seal` of what the area has there.
    pub(super) fn make(
        &self,
        place: SlotPlace,
        seal: impl FnOnce(&mut [u8; SLOT_LEN]),
    ) -> SlotWrite {
        let at = place.index * SLOT_LEN;
        let mut bytes = self.area[at..at + SLOT_LEN].to_vec();
        seal(bytes.first_chunk_mut().expect("it is a slot"));
        SlotWrite { place, bytes }
    }

    /// A slot that says nothing.
    pub(super) fn used(&self, place: SlotPlace) -> SlotWrite {
        self.make(place, |slot| state_area::seal_used(slot, AREA, place.generation))
    }

    /// A write gets to the disk: those parts of it that `arrives` says.
    pub(super) fn put(&mut self, write: &SlotWrite, mut arrives: impl FnMut() -> bool) {
        let at = write.place.index * SLOT_LEN;
        for (offset, atom) in write.bytes.chunks(ATOM).enumerate() {
            if arrives() {
                self.area[at + offset * ATOM..][..ATOM].copy_from_slice(atom);
            }
        }
    }

    /// Behind every write: the simulator has no file of it.
    pub(super) fn area() -> Extent {
        Extent::new(1 << 40, SECTOR).expect("it is not empty")
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId([self.session; 16])
    }

    pub(super) fn stamp() -> Extents<4> {
        Extents::new(&[extent(STAMP, 1)]).expect("one is not too many")
    }
}

/// The stamp's bytes on this disk, as far as they are not zeros.
pub(super) fn stamp_of(disk: &[u32]) -> [u8; 4] {
    disk[STAMP].to_le_bytes()
}

/// All of the stamp's bytes, with this content.
pub(super) fn stamp_bytes(content: u32) -> Vec<u8> {
    write_bytes(content, 1)
}

/// The bytes of so many sectors with this content.
pub(super) fn write_bytes(content: u32, sectors: usize) -> Vec<u8> {
    let len = usize::try_from(SECTOR).expect("a short sector");
    let mut bytes = vec![0; len * sectors];
    for sector in bytes.chunks_mut(len) {
        sector[..4].copy_from_slice(&content.to_le_bytes());
    }
    bytes
}

/// Puts the stamp's bytes into a slot.
pub(super) fn put_stamp(slot: &mut [u8; SLOT_LEN], disk: &[u32]) {
    slot[STAMP_AT..].fill(0);
    slot[STAMP_AT..][..4].copy_from_slice(&stamp_of(disk));
}

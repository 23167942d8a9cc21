//! Where the driver can save the state of a volume's session while the machine is off, and by which
//! bytes it is seen afterwards that nobody else has written to the volume.
//!
//! The state area is a file in the volume's root folder. It is found on the disk itself, as are the
//! bytes of NTFS that each writer to the volume changes: NTFS' structures do not say where they are
//! in any other way, and what is on the disk is what the driver will find there.
//!
//! Rule: what is not found, or not understood, costs a full verification after a restart, and
//! nothing else.

use std::io::{self, Read, Seek, SeekFrom};

use ntfs::attribute_value::NtfsAttributeValue;
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::{KnownNtfsFileRecordNumber, Ntfs, NtfsError, NtfsFile};
use snapless_types::Extent;
use snapless_wire::id::AreaId;
use snapless_wire::ioctl::{ALWAYS_MAX, KeepStateRequest};
use snapless_wire::state_area::{self, AREA_LEN, area_id};

/// The state area's file, in the root folder of its volume.
pub const STATE_FILE: &str = "Snapless.state";

/// Files that the boot loader writes into, while no driver is there to see it. Whatever they have
/// is compared after each restart.
const BOOT_FILES: [&[&str]; 6] = [
    &["Windows", "bootstat.dat"],
    &["Boot", "bootstat.dat"],
    &["Boot", "BCD"],
    &["Boot", "BCD.LOG"],
    &["Boot", "BCD.LOG1"],
    &["Boot", "BCD.LOG2"],
];
/// The two restart pages of `$LogFile`: whoever mounts the volume to write changes them.
const RESTART_PAGES_LEN: u64 = 2 * 4096;
/// File records that a driver without a journal changes, from `$Volume` to the root folder.
const RECORDS: std::ops::Range<u64> =
    KnownNtfsFileRecordNumber::Volume as u64..KnownNtfsFileRecordNumber::RootDirectory as u64 + 1;
/// What the boot sector has at its fourth byte.
const NTFS: &[u8; 8] = b"NTFS    ";

/// What the driver needs to save a volume's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatePlace {
    /// The state area's identity.
    pub id: AreaId,
    /// Where on the volume it begins.
    pub offset: u64,
    /// Bytes that each writer to the volume changes.
    pub stamp: Vec<Extent>,
    /// Bytes that may change while no driver is there.
    pub always: Vec<Extent>,
}

/// Why a volume has no place for its state.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// It has no file for it, or the file has other content.
    #[error("the volume has no state file yet")]
    NoFile,
    /// Its file system is none whose writers would be noticed.
    #[error("the volume has no NTFS")]
    NotNtfs,
    /// The file is not in one piece.
    #[error("the state file is not in one piece: delete {STATE_FILE} in the volume's root folder")]
    InPieces,
    /// The files of the boot loader are in more pieces than the driver takes.
    #[error("the boot loader's files are in too many pieces")]
    BootFiles,
    /// The volume does not answer, or is damaged.
    #[error("the volume's NTFS cannot be read: {0}")]
    Unreadable(String),
    /// The system refuses the file.
    #[error("the state file cannot be made: {0}")]
    System(#[from] io::Error),
}

impl From<NtfsError> for NoPlace {
    fn from(error: NtfsError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl StatePlace {
    /// Looks for the place on a volume.
    ///
    /// # Errors
    /// [`NoPlace`], but never [`NoPlace::System`].
    pub fn find(volume: &mut (impl Read + Seek)) -> Result<Self, NoPlace> {
        let mut oem = [0; 11];
        read_at(volume, 0, &mut oem)?;
        if !oem.ends_with(NTFS) {
            return Err(NoPlace::NotNtfs);
        }
        let mut ntfs = Ntfs::new(volume)?;
        ntfs.read_upcase_table(volume)?;
        let (id, offset) = area(&ntfs, volume)?;
        let sector = u64::from(ntfs.sector_size());
        let boot_sector = Extent::from_parts(0, sector);
        let records = records(&ntfs);
        let log = ntfs.file(volume, KnownNtfsFileRecordNumber::LogFile as u64)?;
        let log = pieces(&log, volume)?.into_iter().next();
        let log = log.filter(|log| log.len() >= RESTART_PAGES_LEN);
        let log = log.map(|log| Extent::from_parts(log.offset(), RESTART_PAGES_LEN));
        let (Some(records), Some(log)) = (records, log) else {
            return Err(NoPlace::Unreadable("its own files are not where they must be".into()));
        };
        let mut always = Vec::new();
        for path in BOOT_FILES {
            always.extend(match find(&ntfs, volume, path)? {
                Some(file) => pieces(&file, volume)?,
                None => Vec::new(),
            });
        }
        if always.len() > ALWAYS_MAX {
            return Err(NoPlace::BootFiles);
        }
        Ok(Self { id, offset, stamp: vec![boot_sector, log, records], always })
    }

    /// The request that tells the driver.
    ///
    /// # Errors
    /// [`NoPlace::Unreadable`] for a place that no volume can have.
    pub fn request(&self) -> Result<KeepStateRequest, NoPlace> {
        let Self { id, offset, stamp, always } = self;
        KeepStateRequest::new(*id, *offset, stamp, always)
            .map_err(|_| NoPlace::Unreadable("its own files are where no volume ends".into()))
    }
}

/// The sectors of [`RECORDS`]: the first file records are in one piece.
fn records(ntfs: &Ntfs) -> Option<Extent> {
    let sector = u64::from(ntfs.sector_size());
    let mft = ntfs.mft_position().value()?.get();
    let at = |number: u64| mft.checked_add(number * u64::from(ntfs.file_record_size()));
    let start = at(RECORDS.start)? / sector * sector;
    let end = at(RECORDS.end)?.checked_next_multiple_of(sector)?;
    Extent::new(start, end.checked_sub(start)?)
}

/// The content of a new state file.
pub fn blank_area(id: AreaId) -> Vec<u8> {
    let mut area = vec![0; AREA_LEN];
    if let Some(whole) = area.first_chunk_mut() {
        state_area::blank_area(whole, id);
    }
    area
}

/// The state area's identity and its first byte.
fn area(ntfs: &Ntfs, volume: &mut (impl Read + Seek)) -> Result<(AreaId, u64), NoPlace> {
    let file = find(ntfs, volume, &[STATE_FILE])?.ok_or(NoPlace::NoFile)?;
    let len = file.data(volume, "").ok_or(NoPlace::NoFile)??.to_attribute()?.value_length();
    if len != AREA_LEN as u64 {
        return Err(NoPlace::NoFile);
    }
    let pieces = pieces(&file, volume)?;
    let [piece] = pieces[..] else { return Err(NoPlace::InPieces) };
    let mut bytes = vec![0; AREA_LEN];
    read_at(volume, piece.offset(), &mut bytes)?;
    Ok((area_id(&bytes).ok_or(NoPlace::NoFile)?, piece.offset()))
}

/// The file with this path from the root folder.
fn find<'n>(
    ntfs: &'n Ntfs,
    volume: &mut (impl Read + Seek),
    path: &[&str],
) -> Result<Option<NtfsFile<'n>>, NoPlace> {
    let mut file = ntfs.root_directory(volume)?;
    for name in path {
        if !file.is_directory() {
            return Ok(None);
        }
        let found = {
            let index = file.directory_index(volume)?;
            let mut finder = index.finder();
            let entry = NtfsFileNameIndex::find(&mut finder, ntfs, volume, name);
            entry.transpose()?.map(|entry| entry.to_file(ntfs, volume)).transpose()?
        };
        match found {
            Some(found) => file = found,
            None => return Ok(None),
        }
    }
    Ok(Some(file))
}

/// The extents of a file's data, in the file's order; that of its record, if they are in there.
fn pieces(file: &NtfsFile<'_>, volume: &mut (impl Read + Seek)) -> Result<Vec<Extent>, NoPlace> {
    let Some(data) = file.data(volume, "") else { return Ok(Vec::new()) };
    let data = data?;
    let attribute = data.to_attribute()?;
    match attribute.value(volume)? {
        NtfsAttributeValue::NonResident(value) => {
            let mut all = Vec::new();
            for run in value.data_runs() {
                let run = run?;
                // A part without clusters has no position.
                let at = run.data_position().value();
                all.extend(at.and_then(|at| Extent::new(at.get(), run.allocated_size())));
            }
            Ok(all)
        }
        NtfsAttributeValue::Resident(_) => {
            let at = file.position().value();
            let record = at.and_then(|at| Extent::new(at.get(), file.allocated_size().into()));
            Ok(record.into_iter().collect())
        }
        NtfsAttributeValue::AttributeListNonResident(_) => {
            Err(NoPlace::Unreadable("a file is in hundreds of pieces".into()))
        }
    }
}

fn read_at(volume: &mut (impl Read + Seek), offset: u64, bytes: &mut [u8]) -> Result<(), NoPlace> {
    let unreadable = |error: io::Error| NoPlace::Unreadable(error.to_string());
    volume.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    volume.read_exact(bytes).map_err(unreadable)
}

//! The files of the volume, as far as its file system would tell them: a paging file where a
//! scenario puts it, and a file with its name in another folder; and which clusters are free, by
//! the `$Bitmap` that the image has.
//!
//! The volume has no file system on Wine; it answers in its place.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use nt::irp::Irp;
use nt::status::Failure;
use protocol::ioctl::{ClusterMap, PagingFile};
use wdk_sys::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_END_OF_FILE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

use crate::journal::Store;

/// `FSCTL_GET_NTFS_VOLUME_DATA`
pub(crate) const NTFS_VOLUME_DATA: u32 = 0x0009_0064;
/// `FSCTL_QUERY_FILE_LAYOUT`, which has its buffers at addresses of the caller.
pub(crate) const QUERY_FILE_LAYOUT: u32 = 0x0009_0277;

/// `FSCTL_GET_VOLUME_BITMAP`, which has its buffers there as well.
pub(crate) const GET_VOLUME_BITMAP: u32 = 0x0009_006F;
/// Bytes of the map in a reply, at most: a service has to ask more than once.
const MAP_REPLY_MAX: u64 = 1000;

const CLUSTER: u64 = 4096;
/// `QUERY_FILE_LAYOUT_RESTART`
const RESTART: u32 = 1;
const REQUEST_LEN: usize = 32;
/// Of the root directory, and of another one.
const ROOT: u64 = 5 | 5 << 48;
const FOLDER: u64 = 40;
const NAME: &str = "pagefile.sys";

/// Where the paging file is; of no length while there is none.
#[derive(Default)]
pub(crate) struct Files {
    offset: AtomicU64,
    len: AtomicU64,
    map_offset: AtomicU64,
    /// None while it does not tell which are free.
    clusters: AtomicU64,
    told: AtomicU64,
}

impl Files {
    // Relaxed, here and below: a scenario waits for each command.
    pub(crate) fn set_paging_file(&self, file: PagingFile) {
        self.offset.store(file.offset, Ordering::Relaxed);
        self.len.store(file.len, Ordering::Relaxed);
    }

    pub(crate) fn set_cluster_map(&self, map: ClusterMap) {
        self.map_offset.store(map.offset, Ordering::Relaxed);
        self.clusters.store(map.clusters, Ordering::Relaxed);
    }

    /// How often all clusters were told.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Tells which clusters are free, from one on, as the volume has it now.
    pub(crate) fn cluster_map(&self, irp: &Irp, store: &Store) -> (NTSTATUS, usize) {
        const HEADER: u64 = 16;
        let (_, input_len, room) = irp.device_control();
        let clusters = self.clusters.load(Ordering::Relaxed);
        if clusters == 0 {
            return (STATUS_INVALID_DEVICE_REQUEST, 0);
        }
        // SAFETY: the packet is a device control.
        let input = unsafe { irp.stack().Parameters.DeviceIoControl.Type3InputBuffer };
        if input_len < 8 || input.is_null() || irp.user_buffer().is_null() {
            return (STATUS_INVALID_PARAMETER, 0);
        }
        // SAFETY: the sender's buffer has the request's length.
        let start = unsafe { input.cast::<u64>().read_unaligned() } / 8 * 8;
        let Some(left) = clusters.checked_sub(start).filter(|left| *left > 0) else {
            return (STATUS_INVALID_PARAMETER, 0);
        };
        let Some(room) = u64::from(room).checked_sub(HEADER).filter(|room| *room > 0) else {
            return (STATUS_BUFFER_TOO_SMALL, 0);
        };
        let all = left.div_ceil(8);
        let len = all.min(room).min(MAP_REPLY_MAX);
        let mut reply = start.to_le_bytes().to_vec();
        reply.extend(left.to_le_bytes());
        reply.resize((HEADER + len) as usize, 0);
        let place = self.map_offset.load(Ordering::Relaxed) + start / 8;
        let content = reply[HEADER as usize..].as_mut_ptr();
        // SAFETY: the reply has that many bytes behind its header.
        let read = unsafe { store.read(place, content, len as u32) };
        if let Err(Failure(status)) = read {
            return (status, 0);
        }
        // SAFETY: the sender's buffer has that room.
        unsafe {
            core::ptr::copy_nonoverlapping(reply.as_ptr(), irp.user_buffer().cast(), reply.len());
        }
        if len < all {
            return (STATUS_BUFFER_OVERFLOW, reply.len());
        }
        self.told.fetch_add(1, Ordering::Relaxed);
        (STATUS_SUCCESS, reply.len())
    }

    /// `NTFS_VOLUME_DATA_BUFFER`, of which the size of a cluster is used, and that there are file
    /// records.
    pub(crate) fn volume_data() -> Vec<u8> {
        const RECORD: u32 = 1024;
        let mut data = [0_u8; 96];
        data[44..48].copy_from_slice(&(CLUSTER as u32).to_le_bytes());
        data[48..52].copy_from_slice(&RECORD.to_le_bytes());
        data[56..64].copy_from_slice(&u64::from(RECORD).to_le_bytes());
        data.to_vec()
    }

    /// Answers the search through all files with one reply.
    pub(crate) fn layout(&self, irp: &Irp) -> (NTSTATUS, usize) {
        let (_, input_len, room) = irp.device_control();
        // SAFETY: the packet is a device control.
        let input = unsafe { irp.stack().Parameters.DeviceIoControl.Type3InputBuffer };
        if (input_len as usize) < REQUEST_LEN || input.is_null() || irp.user_buffer().is_null() {
            return (STATUS_INVALID_PARAMETER, 0);
        }
        // SAFETY: the sender's buffer has the request's length.
        let request = unsafe { input.cast::<[u32; 2]>().read_unaligned() };
        if request[1] & RESTART == 0 {
            return (STATUS_END_OF_FILE, 0);
        }
        let reply = self.reply();
        if (room as usize) < reply.len() {
            return (STATUS_BUFFER_TOO_SMALL, 0);
        }
        // SAFETY: the sender's buffer has that room.
        unsafe {
            core::ptr::copy_nonoverlapping(reply.as_ptr(), irp.user_buffer().cast(), reply.len());
        }
        (STATUS_SUCCESS, reply.len())
    }

    fn reply(&self) -> Vec<u8> {
        let offset = self.offset.load(Ordering::Relaxed) / CLUSTER;
        let clusters = self.len.load(Ordering::Relaxed) / CLUSTER;
        // In two pieces that touch; the other file is where the paging file is not.
        let runs = [(clusters / 2, offset), (clusters - clusters / 2, offset + clusters / 2)];
        let mut reply = words(&[2, 16, 0, 0]);
        reply.extend(file(FOLDER, &[(1, offset + clusters)], false));
        reply.extend(file(ROOT, &runs[..if clusters > 0 { 2 } else { 0 }], true));
        reply
    }
}

/// A `FILE_LAYOUT_ENTRY` with a name and a stream of data.
fn file(parent: u64, runs: &[(u64, u64)], is_last: bool) -> Vec<u8> {
    const NAME_AT: usize = 40;
    let units: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let stream_at = (NAME_AT + 24 + units.len()).next_multiple_of(8);
    let len = stream_at + 48 + 24 + 16 * runs.len();
    let next = if is_last { 0 } else { len as u32 };
    let mut bytes = words(&[1, next, 0, 0, 0, 0, NAME_AT as u32, stream_at as u32, 0, 0]);
    bytes.extend(words(&[0, 1]));
    bytes.extend(parent.to_le_bytes());
    bytes.extend(words(&[units.len() as u32, 0]));
    bytes.extend(units);
    bytes.resize(stream_at, 0);
    // `$DATA`; the extents come behind the stream.
    bytes.extend(words(&[1, 0, 0, 48, 0, 0, 0, 0, 0, 0x80, 0, 0]));
    // As retrieval pointers, all of them; from virtual cluster 0 on.
    bytes.extend(words(&[3, 0, runs.len() as u32, 0, 0, 0]));
    let mut vcn = 0;
    for (clusters, lcn) in runs {
        vcn += clusters;
        bytes.extend(vcn.to_le_bytes());
        bytes.extend(lcn.to_le_bytes());
    }
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

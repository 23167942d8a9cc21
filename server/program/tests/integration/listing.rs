//! What `list`, `points` and a Hello look at does not grow with the history.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use snapless_server::list::{Content, list};
use snapless_server::points::{self, points};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::writer::SessionWriter;

use crate::common::connection::Connection;
use crate::common::counting::Counting;
use crate::common::{self, Driver, LENGTH, SECTOR, SESSION, VOLUME};

/// Bytes of a segment: one epoch fills it.
const SEGMENT: u64 = 4 << 10;

/// Stores so many epochs, a segment each.
fn store(root: &Path, epochs: u64) {
    let mut connection = Connection::with_segments(root, SEGMENT);
    let mut driver = Driver::default();
    connection.records(&driver.first_sync());
    for epoch in 0..epochs {
        let mut frame = Vec::new();
        for write in 0..8 {
            frame.extend(driver.write((epoch * 7 + write * 3) % 100 * SECTOR, SECTOR, 7));
        }
        frame.extend(driver.epoch_end());
        connection.records(&frame);
    }
    connection.end();
}

/// Bytes of all segments of the session.
fn stored(root: &Path) -> u64 {
    let dir = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let segments = files.filter(|file| file.path().extension().is_some_and(|it| it == "slseg"));
    segments.map(|file| file.metadata().unwrap().len()).sum()
}

/// Files that are opened, and directories that are listed, by `list`, by `points`, and by a Hello.
fn looked_at(root: &Path) -> [(u64, u64); 3] {
    let stop = StopFlag::default();
    let storage = Counting::new(root);
    let counts = || (storage.opened(), storage.listed());
    let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    counts();
    let listed = list(&repository, &stop).unwrap();
    let of_list = counts();
    let Content::Complete(stream) = &listed[0].sessions[0].content else { panic!("{listed:?}") };
    assert_eq!(stream.stored_bytes, stored(root));
    let request = points::Request { volume: VOLUME, session: None, quiet: false };
    let told = points(&repository, &request, &stop, |_, _| {}).unwrap();
    assert_eq!(told.sessions[0].listed.shape, listed[0].sessions[0].shape);
    let of_points = counts();
    let repository = WritableRepository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    counts();
    SessionWriter::open(&repository, &common::header(LENGTH), SEGMENT, &stop).unwrap();
    [of_list, of_points, counts()]
}

#[test]
fn list_points_and_a_hello_look_at_as_many_files_whatever_the_number_of_segments() {
    let dir = common::scratch();
    let [few, many] = [4, 400].map(|epochs| {
        let root = dir.path().join(epochs.to_string());
        store(&root, epochs);
        looked_at(&root)
    });
    assert_eq!(few, many, "files opened, and directories listed, with 4 and with 400 segments");
    assert!(many.iter().all(|(opened, listed)| *opened <= 24 && *listed <= 8), "{many:?}");
}

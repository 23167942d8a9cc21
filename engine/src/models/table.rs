//! The table: reads without the lock against changes under it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread;

use snapless_tracking::table::{BlockState, Table};
use snapless_types::{BlockIndex, BlockRange};

use super::model;

const BLOCKS: u64 = 3;

fn all() -> BlockRange {
    BlockRange::new(BlockIndex(0), BlockIndex(BLOCKS))
}

struct Shared {
    table: Table,
    lock: Mutex<()>,
    /// Whether a block's record is in the stream; relaxed, so that only the table orders it.
    recorded: Vec<AtomicBool>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let recorded = (0..BLOCKS).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { table: Table::new(BLOCKS).unwrap(), lock: Mutex::new(()), recorded })
    }

    /// Syncs one block, as the thread that reads it does.
    fn sync(&self, index: u64) {
        let block = BlockRange::one(BlockIndex(index));
        {
            let _lock = self.lock.lock().unwrap();
            let turned = self.table.turn(block, BlockState::Unsynced, BlockState::Reading);
            assert_eq!(turned, 1, "T0: a neighbour's change leaves the block alone");
        }
        let _lock = self.lock.lock().unwrap();
        self.recorded[usize::try_from(index).unwrap()].store(true, Relaxed);
        let turned = self.table.turn(block, BlockState::Reading, BlockState::Synced);
        assert_eq!(turned, 1, "T0: a neighbour's change leaves the block alone");
    }
}

#[test]
fn a_reader_that_sees_synced_sees_the_record_and_no_change_is_lost() {
    model(3, || {
        let shared = Shared::new();
        let readers: Vec<_> = [0, 2]
            .map(|block| {
                let shared = shared.clone();
                thread::spawn(move || shared.sync(block))
            })
            .into();
        let mut synced_before = false;
        for _ in 0..2 {
            let synced = shared.table.get(BlockIndex(0)) == BlockState::Synced;
            assert!(synced || !synced_before, "a read does not go back in time");
            if synced {
                assert!(shared.recorded[0].load(Relaxed), "T0: the record comes before the state");
            }
            synced_before = synced;
        }
        if let Some(found) = shared.table.find(all(), BlockState::Synced) {
            let index = usize::try_from(found.0).unwrap();
            assert!(shared.recorded[index].load(Relaxed), "T0: the record comes before the state");
        }
        assert_eq!(shared.table.get(BlockIndex(1)), BlockState::Unsynced);
        for reader in readers {
            reader.join().unwrap();
        }
        let states: Vec<_> = all().iter().map(|block| shared.table.get(block)).collect();
        assert_eq!(states, [BlockState::Synced, BlockState::Unsynced, BlockState::Synced]);
    });
}

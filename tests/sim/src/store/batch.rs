//! What of the store is played, as the command line has it.

use clap::Args;

use super::{Medium, StoreFailure, StoreSabotage, Tally, exhaust, play};
use crate::batch::Batch;

/// Sequences of operations of the store.
#[derive(Clone, Debug, Args)]
pub struct StoreBatch {
    /// Play the store alone, from --seed on, --seeds of them
    #[arg(long)]
    store: bool,
    /// Play it over a bucket of objects instead of a disk
    #[arg(long, requires = "store")]
    objects: bool,
    /// Play every sequence of the store of at most so many operations instead of seeds
    #[arg(long, requires = "store", value_name = "OPERATIONS")]
    depth: Option<usize>,
    /// Refuse calls and damage files in sequences of at most so many operations [default: as many
    /// as --depth]
    #[arg(long, requires = "depth", value_name = "OPERATIONS")]
    faults_depth: Option<usize>,
    /// Break the store in this way: a sequence has to fail
    #[arg(long, requires = "store", value_name = "SABOTAGE")]
    store_sabotage: Option<StoreSabotage>,
}

impl StoreBatch {
    /// True if the store is to be played.
    pub fn is_asked_for(&self) -> bool {
        self.store
    }

    /// Plays it, with the seeds and steps of `batch`.
    ///
    /// # Errors
    /// The first sequence that ends with something wrong.
    pub fn play(&self, batch: &Batch) -> Result<Tally, Box<StoreFailure>> {
        let medium = if self.objects { Medium::Objects } else { Medium::Files };
        if let Some(depth) = self.depth {
            let faults_depth = self.faults_depth.unwrap_or(depth);
            return exhaust(medium, depth, faults_depth, self.store_sabotage);
        }
        let mut total = Tally::default();
        for seed in batch.all_seeds() {
            total += play(medium, seed, batch.steps(), self.store_sabotage)?;
        }
        Ok(total)
    }
}

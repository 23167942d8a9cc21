//! The watermarks that the server has: the last one after each record counts.

use std::collections::BTreeMap;

use snapless_wire::frame::Watermark;

use crate::failure::{Broken, Rule, ensure};
use crate::ledger::Step;

/// A watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// As it was sent.
    pub watermark: Watermark,
    /// The step at which it was sent: nothing newer was captured until then.
    pub step: Step,
}

/// The watermarks that the server was given, by how many records it had.
#[derive(Debug, Default)]
pub struct MarkList {
    after: BTreeMap<usize, Marks>,
    count: u64,
}

/// The watermarks after a record.
#[derive(Debug, Default)]
struct Marks {
    /// All that the server was given.
    given: Vec<Mark>,
    /// Those that it has.
    kept: Vec<Mark>,
}

impl MarkList {
    /// The server, which has so many records, gets a watermark.
    pub fn push(&mut self, kept: usize, mark: Mark) {
        let marks = self.after.entry(kept).or_default();
        marks.given.push(mark);
        marks.kept.push(mark);
        self.count += 1;
    }

    /// The server begins a connection with so many records, and has this watermark after them, and
    /// no other one. After a power loss it may be an older one.
    pub fn keep(&mut self, kept: usize, found: Option<Watermark>) -> Result<(), Broken> {
        let marks = self.after.entry(kept).or_default();
        let is_it = |mark: &&Mark| Some(mark.watermark) == found;
        marks.kept = marks.given.iter().rfind(is_it).copied().into_iter().collect();
        ensure!(
            found.is_none() || !marks.kept.is_empty(),
            Rule::Point,
            "the server has {found:?}, which it was not given"
        );
        Ok(())
    }

    /// The watermarks after so many records, in order.
    pub fn after(&self, kept: usize) -> &[Mark] {
        self.after.get(&kept).map_or(&[], |marks| &marks.kept)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}

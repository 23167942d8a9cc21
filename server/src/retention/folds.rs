//! The engine that the server has: [`crate::fold`].

use super::engine::{Collected, Engine, Folded, Garbage, History, Plan, Refused};
use crate::error::Result;
use crate::fold;
use crate::pin::Pins;
use crate::reader::SessionReader;
use crate::stop::StopFlag;

/// Folds sessions.
#[derive(Clone, Copy, Debug)]
pub struct Folds;

impl Engine for Folds {
    fn history(&self, reader: &SessionReader) -> Result<Option<History>> {
        let of = |history: &crate::format::history::History| History {
            boundary: (history.boundary.place.seq, history.boundary.place.at),
            points: history.points.iter().map(|point| (point.cut, point.at)).collect(),
        };
        Ok(reader.history().map(of))
    }

    fn fold(
        &self,
        reader: &SessionReader,
        plan: &Plan,
        stop: &StopFlag,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Folded> {
        let report = fold::fold(reader, plan, stop, progress)?;
        Ok(Folded { read_bytes: report.bytes_read, written_bytes: report.bytes_written })
    }

    fn garbage(&self, reader: &SessionReader) -> Result<Vec<Garbage>> {
        let found = fold::garbage(reader)?.into_iter();
        Ok(found.map(|fold::Garbage { name, bytes, why }| Garbage { name, bytes, why }).collect())
    }

    fn collect(&self, reader: &SessionReader, pins: &Pins, stop: &StopFlag) -> Result<Collected> {
        let report = fold::collect(reader, || pins.any_held(), stop)?;
        let files = report.removed.len() as u64;
        let fold::CollectReport { bytes, is_pinned, refused, refused_bytes, why_refused, .. } =
            report;
        let refused = Refused { files: refused, bytes: refused_bytes, why: why_refused };
        Ok(Collected { files, bytes, is_pinned, refused })
    }
}

//! A timeline in bytes, beside the state of its stream.

use snapless_types::GapReason;

use super::{Coverage, GAPS_MAX, Gap, Place, RESIZES_MAX, Resize, Timeline};
use crate::format::codec::{Input, Stored};

impl Stored for Place {
    fn put(&self, out: &mut Vec<u8>) {
        self.seq.put(out);
        self.at.put(out);
        self.epoch.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (seq, at, epoch) = (Stored::take(input)?, Stored::take(input)?, Stored::take(input)?);
        Some(Self { seq, at, epoch })
    }
}

impl Stored for Gap {
    fn put(&self, out: &mut Vec<u8>) {
        self.before.put(out);
        self.begin.put(out);
        self.end.put(out);
        u32::from(self.reason.to_wire()).put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (before, begin, end) =
            (Stored::take(input)?, Stored::take(input)?, Stored::take(input)?);
        let reason = GapReason::from_wire(u16::try_from(u32::take(input)?).ok()?)?;
        Some(Self { before, begin, end, reason })
    }
}

impl Stored for Resize {
    fn put(&self, out: &mut Vec<u8>) {
        self.place.put(out);
        self.length.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { place: Stored::take(input)?, length: Stored::take(input)? })
    }
}

impl Timeline {
    /// Appends all but the coverage, which follows from the state of the stream, the
    /// changes of the volume's length, which that has, and the watermarks, which are kept by
    /// themselves.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.clock.put(out);
        let places = [self.t0, self.last, self.base_complete, self.last_base, self.last_t0_lost];
        for place in places {
            place.put(out);
        }
        self.gaps.put(out);
        for count in [self.records, self.epochs, self.extent_bytes, self.excluded_bytes] {
            count.put(out);
        }
    }

    /// Reads a timeline of this coverage; `None` for bytes that are not one.
    pub(crate) fn take(
        input: &mut Input<'_>,
        coverage: Coverage,
        resizes: Vec<Resize>,
    ) -> Option<Self> {
        let clock = Stored::take(input)?;
        let mut timeline = Self { clock, resizes, coverage, ..Self::default() };
        timeline.t0 = Stored::take(input)?;
        timeline.last = Stored::take(input)?;
        timeline.base_complete = Stored::take(input)?;
        timeline.last_base = Stored::take(input)?;
        timeline.last_t0_lost = Stored::take(input)?;
        timeline.gaps = Stored::take(input)?;
        timeline.records = Stored::take(input)?;
        timeline.epochs = Stored::take(input)?;
        timeline.extent_bytes = Stored::take(input)?;
        timeline.excluded_bytes = Stored::take(input)?;
        timeline.is_possible().then_some(timeline)
    }

    /// True if every place is in the stream, and the gaps follow each other.
    fn is_possible(&self) -> bool {
        let Some(last) = self.last else { return false };
        let runs = self.clock.runs();
        let is_inside = |place: &Place| {
            place.seq <= last.seq && usize::try_from(place.at.run()).is_ok_and(|run| run < runs)
        };
        let single = [self.t0, self.last, self.base_complete, self.last_base, self.last_t0_lost];
        let of_gaps = self.gaps.iter().flat_map(|gap| [gap.before, Some(gap.begin), gap.end]);
        let seqs = |gap: &Gap| {
            [gap.before, Some(gap.begin), gap.end].into_iter().flatten().map(|place| place.seq)
        };
        // A gap may begin with the record after the one that ended the gap before.
        let follow = |two: &[Gap]| {
            two[0].end.is_some_and(|end| seqs(&two[1]).next().is_some_and(|next| end.seq <= next))
        };
        let t0_is_first = |t0: Place| {
            self.gaps.first().is_none_or(|gap| seqs(gap).next().is_some_and(|seq| t0.seq <= seq))
        };
        let resizes = self.resizes.iter().map(|it| it.place);
        self.gaps.len() <= GAPS_MAX
            && self.resizes.len() <= RESIZES_MAX
            && resizes.clone().all(|place| is_inside(&place))
            && resizes.map(|place| place.seq).is_sorted()
            && single.into_iter().chain(of_gaps).flatten().all(|place| is_inside(&place))
            && self.gaps.iter().all(|gap| seqs(gap).is_sorted())
            && self.gaps.windows(2).all(follow)
            && self.t0.is_none_or(t0_is_first)
    }
}

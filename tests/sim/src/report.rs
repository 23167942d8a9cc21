//! What a run did, and what several did together.

use std::fmt;
use std::ops::AddAssign;

/// Declares [`Report`]: each number with its name.
macro_rules! report {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a run did, or several runs together.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Report {
            /// Hash of everything that happened: the same for the same options. Of several runs, a
            /// sum that does not depend on their order.
            pub trace: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Report {
            fn add_assign(&mut self, other: Self) {
                self.trace = self.trace.wrapping_add(other.trace);
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Report {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "trace {:016x}", self.trace)?;
                $(write!(f, ", {} {}", self.$name, stringify!($name).replace('_', " "))?;)*
                Ok(())
            }
        }
    };
}

report! {
    /// Runs.
    runs,
    /// Steps, those of calm included.
    steps,
    /// Writes.
    writes,
    /// Writes that were held, captured and issued.
    held,
    /// Writes that were cancelled while they were held.
    cancelled,
    /// Records committed.
    records,
    /// Trims and writes of zeros in the stream.
    clearings,
    /// Blocks that were skipped.
    skipped,
    /// Restorable points that were compared with the disk's history.
    points,
    /// Points that the real server restored, and that were compared with the model's.
    restored,
    /// Gaps.
    gaps,
    /// Gaps that ended while applications went on writing.
    gaps_closed_under_load,
    /// Repairs of blocks that were said to differ.
    repairs,
    /// Services whose records were lost.
    losses,
    /// Services after which another one went on without a gap.
    successions,
    /// Links that broke and were followed by others.
    cuts,
    /// Watermarks that the real server took.
    watermarks,
    /// Sectors that were read again and not sent, as the real server had them.
    unchanged,
    /// Sectors that were read to verify the copy, and compared with the stream.
    verified,
    /// Sectors of those that the real server compared with its copy.
    compared,
    /// Runs that ended because the power failed.
    power_cuts,
    /// Runs whose base image was complete and exact.
    base_images,
}

//! The sets of performance counters: listed once, used by the service, by the strings in its
//! program, which the build script makes of the list, and by the tests of the manifest
//! (`service/snapless-counters.man`) and of `docs/events.md`.
//!
//! Rule: a counter keeps its id and its meaning forever; a set that gets another counter keeps its
//! GUID. All values have 64 bits.

/// The provider of the sets.
pub const PROVIDER: u128 = 0x6b7572b3_cc9d_406e_bc1a_0b7b9ca85976;
/// Counters of a set at most.
pub const COUNTERS_MAX: usize = 16;

/// A set of counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterSet {
    /// Its GUID.
    pub guid: u128,
    /// Its name in Performance Monitor.
    pub name: &'static str,
    /// What it is about.
    pub description: &'static str,
    /// It has an instance for each volume; otherwise exactly one.
    pub is_per_volume: bool,
    /// Where its strings begin in the program's string table.
    pub strings: u16,
    /// Its counters.
    pub counters: &'static [Counter],
}

/// A counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// Its id within the set.
    pub id: u16,
    /// What a reader makes of its value.
    pub kind: Kind,
    /// Its name in Performance Monitor.
    pub name: &'static str,
    /// What it counts, and in which unit.
    pub description: &'static str,
}

/// What a reader makes of a counter's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It is shown as it is (`PERF_COUNTER_LARGE_RAWCOUNT`).
    Level,
    /// It only grows, and its growth per second is shown (`PERF_COUNTER_BULK_COUNT`).
    PerSecond,
}

macro_rules! counter_set {
    (
        $(#[$doc:meta])* $set:ident, $values:ident:
        $guid:literal, $name:literal, $about:literal, $is_per_volume:literal, $strings:literal;
        $($field:ident = $id:literal, $kind:ident, $counter:literal, $description:literal;)*
    ) => {
        $(#[$doc])*
        pub const $set: CounterSet = CounterSet {
            guid: $guid,
            name: $name,
            description: $about,
            is_per_volume: $is_per_volume,
            strings: $strings,
            counters: &[$(Counter {
                id: $id,
                kind: Kind::$kind,
                name: $counter,
                description: $description,
            }),*],
        };

        /// The values of the set at one instant.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $values {
            $(#[doc = $description] pub $field: u64,)*
        }

        impl $values {
            /// The values in the order of the set's counters.
            pub fn in_order(&self) -> [u64; $set.counters.len()] {
                [$(self.$field),*]
            }
        }
    };
}

counter_set! {
    /// One instance for each volume that is configured.
    VOLUME, VolumeValues:
    0xa2fe422f_8c63_4c10_a3d2_15385a78834d, "Snapless Volume",
    "Volumes that Snapless replicates. An instance is a volume, by its GUID.", true, 100;
    rpo_seconds = 1, Level, "RPO Seconds",
        "Seconds since the latest instant that the server can restore; while there is none, since \
         the service began with the volume.";
    queue_bytes_used = 2, Level, "Queue Bytes Used",
        "Bytes of written data in the driver's queue that wait for the service or the server.";
    queue_percent_used = 3, Level, "% Queue Used",
        "The share of the driver's queue that is used. A queue that stays full begins a gap.";
    writes_held = 4, Level, "Writes Held",
        "Writes that are held now, until their old content is captured or the queue has room.";
    writes_held_per_second = 5, PerSecond, "Writes Held/sec", "Writes that were held, per second.";
    gaps = 6, Level, "Gaps",
        "Gaps since the driver's session began. No instant within a gap can be restored.";
    bytes_drained_per_second = 7, PerSecond, "Bytes Drained/sec",
        "Bytes that the service gets from the driver, per second.";
    bytes_sent_per_second = 8, PerSecond, "Bytes Sent/sec",
        "Bytes that the service sends to the server, per second.";
    first_sync_percent = 9, Level, "% First Sync",
        "The share of the volume that the server has; 100 only when the first sync is complete.";
    unused_bytes = 10, Level, "Unused Bytes",
        "Bytes that no file had when the driver's session began, and that were not copied; in whole \
         blocks.";
}

counter_set! {
    /// One instance.
    SERVICE, ServiceValues:
    0x0ab08725_5c9a_4ba7_b6dc_911d7823591a, "Snapless Service",
    "The Snapless service as a whole.", false, 200;
    volumes = 1, Level, "Volumes", "Volumes that are configured.";
    volumes_streaming = 2, Level, "Volumes Streaming",
        "Volumes whose writes go to the server now: not paused, ended or waiting for a link.";
    send_rate_limit = 3, Level, "Send Rate Limit",
        "Bytes per second that all volumes together may send; 0 without a limit.";
}

/// Every set.
pub const SETS: [CounterSet; 2] = [VOLUME, SERVICE];

impl CounterSet {
    /// The ids of its name and of its description in the string table.
    pub fn string_ids(&self) -> (u16, u16) {
        (self.strings, self.strings + 2)
    }

    /// The ids of a counter's name and description.
    pub fn string_ids_of(&self, counter: &Counter) -> (u16, u16) {
        let name = self.strings + 4 * counter.id;
        (name, name + 2)
    }

    /// All strings of the set, with their ids.
    pub fn string_table(&self) -> Vec<(u16, &'static str)> {
        let (name, description) = self.string_ids();
        let mut strings = vec![(name, self.name), (description, self.description)];
        for counter in self.counters {
            let (name, description) = self.string_ids_of(counter);
            strings.extend([(name, counter.name), (description, counter.description)]);
        }
        strings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_strings_are_unique_and_sets_have_room() {
        let strings: Vec<_> = SETS.iter().flat_map(CounterSet::string_table).collect();
        let ids: BTreeSet<u16> = strings.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), strings.len());
        for set in SETS {
            let ids = set.counters.iter().map(|counter| counter.id);
            assert!(ids.eq(1..=u16::try_from(set.counters.len()).unwrap()), "{}", set.name);
            assert!(set.counters.len() <= COUNTERS_MAX);
        }
    }

    #[test]
    fn values_are_in_the_order_of_their_counters() {
        let values = VolumeValues { rpo_seconds: 1, gaps: 6, ..VolumeValues::default() };
        assert_eq!(values.in_order(), [1, 0, 0, 0, 0, 6, 0, 0, 0, 0]);
        assert_eq!(VOLUME.counters[5].name, "Gaps");
    }

    #[test]
    fn the_documentation_lists_every_counter_with_its_description() {
        let list = include_str!("../../../docs/events.md");
        let rows: Vec<_> = list.lines().filter(|line| line.starts_with("| `\\Snapless")).collect();
        let wanted: Vec<_> = SETS
            .iter()
            .flat_map(|set| {
                let instance = if set.is_per_volume { "(*)" } else { "" };
                set.counters.iter().map(move |counter| {
                    let (set, name) = (set.name, counter.name);
                    format!("| `\\{set}{instance}\\{name}` | {} |", counter.description)
                })
            })
            .collect();
        assert_eq!(rows, wanted);
    }
}

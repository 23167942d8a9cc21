//! Restarts at any step: the session goes on, and the replica is the disk.

use snapless_sim::reboots::{Played, play};

/// Seeds of a run of the tests; `SNAPLESS_REBOOT_SEEDS` sets another number,
/// `SNAPLESS_REBOOT_FIRST` the first one.
const SEEDS: u64 = 300;

/// Names the seed at which a rule of the engine was broken.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn whenever_the_machine_restarts_the_session_goes_on_and_the_replica_is_the_disk() {
    let variable =
        |name: &str, default| std::env::var(name).map_or(default, |it| it.parse().unwrap());
    let seeds = variable("SNAPLESS_REBOOT_SEEDS", SEEDS);
    let first = variable("SNAPLESS_REBOOT_FIRST", 1);
    let mut all = Played::default();
    for seed in first..first + seeds {
        let _named = Seed(seed);
        let played = play(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        all.continued += played.continued;
        all.rolled_back += played.rolled_back;
        all.exchanged += played.exchanged;
        all.points += played.points;
        all.unchanged += played.unchanged;
        all.saved += played.saved;
        all.spared += played.spared;
        all.logged += played.logged;
        all.log_spared += played.log_spared;
        all.slots += played.slots;
        all.waited += played.waited;
        all.put_back += played.put_back;
        all.slept += played.slept;
        all.woken += played.woken;
        all.doubted += played.doubted;
        all.resized += played.resized;
    }
    println!("{seeds} seeds: {all:?}");
    assert!(all.continued > seeds && all.rolled_back > seeds / 4, "{all:?}");
    assert!(all.exchanged > seeds / 4 && all.put_back > seeds / 4, "{all:?}");
    assert!(all.saved > seeds / 4 && all.spared > 0, "{all:?}");
    assert!(all.logged > seeds / 4 && all.log_spared > 0, "{all:?}");
    assert!(all.slots > seeds && all.waited > seeds, "{all:?}");
    assert!(all.slept > seeds && all.woken > seeds / 4 && all.doubted > seeds / 4, "{all:?}");
    assert!(all.resized > seeds, "{all:?}");
    assert!(all.points > seeds && all.unchanged > seeds / 10, "{all:?}");
}

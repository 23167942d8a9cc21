//! A copy that is killed outright at any moment: the next one goes on, and nothing differs.

use std::time::Duration;

use super::{Machine, is_segment, same_points, sound, stream};
use crate::common::{Process, program, scratch};
use fastrand::Rng;

const KILLS: usize = 20;

#[test]
fn a_copy_that_is_killed_anywhere_goes_on_and_ends_the_same() {
    let kills = std::env::var("SNAPLESS_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), seed);
    machine.sync();
    assert!(program().arg("init").arg(&b).output().unwrap().status.success());
    let copy = || {
        let mut copy = program();
        copy.args(["copy", "--all", "--repository"]).arg(&a).arg("--to").arg(&b);
        copy
    };
    for number in 0..kills {
        machine.connect(40);
        // Slow enough to be met while it copies, or not.
        let limit = ["1GiB", "200KiB"][number % 2];
        let mut child = Process(copy().args(["--limit", limit]).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(rng.u64(0..150)));
        child.kill();
        sound(&b);
    }
    let done = copy().output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    sound(&b);
    same_points(&a, &b, &mut machine);
    // Segments of the program's own length hold the same frames.
    let frames = |of: std::collections::BTreeMap<String, Vec<u8>>| {
        let bytes = of.into_iter().filter(|(name, _)| is_segment(name));
        bytes.flat_map(|(_, bytes)| bytes[64..].to_vec()).collect::<Vec<u8>>()
    };
    assert_eq!(frames(stream(&a)).len(), frames(stream(&b)).len());
    assert!(frames(stream(&a)) == frames(stream(&b)));
}

//! Long sequences of operations, with crashes, refused calls and damage, each by a seed.

use std::path::Path;

use snapless_server::format::repository::REPOSITORY_FILE;

use super::check::Points;
use super::model::Model;
use super::site::{Keeping, Medium};
use super::world::{Operation, World};
use super::{StoreFailure, StoreSabotage, Tally, check, damage};
use crate::rng::Rng;
use crate::storage::{Fault, LAPSE_S, Survivors};

/// What happens, each as often as it stands here.
const OPERATIONS: [Operation; 28] = [
    Operation::Sync,
    Operation::Sync,
    Operation::Sync,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Write,
    Operation::Gap,
    Operation::Gap,
    Operation::Mark,
    Operation::Mark,
    Operation::Mark,
    Operation::State,
    Operation::State,
    Operation::Index,
    Operation::Index,
    Operation::Fold,
    Operation::Collect,
    Operation::Reopen,
    Operation::Restart,
    Operation::Rival,
    Operation::Switch,
    Operation::Forward,
    Operation::Back,
];

/// Plays a sequence of `steps` operations.
///
/// # Errors
/// What is wrong, and the steps up to there.
pub fn play(
    medium: Medium,
    seed: u64,
    steps: u64,
    sabotage: Option<StoreSabotage>,
) -> Result<Tally, Box<StoreFailure>> {
    let keeping = Keeping::any(medium, &mut Rng::new(seed, 10));
    let tally = Tally { sequences: 1, ..Tally::default() };
    let told = vec![keeping.to_string()];
    let (rng, world) = (Rng::new(seed, 9), World::new(keeping.clone(), sabotage));
    let clock = Rng::new(seed, 11);
    let mut player = Player { rng, clock, world, told, tally };
    // Some disks are refused nothing, some often.
    let faults = player.rng.pick(&[0, 0, 4, 12]);
    let crashes = player.rng.pick(&[0, 4, 12]);
    for _ in 0..steps {
        let outcome = player.step(faults, crashes);
        outcome.map_err(|what| {
            let options = format!("--seed {seed} --steps {steps}");
            let replay = super::replay(&keeping, &options, sabotage);
            Box::new(StoreFailure { steps: player.told.clone(), what, replay })
        })?;
    }
    Ok(player.tally)
}

struct Player {
    rng: Rng,
    /// When and how the clock of a bucket is set.
    clock: Rng,
    world: World,
    told: Vec<String>,
    tally: Tally,
}

impl Player {
    fn step(&mut self, faults: u64, crashes: u64) -> Result<(), String> {
        let mut operation = self.rng.pick(&OPERATIONS);
        if self.rng.once_in(40) {
            operation = Operation::Usurp;
        }
        self.told.push(format!("{operation:?}"));
        let is_refused = self.rng.once_in(faults) && operation != Operation::Usurp;
        if is_refused {
            self.refuse();
        }
        if self.world.keeping().is_in_objects() {
            if self.rng.once_in(3) {
                self.told.push("what is late arrives before it".to_owned());
                self.world.storage().land();
            }
            self.set_clock();
            if !is_refused && self.rng.once_in(6) {
                return self.beside(operation);
            }
        }
        let acknowledged: Vec<_> = self.world.counts().into_iter().map(|it| it.0).collect();
        let crashes = self.rng.once_in(crashes);
        if crashes {
            self.world.storage().record();
        }
        self.world.apply(operation)?;
        if crashes {
            self.crash(&acknowledged)?;
        }
        if self.rng.once_in(6) {
            self.check()?;
        }
        if self.rng.once_in(12) {
            self.damage()?;
        }
        Ok(())
    }

    /// The clock of the bucket, which leases go by, is set ahead or back.
    fn set_clock(&mut self) {
        if !self.clock.once_in(8) {
            return;
        }
        let lapse = i64::try_from(LAPSE_S).unwrap_or(i64::MAX);
        let by = self.clock.pick(&[1, lapse / 20, lapse, 1_000 * lapse]);
        let by = if self.clock.once_in(2) { -by } else { by };
        self.told.push(format!("the bucket's clock is set by {by} s"));
        self.world.storage().set_clock(by);
    }

    /// One of its calls fails, or all from it on.
    fn refuse(&mut self) {
        let is_in_objects = self.world.keeping().is_in_objects();
        let of_objects: &[Fault] = &[Fault::Refused, Fault::Conflict, Fault::Lost, Fault::Late];
        let of_disks: &[Fault] = &[Fault::Refused, Fault::Full, Fault::Dropped];
        let fault = self.rng.pick(if is_in_objects { of_objects } else { of_disks });
        let call = self.rng.scaled(1..=60);
        let lasts = is_in_objects && self.rng.once_in(2);
        if lasts {
            self.world.refuse_from(call, fault);
        } else {
            self.world.refuse(call, fault);
        }
        self.tally.faults += 1;
        let and_later = if lasts { ", and all after it" } else { "" };
        self.told.push(format!("its call {call} fails, if there is one: {fault:?}{and_later}"));
    }

    /// Before one of its calls another server takes over.
    fn beside(&mut self, operation: Operation) -> Result<(), String> {
        let call = self.rng.scaled(1..=40);
        let operation = if self.rng.once_in(4) { Operation::Restore } else { operation };
        let others = [
            Operation::Write,
            Operation::Sync,
            Operation::Index,
            Operation::Gap,
            Operation::FoldAndCollect,
        ];
        let other = self.rng.pick(&others);
        let what =
            format!("{operation:?}, and before its call {call}, at another server: {other:?}");
        self.told.push(what);
        let has_come = self.world.apply_beside(operation, call, other)?;
        self.tally.takeovers += u64::from(has_come);
        self.check()
    }

    /// The power fails before one of the operation's changes, or after all.
    fn crash(&mut self, acknowledged: &[usize]) -> Result<(), String> {
        let recorded = self.world.storage().take_recorded();
        let mut models = self.world.models();
        let change = self.rng.index(recorded.len() + 1);
        let mut disk = match recorded.get(change) {
            Some(disk) => {
                let all = models.iter_mut().zip(acknowledged);
                all.for_each(|(model, epochs): (&mut Model, _)| model.was_acknowledged(*epochs));
                disk.clone()
            }
            None => self.world.storage().disk(),
        };
        self.told.push(format!("the power fails at its change {change} of {}", recorded.len()));
        disk.crash(&mut Survivors::Any(&mut self.rng));
        self.world.set_models(models);
        self.world.replace_disk(disk);
        self.tally.crashes += 1;
        self.check()?;
        self.world.open_all()?;
        self.check()?;
        if self.world.has_sent() {
            check::reports(&self.world.site())?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        let site = self.world.site();
        // What a program finds changes nothing for the drivers.
        self.tally.points += check::sessions(&site, &mut self.world.models(), Points::All)?;
        Ok(())
    }

    /// A file of a copy of the disk is damaged.
    fn damage(&mut self) -> Result<(), String> {
        // All that was sent must be there, or have gone.
        self.world.open_all()?;
        let mut disk = self.world.storage().disk();
        disk.crash(&mut Survivors::All);
        if !disk.has(Path::new(REPOSITORY_FILE)) {
            // Its making was refused: there is nothing yet.
            return Ok(());
        }
        let Some(damaged) = damage::any(&disk, &mut self.rng) else { return Ok(()) };
        self.tally.damages += 1;
        let checked = damage::check(&damaged, &disk, &self.world);
        let told = &mut self.told;
        self.tally.points += checked.inspect_err(|_| told.push(damaged.to_string()))?;
        Ok(())
    }
}

//! Every short sequence of operations, with every crash and every refused call in its last one.
//!
//! A sequence is played once, and the disk is recorded before each change. Each recorded disk, with
//! each choice of what survives, is what a crash can leave; disks that are alike are checked once.
//! Crashes in earlier operations are those of shorter sequences.
//!
//! Most operations change nothing somewhere, or can be swapped. Of all sequences that lead to the
//! same world ([`World::digest`]) only the first one goes on: what follows is the same for all.

use std::collections::HashSet;

use super::check::Points;
use super::model::Model;
use super::site::Keeping;
use super::world::{Operation, World};
use super::{StoreFailure, StoreSabotage, Tally, check, damage};
use crate::storage::{Call, Disk, Fault, Survivors};

/// What a sequence begins with: nothing, a whole volume, one whose machine's clock was set forward
/// and back, and a history with maps that can be folded.
const BEGINNINGS: [&[Operation]; 4] = [
    &[],
    &[Operation::Sync, Operation::Sync, Operation::Write],
    &[Operation::Sync, Operation::Forward, Operation::Sync, Operation::Write, Operation::Back],
    &[
        Operation::Sync,
        Operation::Sync,
        Operation::Write,
        Operation::Index,
        Operation::Write,
        Operation::Write,
        Operation::Index,
        Operation::Fold,
    ],
];

/// What a sequence is made of.
const OPERATIONS: [Operation; 13] = [
    Operation::Sync,
    Operation::Write,
    Operation::Gap,
    Operation::Mark,
    Operation::State,
    Operation::Index,
    Operation::Fold,
    Operation::Collect,
    Operation::Reopen,
    Operation::Restart,
    Operation::Rival,
    Operation::Usurp,
    Operation::Switch,
];

/// Plays every sequence of at most `depth` operations, with crashes. In those of at most
/// `faults_depth`, calls are refused and files damaged too.
///
/// # Errors
/// The first sequence that ends with something wrong.
pub fn exhaust(
    depth: usize,
    faults_depth: usize,
    sabotage: Option<StoreSabotage>,
) -> Result<Tally, Box<StoreFailure>> {
    let mut search = Search { sabotage, seen: HashSet::new(), tally: Tally::default(), depth };
    for beginning in BEGINNINGS {
        let mut worlds = HashSet::new();
        let mut sequences = vec![beginning.to_vec()];
        for len in 0..=depth {
            let mut unlike = Vec::new();
            for sequence in sequences {
                let world = search.crashes(&sequence)?;
                if len <= faults_depth {
                    search.faults(&sequence)?;
                    search.damages(&sequence)?;
                }
                if worlds.insert(world) {
                    unlike.push(sequence);
                }
            }
            let longer = |it: &Vec<_>| OPERATIONS.map(|operation| [&it[..], &[operation]].concat());
            sequences = unlike.iter().flat_map(longer).collect();
        }
    }
    Ok(search.tally)
}

struct Search {
    sabotage: Option<StoreSabotage>,
    /// Digests of the disks that were checked, with what must be on them.
    seen: HashSet<(u64, Vec<(usize, usize)>)>,
    tally: Tally,
    depth: usize,
}

impl Search {
    /// Every crash in the last operation, and after it. Returns the digest of the world that the
    /// sequence leads to.
    fn crashes(&mut self, sequence: &[Operation]) -> Result<u64, Box<StoreFailure>> {
        self.tally.sequences += 1;
        let mut world = World::new(Keeping::default(), self.sabotage);
        let Some((last, before)) = sequence.split_last() else { return Ok(world.digest()) };
        self.all(&mut world, before)?;
        let acknowledged: Vec<_> = world.models().iter().map(|model| model.counts().0).collect();
        world.storage().record();
        let outcome = world.apply(*last);
        let recorded = world.storage().take_recorded();
        outcome.map_err(|what| self.failure(sequence, "", what))?;
        let during: Vec<_> = world.models().iter().zip(acknowledged).map(unacknowledged).collect();
        for (change, disk) in recorded.iter().enumerate() {
            let step = format!("the power fails before change {change}");
            self.each_crash(disk, &during, world.current(), sequence, &step)?;
        }
        let (disk, models) = (world.storage().disk(), world.models().to_vec());
        self.each_crash(&disk, &models, world.current(), sequence, "then the power fails")?;
        Ok(world.digest())
    }

    /// Every choice of what survives on a disk.
    fn each_crash(
        &mut self,
        disk: &Disk,
        models: &[Model],
        current: usize,
        sequence: &[Operation],
        step: &str,
    ) -> Result<(), Box<StoreFailure>> {
        let pending = disk.pending();
        let single = (0..pending)
            .flat_map(|it| [Survivors::Only(it), Survivors::AllBut(it), Survivors::Torn(it)]);
        for mut survivors in [Survivors::None, Survivors::All].into_iter().chain(single) {
            let mut left = disk.clone();
            left.crash(&mut survivors);
            let key = (left.digest(), models.iter().map(Model::counts).collect());
            if !self.seen.insert(key) {
                continue;
            }
            self.tally.crashes += 1;
            let mut world =
                World::on(left, models.to_vec(), current, Keeping::default(), self.sabotage);
            let recovered = self.recover(&mut world);
            recovered.map_err(|what| {
                let step = format!("{step}; of {pending} changes survive: {survivors:?}");
                self.failure(sequence, &step, what)
            })?;
        }
        Ok(())
    }

    /// What is on the disk is checked, the server starts, and goes on with an epoch.
    fn recover(&mut self, world: &mut World) -> Result<(), String> {
        self.look(world, Points::Ends)?;
        world.open_all()?;
        self.look(world, Points::All)?;
        if world.models().iter().any(|model| model.counts().1 > 0) {
            check::reports(&world.site())?;
        }
        world.go_on()?;
        lose_power(world);
        self.look(world, Points::Ends)
    }

    fn look(&mut self, world: &mut World, points: Points) -> Result<(), String> {
        let site = world.site();
        self.tally.points += check::sessions(&site, world.models_mut(), points)?;
        Ok(())
    }

    /// Every call of the last operation is refused, in every way that differs.
    fn faults(&mut self, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        for call in 1.. {
            match self.fault(sequence, call, Fault::Refused)? {
                None => break,
                Some(Call::Write) => _ = self.fault(sequence, call, Fault::Full)?,
                Some(Call::Sync) => _ = self.fault(sequence, call, Fault::Dropped)?,
                Some(Call::Other) => {}
            }
        }
        Ok(())
    }

    /// A call of the last operation is refused. Returns what it was; `None` if there is none of
    /// this number.
    fn fault(
        &mut self,
        sequence: &[Operation],
        call: u64,
        fault: Fault,
    ) -> Result<Option<Call>, Box<StoreFailure>> {
        let Some((last, before)) = sequence.split_last() else { return Ok(None) };
        let mut world = World::new(Keeping::default(), self.sabotage);
        self.all(&mut world, before)?;
        world.refuse(call, fault);
        let step = format!("call {call} of the last one fails: {fault:?}");
        let applied = world.apply(*last);
        applied.map_err(|what| self.failure(sequence, &step, what))?;
        let refused = world.storage().refused();
        if refused.is_some() {
            self.tally.faults += 1;
            let outcome = self.after_fault(&mut world);
            outcome.map_err(|what| self.failure(sequence, &step, what))?;
        }
        Ok(refused)
    }

    /// The service connects again and sends an epoch, and another one after a loss of power.
    fn after_fault(&mut self, world: &mut World) -> Result<(), String> {
        world.open_all()?;
        let counts = world.models().iter().map(Model::counts).collect();
        if !self.seen.insert((world.storage().disk().whole_digest(), counts)) {
            return Ok(());
        }
        self.look(world, Points::All)?;
        for _ in 0..2 {
            world.go_on()?;
            lose_power(world);
            self.look(world, Points::Ends)?;
            world.open_all()?;
        }
        Ok(())
    }

    /// Every file is damaged, in every way.
    fn damages(&mut self, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        let mut world = World::new(Keeping::default(), self.sabotage);
        world.storage().record();
        self.all(&mut world, sequence)?;
        let earlier = world.storage().take_recorded();
        let mut disk = world.storage().disk();
        disk.crash(&mut Survivors::All);
        let key = (disk.digest(), vec![(usize::MAX, 0)]);
        if !self.seen.insert(key) || world.models().iter().all(|model| model.counts().0 == 0) {
            return Ok(());
        }
        for damaged in damage::each(&disk, &earlier) {
            self.tally.damages += 1;
            let checked = damage::check(&damaged, &disk, &world);
            self.tally.points +=
                checked.map_err(|what| self.failure(sequence, &damaged.to_string(), what))?;
        }
        Ok(())
    }

    fn all(&self, world: &mut World, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        for operation in sequence {
            world.apply(*operation).map_err(|what| self.failure(sequence, "", what))?;
        }
        Ok(())
    }

    fn failure(&self, sequence: &[Operation], step: &str, what: String) -> StoreFailure {
        let mut steps: Vec<_> = sequence.iter().map(|operation| format!("{operation:?}")).collect();
        steps.extend((!step.is_empty()).then(|| step.to_owned()));
        let replay = super::replay(&format!("--depth {}", self.depth), self.sabotage);
        StoreFailure { steps, what, replay }
    }
}

/// The server's power fails, and nothing survives that was not synced.
fn lose_power(world: &mut World) {
    let mut disk = world.storage().disk();
    disk.crash(&mut Survivors::None);
    world.replace_disk(disk);
}

/// A driver to which what it sent last has not been acknowledged.
fn unacknowledged((model, acknowledged): (&Model, usize)) -> Model {
    let mut model = model.clone();
    model.was_acknowledged(acknowledged);
    model
}

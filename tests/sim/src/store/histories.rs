//! Every short sequence of operations, with every crash and every refused call in its last one.
//!
//! A sequence is played once, and the disk is recorded before each change. Each recorded disk, with
//! each choice of what survives, is what a crash can leave; disks that are alike are checked once.
//! Crashes in earlier operations are those of shorter sequences. In a bucket all survives, but
//! requests that were given up may still arrive; and before each request of the last operation
//! another server may take over.
//!
//! Most operations change nothing somewhere, or can be swapped. Of all sequences that lead to the
//! same world ([`World::digest`]) only the first one goes on: what follows is the same for all.

use std::collections::HashSet;
use std::path::Path;

use super::check::Points;
use super::model::Model;
use super::site::{Keeping, Medium};
use super::world::{Operation, World};
use super::{StoreFailure, StoreSabotage, Tally, alike, check, damage};
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
const OPERATIONS: [Operation; 14] = [
    Operation::Sync,
    Operation::Write,
    Operation::Gap,
    Operation::Mark,
    Operation::State,
    Operation::Index,
    Operation::Fold,
    Operation::Collect,
    Operation::Restore,
    Operation::Reopen,
    Operation::Restart,
    Operation::Rival,
    Operation::Usurp,
    Operation::Switch,
];

/// How a call fails besides [`Fault::Refused`], and whether those after it do too.
const FAILURES: [(Call, Fault, bool); 13] = [
    (Call::Write, Fault::Full, false),
    (Call::Sync, Fault::Dropped, false),
    (Call::Create, Fault::Refused, true),
    (Call::Create, Fault::Conflict, false),
    (Call::Create, Fault::Conflict, true),
    (Call::Create, Fault::Lost, false),
    (Call::Create, Fault::Lost, true),
    (Call::Create, Fault::Late, false),
    (Call::Create, Fault::Late, true),
    (Call::Replace, Fault::Lost, false),
    (Call::Replace, Fault::Late, false),
    (Call::Delete, Fault::Lost, false),
    (Call::Delete, Fault::Late, false),
];

/// When a request arrives that comes late.
const ARRIVALS: [&str; LANDINGS] = [
    "once the operation has failed",
    "once the session was opened again",
    "after the next epoch",
    "after the epoch that follows a restart",
];
const LANDINGS: usize = 4;

/// Plays every sequence of at most `depth` operations, with crashes. In those of at most
/// `faults_depth`, calls are refused and files damaged too.
///
/// # Errors
/// The first sequence that ends with something wrong.
pub fn exhaust(
    medium: Medium,
    depth: usize,
    faults_depth: usize,
    sabotage: Option<StoreSabotage>,
) -> Result<Tally, Box<StoreFailure>> {
    let (seen, tally) = (HashSet::new(), Tally::default());
    let keeping = Keeping::plain(medium);
    let mut search = Search { keeping, sabotage, seen, tally, depth, faults_depth };
    for beginning in BEGINNINGS {
        if medium == Medium::Objects && beginning.contains(&Operation::Back) {
            // What a clock shows makes no difference to a bucket; seeds set clocks.
            continue;
        }
        let mut worlds = HashSet::new();
        let mut sequences = vec![beginning.to_vec()];
        for len in 0..=depth {
            let mut unlike = Vec::new();
            for sequence in sequences {
                let world = search.crashes(&sequence)?;
                if len <= faults_depth || beginning.is_empty() && len == 1 {
                    search.faults(&sequence)?;
                    if medium == Medium::Objects {
                        search.besides(&sequence)?;
                    }
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
    keeping: Keeping,
    sabotage: Option<StoreSabotage>,
    /// Digests of the disks that were checked, with what must be on them.
    seen: HashSet<(u64, Vec<(usize, usize)>)>,
    tally: Tally,
    depth: usize,
    faults_depth: usize,
}

impl Search {
    /// Every crash in the last operation, and after it. Returns the digest of the world that the
    /// sequence leads to.
    fn crashes(&mut self, sequence: &[Operation]) -> Result<u64, Box<StoreFailure>> {
        self.tally.sequences += 1;
        let mut world = World::new(self.keeping.clone(), self.sabotage);
        let Some((last, before)) = sequence.split_last() else { return Ok(world.digest()) };
        self.all(&mut world, before)?;
        let acknowledged: Vec<_> = world.counts().into_iter().map(|it| it.0).collect();
        world.storage().record();
        let outcome = world.apply(*last);
        let recorded = world.storage().take_recorded();
        outcome.map_err(|what| self.failure(sequence, "", what))?;
        let during: Vec<_> = world.models().iter().zip(acknowledged).map(unacknowledged).collect();
        for (change, disk) in recorded.iter().enumerate() {
            let step = format!("the power fails before change {change}");
            self.each_crash(disk, &during, world.current(), sequence, &step)?;
        }
        let (disk, models) = (world.storage().disk(), world.models());
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
            let key = (alike::disk(&left).digest(), models.iter().map(Model::counts).collect());
            if !self.seen.insert(key) {
                continue;
            }
            self.tally.crashes += 1;
            let keeping = self.keeping.clone();
            let mut world = World::on(left, models.to_vec(), current, keeping, self.sabotage);
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
        if world.has_sent() {
            check::reports(&world.site())?;
        }
        world.go_on()?;
        lose_power(world);
        self.look(world, Points::Ends)
    }

    fn look(&mut self, world: &mut World, points: Points) -> Result<(), String> {
        let mut models = world.models();
        self.tally.points += check::sessions(&world.site(), &mut models, points)?;
        world.set_models(models);
        Ok(())
    }

    /// Every call of the last operation is refused, in every way that differs.
    fn faults(&mut self, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        for call in 1.. {
            let Some(kind) = self.fault(sequence, call, (Fault::Refused, false), 0)? else { break };
            for (_, fault, lasts) in FAILURES.into_iter().filter(|it| it.0 == kind) {
                // One creation that is late comes after the next attempt, whenever it comes.
                let may_matter = fault == Fault::Late && (lasts || kind != Call::Create);
                for landing in 0..if may_matter { LANDINGS } else { 1 } {
                    self.fault(sequence, call, (fault, lasts), landing)?;
                }
            }
        }
        Ok(())
    }

    /// A call of the last operation is refused, or all from it on. What arrives late, arrives at
    /// this of the following steps. Returns what the call was; `None` if there is none of this
    /// number.
    fn fault(
        &mut self,
        sequence: &[Operation],
        call: u64,
        (fault, lasts): (Fault, bool),
        landing: usize,
    ) -> Result<Option<Call>, Box<StoreFailure>> {
        let Some((last, before)) = sequence.split_last() else { return Ok(None) };
        let mut world = World::new(self.keeping.clone(), self.sabotage);
        self.all(&mut world, before)?;
        let mut step = format!("call {call} of the last one fails: {fault:?}");
        if lasts {
            world.refuse_from(call, fault);
            step += ", and all after it";
        } else {
            world.refuse(call, fault);
        }
        if fault == Fault::Late {
            step = format!("{step}; it arrives {}", ARRIVALS[landing]);
        }
        let applied = world.apply(*last);
        applied.map_err(|what| self.failure(sequence, &step, what))?;
        let refused = world.storage().refused();
        if refused.is_some() {
            self.tally.faults += 1;
            let outcome = self.after_fault(&mut world, landing);
            outcome.map_err(|what| self.failure(sequence, &step, what))?;
        }
        Ok(refused)
    }

    /// The service connects again and sends an epoch, and another one after a loss of power.
    fn after_fault(&mut self, world: &mut World, landing: usize) -> Result<(), String> {
        let land = |world: &World, step| {
            if step == landing {
                world.storage().land();
            }
        };
        land(world, 0);
        world.open_all()?;
        land(world, 1);
        if !self.seen.insert((world.store_digest(), world.counts())) {
            return Ok(());
        }
        let points = if self.keeping.is_in_objects() { Points::Ends } else { Points::All };
        self.look(world, points)?;
        for step in 2..4 {
            world.go_on()?;
            land(world, step);
            lose_power(world);
            self.look(world, Points::Ends)?;
            world.open_all()?;
        }
        Ok(())
    }

    /// Before each call of the last operation another server takes over and goes on; then this one
    /// does. Before each call of what reads or folds a history another server folds it too, and
    /// removes what that has left.
    fn besides(&mut self, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        let Some((last, before)) = sequence.split_last() else { return Ok(()) };
        let folds = matches!(last, Operation::Fold | Operation::Collect | Operation::Restore);
        let folds = folds.then_some(Operation::FoldAndCollect);
        for other in [Operation::Write].into_iter().chain(folds) {
            for call in 1.. {
                let mut world = World::new(self.keeping.clone(), self.sabotage);
                self.all(&mut world, before)?;
                let step = format!("before its call {call}, at another server: {other:?}");
                let applied = world.apply_beside(*last, call, other);
                if !applied.map_err(|what| self.failure(sequence, &step, what))? {
                    break;
                }
                self.tally.takeovers += 1;
                let outcome = self.look(&mut world, Points::All);
                let outcome = outcome.and_then(|()| self.after_fault(&mut world, LANDINGS));
                outcome.map_err(|what| self.failure(sequence, &step, what))?;
            }
        }
        Ok(())
    }

    /// Every file is damaged, in every way.
    fn damages(&mut self, sequence: &[Operation]) -> Result<(), Box<StoreFailure>> {
        let mut world = World::new(self.keeping.clone(), self.sabotage);
        world.storage().record();
        let (last, before) =
            sequence.split_last().map_or((None, sequence), |it| (Some(*it.0), it.1));
        self.all(&mut world, before)?;
        let before = world.storage().disk();
        self.all(&mut world, last.as_slice())?;
        let earlier = world.storage().take_recorded();
        let mut disk = world.storage().disk();
        disk.crash(&mut Survivors::All);
        let key = (alike::disk(&disk).digest(), vec![(usize::MAX, 0)]);
        if !self.seen.insert(key)
            || world.counts().iter().all(|(acknowledged, _)| *acknowledged == 0)
        {
            return Ok(());
        }
        // What an operation leaves in a bucket as it was is damaged in shorter sequences.
        let is_new = |path: &Path| {
            !self.keeping.is_in_objects()
                || !before.has(path)
                || before.read(path) != disk.read(path)
        };
        for damaged in damage::each(&disk, &earlier, is_new) {
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
        let options = format!("--depth {} --faults-depth {}", self.depth, self.faults_depth);
        let replay = super::replay(&self.keeping, &options, self.sabotage);
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

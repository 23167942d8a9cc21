//! What is checked of every state, and how.

use std::fmt;

use snapless_types::RecordKind;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::bounds::{Budget, Sizes};
use crate::sabotage::Sabotage;
use crate::server::Fault;
use crate::world::{Breach, Rules, Step, World};

/// A check: which worlds are explored.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    rules: Rules,
    /// No gap is expected: the queue holds all that is captured, and nothing but processes and
    /// links ends.
    expects_no_gap: bool,
    /// The property whose break ends the exploration; `None`: that of any.
    sought: Option<&'static str>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// States, each counted once.
    pub states: usize,
    /// The longest of the shortest ways to a state, in steps.
    pub depth: usize,
    /// A property that does not hold, and the shortest way to a state that shows it.
    pub broken: Option<(&'static str, Vec<Step>)>,
    /// What should be possible and is not.
    pub missing: Vec<&'static str>,
}

impl Check {
    /// A check of these worlds.
    pub fn new(sizes: Sizes, budget: Budget, sabotage: Option<Sabotage>) -> Self {
        Self { rules: Rules { sizes, budget, sabotage }, expects_no_gap: false, sought: None }
    }

    /// Goes on until the first property whose name begins so is broken, whatever else is.
    #[must_use]
    pub fn seeking(self, name: &str) -> Self {
        let mut properties = self.properties().into_iter();
        let sought = properties.find(|property| property.name.starts_with(name));
        Self { sought: sought.map(|property| property.name), ..self }
    }

    /// No gap is expected.
    #[must_use]
    pub fn without_gap(self) -> Self {
        Self { expects_no_gap: true, ..self }
    }

    /// Explores every state, on so many threads, until one breaks a property.
    pub fn run(self, threads: usize) -> Report {
        let properties = self.properties();
        let end = match self.sought {
            Some(name) => HasDiscoveries::AnyOf([name].into()),
            None => HasDiscoveries::AnyFailures,
        };
        let sought = self.sought;
        let checker = self.checker().threads(threads).finish_when(end).spawn_bfs().join();
        let discoveries = checker.discoveries();
        let mut report = Report {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            broken: None,
            missing: Vec::new(),
        };
        for property in properties {
            let found = discoveries.get(property.name);
            match (property.expectation, found) {
                (stateright::Expectation::Sometimes, None) => report.missing.push(property.name),
                (stateright::Expectation::Sometimes, Some(_)) | (_, None) => {}
                (_, Some(path)) if sought.is_none_or(|it| it == property.name) => {
                    report.broken = Some((property.name, path.clone().into_actions()));
                }
                (_, Some(_)) => {}
            }
        }
        report
    }
}

impl Model for Check {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.rules.budget)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.breach.is_none() {
            steps.extend(world.steps(&self.rules));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        world.after(step, &self.rules)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(
                "TRUTH: every point is the volume at its instant",
                |_, world: &World| world.breach != Some(Breach::Server(Fault::WrongPoint)),
            ),
            Property::always(
                "T0: the image of t0 is exact, or said to be lost",
                |_, world: &World| world.breach != Some(Breach::Server(Fault::WrongT0)),
            ),
            Property::always("LOSS: the server refuses no record", |_, world: &World| {
                world.breach != Some(Breach::Server(Fault::Refused))
            }),
            Property::always(
                "LOSS: what was acknowledged is there",
                |check: &Self, world: &World| world.keeps_what_was_acknowledged(&check.rules),
            ),
            Property::always("LOSS: the begin of a gap has room", |_, world: &World| {
                world.breach != Some(Breach::NoRoomForGap)
            }),
            Property::always("RESUME: driver, service and server agree", |_, world: &World| {
                !matches!(world.breach, Some(Breach::DriverRefused | Breach::NoEnd))
            }),
            Property::always(
                "RESUME: in the end the server has the volume",
                |check: &Self, world: &World| {
                    !world.is_quiet(&check.rules) || world.is_protected(&check.rules)
                },
            ),
            Property::sometimes(
                "all that may happen has, and the volume is protected",
                |check: &Self, world: &World| {
                    let left = Budget { with_memory: false, ..world.left };
                    left == Budget::default() && world.is_protected(&check.rules)
                },
            ),
            Property::sometimes("the first sync is complete", |_, world: &World| {
                world.server.has(RecordKind::BaseComplete)
            }),
        ];
        if self.expects_no_gap {
            properties.push(Property::always(
                "RESUME: no gap while the queue holds",
                |_, world: &World| world.is_without_gap(),
            ));
            properties.push(Property::always(
                "T0: it is kept while the queue holds",
                |check: &Self, world: &World| {
                    !world.is_quiet(&check.rules) || world.server.has_t0(check.rules.sizes.blocks)
                },
            ));
        } else {
            properties.push(Property::sometimes("a gap has ended", |_, world: &World| {
                world.server.has(RecordKind::Consistent)
            }));
        }
        properties
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} steps deep", self.states, self.depth)?;
        for name in &self.missing {
            write!(f, "\nnever: {name}")?;
        }
        let Some((name, steps)) = &self.broken else { return Ok(()) };
        write!(f, "\nbroken: {name}")?;
        for (number, step) in (1..).zip(steps) {
            write!(f, "\n{number:4}  {step:?}")?;
        }
        Ok(())
    }
}

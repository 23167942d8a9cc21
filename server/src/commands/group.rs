//! `snapless-server group`.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{GroupCommand, GroupList, GroupRemove, GroupSet};
use crate::error::{Error, Result};
use crate::groups::{GroupName, Groups, Members};

use super::audit::{self, Act};
use super::console::{GOOD, print_json, tell};
use super::output::outln;

/// A group, as it is told.
#[derive(Serialize)]
struct Shown<'a> {
    group: &'a GroupName,
    volumes: &'a Members,
}

pub(super) fn run(command: &GroupCommand) -> Result<ExitCode> {
    match command {
        GroupCommand::Set(args) => set(args)?,
        GroupCommand::List(args) => list(args)?,
        GroupCommand::Remove(args) => remove(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn set(args: &GroupSet) -> Result<()> {
    let repository = args.place.repository.open()?;
    let members = Members::new(args.volumes.clone()).map_err(Error::Group)?;
    repository.must_have(&args.volumes)?;
    let mut groups = Groups::read(repository.store())?;
    groups.set(args.name.clone(), members.clone()).map_err(Error::Group)?;
    groups.write(repository.store())?;
    let volumes: Vec<_> = args.volumes.iter().map(ToString::to_string).collect();
    let about = format!("group {}: {}", args.name, volumes.join(", "));
    audit::note_at(&args.place, Act::GroupSet, &about);
    tell(&Shown { group: &args.name, volumes: &members }, args.json, |shown| {
        outln!("{GOOD}set{GOOD:#} group {}: {} volume(s)", shown.group, volumes.len());
    })
}

fn list(args: &GroupList) -> Result<()> {
    let groups = Groups::read(args.repository.open()?.store())?;
    let shown: Vec<_> = groups.iter().map(|(group, volumes)| Shown { group, volumes }).collect();
    if args.json {
        return print_json(&shown);
    }
    if shown.is_empty() {
        outln!("no groups yet");
    }
    for Shown { group, volumes } in shown {
        outln!("group {group}");
        volumes.volumes().iter().for_each(|volume| outln!("  volume {volume}"));
    }
    Ok(())
}

fn remove(args: &GroupRemove) -> Result<()> {
    let repository = args.place.repository.open()?;
    let mut groups = Groups::read(repository.store())?;
    if !groups.remove(&args.name) {
        let why = format!("there is no group {}: `group list` shows which there are", args.name);
        return Err(Error::Group(why));
    }
    groups.write(repository.store())?;
    audit::note_at(&args.place, Act::GroupSet, &format!("group {}: removed", args.name));
    outln!("{GOOD}removed{GOOD:#} group {}", args.name);
    Ok(())
}

//! Consistency groups: whatever the time, the images of all volumes are as one power cut would have
//! left them.

use snapless_sim::group::{Breach, Place, play};

const SEEDS: u64 = 300;

#[test]
fn no_image_of_a_group_has_a_write_without_those_that_were_done_before_it() {
    for seed in 1..=SEEDS {
        play(Place::OneMachine, seed, None).unwrap();
    }
}

#[test]
fn no_cut_of_several_machines_has_a_write_without_those_that_were_done_before_it() {
    for seed in 1..=SEEDS {
        play(Place::Machines, seed, None).unwrap();
    }
}

fn is_found(place: Place, breach: Breach) {
    let found = (1..=SEEDS).find_map(|seed| play(place, seed, Some(breach)).err());
    let why = found.unwrap_or_else(|| panic!("{breach:?} is not found"));
    assert!(why.contains("ORDER"), "{why}");
}

#[test]
fn volumes_whose_clocks_differ_break_order() {
    is_found(Place::OneMachine, Breach::OwnClocks);
}

#[test]
fn an_instant_of_each_volumes_own_breaks_order() {
    is_found(Place::OneMachine, Breach::OwnInstants);
}

#[test]
fn an_instant_of_several_machines_for_which_no_write_waits_breaks_order() {
    is_found(Place::Machines, Breach::NoCut);
}

#[test]
fn a_cut_that_is_shorter_than_the_clocks_are_unsure_breaks_order() {
    is_found(Place::Machines, Breach::ShortCut);
}

#[test]
fn clocks_that_are_believed_to_go_on_break_order() {
    is_found(Place::Machines, Breach::Believed);
}

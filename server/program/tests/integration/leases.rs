//! Leases among objects: who reads is seen by who removes, whatever clocks show, and a reader that
//! cannot renew its lease ends before it lapses.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use snapless_server::error::Error;
use snapless_server::pin::Pins;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository};
use snapless_server::stop::StopFlag;
use snapless_server::storage::lease::{Chain, Lease, held};
use snapless_server::storage::{Held, Objects, Storage, Terms};
use snapless_wire::id::SessionId;

use crate::common::LENGTH;
use crate::common::object_stream::Connection;
use crate::common::objects::{Before, Fault, FaultyStore};
use crate::common::{Driver, SESSION, VOLUME, header};

const PINS: &str = "pins";

fn pins(store: &FaultyStore) -> Pins {
    Pins::of(&store.store(), &header(LENGTH))
}

fn in_pins(store: &FaultyStore) -> Vec<String> {
    store.names().into_iter().filter(|name| name.starts_with(PINS)).collect()
}

/// Terms that a test can wait for.
fn short() -> Terms {
    let millis = Duration::from_millis;
    Terms { term: millis(2_000), renew: millis(100), margin: millis(500), grace: Duration::ZERO }
}

#[test]
fn a_pin_is_seen_from_another_machine_until_it_is_dropped() {
    let store = FaultyStore::default();
    drop(store.repository());
    assert!(!pins(&store).any_held().unwrap());
    let (first, second) = (pins(&store).hold("restore"), pins(&store).hold("mount"));
    let commands =
        || -> Vec<_> { pins(&store).holders().unwrap().into_iter().map(|it| it.command).collect() };
    assert_eq!(commands(), ["mount", "restore"]);
    drop(first);
    assert_eq!(commands(), ["mount"]);
    drop(second);
    assert!(!pins(&store).any_held().unwrap());
    assert_eq!(in_pins(&store), Vec::<String>::new(), "nothing is left");
}

#[test]
fn a_lease_lapses_by_the_stores_clock_when_its_owner_is_gone() {
    let store = FaultyStore::default();
    drop(store.repository());
    let term = Terms::default().term;
    for life in [Duration::ZERO, term.checked_sub(Duration::from_secs(5)).unwrap()] {
        // Its process was killed: nothing renews it, and nothing gives it back.
        std::mem::forget(pins(&store).hold("restore"));
        store.advance(life);
        assert!(pins(&store).any_held().unwrap(), "{life:?}");
        store.advance(term);
        assert!(!pins(&store).any_held().unwrap(), "{life:?}");
        assert_eq!(in_pins(&store), Vec::<String>::new(), "what it left is removed");
    }
}

#[test]
fn a_lease_is_seen_beside_what_a_clock_has_left_that_was_set_back_since() {
    let store = FaultyStore::default();
    drop(store.repository());
    let far = 10 * Terms::default().term;
    store.advance(far);
    let other = Pins::of_session(&store.store(), VOLUME, SessionId([0x77; 16]));
    std::mem::forget(other.hold("restore"));
    store.recede(far);
    let pin = pins(&store).hold("mount");
    assert!(pins(&store).any_held().unwrap());
    assert!(other.any_held().unwrap(), "how old it is cannot be known");
    store.advance(far + Terms::default().term);
    assert!(!other.any_held().unwrap());
    drop(pin);
}

#[test]
fn who_looks_where_nothing_is_held_asks_for_a_list_alone() {
    let store = FaultyStore::default();
    drop(store.repository());
    let other = Pins::of_session(&store.store(), VOLUME, SessionId([0x77; 16]));
    let _pin = other.hold("restore");
    let puts = store.puts();
    assert!(!pins(&store).any_held().unwrap());
    assert_eq!(store.puts(), puts);
}

#[test]
fn a_lease_is_renewed_for_as_long_as_it_is_held() {
    let store = FaultyStore::default();
    let storage = store.with_terms(short()).storage();
    let lease = Lease::begin(Arc::new(storage.clone()), &std::path::Path::new(PINS).join("a"));
    let lease = lease.unwrap();
    let numbers = || in_pins(&store).into_iter().filter(|name| name.contains("pins/a."));
    while !numbers().any(|name| name.ends_with(".00000004")) {
        thread::sleep(Duration::from_millis(20));
    }
    lease.check().unwrap();
    assert!(numbers().count() <= 2, "the ones before are removed");
    drop(lease);
    assert_eq!(in_pins(&store), Vec::<String>::new());
}

#[test]
fn a_lease_that_cannot_be_renewed_ends_for_its_holder_before_it_lapses() {
    let store = FaultyStore::default();
    let storage = store.with_terms(short()).storage();
    let path = std::path::Path::new(PINS).join("a");
    let lease = Lease::begin(Arc::new(storage.clone()), &path).unwrap();
    store.always(Fault::Refused);
    let refused = loop {
        if let Err(refused) = lease.check() {
            break refused.to_string();
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(refused.contains("not renewed in time"), "{refused}");
    // Others look a term later at the earliest: the store's clock has not gone on so far.
    let listed = storage.list_stored_at(std::path::Path::new(PINS), "a.").unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    // It does not come back.
    let healed = store.healed();
    drop(healed);
    lease.check().unwrap_err();
}

#[test]
fn a_holder_that_slept_longer_than_the_term_notices_whatever_its_own_clock_shows() {
    let store = FaultyStore::default();
    let (storage, path) = (store.storage(), std::path::Path::new(PINS).join("a"));
    let term = Terms::default().term;
    let mut chain = Chain::begin(&storage, &path).unwrap();
    store.advance(term.checked_sub(Duration::from_secs(5)).unwrap());
    assert!(chain.renew(&storage, term).unwrap());
    // It sleeps; another one sees that it has lapsed.
    store.advance(term + Duration::from_secs(1));
    let live = || held(&storage, std::path::Path::new(PINS), "", &|_| true).unwrap();
    assert_eq!(live(), Vec::<String>::new());
    assert!(!chain.renew(&storage, term).unwrap(), "it had lapsed");
    chain.end(&storage);
    assert_eq!(live(), Vec::<String>::new());
}

#[test]
fn a_renewal_whose_answer_was_lost_is_the_same_renewal() {
    let store = FaultyStore::default();
    let (storage, path) = (store.storage(), std::path::Path::new(PINS).join("a"));
    let term = Terms::default().term;
    store.next([Some(Fault::AnswerLost)]);
    let mut chain = Chain::begin(&storage, &path).unwrap();
    store.next([Some(Fault::AnswerLost)]);
    assert!(chain.renew(&storage, term).unwrap());
    store.next([Some(Fault::Held); 4]);
    chain.renew(&storage, term).unwrap_err();
    assert_eq!(store.release().iter().filter(|it| **it).count(), 1);
    assert!(chain.renew(&storage, term).unwrap());
    assert!(storage.is_held(&path).unwrap());
    assert!(Chain::begin(&storage, &std::path::Path::new(PINS).join("b")).is_ok());
}

#[test]
fn two_holders_of_one_name_are_told_apart() {
    let store = FaultyStore::default();
    let (storage, path) = (store.storage(), std::path::Path::new(PINS).join("a"));
    let chain = Chain::begin(&storage, &path).unwrap();
    let refused = Chain::begin(&storage, &path).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    chain.end(&storage);
}

#[test]
fn a_lease_that_is_renewed_while_another_one_looks_is_seen() {
    let store = FaultyStore::default();
    let (storage, path) = (store.storage(), std::path::Path::new(PINS).join("a"));
    let term = Terms::default().term;
    let mut chain = Chain::begin(&storage, &path).unwrap();
    store.advance(term.checked_sub(Duration::from_secs(1)).unwrap());
    let (renewing, ahead) = (store.storage(), store.clone());
    // Between its first list and the object that tells the time.
    store.before(Before::Put, "clock-", move || {
        assert!(chain.renew(&renewing, term).unwrap());
        ahead.advance(Duration::from_secs(2));
    });
    let live = held(&storage, std::path::Path::new(PINS), "", &|_| true).unwrap();
    assert_eq!(live, ["a"]);
}

#[test]
fn a_reader_that_lost_its_lease_reads_nothing_more_and_says_why() {
    let store = FaultyStore::default();
    let mut connection = Connection::open(&store.repository());
    assert!(connection.store(&Driver::default().first_sync()).unwrap());
    connection.close();
    let leased = store.with_terms(short());
    let repository = Repository::open_in(leased.store()).unwrap().pinned_for("restore");
    let Presence::Header(header) = repository.session(VOLUME, SESSION).unwrap() else {
        panic!("there is no session")
    };
    let reader: SessionReader = repository.open_session(header).unwrap();
    let stop = StopFlag::default();
    reader.survey(&stop).unwrap();
    store.always(Fault::Refused);
    let refused = loop {
        match reader.survey(&stop) {
            Ok(_) => thread::sleep(Duration::from_millis(20)),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::File { .. }), "it is no damage: {refused}");
    assert!(refused.to_string().contains("begin again"), "{refused}");
}

#[test]
fn a_reader_that_may_create_nothing_reads_all_the_same() {
    let store = FaultyStore::default();
    let mut connection = Connection::open(&store.repository());
    assert!(connection.store(&Driver::default().first_sync()).unwrap());
    connection.close();
    store.always(Fault::Refused);
    let pin = pins(&store).hold("restore");
    assert!(!pin.is_held());
}

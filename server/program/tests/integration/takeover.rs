//! Two servers at one object store that fails at random, and a machine that changes between them
//! under its stream: nothing acknowledged is lost, no gap, and never two owners.
//!
//! `SNAPLESS_TAKEOVERS` sets how often it changes.

use std::net::SocketAddr;

use crate::common::objects::FaultyStore;
use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME};
use fastrand::Rng;
use snapless_server::list::{Content, list};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::security::Security;
use snapless_server::serve::{Limits, Server};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;

const TAKEOVERS: usize = 40;

fn serve(store: &FaultyStore) -> Running {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let limits = Limits { segment_bytes: 64 << 10, ..Limits::default() };
    let security = Security::insecure(address).unwrap();
    Running::of(Server::bind_to(address, store.repository(), limits, security).unwrap())
}

/// A machine: the records of its stream, each with what it makes of the volume.
struct Machine {
    driver: Driver,
    rng: Rng,
    /// Records that were made, from the first.
    records: Vec<Vec<u8>>,
    /// The volume after each record.
    image: Vec<u8>,
    /// The last record that was acknowledged.
    acknowledged: u64,
    /// The last record that ends an epoch: no acknowledgement goes further.
    last_end: u64,
}

impl Machine {
    /// Makes the records of some epochs, the last of them perhaps without its end.
    fn go_on(&mut self) {
        for _ in 0..self.rng.usize(1..4) {
            for _ in 0..self.rng.usize(1..8) {
                let len = SECTOR * self.rng.u64(1..32);
                let offset = SECTOR * self.rng.u64(..(LENGTH - len) / SECTOR);
                let byte = self.rng.u8(..);
                self.records.push(self.driver.write(offset, len, byte));
                common::patch(&mut self.image, offset, len, byte);
            }
            self.end_epoch();
        }
        if self.rng.bool() {
            let byte = self.rng.u8(..);
            self.records.push(self.driver.write(BLOCK, BLOCK, byte));
            common::patch(&mut self.image, BLOCK, BLOCK, byte);
        }
    }

    fn end_epoch(&mut self) {
        self.records.push(self.driver.epoch_end());
        self.last_end = self.records.len() as u64;
    }

    /// Connects, sends what is not durable, and hears some of the answers.
    fn visit(&mut self, address: SocketAddr) {
        let mut client = Client::connect(address);
        client.hello(SESSION);
        let durable = match client.hear() {
            Said::Welcome { seq, .. } => seq,
            // The store has failed.
            Said::Error(_) | Said::Closed => return,
            other @ Said::Acknowledge { .. } => panic!("{other:?}"),
        };
        assert!(durable >= self.acknowledged, "{durable} durable, {} before", self.acknowledged);
        self.acknowledged = durable;
        let from = usize::try_from(durable).unwrap();
        for record in &self.records[from..] {
            client.records(record);
        }
        for _ in 0..self.rng.usize(0..4) {
            if self.acknowledged == self.last_end {
                return;
            }
            match client.hear() {
                Said::Acknowledge { seq, .. } => {
                    assert!(seq >= self.acknowledged);
                    self.acknowledged = seq;
                }
                Said::Error(_) | Said::Closed => return,
                other @ Said::Welcome { .. } => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_machine_that_changes_between_two_servers_loses_nothing() {
    let takeovers =
        std::env::var("SNAPLESS_TAKEOVERS").map_or(TAKEOVERS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let store = FaultyStore::default();
    let mut servers = [serve(&store), serve(&store)];
    let mut driver = Driver::default();
    let records = [
        vec![driver.start()],
        (0..5).map(|index| driver.block(index, u8::try_from(index).unwrap() + 1)).collect(),
        vec![driver.base_complete(), driver.epoch_end()],
    ]
    .concat();
    let image = common::base_image();
    let rng = Rng::with_seed(seed);
    let last_end = records.len() as u64;
    let mut machine = Machine { driver, rng, records, image, acknowledged: 0, last_end };
    store.at_random(Some(seed));
    for number in 0..takeovers {
        machine.go_on();
        let at = machine.rng.usize(..2);
        if machine.rng.u8(..4) == 0 {
            // It is started again; its connections end midway.
            servers[at] = serve(&store);
        }
        machine.visit(servers[at].address);
        assert!(machine.acknowledged <= machine.records.len() as u64, "visit {number}");
    }
    store.at_random(None);
    machine.end_epoch();
    let last = machine.records.len() as u64;
    let visits = (0..100).find(|_| {
        machine.visit(servers[0].address);
        machine.acknowledged == last
    });
    assert!(visits.is_some(), "{} of {last} records are acknowledged", machine.acknowledged);
    drop(servers);

    let repository = Repository::open_in(store.store()).unwrap();
    let stop = StopFlag::default();
    assert_eq!(verify(&repository, &stop, |_| {}).unwrap().damage, []);
    let volumes = list(&repository, &stop).unwrap();
    let Content::Complete(stream) = &volumes[0].sessions[0].content else {
        panic!("{:?}", volumes[0].sessions[0]);
    };
    assert_eq!((stream.records, stream.gaps.len()), (last, 0), "each record once, no gap");
    for (at, want) in [(At::T0, common::base_image()), (At::Latest, machine.image)] {
        let source = Source { volume: VOLUME, session: Some(SESSION), at };
        let found = Found::find(&repository, &source, &stop).unwrap();
        let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
        found.write_to(&mut image, &stop, |_| {}).unwrap();
        assert!(image == want, "{at:?}");
    }
    println!("{takeovers} visits, {last} records, {} creations", store.puts());
}

#[test]
fn epochs_that_wait_for_a_slow_store_are_stored_together() {
    let store = FaultyStore::default();
    let server = serve(&store);
    let mut driver = Driver::default();
    let (mut client, ..) = Client::resume(server.address);
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    let before = store.puts();
    store.always(common::objects::Fault::Slow(std::time::Duration::from_millis(300)));
    for byte in 0..50 {
        client.records(&[driver.write(0, SECTOR, byte), driver.epoch_end()].concat());
    }
    let mut acknowledgements = 0;
    loop {
        acknowledgements += 1;
        match client.hear() {
            Said::Acknowledge { epoch: 51, .. } => break,
            Said::Acknowledge { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(acknowledgements < 10, "{acknowledgements} acknowledgements of 50 epochs");
    assert!(store.puts() - before < 10, "{} creations", store.puts() - before);
}

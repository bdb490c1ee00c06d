//! The initiator against model targets over a network that loses, doubles, delays and reorders frames, in virtual time.
//!
//! Two kinds of evidence: a property (whatever the network does, every request ends, reads give what was written last)
//! and a table of throughput under loss, kept in `testdata/initiator_under_loss.txt`. Rewrite the table with
//! `UPDATE_TESTDATA=1 cargo test -p aoe --test initiator` and look at the difference.

mod model;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aoe::initiator::{Ask, RequestError};
use block::{BufferSlice, Duration, Lba, LbaRange, RequestId, SectorCount};
use model::{Network, PERFECT, Random, World};
use proptest::prelude::*;

const SECTORS: u64 = 512;

/// A client that writes and reads at random, never two overlapping requests at a time, and knows what it must read.
struct Client {
    random: Random,
    world: World,
    /// What each sector was last filled with.
    written: Vec<u8>,
    open: BTreeMap<u32, Open>,
    next_id: u32,
    fill: u8,
}

struct Open {
    range: LbaRange,
    ask: Ask,
    fill: u8,
}

impl Client {
    fn new(seed: u64, network: Network, targets: usize, ports: usize) -> Self {
        let world = World::new(seed, network, targets, ports, SECTORS);
        let written = vec![0; usize::try_from(SECTORS).expect("few")];
        Self { random: Random(seed ^ 0x5eed), world, written, open: BTreeMap::new(), next_id: 0, fill: 0 }
    }

    fn run(&mut self, requests: u32, depth: usize) {
        self.world.run_until_found();
        let mut ended = 0;
        while ended < requests {
            while self.open.len() < depth && self.next_id < requests {
                self.submit();
            }
            assert!(self.world.step(), "requests are open and nothing is to come");
            while let Some((id, result)) = self.world.completed.pop_front() {
                self.check(id, result);
                ended += 1;
            }
        }
    }

    fn submit(&mut self) {
        let id = self.next_id;
        if self.random.below(20) == 0 {
            self.enter(id, LbaRange::default(), Ask::Flush, 0);
            return;
        }
        let count = 1 + self.random.below(60);
        let start = self.random.below(SECTORS - count);
        let count = SectorCount(u16::try_from(count).expect("small"));
        let range = LbaRange::new(Lba(start), count).expect("a range");
        if self.open.values().any(|open| open.range.overlaps(range)) {
            return;
        }
        if self.random.below(2) == 0 {
            self.enter(id, range, Ask::Read(range), 0);
            return;
        }
        self.fill = self.fill.wrapping_add(1).max(1);
        let data = self.world.client_memory(id, vec![self.fill; range.bytes()]);
        let data =
            BufferSlice { buffer: data, offset: 0, length: u32::try_from(range.bytes()).expect("short") };
        self.enter(id, range, Ask::Write { range, data }, self.fill);
    }

    fn enter(&mut self, id: u32, range: LbaRange, ask: Ask, fill: u8) {
        if matches!(ask, Ask::Read(_)) {
            self.world.client_memory(id, vec![0xee; range.bytes()]);
        }
        self.world.submit(RequestId(id), ask);
        self.open.insert(id, Open { range, ask, fill });
        self.next_id += 1;
    }

    fn check(&mut self, id: RequestId, result: Result<(), RequestError>) {
        let Open { range, ask, fill } = self.open.remove(&id.0).expect("an open request ends once");
        assert_eq!(result, Ok(()), "request {id:?}");
        let first = usize::try_from(range.start().0).expect("small");
        let sectors = first..first + usize::from(range.count().0);
        match ask {
            Ask::Flush => {}
            Ask::Write { .. } => self.written[sectors].fill(fill),
            Ask::Read(_) => {
                let bytes = self.world.take_memory(id.0);
                for (sector, bytes) in self.written[sectors].iter().zip(bytes.chunks(512)) {
                    assert!(
                        bytes.iter().all(|byte| byte == sector),
                        "request {id:?}: {} for {sector}",
                        bytes[0]
                    );
                }
            }
        }
    }
}

fn network() -> impl Strategy<Value = Network> {
    (0u32..250, 0u32..250, 0u64..3_000_000).prop_map(|(loss, double, jitter)| Network {
        loss_per_mille: loss,
        double_per_mille: double,
        delay: Duration::from_micros(20),
        jitter: Duration::from_nanos(jitter),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_ends_with_the_right_data_whatever_the_network_does(
        seed in any::<u64>(),
        network in network(),
        targets in 1usize..3,
        ports in 1usize..3,
        depth in 1usize..24,
    ) {
        let mut client = Client::new(seed, network, targets, ports);
        client.run(200, depth);
        prop_assert_eq!(client.world.initiator.targets().map(|target| target.in_flight).sum::<u32>(), 0);
    }
}

/// Every IDENTIFY of one target is lost, so that it is given up; it was never asked again.
#[test]
fn a_target_that_was_given_up_is_found_when_it_answers_again() {
    let jitter = Duration::from_nanos(1_380_080);
    let network = Network { loss_per_mille: 218, double_per_mille: 61, jitter, ..PERFECT };
    for seed in [1112, 1432, 1767, 1953, 2117, 2244, 2380, 2670] {
        World::new(seed, network, 2, 1, SECTORS).run_until_found();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let network = Network { loss_per_mille: 100, double_per_mille: 100, ..PERFECT };
    let run = || {
        let mut client = Client::new(7, network, 2, 2);
        client.run(500, 16);
        (client.world.now, client.world.initiator.statistics())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_target_that_dies_takes_no_read_with_it_if_there_is_another() {
    let mut world = World::new(1, PERFECT, 2, 1, SECTORS);
    world.run_until_found();
    world.targets[0].alive = false;
    let range = LbaRange::new(Lba(0), SectorCount(8)).expect("a range");
    for id in 0..64 {
        world.client_memory(id, vec![0; range.bytes()]);
        world.submit(RequestId(id), Ask::Read(range));
    }
    while world.completed.len() < 64 {
        assert!(world.step());
    }
    assert!(world.completed.iter().all(|(_, result)| result.is_ok()));
    assert!(world.now.since(world.found_at) < Duration::from_secs(30), "{:?}", world.now);
    assert!(world.initiator.targets().next().expect("a target").silent);
}

#[test]
fn a_write_waits_for_its_own_target_and_fails_in_the_end() {
    let mut world = World::new(1, PERFECT, 2, 1, SECTORS);
    world.run_until_found();
    world.targets.iter_mut().for_each(|target| target.alive = false);
    let range = LbaRange::new(Lba(0), SectorCount(8)).expect("a range");
    let data = BufferSlice { buffer: world.client_memory(0, vec![1; 4096]), offset: 0, length: 4096 };
    world.submit(RequestId(0), Ask::Write { range, data });
    world.targets[1].alive = true;
    while world.completed.is_empty() {
        assert!(world.step());
    }
    let (_, result) = world.completed[0];
    assert!(matches!(result, Err(RequestError::NoAnswer { .. })) == (world.targets[1].writes == 0));
}

#[test]
fn a_disk_error_fails_the_request_and_a_refusal_only_delays_it() {
    let mut world = World::new(3, PERFECT, 1, 1, SECTORS);
    world.run_until_found();
    let range = LbaRange::new(Lba(8), SectorCount(40)).expect("a range");
    world.targets[0].bad_sector = Some(20);
    world.client_memory(0, vec![0; range.bytes()]);
    world.submit(RequestId(0), Ask::Read(range));
    while world.completed.is_empty() {
        assert!(world.step());
    }
    let (_, result) = world.completed.pop_front().expect("one ended");
    assert!(matches!(result, Err(RequestError::Ata { .. })), "{result:?}");
    world.targets[0].bad_sector = None;
    world.targets[0].refusals = 3;
    world.client_memory(1, vec![0; range.bytes()]);
    world.submit(RequestId(1), Ask::Read(range));
    while world.completed.is_empty() {
        assert!(world.step());
    }
    assert_eq!(world.completed.pop_front(), Some((RequestId(1), Ok(()))));
    assert_eq!(world.initiator.statistics().refusals, 3);
}

#[test]
fn another_disk_under_the_same_address_is_not_used() {
    let mut world = World::new(3, PERFECT, 2, 1, SECTORS);
    world.targets[1].serial = "another";
    world.run_until_found();
    while world.rejected.is_empty() {
        assert!(world.step());
    }
    assert_eq!(world.initiator.targets().count(), 1);
}

/// Requests a second in virtual time: a target with room for 32 frames that needs 100 µs for each, 20 µs away.
fn throughput(loss_per_mille: u32, sectors: u16, depth: u32) -> (u64, u64, u64) {
    let mut world = World::new(11, Network { loss_per_mille, ..PERFECT }, 1, 1, SECTORS);
    world.run_until_found();
    let begin = world.now;
    let range = LbaRange::new(Lba(0), SectorCount(sectors)).expect("a range");
    for id in 0..depth {
        world.client_memory(id, vec![0; range.bytes()]);
        world.submit(RequestId(id), Ask::Read(range));
    }
    let (mut ended, seconds) = (0u64, 2);
    while world.now.since(begin) < Duration::from_secs(seconds) {
        assert!(world.step());
        while let Some((id, result)) = world.completed.pop_front() {
            assert_eq!(result, Ok(()));
            ended += 1;
            world.submit(id, Ask::Read(range));
        }
    }
    let statistics = world.initiator.statistics();
    (ended / seconds, statistics.retransmissions / seconds, statistics.window_reductions / seconds)
}

#[test]
fn throughput_under_loss_is_what_the_table_says() {
    let mut table = String::from(
        "One target, 32 buffers, 100 us a frame (all at a time), 20 us away; reads; figures a virtual second.\n\
         Each direction loses so many frames of a thousand.\n\n\
         loss   sectors  depth  requests  sent again  window reduced\n",
    );
    for (sectors, depth) in [(8, 1), (8, 32), (128, 4)] {
        for loss in [0, 1, 10, 50, 100] {
            let (requests, again, reduced) = throughput(loss, sectors, depth);
            writeln!(
                table,
                "{loss:>4}   {sectors:>7}  {depth:>5}  {requests:>8}  {again:>10}  {reduced:>14}"
            )
            .expect("a string takes everything");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/initiator_under_loss.txt");
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::write(path, &table).expect("testdata can be written");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(table, expected, "run with UPDATE_TESTDATA=1 if the change is meant");
}

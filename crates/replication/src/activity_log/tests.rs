use std::collections::{BTreeMap, BTreeSet};

use block::{Lba, SectorCount};
use proptest::prelude::*;

use super::*;
use crate::meta::activity_log::{RING_BYTES, replay};

const FORMAT: FormatIdentity = FormatIdentity(5);

fn layout() -> Layout {
    Layout::new(200 * EXTENT_SECTORS - 3, 64).expect("200 extents, 64 of them hot")
}

/// One sector in that extent.
fn in_extent(extent: u32) -> LbaRange {
    LbaRange::new(Lba(u64::from(extent) * EXTENT_SECTORS + 7), SectorCount(1)).expect("within the volume")
}

/// A log with its ring.
struct Logged {
    log: ActivityLog,
    ring: Vec<u8>,
    in_flight: Option<(Sequence, Place, Box<[u8; RECORD_BYTES]>)>,
}

impl Logged {
    fn new() -> Self {
        Self { log: ActivityLog::new(layout(), FORMAT), ring: vec![0; RING_BYTES], in_flight: None }
    }

    fn start(&mut self) -> bool {
        let mut record = Box::new([0xee; RECORD_BYTES]);
        let Some((sequence, place)) = self.log.poll_transaction(&mut record) else { return false };
        assert!(self.in_flight.is_none(), "one at a time");
        self.in_flight = Some((sequence, place, record));
        true
    }

    fn complete(&mut self) {
        if let Some((sequence, place, record)) = self.in_flight.take() {
            let at = usize::try_from(place.0 - Layout::transaction(0).0).expect("within the ring");
            self.ring[at..at + RECORD_BYTES].copy_from_slice(&*record);
            self.log.handle_durable(sequence);
        }
    }

    fn settle(&mut self) {
        self.complete();
        while self.start() {
            self.complete();
        }
    }

    /// Power is lost; the transaction in flight arrived or did not.
    fn crash(&mut self, arrived: bool) -> BTreeSet<u32> {
        if arrived {
            self.complete();
        }
        self.in_flight = None;
        let replay = replay(&self.ring, layout(), FORMAT).expect("a whole log");
        self.log = ActivityLog::resume(layout(), FORMAT, &replay);
        replay.extents().map(|extent| extent.0).collect()
    }
}

#[test]
fn a_write_waits_for_its_extent_to_be_on_disk() {
    let mut logged = Logged::new();
    assert_eq!(logged.log.begin(in_extent(3)), Begun::After(Sequence(1)));
    assert!(logged.start() && !logged.log.is_durable(Sequence(1)));
    assert_eq!(logged.log.begin(in_extent(3)), Begun::After(Sequence(1)), "still not on disk");
    assert_eq!(logged.log.begin(in_extent(4)), Begun::After(Sequence(2)), "the first has started without it");
    logged.complete();
    assert!(logged.log.is_durable(Sequence(1)) && !logged.log.is_durable(Sequence(2)));
    assert_eq!(logged.log.begin(in_extent(3)), Begun::Ready);
}

#[test]
fn changes_that_come_during_a_write_share_the_next_transaction() {
    let mut logged = Logged::new();
    logged.log.begin(in_extent(100));
    logged.start();
    for extent in 0..40 {
        assert_eq!(logged.log.begin(in_extent(extent)), Begun::After(Sequence(2)));
    }
    logged.settle();
    assert_eq!(logged.log.counters().transactions, 2);
}

#[test]
fn an_extent_with_writes_in_flight_never_leaves() {
    let mut logged = Logged::new();
    for extent in 0..64 {
        logged.log.begin(in_extent(extent));
    }
    logged.settle();
    assert_eq!(logged.log.begin(in_extent(64)), Begun::Full);
    assert!(logged.log.finish(in_extent(9)));
    assert_eq!(logged.log.begin(in_extent(64)), Begun::After(Sequence(2)));
    assert_eq!(logged.log.begin(in_extent(9)), Begun::Full, "its slot was taken");
}

#[test]
fn the_extent_idle_longest_makes_room() {
    let mut logged = Logged::new();
    for extent in 0..64 {
        logged.log.begin(in_extent(extent));
        logged.settle();
    }
    (0..64).for_each(|extent| assert!(logged.log.finish(in_extent(extent))));
    logged.log.begin(in_extent(0));
    logged.log.finish(in_extent(0));
    logged.log.begin(in_extent(70));
    let hot: BTreeSet<u32> = logged.log.extents().map(|extent| extent.0).collect();
    assert!(hot.contains(&0) && !hot.contains(&1), "0 was used after 1");
}

#[test]
fn a_change_given_up_before_it_is_durable_frees_its_slot_when_it_is() {
    let mut logged = Logged::new();
    for extent in 0..64 {
        logged.log.begin(in_extent(extent));
        assert!(logged.log.finish(in_extent(extent)));
    }
    assert_eq!(logged.log.begin(in_extent(64)), Begun::Full, "no slot changes twice in a transaction");
    logged.settle();
    assert_eq!(logged.log.begin(in_extent(64)), Begun::After(Sequence(2)));
}

#[test]
fn the_largest_request_touches_nine_extents() {
    let mut logged = Logged::new();
    let range = LbaRange::new(Lba(EXTENT_SECTORS - 1), SectorCount(u16::MAX)).expect("a range");
    assert_eq!(logged.log.begin(range), Begun::After(Sequence(1)));
    assert_eq!(logged.log.extents().count(), 9);
    logged.settle();
    assert!(logged.log.finish(range));
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u32, u16),
    Finish(usize),
    Start,
    Complete,
    Crash(bool),
}

/// What a log has to do, told with sets.
#[derive(Default)]
struct Model {
    /// Writes that wait, with the transaction they wait for, and those that may be in flight.
    waiting: Vec<(LbaRange, Sequence)>,
    running: Vec<LbaRange>,
}

impl Model {
    fn users(&self) -> BTreeMap<u32, usize> {
        let mut users = BTreeMap::new();
        for range in self.waiting.iter().map(|(range, _)| range).chain(&self.running) {
            touched(*range).for_each(|extent| *users.entry(extent).or_default() += 1);
        }
        users
    }

    fn wake(&mut self, log: &ActivityLog) {
        let running = &mut self.running;
        self.waiting.retain(|(range, sequence)| {
            let durable = log.is_durable(*sequence);
            running.extend(durable.then_some(*range));
            !durable
        });
    }
}

fn touched(range: LbaRange) -> impl Iterator<Item = u32> {
    let number = |sector| u32::try_from(sector / EXTENT_SECTORS).expect("small");
    number(range.start().0)..number(range.end().0 - 1) + 1
}

fn run(logged: &mut Logged, model: &mut Model, step: &Step) {
    match *step {
        Step::Begin(extent, count) => {
            let start = u64::from(extent) * EXTENT_SECTORS;
            let range = LbaRange::new(Lba(start), SectorCount(count)).expect("a range");
            if range.end().0 > layout().volume_sectors() {
                return;
            }
            match logged.log.begin(range) {
                Begun::Ready => model.running.push(range),
                Begun::After(sequence) => model.waiting.push((range, sequence)),
                Begun::Full => {
                    assert!(model.users().len() + 9 > 64 || logged.log.batch.count > 0, "there was room")
                }
            }
        }
        Step::Finish(index) if !model.running.is_empty() => {
            let range = model.running.swap_remove(index % model.running.len());
            logged.log.finish(range);
        }
        Step::Finish(_) => {}
        Step::Start => _ = logged.start(),
        Step::Complete => {
            logged.complete();
            model.wake(&logged.log);
        }
        Step::Crash(arrived) => {
            let replayed = logged.crash(arrived);
            for range in std::mem::take(model).running {
                assert!(touched(range).all(|extent| replayed.contains(&extent)), "{range} was in flight");
            }
        }
    }
}

fn check(logged: &Logged, model: &Model) {
    let hot: BTreeSet<u32> = logged.log.extents().map(|extent| extent.0).collect();
    let users = model.users();
    assert!(users.keys().all(|extent| hot.contains(extent)), "an extent in use left the log");
    let ActivityLog { slots, table, idle, used, .. } = &logged.log;
    let entry_of = |slot| place_of(slots, table, slot).map(|place| table.at(place));
    let counted: u32 = (0..*used).filter_map(entry_of).map(Entry::users).sum();
    assert_eq!(counted as usize, users.values().sum::<usize>(), "every write is counted once an extent");
    let nobody_uses = (0..*used).filter(|slot| entry_of(*slot).is_none_or(Entry::is_idle)).count();
    assert_eq!(idle.count(), nobody_uses, "what nobody uses is ready to make room");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn after_a_crash_every_extent_in_flight_is_in_the_log(
        steps in proptest::collection::vec(prop_oneof![
            6 => (0..100u32, 1..40_000u16).prop_map(|(extent, count)| Step::Begin(extent, count)),
            5 => any::<usize>().prop_map(Step::Finish),
            3 => Just(Step::Start),
            3 => Just(Step::Complete),
            1 => any::<bool>().prop_map(Step::Crash),
        ], 1..300),
    ) {
        let mut logged = Logged::new();
        let mut model = Model::default();
        for step in &steps {
            run(&mut logged, &mut model, step);
            check(&logged, &model);
        }
        run(&mut logged, &mut model, &Step::Crash(false));
    }
}

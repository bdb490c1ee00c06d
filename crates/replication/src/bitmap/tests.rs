use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::meta::bitmap::PAIR_BYTES;

const FORMAT: FormatIdentity = FormatIdentity(9);

/// Two blocks and a bit; the last bit stands for three sectors.
fn layout() -> Layout {
    Layout::new(2 * BITS_PER_BLOCK * SECTORS_PER_BIT + 1003, 64).expect("a small volume")
}

fn range(start: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(start), SectorCount(count)).expect("a range")
}

/// A bitmap with its part of the disk.
struct Stored {
    bitmap: Bitmap,
    disk: Vec<u8>,
    in_flight: Vec<(BlockWrite, Box<[u8; RECORD_BYTES]>)>,
}

impl Stored {
    fn new() -> Self {
        let disk = vec![0; usize::try_from(layout().byte_count()).expect("small")];
        Self { bitmap: Bitmap::new(layout(), FORMAT), disk, in_flight: Vec::new() }
    }

    fn start(&mut self, idle: bool) -> bool {
        let mut record = Box::new([0xee; RECORD_BYTES]);
        let write =
            if idle { self.bitmap.poll_idle_write(&mut record) } else { self.bitmap.poll_write(&mut record) };
        self.in_flight.extend(write.map(|write| (write, record)));
        write.is_some()
    }

    fn complete(&mut self) {
        if let Some((write, record)) = self.in_flight.pop() {
            let at = usize::try_from(write.place.0).expect("small");
            self.disk[at..at + RECORD_BYTES].copy_from_slice(&*record);
            self.bitmap.handle_written(write.block);
        }
    }

    fn crash(&mut self) {
        self.in_flight.clear();
        self.bitmap = Bitmap::new(layout(), FORMAT);
        for block in 0..layout().bitmap_blocks() {
            let at = usize::try_from(layout().bitmap_block(block, Side::Zero).0).expect("small");
            assert_eq!(self.bitmap.load(block, &self.disk[at..at + PAIR_BYTES]), Ok(Loaded::Good));
        }
    }
}

#[test]
fn a_write_served_alone_waits_for_its_bits() {
    let mut stored = Stored::new();
    let tickets = stored.bitmap.set(range(8, 8));
    assert!(!tickets.is_empty() && !stored.bitmap.is_durable(tickets));
    assert!(stored.start(false));
    let later = stored.bitmap.set(range(80, 8));
    stored.complete();
    assert!(stored.bitmap.is_durable(tickets) && !stored.bitmap.is_durable(later));
    assert!(stored.start(false), "the block has changed since");
    stored.complete();
    assert!(stored.bitmap.is_durable(later));
    assert!(stored.bitmap.set(range(8, 4)).is_empty(), "durable already: nothing to wait for");
}

#[test]
fn a_request_across_blocks_waits_for_both() {
    let mut stored = Stored::new();
    let boundary = BITS_PER_BLOCK * SECTORS_PER_BIT;
    let tickets = stored.bitmap.set(range(boundary - 1, 2));
    assert_eq!(stored.bitmap.out_of_sync(), 2);
    stored.start(false);
    stored.complete();
    assert!(!stored.bitmap.is_durable(tickets));
    stored.start(false);
    stored.complete();
    assert!(stored.bitmap.is_durable(tickets) && !stored.start(false));
}

#[test]
fn sets_are_rounded_outwards_and_clears_inwards() {
    let mut bitmap = Bitmap::new(layout(), FORMAT);
    bitmap.set(range(7, 10));
    assert_eq!(bitmap.out_of_sync(), 3);
    bitmap.clear(range(1, 16));
    assert_eq!(bitmap.out_of_sync(), 2, "only the middle one lies in it as a whole");
    assert!(bitmap.touches(range(0, 1)) && !bitmap.touches(range(8, 8)));
    let end = layout().volume_sectors();
    bitmap.set(range(end - 1, 1));
    bitmap.clear(range(end - 3, 3));
    assert!(!bitmap.touches(range(end - 1, 1)), "the last block is a short one");
}

#[test]
fn cleared_bits_are_written_when_there_is_time() {
    let mut stored = Stored::new();
    stored.bitmap.set(range(0, 8));
    stored.start(false);
    stored.complete();
    stored.bitmap.clear(range(0, 8));
    assert!(!stored.start(false) && stored.start(true));
    stored.complete();
    assert!(!stored.start(true));
    stored.crash();
    assert_eq!(stored.bitmap.out_of_sync(), 0);
}

#[test]
fn a_block_of_which_nothing_can_be_read_is_out_of_sync_as_a_whole() {
    let mut bitmap = Bitmap::new(layout(), FORMAT);
    let loaded = bitmap.load(2, &[0xaa; PAIR_BYTES]).expect("not refused");
    assert!(matches!(loaded, Loaded::InDoubt(TwinError::BothLost { .. })));
    assert_eq!(bitmap.out_of_sync(), 1003u64.div_ceil(8));
    assert!(bitmap.poll_write(&mut [0; RECORD_BYTES]).is_some(), "and has to be written");
}

#[test]
fn an_extent_in_doubt_and_a_whole_volume() {
    let mut bitmap = Bitmap::new(layout(), FORMAT);
    bitmap.set_extent(Extent(layout().extents() - 1));
    assert_eq!(bitmap.out_of_sync(), (layout().volume_sectors() % EXTENT_SECTORS).div_ceil(8));
    bitmap.set_all();
    assert_eq!(bitmap.out_of_sync(), layout().bits());
}

#[test]
fn what_the_peer_says_is_added_and_written_after_what_writes_wait_for() {
    let mut stored = Stored::new();
    stored.bitmap.set(range(0, 8));
    let mut told = Bits::new(layout());
    told.set(range(0, 24));
    told.set_run(BlockRun { start: BITS_PER_BLOCK - 1, count: BITS_PER_BLOCK + 2 });
    stored.bitmap.join(&told, 0..3);
    assert_eq!(stored.bitmap.out_of_sync(), 3 + BITS_PER_BLOCK + 2);
    let boundary = BITS_PER_BLOCK * SECTORS_PER_BIT;
    let tickets = stored.bitmap.set(range(2 * boundary, 8));
    assert!(!stored.bitmap.is_durable(tickets), "set already, and not durable");
    for _ in 0..2 {
        stored.start(false);
        stored.complete();
    }
    assert!(stored.bitmap.is_durable(tickets), "nobody waits for the block before it");
    assert!(stored.bitmap.has_joined() && stored.start(false) && !stored.bitmap.has_urgent());
}

#[test]
fn blocks_with_all_bits_or_none_take_no_memory_and_tell_what_they_are() {
    let mut bits = Bits::new(layout());
    bits.set_run(BlockRun { start: 0, count: 2 * BITS_PER_BLOCK });
    assert_eq!(bits.next_run(7), Some(BlockRun { start: 7, count: 2 * BITS_PER_BLOCK - 7 }));
    assert!(
        bits.words(1).iter().all(|word| *word == u64::MAX) && bits.words(2).iter().all(|word| *word == 0)
    );
    assert!(!bits.has_memory());
    bits.clear(range(8, 8));
    assert_eq!((bits.out_of_sync(), bits.words(0)[0]), (2 * BITS_PER_BLOCK - 1, u64::MAX - 2));
    bits.clear_all();
    bits.set(range(16, 8));
    assert_eq!((bits.out_of_sync(), bits.words(0)[0], bits.next_run(0).map(BlockRun::end)), (1, 4, Some(3)));
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u16),
    Clear(u64, u16),
    /// A run of blocks, and whether a bitmap that has none takes it over.
    Join(BlockRun, bool),
    ClearAll,
    Start(bool),
    Complete,
    Crash,
}

/// Bits as a set, and those that must be found after a crash: set, waited for, and not cleared since.
#[derive(Default)]
struct Model {
    set: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    waiting: Vec<(Range<u64>, Tickets)>,
}

impl Model {
    fn run(&mut self, stored: &mut Stored, step: &Step) {
        match *step {
            Step::Set(start, count) => {
                let end = if count == 0 { start / 8 } else { (start + u64::from(count)).div_ceil(8) };
                let bits = start / 8..end;
                self.set.extend(bits.clone());
                self.waiting.push((bits, stored.bitmap.set(range(start, count))));
            }
            Step::Clear(start, count) => {
                stored.bitmap.clear(range(start, count));
                let end = start + u64::from(count);
                let end = if end == layout().volume_sectors() { layout().bits() } else { end / 8 };
                for bit in start.div_ceil(8)..end {
                    self.set.remove(&bit);
                    self.answered.remove(&bit);
                    self.waiting.retain(|(bits, _)| !bits.contains(&bit));
                }
            }
            Step::Join(run, is_handed_over) => {
                let mut told = Bits::new(layout());
                told.set_run(run);
                self.set.extend(run.start..run.end());
                if is_handed_over {
                    stored.bitmap.take_over(&mut told);
                    assert_eq!(told.next_run(0), None);
                } else {
                    stored.bitmap.join(&told, 0..2);
                    stored.bitmap.join(&told, 2..3);
                }
            }
            Step::ClearAll => {
                stored.bitmap.clear_all();
                *self = Self::default();
            }
            Step::Start(idle) => _ = stored.start(idle),
            Step::Complete => stored.complete(),
            Step::Crash => self.crash(stored),
        }
        let answered = &mut self.answered;
        self.waiting.retain(|(bits, tickets)| {
            let durable = stored.bitmap.is_durable(*tickets);
            answered.extend(bits.clone().filter(|_| durable));
            !durable
        });
        if !stored.bitmap.has_urgent() && stored.in_flight.is_empty() {
            self.answered.clone_from(&self.set);
        }
    }

    fn crash(&mut self, stored: &mut Stored) {
        stored.crash();
        self.waiting.clear();
        let found = listed(&stored.bitmap, SectorCount(u16::MAX));
        assert!(self.answered.is_subset(&found), "a bit that a write was answered for is gone");
        self.set = found;
    }
}

fn listed(bitmap: &Bitmap, max: SectorCount) -> BTreeSet<u64> {
    let mut bits = BTreeSet::new();
    let mut cursor = Lba(0);
    while let Some(run) = bitmap.next_out_of_sync(cursor, max) {
        assert!(run.start() >= cursor && !run.is_empty(), "runs come in order");
        bits.extend(run.start().0 / 8..run.end().0.div_ceil(8));
        cursor = run.end();
    }
    bits
}

fn any_range() -> impl Strategy<Value = (u64, u16)> {
    let end = layout().volume_sectors();
    let boundary = BITS_PER_BLOCK * SECTORS_PER_BIT;
    // Mostly near the edges of blocks and of the volume.
    let start = prop_oneof![0..600u64, boundary - 600..boundary + 600, end - 1003..end, 0..end];
    (start, 0..600u16).prop_map(move |(start, count)| {
        (start, count.min(u16::try_from((end - start).min(600)).expect("small")))
    })
}

fn any_run() -> impl Strategy<Value = BlockRun> {
    let end = layout().bits();
    let start = prop_oneof![Just(0), Just(BITS_PER_BLOCK), 0..end];
    (start, prop_oneof![0..70u64, Just(BITS_PER_BLOCK), 0..end])
        .prop_map(move |(start, count)| BlockRun { start, count: count.min(end - start) })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_bitmap_does_what_a_set_does_and_loses_nothing_answered(
        steps in proptest::collection::vec(prop_oneof![
            5 => any_range().prop_map(|(start, count)| Step::Set(start, count)),
            3 => any_range().prop_map(|(start, count)| Step::Clear(start, count)),
            2 => (any_run(), any::<bool>()).prop_map(|(run, taken)| Step::Join(run, taken)),
            1 => Just(Step::ClearAll),
            4 => any::<bool>().prop_map(Step::Start),
            3 => Just(Step::Complete),
            1 => Just(Step::Crash),
        ], 1..60),
        max in 1..300u16,
    ) {
        let mut stored = Stored::new();
        let mut model = Model::default();
        for step in &steps {
            model.run(&mut stored, step);
            prop_assert_eq!(stored.bitmap.out_of_sync(), model.set.len() as u64);
            let half = layout().bits() / 2;
            prop_assert_eq!(stored.bitmap.count_in(half..half + 9000), model.set.range(half..half + 9000).count() as u64);
        }
        prop_assert_eq!(listed(&stored.bitmap, SectorCount(max)), model.set);
    }
}

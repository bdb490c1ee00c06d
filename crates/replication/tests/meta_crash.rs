//! Power is lost at any point of any sequence of metadata writes, and each sector in flight is kept, dropped, torn or
//! turned into garbage: what is recovered is, for each kind, what was acknowledged last or what was in flight.

mod common;

use common::{Disk, FORMAT, Random, VOLUME, small_layout, small_state, superblock};
use proptest::prelude::*;
use replication::limits::COUNTED_MAX;
use replication::meta::Torn;
use replication::meta::activity_log::{self, CHANGES_MAX, Change, Extent, RING_BYTES};
use replication::meta::bitmap::{self, PAIR_BYTES, WORDS_PER_BLOCK};
use replication::meta::layout::{Layout, Place, RECORD_BYTES, SMALL_STATE_BYTES};
use replication::meta::record::{self, Sequence};
use replication::meta::small_state::SmallState;
use replication::meta::superblock::Superblock;
use replication::meta::twin::{Side, Turns};

/// One row of records and what should be found of it.
struct Row<T> {
    turns: Turns,
    acknowledged: T,
    in_flight: Option<(T, Place)>,
}

impl<T: Clone + PartialEq + std::fmt::Debug> Row<T> {
    fn new(sequence: Sequence, acknowledged: T) -> Self {
        Self { turns: Turns::after(sequence), acknowledged, in_flight: None }
    }

    fn begin(&mut self, value: T, place: impl FnOnce(Sequence) -> Place) -> (Sequence, Place) {
        let sequence = self.turns.begin();
        let place = place(sequence);
        self.in_flight = Some((value, place));
        (sequence, place)
    }

    fn complete(&mut self, disk: &mut Disk) {
        if let Some((value, place)) = self.in_flight.take() {
            disk.complete(place);
            self.turns.complete();
            self.acknowledged = value;
        }
    }

    /// What was found is what was acknowledged, or what was in flight; from it things go on.
    fn found(&mut self, sequence: Sequence, value: T) {
        let in_flight = self.in_flight.take().map(|(value, _)| value);
        assert!(
            value == self.acknowledged || Some(&value) == in_flight.as_ref(),
            "found {value:?}, a mix or older"
        );
        *self = Self::new(sequence, value);
    }
}

type Slots = Vec<Option<Extent>>;

struct Metadata {
    layout: Layout,
    disk: Disk,
    superblock: Row<Superblock>,
    small_state: Row<SmallState>,
    log: Row<Slots>,
    bitmap: Vec<Row<Vec<u64>>>,
}

#[derive(Clone, Debug)]
enum Step {
    Superblock(u64),
    SmallState(u64),
    Transaction(Vec<(u32, u32)>),
    Bitmap(u32, u64),
    Complete,
    LosePower(u64),
}

impl Metadata {
    fn format(layout: Layout) -> Self {
        let mut disk = Disk::blank(layout);
        let first = superblock(layout, 1);
        let mut bytes = [0; RECORD_BYTES];
        first.emit(&mut bytes, FORMAT, Sequence(1));
        disk.write(Layout::superblock(Side::One), &bytes);
        let blank = vec![0; WORDS_PER_BLOCK];
        Self {
            layout,
            disk,
            superblock: Row::new(Sequence(1), first),
            small_state: Row::new(Sequence::NONE, SmallState::new(VOLUME)),
            log: Row::new(Sequence::NONE, vec![None; layout.hot_extents() as usize]),
            bitmap: (0..layout.bitmap_blocks()).map(|_| Row::new(Sequence::NONE, blank.clone())).collect(),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Superblock(epoch) => self.write_superblock(*epoch),
            Step::SmallState(revision) => self.write_small_state(*revision),
            Step::Transaction(changes) => self.write_transaction(changes),
            Step::Bitmap(block, seed) => self.write_bitmap(*block, *seed),
            Step::Complete => self.complete(),
            Step::LosePower(seed) => {
                let mut random = Random(*seed);
                self.disk.lose_power(&mut random);
                self.recover();
                self.scramble(&mut random);
            }
        }
    }

    fn write_superblock(&mut self, epoch: u64) {
        self.superblock.complete(&mut self.disk);
        let value = superblock(self.layout, epoch);
        let (sequence, place) = self.superblock.begin(value, |s| Layout::superblock(Side::of(s)));
        let mut bytes = [0xee; RECORD_BYTES];
        value.emit(&mut bytes, FORMAT, sequence);
        self.disk.begin(place, &bytes);
    }

    fn write_small_state(&mut self, revision: u64) {
        self.small_state.complete(&mut self.disk);
        let mut value = small_state(revision);
        value.config_string = revision.to_le_bytes().repeat(128);
        let (sequence, place) = self.small_state.begin(value.clone(), |s| Layout::small_state(Side::of(s)));
        let mut bytes = [0xee; SMALL_STATE_BYTES];
        value.emit(&mut bytes, FORMAT, sequence);
        self.disk.begin(place, &bytes);
    }

    fn write_transaction(&mut self, changes: &[(u32, u32)]) {
        self.log.complete(&mut self.disk);
        let mut slots = self.log.acknowledged.clone();
        for (slot, extent) in changes {
            slots[*slot as usize] = Some(Extent(*extent));
        }
        let (sequence, place) = self.log.begin(slots.clone(), |s| Layout::transaction(s.0));
        let mut bytes = [0xee; RECORD_BYTES];
        let changes = changes.iter().map(|(slot, extent)| Change { slot: *slot, extent: Extent(*extent) });
        activity_log::emit(&mut bytes, self.layout, FORMAT, sequence, changes, slots.iter().copied());
        self.disk.begin(place, &bytes);
    }

    fn write_bitmap(&mut self, block: u32, seed: u64) {
        let row = &mut self.bitmap[block as usize];
        row.complete(&mut self.disk);
        let valid = bitmap::bits_in_block(self.layout, block);
        let whole_words = usize::try_from(valid / 64).expect("at most 504");
        let mut random = Random(seed);
        let mut words = vec![0; WORDS_PER_BLOCK];
        words[..whole_words].fill_with(|| random.draw());
        let (sequence, place) = row.begin(words.clone(), |s| self.layout.bitmap_block(block, Side::of(s)));
        let mut bytes = [0xee; RECORD_BYTES];
        bitmap::emit(&mut bytes, self.layout, FORMAT, block, sequence, &words);
        self.disk.begin(place, &bytes);
    }

    fn complete(&mut self) {
        self.superblock.complete(&mut self.disk);
        self.small_state.complete(&mut self.disk);
        self.log.complete(&mut self.disk);
        for row in &mut self.bitmap {
            row.complete(&mut self.disk);
        }
    }

    fn recover(&mut self) {
        let disk = &self.disk;
        let [zero, one] = Side::BOTH.map(|side| disk.at(Layout::superblock(side), RECORD_BYTES));
        let twin = Superblock::read(zero, one).expect("a superblock");
        let (sequence, (format, value)) = twin.newest.expect("formatted");
        assert_eq!(format, FORMAT);
        self.superblock.found(sequence, value);

        let [zero, one] = Side::BOTH.map(|side| disk.at(Layout::small_state(side), SMALL_STATE_BYTES));
        let twin = SmallState::read(zero, one, FORMAT).expect("a small state or none");
        let sequence = twin.sequence();
        self.small_state.found(sequence, twin.newest.map_or(SmallState::new(VOLUME), |(_, value)| value));

        let ring = disk.at(Layout::transaction(0), RING_BYTES);
        let replay = activity_log::replay(ring, self.layout, FORMAT).expect("a log");
        self.log.found(replay.newest, replay.slots);

        for (block, row) in (0..).zip(&mut self.bitmap) {
            let pair = disk.at(self.layout.bitmap_block(block, Side::Zero), PAIR_BYTES);
            let twin = bitmap::read(pair, self.layout, FORMAT, block).expect("a bitmap block or none");
            let sequence = twin.sequence();
            let words = twin.newest.map_or(vec![0; WORDS_PER_BLOCK], |(_, bits)| bits.words().collect());
            row.found(sequence, words);
        }
    }
}

impl Metadata {
    /// As an engine begins, which may lose power in the middle of it.
    fn scramble(&mut self, random: &mut Random) {
        loop {
            let opened = common::opened(&self.disk.bytes);
            for Torn { place, kind } in opened.torn.iter().copied() {
                let mut bytes = vec![0; kind.bytes()];
                record::scramble(&mut bytes, place, FORMAT);
                self.disk.begin(place, &bytes);
            }
            if random.below(3) > 0 {
                return opened.torn.iter().for_each(|torn| self.disk.complete(torn.place));
            }
            self.disk.lose_power(random);
            self.recover();
        }
    }
}

fn steps(layout: Layout, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let change = (0..layout.hot_extents(), 0..layout.extents());
    let step = prop_oneof![
        1 => any::<u32>().prop_map(|epoch| Step::Superblock(u64::from(epoch))),
        1 => (0..=COUNTED_MAX).prop_map(Step::SmallState),
        3 => proptest::collection::vec(change, 0..=CHANGES_MAX).prop_map(Step::Transaction),
        3 => (0..layout.bitmap_blocks(), any::<u64>()).prop_map(|(block, seed)| Step::Bitmap(block, seed)),
        1 => Just(Step::Complete),
        2 => any::<u64>().prop_map(Step::LosePower),
    ];
    proptest::collection::vec(step, 1..count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_what_was_acknowledged_or_what_was_in_flight(steps in steps(small_layout(), 40)) {
        let mut metadata = Metadata::format(small_layout());
        for step in &steps {
            metadata.run(step);
        }
        metadata.disk.lose_power(&mut Random(1));
        metadata.recover();
    }
}

/// The first torn write brings the header and garbage after it, the second one only what was garbage.
#[test]
fn what_is_torn_twice_at_one_place_is_nothing() {
    let mut metadata = Metadata::format(small_layout());
    for step in [
        Step::Transaction(vec![(0, 0)]),
        Step::LosePower(1_344_813_473_320_618_856),
        Step::Transaction(Vec::new()),
        Step::LosePower(2_945_343_844_886_059_327),
    ] {
        metadata.run(&step);
    }
}

#[test]
fn what_is_scrambled_is_no_record_whatever_stands_beside_it() {
    let layout = small_layout();
    let mut metadata = Metadata::format(layout);
    let words = 0..=u64::MAX;
    for (block, seed) in (0..).zip(words).take(layout.bitmap_blocks() as usize) {
        metadata.write_bitmap(block, seed);
        let place = layout.bitmap_block(block, Side::One);
        let mut junk = vec![0; RECORD_BYTES];
        record::scramble(&mut junk, place, FORMAT);
        metadata.complete();
        let whole = metadata.disk.at(place, RECORD_BYTES).to_vec();
        for sector in 0..RECORD_BYTES / 512 {
            let mut torn = whole.clone();
            torn[sector * 512..][..512].copy_from_slice(&junk[sector * 512..][..512]);
            metadata.disk.write(place, &torn);
            let opened = common::opened(&metadata.disk.bytes);
            assert!(opened.torn.iter().any(|torn| torn.place == place), "sector {sector}");
        }
        metadata.disk.write(place, &whole);
    }
}

#[test]
fn the_ring_wraps_and_a_log_larger_than_a_window_is_found_again() {
    let layout = Layout::new(1 << 31, 4096).expect("1 TiB");
    let mut slots: Slots = vec![None; 4096];
    let mut ring = vec![0; RING_BYTES];
    let mut random = Random(7);
    for sequence in (1..=700).map(Sequence) {
        let changes: Vec<Change> = (0..random.below(64))
            .map(|_| Change {
                slot: u32::try_from(random.below(4096)).expect("a slot"),
                extent: Extent(u32::try_from(random.below(u64::from(layout.extents()))).expect("an extent")),
            })
            .collect();
        for change in &changes {
            slots[change.slot as usize] = Some(change.extent);
        }
        let mut bytes = [0; RECORD_BYTES];
        activity_log::emit(&mut bytes, layout, FORMAT, sequence, changes.into_iter(), slots.iter().copied());
        let at = usize::try_from(sequence.0 % 128).expect("small") * RECORD_BYTES;
        ring[at..at + RECORD_BYTES].copy_from_slice(&bytes);
        if sequence.0.is_multiple_of(50) || sequence.0 < 9 {
            let replay = activity_log::replay(&ring, layout, FORMAT).expect("whole");
            assert_eq!((replay.newest, &replay.slots), (sequence, &slots));
        }
    }
}

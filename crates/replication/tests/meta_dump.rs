//! A dump of a sample metadata file, word for word; `REWRITE_TESTDATA=1` writes it anew.

mod common;

use std::convert::Infallible;

use common::{Disk, FORMAT, Random, small_layout, small_state, superblock};
use proptest::prelude::*;
use replication::dump::{Dump, DumpError, Source};
use replication::meta::activity_log::{self, Change, Extent};
use replication::meta::bitmap::{self, WORDS_PER_BLOCK};
use replication::meta::layout::{Layout, Place, RECORD_BYTES, SMALL_STATE_BYTES};
use replication::meta::record::Sequence;
use replication::meta::twin::{Side, TwinError};

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    type Error = Infallible;

    fn byte_count(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, place: Place, into: &mut [u8]) -> Result<(), Infallible> {
        let start = usize::try_from(place.0).expect("in memory").min(self.0.len());
        into.copy_from_slice(&self.0[start..start + into.len()]);
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<Dump, DumpError<Infallible>> {
    Dump::read(&mut Bytes(bytes))
}

/// A sole member that crashed: the log has a torn tail, two bitmap blocks were written.
fn sample() -> Disk {
    let layout = small_layout();
    let mut disk = Disk::blank(layout);
    for sequence in [6, 7].map(Sequence) {
        let mut record = [0; RECORD_BYTES];
        superblock(layout, sequence.0).emit(&mut record, FORMAT, sequence);
        disk.write(Layout::superblock(Side::of(sequence)), &record);
    }
    let mut record = [0; SMALL_STATE_BYTES];
    small_state(5).emit(&mut record, FORMAT, Sequence(1));
    disk.write(Layout::small_state(Side::One), &record);
    let mut slots = vec![None; 64];
    for sequence in (1..=4).map(Sequence) {
        let changes: Vec<Change> = (0..u32::try_from(sequence.0).expect("small"))
            .map(|index| Change { slot: index, extent: Extent(index * 2 + 1) })
            .collect();
        for change in &changes {
            slots[change.slot as usize] = Some(change.extent);
        }
        let mut record = [0; RECORD_BYTES];
        activity_log::emit(&mut record, layout, FORMAT, sequence, changes.into_iter(), slots.iter().copied());
        if sequence == Sequence(4) {
            record[1024..1536].fill(0xdb);
        }
        disk.write(Layout::transaction(sequence.0), &record);
    }
    // A run across the end of the first block, and one in the second that a torn write left as it was.
    write_block(&mut disk, 0, 1, |words| words[WORDS_PER_BLOCK - 1] = 0xf << 60);
    write_block(&mut disk, 1, 1, |words| (words[0], words[3]) = (0b1_0011, u64::MAX));
    let torn = layout.bitmap_block(1, Side::Zero);
    disk.write(torn, &[0x55; RECORD_BYTES]);
    disk
}

fn write_block(disk: &mut Disk, block: u32, sequence: u64, set: impl FnOnce(&mut [u64; WORDS_PER_BLOCK])) {
    let (layout, sequence) = (small_layout(), Sequence(sequence));
    let mut words = [0; WORDS_PER_BLOCK];
    set(&mut words);
    let mut record = [0; RECORD_BYTES];
    bitmap::emit(&mut record, layout, FORMAT, block, sequence, &words);
    disk.write(layout.bitmap_block(block, Side::of(sequence)), &record);
}

#[test]
fn a_sample_is_told_word_for_word() {
    let text = read(&sample().bytes).expect("metadata").to_string();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/dump.txt");
    if std::env::var_os("REWRITE_TESTDATA").is_some() {
        std::fs::write(path, &text).expect("testdata is writable");
    }
    let golden = std::fs::read_to_string(path).expect("testdata/dump.txt; REWRITE_TESTDATA=1 writes it");
    assert_eq!(text, golden);
}

#[test]
fn what_a_crash_leaves_is_no_damage_and_what_it_cannot_leave_is() {
    let mut disk = sample();
    let dump = read(&disk.bytes).expect("metadata");
    assert!(!dump.is_damaged());
    assert_eq!((dump.bitmap.out_of_sync, dump.bitmap.run_count), (4 + 3 + 64, 3), "one run crosses blocks");
    disk.write(small_layout().bitmap_block(2, Side::Zero), &[0x55; RECORD_BYTES]);
    let dump = read(&disk.bytes).expect("metadata");
    assert!(dump.is_damaged() && dump.bitmap.in_doubt == 1);
}

#[test]
fn bits_beyond_the_end_of_the_volume_count_for_nothing() {
    let (layout, mut disk) = (small_layout(), sample());
    let before = read(&disk.bytes).expect("metadata").bitmap;
    let last = layout.bitmap_blocks() - 1;
    let valid = bitmap::bits_in_block(layout, last);
    let whole_words = usize::try_from(valid / 64).expect("small");
    write_block(&mut disk, last, 1, |words| words[whole_words + 1..].fill(u64::MAX));
    let bitmap = read(&disk.bytes).expect("metadata").bitmap;
    assert_eq!((bitmap.out_of_sync, &bitmap.runs), (before.out_of_sync, &before.runs));
    write_block(&mut disk, last, 2, |words| words.fill(u64::MAX));
    let bitmap = read(&disk.bytes).expect("metadata").bitmap;
    assert_eq!(bitmap.out_of_sync, before.out_of_sync + valid);
    let run = bitmap.runs.last().expect("a run");
    assert_eq!(run.start + run.sectors, layout.volume_sectors());
}

#[test]
fn what_is_no_metadata_or_cut_short_is_said_to_be() {
    assert_eq!(read(&[0; 4 << 20]), Err(DumpError::Superblock(TwinError::NoMetadata)));
    assert!(matches!(read(b"text"), Err(DumpError::Superblock(TwinError::BothLost { .. }))));
    let bytes = sample().bytes;
    let needed = bytes.len() as u64;
    let cut = DumpError::CutShort { bytes: needed - 1, needed, volume_sectors: 588_003 };
    assert_eq!(read(&bytes[..bytes.len() - 1]), Err(cut));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_told_without_panic(seed in any::<u64>(), hits in 1..200) {
        let mut random = Random(seed);
        let mut bytes = sample().bytes;
        // Where records are, with each kind as likely as the others.
        let places = [0, 4096, 65_536, 1 << 20, (1 << 20) + 4096, 2 << 20];
        for _ in 0..hits {
            let place = places[usize::try_from(random.below(6)).expect("small")];
            let at = (place + usize::try_from(random.below(16_384)).expect("small")) % bytes.len();
            bytes[at] = u8::try_from(random.below(256)).expect("a byte");
        }
        let _ = read(&bytes).map(|dump| dump.to_string());
    }
}

//! Records byte for byte, there and back, and every way in which one is not what it should be.

mod common;

use common::{FORMAT, VOLUME, small_layout, small_state, superblock};
use proptest::prelude::*;
use replication::bitmap::{Bitmap, Loaded};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::limits::COUNTED_MAX;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::meta::activity_log::{self, Change, Extent, RING_BYTES, ReplayError, Transaction};
use replication::meta::bitmap::{self, WORDS_PER_BLOCK};
use replication::meta::layout::{Layout, Place, RECORD_BYTES, SMALL_STATE_BYTES};
use replication::meta::record::{Flaw, HEADER_BYTES, Sequence};
use replication::meta::small_state::SmallState;
use replication::meta::superblock::Superblock;
use replication::meta::twin::{Side, TwinError};

fn superblock_record(sequence: u64) -> [u8; RECORD_BYTES] {
    let mut slot = [0xee; RECORD_BYTES];
    superblock(small_layout(), 7).emit(&mut slot, FORMAT, Sequence(sequence));
    slot
}

fn state_record(sequence: u64) -> [u8; SMALL_STATE_BYTES] {
    let mut slot = [0xee; SMALL_STATE_BYTES];
    small_state(5).emit(&mut slot, FORMAT, Sequence(sequence));
    slot
}

fn transaction_record(sequence: u64) -> [u8; RECORD_BYTES] {
    let mut slot = [0xee; RECORD_BYTES];
    let mut slots = vec![None; 64];
    slots[3] = Some(Extent(71));
    let change = Change { slot: 3, extent: Extent(71) };
    activity_log::emit(
        &mut slot,
        small_layout(),
        FORMAT,
        Sequence(sequence),
        [change].into_iter(),
        slots.iter().copied(),
    );
    slot
}

fn block_record(block: u32, sequence: u64) -> [u8; RECORD_BYTES] {
    let mut slot = [0xee; RECORD_BYTES];
    let mut words = [0; WORDS_PER_BLOCK];
    words[0] = 0b101;
    bitmap::emit(&mut slot, small_layout(), FORMAT, block, Sequence(sequence), &words);
    slot
}

/// Lines of sixteen bytes that are not all zero, each with its offset.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{:04x}: {}\n", index * 16, line.join(" "));
    }
    text
}

#[test]
fn every_kind_of_record_is_byte_for_byte_what_it_was() {
    let mut text = String::from("# Records of version 1; lines of zeros are left out.\n");
    text += &format!("\n## superblock, sequence 7\n{}", hex(&superblock_record(7)));
    text += &format!("\n## small state, sequence 2\n{}", hex(&state_record(2)));
    text += &format!("\n## activity-log transaction, sequence 130\n{}", hex(&transaction_record(130)));
    text += &format!("\n## bitmap block 2, sequence 9\n{}", hex(&block_record(2, 9)));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/records.txt");
    if std::env::var_os("REWRITE_TESTDATA").is_some() {
        std::fs::write(path, &text).expect("testdata is writable");
    }
    let golden = std::fs::read_to_string(path).expect("testdata/records.txt; REWRITE_TESTDATA=1 writes it");
    assert_eq!(text, golden, "the format changed: that needs a new version, not a new file");
}

#[test]
fn the_header_is_laid_out_as_drawn() {
    let slot = superblock_record(7);
    assert_eq!(&slot[..8], b"EPmeta\r\n");
    assert_eq!(slot[8..12], [1, 0, 1, 0], "version 1, kind 1");
    assert_eq!(slot[12..16], [64, 0, 0, 0]);
    assert_eq!(slot[16..24], (1u64 << 20).to_le_bytes(), "odd numbers lie at 1 MiB");
    assert_eq!(slot[24..40], FORMAT.0.to_le_bytes());
    assert_eq!(slot[40..48], [7, 0, 0, 0, 0, 0, 0, 0]);
    assert!(slot[128..].iter().all(|byte| *byte == 0), "what was there before is gone");
}

#[test]
fn records_of_each_kind_read_back() {
    let (sequence, (format, read)) = Superblock::parse(&superblock_record(7), Side::One).expect("good");
    assert_eq!((sequence, format, read), (Sequence(7), FORMAT, superblock(small_layout(), 7)));
    let read = SmallState::parse(&state_record(2), Side::Zero, FORMAT).expect("good");
    assert_eq!(read, (Sequence(2), small_state(5)));
    let read = Transaction::parse(&transaction_record(130), 2, small_layout(), FORMAT).expect("good");
    assert_eq!(read.changes, [Change { slot: 3, extent: Extent(71) }]);
    let record = block_record(2, 9);
    let (sequence, bits) = bitmap::parse(&record, small_layout(), FORMAT, 2, Side::One).expect("good");
    assert_eq!((sequence, bits.words().next()), (Sequence(9), Some(0b101)));
}

#[test]
fn a_record_in_the_wrong_place_is_recognised() {
    let flaw = Superblock::parse(&superblock_record(7), Side::Zero).expect_err("side 1's").flaw;
    assert_eq!(flaw, Flaw::Misdirected { found: Place(1 << 20), sequence: Sequence(7) });
    let record = block_record(1, 8);
    let error = bitmap::parse(&record, small_layout(), FORMAT, 2, Side::Zero).expect_err("block 1's");
    let found = small_layout().bitmap_block(1, Side::Zero);
    assert_eq!(error.flaw, Flaw::Misdirected { found, sequence: Sequence(8) });
    assert_eq!(
        error.to_string(),
        format!(
            "bitmap block at byte {}: the record 8 of byte {} lies there, written to the wrong place; \
             suspect the disk, make new metadata and resync",
            small_layout().bitmap_block(2, Side::Zero).0,
            found.0
        )
    );
}

#[test]
fn a_record_of_another_formatting_is_recognised() {
    let ours = FormatIdentity(1);
    let flaw = SmallState::parse(&state_record(2), Side::Zero, ours).expect_err("foreign").flaw;
    assert_eq!(flaw, Flaw::Foreign { found: FORMAT });
    let mut other = [0; RECORD_BYTES];
    superblock(small_layout(), 1).emit(&mut other, ours, Sequence(8));
    let error = Superblock::read(&other, &superblock_record(7)).expect_err("two formats");
    assert_eq!(error, TwinError::TwoFormats { zero: ours, one: FORMAT });
}

#[test]
fn an_older_copy_is_known_to_be_older() {
    let pair = [block_record(1, 4), block_record(1, 5)].concat();
    let twin = bitmap::read(&pair, small_layout(), FORMAT, 1).expect("good");
    assert_eq!((twin.sequence(), twin.flaw), (Sequence(5), None));
}

#[test]
fn a_later_version_is_refused_and_nothing_older_is_used_instead() {
    let mut later = superblock_record(8);
    later[8] = 2;
    let crc = crc32fast::hash(&later[..60]);
    later[60..64].copy_from_slice(&crc.to_le_bytes());
    let error = Superblock::read(&later, &superblock_record(7)).expect_err("refused");
    assert!(matches!(error, TwinError::Refused(error) if error.flaw == Flaw::UnknownVersion { found: 2 }));
    assert_eq!(
        error.to_string(),
        "superblock at byte 0: format version 2, this program knows 1 to 1; use the newer etherpair that wrote it"
    );
}

#[test]
fn what_is_no_metadata_is_told_so() {
    let blank = [0; RECORD_BYTES];
    assert_eq!(Superblock::read(&blank, &blank), Err(TwinError::NoMetadata));
    let text = [b'x'; RECORD_BYTES];
    let flaw = Superblock::parse(&text, Side::Zero).expect_err("no record").flaw;
    assert_eq!(flaw, Flaw::NotARecord { found: *b"xxxxxxxx" });
    let flaw = Superblock::parse(&superblock_record(8)[..512], Side::Zero).expect_err("short").flaw;
    assert_eq!(flaw, Flaw::CutShort { bytes: 512 });
}

fn ring(sequences: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut ring = vec![0; RING_BYTES];
    for sequence in sequences {
        let at = usize::try_from(sequence % 128).expect("small") * RECORD_BYTES;
        ring[at..at + RECORD_BYTES].copy_from_slice(&transaction_record(sequence));
    }
    ring
}

fn replay(ring: &[u8]) -> Result<Sequence, ReplayError> {
    activity_log::replay(ring, small_layout(), FORMAT).map(|replay| replay.newest)
}

#[test]
fn a_torn_tail_is_passed_over_and_a_broken_row_is_not() {
    let mut torn = ring(1..=9);
    torn[9 * RECORD_BYTES + 100] ^= 1;
    let replayed = activity_log::replay(&torn, small_layout(), FORMAT).expect("one torn");
    assert_eq!(replayed.newest, Sequence(8));
    assert_eq!(replayed.torn.expect("seen").place, Layout::transaction(9));
    torn[8 * RECORD_BYTES + 100] ^= 1;
    assert!(matches!(replay(&torn), Err(ReplayError::Hole { missing: Sequence(9), .. })));
    let mut first = ring(5..=5);
    first[5 * RECORD_BYTES] ^= 1;
    assert!(matches!(replay(&first), Err(ReplayError::Hole { missing: Sequence(5), .. })));
}

#[test]
fn a_transaction_that_went_astray_is_missed() {
    let mut astray = ring(1..=9);
    astray[60 * RECORD_BYTES..61 * RECORD_BYTES].copy_from_slice(&transaction_record(10));
    assert!(matches!(replay(&astray), Err(ReplayError::Astray { sequence: Sequence(10), .. })));
}

#[test]
fn a_superblock_in_the_place_of_an_old_transaction_costs_nothing() {
    let intact = ring(1..=9);
    let mut strayed = intact.clone();
    strayed[2 * RECORD_BYTES..3 * RECORD_BYTES].copy_from_slice(&superblock_record(13));
    assert_eq!(replay(&strayed), replay(&intact));
    strayed[9 * RECORD_BYTES..10 * RECORD_BYTES].copy_from_slice(&superblock_record(13));
    assert!(
        matches!(replay(&strayed), Err(ReplayError::Astray { sequence: Sequence(13), .. })),
        "over the newest"
    );
}

#[test]
fn a_lost_write_in_a_log_of_several_windows_is_missed() {
    let layout = Layout::new(1 << 31, 4096).expect("1 TiB");
    let slots = vec![None; 4096];
    let mut ring = vec![0; RING_BYTES];
    for sequence in (1..=300).filter(|sequence| *sequence != 298).map(Sequence) {
        let at = usize::try_from(sequence.0 % 128).expect("small") * RECORD_BYTES;
        let slot = (&mut ring[at..at + RECORD_BYTES]).try_into().expect("a slot");
        activity_log::emit(slot, layout, FORMAT, sequence, std::iter::empty(), slots.iter().copied());
    }
    let stale = ReplayError::Stale { missing: Sequence(298), found: Sequence(170) };
    assert_eq!(activity_log::replay(&ring, layout, FORMAT), Err(stale));
}

#[test]
fn a_number_that_nobody_counted_up_to_is_refused() {
    let Sequence(last) = Sequence::LAST;
    assert!(Superblock::parse(&superblock_record(last), Side::Zero).is_ok());
    for sequence in [last + 2, u64::MAX - 1] {
        let flaw = Flaw::OutOfRow { found: Sequence(sequence) };
        let errors = [
            Superblock::parse(&superblock_record(sequence), Side::Zero).map(drop),
            SmallState::parse(&state_record(sequence), Side::Zero, FORMAT).map(drop),
            bitmap::parse(&block_record(2, sequence), small_layout(), FORMAT, 2, Side::Zero).map(drop),
        ];
        assert!(errors.into_iter().all(|read| read.expect_err("refused").flaw == flaw), "{sequence}");
        // Alone in the ring it is a hole, and right behind the newest it counts as torn.
        assert!(matches!(replay(&ring([sequence].into_iter())), Err(ReplayError::Hole { .. })));
        let before = sequence % 128 - 1;
        assert_eq!(replay(&ring((1..=before).chain([sequence]))), Ok(Sequence(before)));
    }
    let mut slot = [0; RECORD_BYTES];
    superblock(small_layout(), last + 1).emit(&mut slot, FORMAT, Sequence(7));
    let flaw = Superblock::parse(&slot, Side::One).expect_err("refused").flaw;
    assert_eq!(flaw, Flaw::Value { what: "epoch" });
    let mut slot = [0; SMALL_STATE_BYTES];
    small_state(last + 1).emit(&mut slot, FORMAT, Sequence(2));
    let flaw = SmallState::parse(&slot, Side::Zero, FORMAT).expect_err("refused").flaw;
    assert_eq!(flaw, Flaw::Value { what: "revision" });
}

fn any_superblock() -> impl Strategy<Value = Superblock> {
    let members = prop_oneof![
        Just(Members::Both),
        Just(Members::Only(NodeNumber::Zero)),
        Just(Members::Only(NodeNumber::One))
    ];
    let numbers = (any::<u128>(), any::<u128>(), 0..=COUNTED_MAX, 1..=1u64 << 39, 64..=65_536u32);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, flags, members).prop_map(|(numbers, (zero, clean, inconsistent, disk_lost), members)| {
        let (volume, pair, epoch, sectors, hot_extents) = numbers;
        Superblock {
            volume: VolumeIdentity(volume),
            pair: PairIdentity(pair),
            node: if zero { NodeNumber::Zero } else { NodeNumber::One },
            layout: Layout::new(sectors, hot_extents).expect("within bounds"),
            membership: Membership { epoch: Epoch(epoch), members },
            clean,
            inconsistent,
            disk_lost,
        }
    })
}

fn any_state() -> impl Strategy<Value = SmallState> {
    let addresses = || proptest::collection::vec(any::<[u8; 6]>(), 0..=255);
    let config = proptest::collection::vec(any::<u8>(), 0..=1024);
    (0..=COUNTED_MAX, config, addresses(), addresses()).prop_map(
        |(revision, config_string, mac_mask, reservation)| SmallState {
            volume: VOLUME,
            revision,
            config_string,
            mac_mask,
            reservation,
        },
    )
}

/// A good record with its payload or header changed and the checksums made to fit, so that the readers' own checks are met.
fn forge(slot: &mut [u8], at: usize, value: u8) {
    let at = at % slot.len();
    slot[at] = value;
    let length = u32::from_le_bytes(slot[12..16].try_into().expect("four bytes"));
    let end = (HEADER_BYTES + usize::try_from(length).expect("64 bits")).min(slot.len());
    let payload = crc32fast::hash(&slot[HEADER_BYTES..end]);
    slot[48..52].copy_from_slice(&payload.to_le_bytes());
    let header = crc32fast::hash(&slot[..60]);
    slot[60..64].copy_from_slice(&header.to_le_bytes());
}

/// Reads `slot` as every kind; only a panic would be wrong.
fn read_as_everything(slot: &[u8]) {
    for side in Side::BOTH {
        let _ = Superblock::parse(slot, side).map_err(|error| error.to_string());
        let _ = SmallState::parse(slot, side, FORMAT).map_err(|error| error.to_string());
        let _ = bitmap::parse(slot, small_layout(), FORMAT, 2, side).map_err(|error| error.to_string());
    }
    let _ = Transaction::parse(slot, 2, small_layout(), FORMAT).map_err(|error| error.to_string());
}

proptest! {
    #[test]
    fn a_superblock_reads_back(value in any_superblock(), format in any::<u128>(), sequence in 1..=COUNTED_MAX) {
        let mut slot = [0xee; RECORD_BYTES];
        value.emit(&mut slot, FormatIdentity(format), Sequence(sequence));
        let read = Superblock::parse(&slot, Side::of(Sequence(sequence)));
        prop_assert_eq!(read, Ok((Sequence(sequence), (FormatIdentity(format), value))));
    }

    #[test]
    fn a_small_state_reads_back(value in any_state(), sequence in 1..=COUNTED_MAX) {
        let mut slot = [0xee; SMALL_STATE_BYTES];
        value.emit(&mut slot, FORMAT, Sequence(sequence));
        let read = SmallState::parse(&slot, Side::of(Sequence(sequence)), FORMAT);
        prop_assert_eq!(read, Ok((Sequence(sequence), value)));
    }

    #[test]
    fn a_single_changed_byte_is_noticed(at in 0..HEADER_BYTES + 64, change in 1..=255u8) {
        let mut slot = superblock_record(7);
        slot[at] ^= change;
        prop_assert!(Superblock::parse(&slot, Side::One).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn forged_records_are_read_without_panic(kind in 0..4, changes in proptest::collection::vec((0..700usize, any::<u8>()), 1..8)) {
        let mut slot = match kind {
            0 => superblock_record(7).to_vec(),
            1 => state_record(2).to_vec(),
            2 => transaction_record(130).to_vec(),
            _ => block_record(2, 9).to_vec(),
        };
        for (at, value) in changes {
            forge(&mut slot, at, value);
        }
        read_as_everything(&slot);
    }

    #[test]
    fn an_arbitrary_ring_is_replayed_without_panic(seed in any::<u64>(), hits in 0..40u64) {
        let mut random = common::Random(seed);
        let mut ring = ring(1..=random.below(300));
        for _ in 0..hits {
            let at = usize::try_from(random.below(RING_BYTES as u64)).expect("small");
            ring[at] = u8::try_from(random.below(256)).expect("a byte");
        }
        let _ = activity_log::replay(&ring, small_layout(), FORMAT).map_err(|error| error.to_string());
    }
}

#[test]
fn bits_beyond_the_end_of_the_volume_were_of_a_size_that_did_not_come() {
    let mut pair = [block_record(2, 8), block_record(2, 9)].concat();
    let newest: &mut [u8; RECORD_BYTES] = pair[RECORD_BYTES..].first_chunk_mut().expect("the second");
    forge(newest, RECORD_BYTES - 1, 1);
    let mut bitmap = Bitmap::new(small_layout(), FORMAT);
    assert_eq!(bitmap.load(2, &pair), Ok(Loaded::Good));
    let before = bitmap.out_of_sync();
    let mut plain = Bitmap::new(small_layout(), FORMAT);
    let pair = [block_record(2, 8), block_record(2, 9)].concat();
    assert_eq!(plain.load(2, &pair), Ok(Loaded::Good));
    assert_eq!(before, plain.out_of_sync());
}

//! Metadata from the moment it is made, opened as a node does at start, with every kind of damage.

mod common;

use block::{BlockError, Lba, LbaRange, SectorCount};
use common::{Disk, FORMAT, PAIR, VOLUME, small_layout, small_state};
use proptest::prelude::*;
use replication::membership::{Membership, NodeNumber};
use replication::meta::activity_log::{self, Extent, ReplayError};
use replication::meta::layout::{Layout, Place, RECORD_BYTES, SMALL_STATE_BYTES};
use replication::meta::record::{Flaw, Sequence};
use replication::meta::superblock::Superblock;
use replication::meta::twin::{Side, TwinError};
use replication::meta::{FINDINGS_MAX, Finding, Format, Fresh, OpenError, Opened, format, open};

fn fresh(good: bool) -> Fresh {
    format(Format {
        format: FORMAT,
        volume: VOLUME,
        pair: PAIR,
        node: NodeNumber::One,
        layout: small_layout(),
        membership: Membership::FIRST,
        good,
    })
}

fn formatted(good: bool) -> Disk {
    let mut disk = Disk::blank(small_layout());
    for (place, record) in fresh(good).bitmap_records().chain(fresh(good).superblock_records()) {
        disk.write(place, &record);
    }
    disk
}

/// Opens what a file holds; pages in `unreadable` fail.
fn open_with(bytes: &[u8], unreadable: &[Place]) -> Result<Opened, OpenError> {
    open(|place, into| {
        let end = Place(place.0 + into.len() as u64);
        if unreadable.iter().any(|page| (place..end).contains(page)) {
            return Err(BlockError::Medium);
        }
        assert!(place.0 % 4096 == 0 && into.len() % 4096 == 0 && into.len() <= 512 << 10);
        let start = usize::try_from(place.0).expect("in memory");
        let found = bytes.get(start..start + into.len()).ok_or(BlockError::BeyondEnd)?;
        into.copy_from_slice(found);
        Ok(())
    })
}

fn opened(disk: &Disk) -> Opened {
    open_with(&disk.bytes, &[]).expect("metadata")
}

fn write_state(disk: &mut Disk, revision: u64, sequence: Sequence) {
    let mut record = [0; SMALL_STATE_BYTES];
    small_state(revision).emit(&mut record, FORMAT, sequence);
    disk.write(Layout::small_state(Side::of(sequence)), &record);
}

fn write_transaction(disk: &mut Disk, sequence: u64) {
    let mut record = [0; RECORD_BYTES];
    let mut slots = vec![None; 64];
    slots[0] = Some(Extent(5));
    activity_log::emit(
        &mut record,
        small_layout(),
        FORMAT,
        Sequence(sequence),
        std::iter::empty(),
        slots.iter().copied(),
    );
    disk.write(Layout::transaction(sequence), &record);
}

#[test]
fn fresh_metadata_of_a_good_copy_has_nothing_out_of_sync() {
    let found = opened(&formatted(true));
    assert_eq!((found.format, found.superblock), (FORMAT, fresh(true).superblock()));
    assert!(found.superblock.clean && !found.superblock.inconsistent);
    assert_eq!(found.superblock_sequence, Sequence(2));
    assert_eq!((found.small_state, found.small_state_sequence), (None, Sequence::NONE));
    let log = found.log.expect("a blank log");
    assert_eq!((log.newest, log.extents().count(), log.torn), (Sequence::NONE, 0, None));
    assert_eq!(found.bitmap.out_of_sync(), 0);
    assert_eq!(found.findings.count, 0);
    assert_eq!(fresh(true).byte_count(), small_layout().byte_count());
}

#[test]
fn fresh_metadata_of_a_copy_that_is_not_good_has_everything_out_of_sync() {
    let found = opened(&formatted(false));
    assert!(found.superblock.inconsistent);
    assert_eq!(found.bitmap.out_of_sync(), small_layout().bits());
    assert_eq!(found.findings.count, 0);
}

#[test]
fn where_a_disk_was_lost_everything_is_out_of_sync_whatever_the_bitmap_says() {
    let mut disk = formatted(true);
    let superblock = Superblock { inconsistent: true, disk_lost: true, ..fresh(true).superblock() };
    let mut record = [0; RECORD_BYTES];
    superblock.emit(&mut record, FORMAT, Sequence(3));
    disk.write(Layout::superblock(Side::One), &record);
    let found = opened(&disk);
    assert_eq!(found.superblock, superblock);
    assert_eq!(found.bitmap.out_of_sync(), small_layout().bits());
}

#[test]
fn an_interrupted_formatting_is_no_metadata_or_whole_metadata() {
    let records: Vec<_> = fresh(false).bitmap_records().chain(fresh(false).superblock_records()).collect();
    for written in 0..=records.len() {
        let mut disk = Disk::blank(small_layout());
        for (place, record) in &records[..written] {
            disk.write(*place, record);
        }
        match open_with(&disk.bytes, &[]) {
            Ok(found) => assert_eq!(found.bitmap.out_of_sync(), small_layout().bits()),
            Err(error) => {
                assert_eq!(error, OpenError::Superblock(TwinError::NoMetadata));
                assert!(written < records.len() - 1);
            }
        }
    }
}

#[test]
fn what_was_written_is_found_with_its_number() {
    let mut disk = formatted(true);
    write_state(&mut disk, 8, Sequence(1));
    write_state(&mut disk, 9, Sequence(2));
    for sequence in 1..=3 {
        write_transaction(&mut disk, sequence);
    }
    let mut bitmap = opened(&disk).bitmap;
    let _tickets = bitmap.set(LbaRange::new(Lba(80), SectorCount(9)).expect("a range"));
    let mut record = [0; RECORD_BYTES];
    let write = bitmap.poll_write(&mut record).expect("a block to write");
    disk.write(write.place, &record);
    let found = opened(&disk);
    assert_eq!((found.small_state, found.small_state_sequence), (Some(small_state(9)), Sequence(2)));
    assert_eq!(found.log.expect("good").extents().collect::<Vec<_>>(), [Extent(5)]);
    assert_eq!(found.bitmap.out_of_sync(), 2);
    assert_eq!(found.findings.count, 0);
}

#[test]
fn one_copy_that_is_torn_or_cannot_be_read_costs_nothing() {
    let mut disk = formatted(true);
    write_state(&mut disk, 8, Sequence(1));
    write_state(&mut disk, 9, Sequence(2));
    let places = [Layout::superblock(Side::One), Layout::small_state(Side::One), Layout::transaction(1)];
    let found = open_with(&disk.bytes, &places).expect("metadata");
    assert_eq!(found.superblock, fresh(true).superblock());
    assert_eq!(found.small_state, Some(small_state(9)));
    assert_eq!(found.log.expect("a torn first transaction").newest, Sequence::NONE);
    let findings = found.findings.first;
    assert_eq!(findings.len(), 6);
    for (at, place) in places.into_iter().enumerate() {
        assert_eq!(findings[at * 2], Finding::Unreadable { place, error: BlockError::Medium });
        assert!(matches!(findings[at * 2 + 1], Finding::Torn(error) if error.place == place));
    }
    assert_eq!(
        findings[0].to_string(),
        "the metadata at byte 1048576 cannot be read: the disk reports an input/output error; \
         it will be written anew, see to the disk"
    );
}

#[test]
fn a_block_of_the_bitmap_of_which_a_place_cannot_be_read_is_in_doubt_and_the_place_left_alone() {
    let layout = small_layout();
    let mut disk = formatted(true);
    let mut bitmap = opened(&disk).bitmap;
    let _tickets = bitmap.set(LbaRange::new(Lba(80), SectorCount(9)).expect("a range"));
    let mut record = [0; RECORD_BYTES];
    let write = bitmap.poll_write(&mut record).expect("a block to write");
    disk.write(write.place, &record);
    let all = replication::meta::bitmap::bits_in_block(layout, 0);
    for side in Side::BOTH {
        let found = open_with(&disk.bytes, &[layout.bitmap_block(0, side)]).expect("metadata");
        assert_eq!(found.torn, []);
        assert_eq!(found.bitmap.out_of_sync(), all, "it may hold the newest");
        let mut bitmap = found.bitmap;
        let next = bitmap.poll_write(&mut record).expect("what is in doubt is written");
        assert_eq!(next.block, 0);
        assert_ne!(next.place, layout.bitmap_block(0, side), "what may be the newest stays until then");
    }
    let both = Side::BOTH.map(|side| layout.bitmap_block(0, side));
    let found = open_with(&disk.bytes, &both).expect("metadata");
    assert_eq!(found.torn.iter().map(|torn| torn.place).collect::<Vec<_>>(), both);
    assert_eq!(found.bitmap.out_of_sync(), all);
}

#[test]
fn what_is_lost_is_told_and_counts_as_in_doubt() {
    let layout = small_layout();
    let mut disk = formatted(true);
    for sequence in 1..=9 {
        write_transaction(&mut disk, sequence);
    }
    disk.write(Layout::transaction(9), &[7; RECORD_BYTES]);
    disk.write(Layout::transaction(10), &[7; RECORD_BYTES]);
    for side in Side::BOTH {
        disk.write(Layout::small_state(side), &[7; SMALL_STATE_BYTES]);
        disk.write(layout.bitmap_block(1, side), &[7; RECORD_BYTES]);
    }
    let found = opened(&disk);
    assert_eq!((found.small_state, found.small_state_sequence), (None, Sequence::NONE));
    assert!(matches!(found.log, Err(ReplayError::Hole { .. })));
    assert_eq!(found.bitmap.out_of_sync(), 32_256);
    assert_eq!(found.findings.count, 3);
    let findings = found.findings.first;
    assert!(matches!(findings[0], Finding::SmallStateLost(TwinError::BothLost { .. })));
    assert!(matches!(findings[1], Finding::LogLost(ReplayError::Hole { .. })));
    assert!(matches!(findings[2], Finding::BlockLost { block: 1, .. }));
}

#[test]
fn what_cannot_be_gone_on_with_is_refused_with_its_cure() {
    let blank = Disk::blank(small_layout());
    let error = open_with(&blank.bytes, &[]).expect_err("blank");
    assert_eq!(error, OpenError::Superblock(TwinError::NoMetadata));
    let disk = formatted(true);
    let short = &disk.bytes[..disk.bytes.len() - 1];
    let error = open_with(short, &[]).expect_err("short");
    assert_eq!(
        error.to_string(),
        "the metadata is cut short: it ends before byte 2121728, which a volume of 588003 sectors needs; \
         restore the end, or make the metadata anew and resync"
    );
    let error = open(|_, _| Err(BlockError::Gone)).expect_err("no disk");
    assert_eq!(error, OpenError::Read { place: Place(0), error: BlockError::Gone });
}

#[test]
fn a_later_version_of_any_part_is_refused() {
    let layout = small_layout();
    let mut disk = formatted(false);
    write_state(&mut disk, 8, Sequence(1));
    write_transaction(&mut disk, 1);
    let places = [
        Layout::superblock(Side::Zero),
        Layout::small_state(Side::One),
        Layout::transaction(1),
        layout.bitmap_block(2, Side::One),
    ];
    for place in places {
        let mut bytes = disk.bytes.clone();
        let at = usize::try_from(place.0).expect("small");
        bytes[at + 8] = 2;
        let crc = crc32fast::hash(&bytes[at..at + 60]);
        bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
        let error = open_with(&bytes, &[]).expect_err("a later version");
        let (OpenError::Refused(refused) | OpenError::Superblock(TwinError::Refused(refused))) = error else {
            panic!("{error}");
        };
        assert_eq!((refused.place, refused.flaw), (place, Flaw::UnknownVersion { found: 2 }));
    }
}

#[test]
fn many_findings_are_counted_and_the_first_are_kept() {
    let pages: Vec<Place> = (0..128).map(Layout::transaction).collect();
    let found = open_with(&formatted(true).bytes, &pages).expect("metadata");
    assert_eq!((found.findings.first.len(), found.findings.count), (FINDINGS_MAX, 129));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_makes_the_reader_panic(
        good in any::<bool>(),
        damage in proptest::collection::vec((0..2_121_728usize, any::<u8>()), 0..200),
        pages in proptest::collection::vec(0..518u64, 0..8),
    ) {
        let mut disk = formatted(good);
        write_state(&mut disk, 8, Sequence(1));
        write_transaction(&mut disk, 1);
        for (at, byte) in damage {
            disk.bytes[at] = byte;
        }
        let pages: Vec<Place> = pages.into_iter().map(|page| Place(page * 4096)).collect();
        if let Ok(found) = open_with(&disk.bytes, &pages) {
            prop_assert_eq!(found.format, FORMAT);
        }
    }
}

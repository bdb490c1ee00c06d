//! Silent damage to metadata: of what is kept twice the older copy, of the activity log a transaction that is no more needed.
//!
//! All of it is within what is repairable: whoever opens the metadata finds the same as before. A record may be rotten, or
//! torn, or another one may have been written over it by a disk that mistook its place.

use replication::meta::layout::{Layout, Place, RECORD_BYTES, RING_TRANSACTIONS, SMALL_STATE_BYTES};
use replication::meta::twin::Side;
use replication::meta::{self, Opened};

use crate::disk::Disk;
use crate::property::metadata;
use crate::random::Random;

/// Where a record tells its number in the row (docs/metadata.md).
const SEQUENCE: std::ops::Range<usize> = 40..48;

/// Damages something, if anything can be; tells whether it did.
///
/// # Errors
/// If what is found afterwards is not what was found before.
pub(crate) fn damage(disk: &mut Disk, random: &mut Random) -> Result<bool, String> {
    let Some(before) = open(disk).filter(|opened| opened.findings.count == 0) else { return Ok(false) };
    let Some((place, length)) = victim(disk, &before, random) else { return Ok(false) };
    let stray = stray(disk, random);
    let mut bytes = disk.store().read_to_vec(place.0, length);
    match random.below(4) {
        0 => bytes[random.index(length)] ^= 1 << random.below(8),
        1 => random.fill(&mut bytes[RECORD_BYTES / 2..]),
        2 => random.fill(&mut bytes),
        _ => bytes[..RECORD_BYTES].copy_from_slice(&stray),
    }
    disk.store_mut().write(place.0, &bytes);
    metadata::survives(&before, open(disk).as_ref())
        .map_err(|error| format!("damage at {place}: {error}"))?;
    Ok(true)
}

fn open(disk: &Disk) -> Option<Opened> {
    meta::open(|place, bytes| disk.read_now(place.0, bytes)).ok()
}

/// A record that can be spared, and how long it is.
fn victim(disk: &Disk, opened: &Opened, random: &mut Random) -> Option<(Place, usize)> {
    let layout = opened.superblock.layout;
    match random.below(4) {
        0 => older(disk, Side::BOTH.map(Layout::superblock), RECORD_BYTES),
        1 => older(disk, Side::BOTH.map(Layout::small_state), SMALL_STATE_BYTES),
        2 => {
            let block = u32::try_from(random.below(layout.bitmap_blocks().into())).expect("fewer than that");
            older(disk, Side::BOTH.map(|side| layout.bitmap_block(block, side)), RECORD_BYTES)
        }
        _ => {
            // The newest ones tell the whole log; the one before the oldest of the ring is the next to be overwritten.
            let newest = opened.log.as_ref().ok()?.newest.0;
            let back = 2 + random.below(RING_TRANSACTIONS - 3);
            let sequence = newest.checked_sub(back).filter(|sequence| *sequence > 0)?;
            Some((Layout::transaction(sequence), RECORD_BYTES))
        }
    }
}

/// Of two copies the one with the lower number, if both are there.
fn older(disk: &Disk, places: [Place; 2], length: usize) -> Option<(Place, usize)> {
    let sequence = |place: Place| {
        let head = disk.store().read_to_vec(place.0, SEQUENCE.end);
        let number = u64::from_le_bytes(head[SEQUENCE].try_into().expect("eight bytes"));
        (number > 0).then_some(number)
    };
    let [zero, one] = places.map(sequence);
    Some((if zero? < one? { places[0] } else { places[1] }, length))
}

/// A record that belongs elsewhere.
fn stray(disk: &Disk, random: &mut Random) -> Vec<u8> {
    let places = [Layout::superblock(Side::Zero), Layout::superblock(Side::One), Layout::transaction(1)];
    disk.store().read_to_vec(places[random.index(places.len())].0, RECORD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::metadata::tests::fresh;
    use block::Duration;

    #[test]
    fn fresh_metadata_survives_the_loss_of_one_superblock() {
        let mut damaged = 0;
        for seed in 0..40 {
            let mut disk = Disk::new(Random::new(seed, "disk"), Duration::ZERO);
            for (offset, page) in fresh(1).pages() {
                disk.store_mut().write(offset, page);
            }
            let result = damage(&mut disk, &mut Random::new(seed, "damage"));
            damaged += usize::from(result.expect("it is repairable"));
        }
        assert!(damaged > 5, "{damaged} of 40");
    }
}

//! An initiator that keeps a record: which writes it has sent, and which were acknowledged. Told the record of a moment, it judges a disk.
//!
//! Each block has at most one write under way, and each write a version, one higher than the last. So after any loss of power a sector
//! must hold a version that is not older than the one acknowledged before, and not newer than the one sent. It shares no code with the
//! project.

use crate::Random;
use lab::{Error, FrameSocket};
use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Blocks that are written.
pub const BLOCKS: usize = 64;
/// From one block to the next: they are spread over the disk.
const DISTANCE: usize = 128 << 10;
const SECTOR: usize = 512;
const SECTORS: u8 = 8;
/// Writes under way.
const DEPTH: usize = 16;
const PATIENCE: Duration = Duration::from_secs(1);

/// Versions of all blocks.
pub type Versions = Vec<u32>;

/// What was sent and what was acknowledged so far.
#[derive(Debug)]
pub struct Record {
    sent: Vec<AtomicU32>,
    acknowledged: Vec<AtomicU32>,
    /// Acknowledgements in all.
    count: AtomicU32,
    /// The blocks that are written now.
    blocks: Mutex<Range<usize>>,
}

/// A write that has no answer yet.
struct UnderWay {
    block: usize,
    tag: u32,
    frame: Vec<u8>,
    sent_at: Instant,
}

impl Default for Record {
    fn default() -> Self {
        let none = || (0..BLOCKS).map(|_| AtomicU32::new(0)).collect();
        Self { sent: none(), acknowledged: none(), count: AtomicU32::new(0), blocks: Mutex::new(0..BLOCKS) }
    }
}

impl Record {
    /// How many writes were acknowledged.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// The last version of each block that was acknowledged.
    pub fn acknowledged(&self) -> Versions {
        self.acknowledged.iter().map(|version| version.load(Ordering::SeqCst)).collect()
    }

    /// The last version of each block that was sent.
    pub fn sent(&self) -> Versions {
        self.sent.iter().map(|version| version.load(Ordering::SeqCst)).collect()
    }

    /// From now on only these blocks are written: at least as many as there are writes under way.
    pub fn write_only(&self, blocks: Range<usize>) {
        assert!(blocks.len() >= DEPTH, "a block has one write under way at most");
        *self.blocks() = blocks;
    }

    fn blocks(&self) -> MutexGuard<'_, Range<usize>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes blocks of 7.1 until told to stop, each by one of the targets, both drawn by chance.
    pub fn write_until(
        &self,
        stop: &AtomicBool,
        socket: &FrameSocket,
        targets: [[u8; 6]; 2],
    ) -> Result<(), Error> {
        let (mut random, mut under_way, mut tag) = (Random::new(1), Vec::<UnderWay>::new(), 0_u32);
        while !stop.load(Ordering::SeqCst) {
            while under_way.len() < DEPTH {
                let blocks = self.blocks().clone();
                let block = blocks.start + index(random.below(blocks.len() as u64));
                if under_way.iter().any(|write| write.block == block) {
                    continue;
                }
                tag = (tag + 1) % 0x7fff_ffff;
                let version = self.sent[block].fetch_add(1, Ordering::SeqCst) + 1;
                let frame = socket.frame_to(targets[index(random.below(2))], &request(tag, block, version));
                socket.send(&frame)?;
                under_way.push(UnderWay { block, tag, frame, sent_at: Instant::now() });
            }
            if let Some(answer) = socket.receive()? {
                self.take(&answer, &mut under_way);
            }
            for write in under_way.iter_mut().filter(|write| write.sent_at.elapsed() > PATIENCE) {
                socket.send(&write.frame)?;
                write.sent_at = Instant::now();
            }
        }
        Ok(())
    }

    fn take(&self, answer: &[u8], under_way: &mut Vec<UnderWay>) {
        let is_answer = answer.len() >= 28 && answer[14] & 0x08 != 0;
        let tag = |write: &UnderWay| is_answer && answer[20..24] == write.tag.to_be_bytes();
        let Some(position) = under_way.iter().position(tag) else { return };
        assert_eq!(
            (answer[14] & 0x04, answer[27] & 0x01),
            (0, 0),
            "a write was refused: {:x?}",
            &answer[..28]
        );
        let write = under_way.swap_remove(position);
        self.acknowledged[write.block].fetch_add(1, Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

/// What is wrong with a disk of which this must be there at least and at most.
pub fn fault(image: &[u8], least: &[u32], most: &[u32]) -> Option<String> {
    (0..BLOCKS * usize::from(SECTORS)).find_map(|index| {
        let block = index / usize::from(SECTORS);
        let at = block * DISTANCE + index % usize::from(SECTORS) * SECTOR;
        let sector = &image[at..at + SECTOR];
        let version = u32::from_le_bytes([sector[4], sector[5], sector[6], sector[7]]);
        let allowed = least[block]..=most[block];
        if allowed.contains(&version) && sector == stamp(block, version) {
            return None;
        }
        Some(format!(
            "byte {at}: version {version} of block {block}, allowed is {allowed:?}; {:x?}",
            &sector[..16]
        ))
    })
}

/// A sector's content; a block that was never written has zeroes.
fn stamp(block: usize, version: u32) -> Vec<u8> {
    let name = if version == 0 { 0 } else { u32::try_from(block).unwrap_or(u32::MAX) };
    [name.to_le_bytes(), version.to_le_bytes()].concat().repeat(SECTOR / 8)
}

/// WRITE SECTORS EXT of a whole block, from the version to the data.
fn request(tag: u32, block: usize, version: u32) -> Vec<u8> {
    let lba = (block * DISTANCE / SECTOR).to_le_bytes();
    let head = [&[0x10, 0, 0, 7, 1, 0][..], &tag.to_be_bytes()].concat();
    let ata = [&[0x41, 0, SECTORS, 0x34][..], &lba[..6], &[0, 0]].concat();
    [head, ata, stamp(block, version).repeat(usize::from(SECTORS))].concat()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(version: u32) -> Vec<u8> {
        let mut image = vec![0; BLOCKS * DISTANCE];
        for block in 0..BLOCKS {
            let data = stamp(block, version).repeat(usize::from(SECTORS));
            image[block * DISTANCE..][..data.len()].copy_from_slice(&data);
        }
        image
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_sent_may_be() {
        let versions = |version: u32| vec![version; BLOCKS];
        assert_eq!(fault(&disk(3), &versions(3), &versions(3)), None);
        assert_eq!(fault(&disk(3), &versions(2), &versions(4)), None);
        assert_eq!(fault(&disk(0), &versions(0), &versions(1)), None);
        let lost = fault(&disk(2), &versions(3), &versions(3)).expect("a loss");
        assert!(lost.contains("version 2 of block 0"), "{lost}");
        assert!(fault(&disk(4), &versions(3), &versions(3)).is_some(), "never sent");
        let mut damaged = disk(3);
        damaged[63 * DISTANCE + 4095] ^= 1;
        assert!(fault(&damaged, &versions(3), &versions(3)).is_some());
    }
}

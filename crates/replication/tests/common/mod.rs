//! What tests share: a disk in memory that loses power, a small volume, fresh metadata, and what a disk says when it is done.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use block::{BlockRequest, BufferName, BufferSlice, Completion, Operation};
use replication::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::meta::layout::{Layout, Place, RECORD_BYTES};
use replication::meta::small_state::SmallState;
use replication::meta::superblock::Superblock;
use replication::meta::{Format, Opened, format, open};

pub const FORMAT: FormatIdentity = FormatIdentity(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
pub const VOLUME: VolumeIdentity = VolumeIdentity(0x1111_2222_3333_4444_5555_6666_7777_8888);
pub const PAIR: PairIdentity = PairIdentity(0x9999_aaaa_bbbb_cccc_dddd_eeee_ffff_0000);

/// 300 MB: three bitmap blocks, the last one not whole; 72 extents, likewise.
pub fn small_layout() -> Layout {
    Layout::new(588_003, 64).expect("a small volume")
}

pub fn superblock(layout: Layout, epoch: u64) -> Superblock {
    Superblock {
        volume: VOLUME,
        pair: PAIR,
        node: NodeNumber::One,
        layout,
        membership: Membership { epoch: Epoch(epoch), members: Members::Only(NodeNumber::One) },
        clean: epoch.is_multiple_of(2),
        inconsistent: epoch.is_multiple_of(7),
        disk_lost: epoch.is_multiple_of(11),
    }
}

pub fn small_state(revision: u64) -> SmallState {
    SmallState {
        volume: VOLUME,
        revision,
        config_string: b"host7 root".to_vec(),
        mac_mask: vec![[2, 0, 0, 0, 0, 1]],
        reservation: vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
    }
}

/// A generator that needs no state but a number.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// A metadata file whose writes stay in flight until they are completed or the power fails.
pub struct Disk {
    pub bytes: Vec<u8>,
    in_flight: Vec<(Place, Vec<u8>)>,
}

impl Disk {
    pub fn blank(layout: Layout) -> Self {
        let length = usize::try_from(layout.byte_count()).expect("a small volume");
        Self { bytes: vec![0; length], in_flight: Vec::new() }
    }

    pub fn at(&self, place: Place, length: usize) -> &[u8] {
        let start = usize::try_from(place.0).expect("within the file");
        &self.bytes[start..start + length]
    }

    pub fn begin(&mut self, place: Place, bytes: &[u8]) {
        assert!(self.in_flight.iter().all(|(other, _)| *other != place), "one write of a place at a time");
        self.in_flight.push((place, bytes.to_vec()));
    }

    pub fn complete(&mut self, place: Place) {
        let index = self.in_flight.iter().position(|(other, _)| *other == place).expect("a write in flight");
        let (_, bytes) = self.in_flight.swap_remove(index);
        self.put(place, &bytes);
    }

    pub fn write(&mut self, place: Place, bytes: &[u8]) {
        self.begin(place, bytes);
        self.complete(place);
    }

    /// Each sector of each write in flight is kept, dropped, half written, or becomes garbage.
    pub fn lose_power(&mut self, random: &mut Random) {
        for (place, bytes) in std::mem::take(&mut self.in_flight) {
            // Sometimes all sectors share one fate: whole records, too, arrive unacknowledged or not at all.
            let common = random.below(6);
            for (index, sector) in bytes.chunks(512).enumerate() {
                let fate = if common < 2 { common } else { random.below(5) };
                let at = Place(place.0 + index as u64 * 512);
                match fate {
                    0 => self.put(at, sector),
                    1 => {}
                    2 => self.put(at, &sector[..256]),
                    3 => self.put(Place(at.0 + 256), &sector[256..]),
                    _ => {
                        let garbage: Vec<u8> =
                            (0..512).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
                        self.put(at, &garbage);
                    }
                }
            }
        }
    }

    fn put(&mut self, place: Place, bytes: &[u8]) {
        let start = usize::try_from(place.0).expect("within the file");
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// Metadata that has just been made, as it is read at a start.
pub fn fresh(description: Format) -> Opened {
    let fresh = format(description);
    let records: Vec<_> = fresh.bitmap_records().chain(fresh.superblock_records()).collect();
    let opened = open(|place, into| {
        into.fill(0);
        for (at, record) in &records {
            let offset = at.0.checked_sub(place.0).and_then(|offset| usize::try_from(offset).ok());
            if let Some(bytes) = offset.and_then(|offset| into.get_mut(offset..offset + RECORD_BYTES)) {
                bytes.copy_from_slice(record);
            }
        }
        Ok(())
    });
    opened.expect("fresh metadata")
}

/// Metadata as it stands in a file.
pub fn opened(bytes: &[u8]) -> Opened {
    let opened = open(|place, into| {
        let start = usize::try_from(place.0).expect("within the file");
        into.copy_from_slice(&bytes[start..start + into.len()]);
        Ok(())
    });
    opened.expect("metadata")
}

/// What a disk without a fault says to a request, when it has done it; what is read is in a buffer of the request's own.
pub fn done(request: &BlockRequest) -> Completion {
    let data = match request.operation {
        Operation::Read { range } => Some(BufferSlice {
            buffer: BufferName(request.id.0.into()),
            offset: 0,
            length: u32::try_from(range.bytes()).expect("small"),
        }),
        Operation::Write { .. } | Operation::Flush => None,
    };
    Completion { id: request.id, result: Ok(data) }
}

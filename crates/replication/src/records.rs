//! What is written to the metadata, and when: the superblock before what it tells is acted upon, the log before a write
//! starts, the bitmap before a write served alone is answered.
//!
//! Decides the order of these writes; what is in a record is the business of [`crate::meta`]. A metadata write that fails is
//! not tried again: the node gives up the disk.

use block::{BlockError, ExportId};

use crate::engine::Engine;
use crate::input::MetadataId;
use crate::message::Token;
use crate::meta::Torn;
use crate::meta::layout::{Layout, Place, RECORD_BYTES, RING_TRANSACTIONS, SMALL_STATE_BYTES};
use crate::meta::record::{self, Sequence};
use crate::output::{Event, Output};
use crate::slots::place;
use crate::volume::Phase;

/// Blocks of the bitmap written at a time, for each volume: few beside requests, which wait for the same disk, and more while there
/// are none and all of them wait for these.
const BITMAP_WRITES_MAX: u32 = 8;
const BITMAP_WRITES_MAX_FROZEN: u32 = 32;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Superblock,
    SmallState,
    Transaction(Sequence),
    Bitmap(u32),
    /// Part of a log that could not be replayed, which is made blank.
    Blank,
    /// A place where a record is torn.
    Scramble(record::Kind),
}

/// A record on its way to the disk.
#[derive(Debug)]
pub(crate) struct Record {
    export: ExportId,
    kind: Kind,
    bytes: Box<[u8; SMALL_STATE_BYTES]>,
}

impl Kind {
    const fn bytes(self) -> usize {
        match self {
            Self::SmallState => SMALL_STATE_BYTES,
            Self::Scramble(kind) => kind.bytes(),
            Self::Superblock | Self::Transaction(_) | Self::Bitmap(_) | Self::Blank => RECORD_BYTES,
        }
    }
}

impl Engine {
    /// Writes everything of a volume that is to be written and may be now.
    pub(crate) fn write_records(&mut self, export: ExportId) {
        if !self.volume(export).disk.is_writable {
            return;
        }
        if !self.scramble_torn(export) {
            return;
        }
        self.write_superblock(export);
        self.write_small_state(export);
        self.write_bitmap(export);
        self.write_log(export);
    }

    /// What is torn is made unreadable for good. Says whether other records may be written.
    fn scramble_torn(&mut self, export: ExportId) -> bool {
        loop {
            let disk = &mut self.volume_mut(export).disk;
            if disk.scrambles_under_way == BITMAP_WRITES_MAX_FROZEN {
                return false;
            }
            let format = disk.format;
            let Some(Torn { place, kind }) = disk.torn.pop() else { return disk.scrambles_under_way == 0 };
            disk.scrambles_under_way += 1;
            self.write_record(export, Kind::Scramble(kind), |bytes| {
                record::scramble(&mut bytes[..kind.bytes()], place, format);
                place
            });
        }
    }

    fn write_superblock(&mut self, export: ExportId) {
        let disk = &mut self.volume_mut(export).disk;
        if disk.superblock == disk.superblock_durable || disk.superblock_turns.is_writing() {
            return;
        }
        let sequence = disk.superblock_turns.begin();
        let (superblock, format) = (disk.superblock, disk.format);
        disk.superblock_writing = Some(superblock);
        let place = Layout::superblock(crate::meta::twin::Side::of(sequence));
        self.write_record(export, Kind::Superblock, |bytes| {
            superblock.emit(head(bytes), format, sequence);
            place
        });
    }

    fn write_small_state(&mut self, export: ExportId) {
        let disk = &mut self.volume_mut(export).disk;
        if disk.small_state.revision == disk.small_state_durable || disk.small_state_turns.is_writing() {
            return;
        }
        let sequence = disk.small_state_turns.begin();
        let (state, format) = (disk.small_state.clone(), disk.format);
        disk.small_state_writing = Some(state.revision);
        let place = Layout::small_state(crate::meta::twin::Side::of(sequence));
        self.write_record(export, Kind::SmallState, |bytes| {
            state.emit(bytes, format, sequence);
            place
        });
    }

    fn write_bitmap(&mut self, export: ExportId) {
        let is_frozen = self.volume(export).phase == Phase::Frozen;
        let at_once = if is_frozen { BITMAP_WRITES_MAX_FROZEN } else { BITMAP_WRITES_MAX };
        while self.volume(export).disk.bitmap_writes < at_once {
            let mut bytes = self.spare_record();
            let disk = &mut self.volume_mut(export).disk;
            let is_idle = disk.bitmap_writes == 0;
            let write = disk
                .bitmap
                .poll_write(head(&mut bytes))
                .or_else(|| is_idle.then(|| disk.bitmap.poll_idle_write(head(&mut bytes))).flatten());
            let Some(write) = write else {
                return self.spare_records.push(bytes);
            };
            disk.bitmap_writes += 1;
            self.give_out(export, Kind::Bitmap(write.block), bytes, write.place);
        }
    }

    fn write_log(&mut self, export: ExportId) {
        if !self.blank_log(export) || !self.volume(export).disk.log_counts() {
            return;
        }
        let mut bytes = self.spare_record();
        match self.volume_mut(export).disk.log.poll_transaction(head(&mut bytes)) {
            Some((sequence, place)) => self.give_out(export, Kind::Transaction(sequence), bytes, place),
            None => self.spare_records.push(bytes),
        }
    }

    /// A log that could not be replayed is made blank, once every bit that it may have stood for is durable: what is left
    /// of the old row could otherwise be taken for part of the new one. Says whether the log may be written.
    fn blank_log(&mut self, export: ExportId) -> bool {
        let volume = self.volume_mut(export);
        match volume.disk.log_blanks {
            None => true,
            Some(0) if volume.disk.blanks_under_way == 0 => {
                volume.disk.log_blanks = None;
                self.attend(export);
                true
            }
            Some(left) => {
                if left > 0 && volume.is_bitmap_durable() {
                    volume.disk.log_blanks = Some(0);
                    volume.disk.blanks_under_way = RING_TRANSACTIONS;
                    for number in 0..RING_TRANSACTIONS {
                        self.write_record(export, Kind::Blank, |bytes| {
                            bytes.fill(0);
                            Layout::transaction(number)
                        });
                    }
                }
                false
            }
        }
    }

    fn write_record(
        &mut self,
        export: ExportId,
        kind: Kind,
        emit: impl FnOnce(&mut [u8; SMALL_STATE_BYTES]) -> Place,
    ) {
        let mut bytes = self.spare_record();
        let place = emit(&mut bytes);
        self.give_out(export, kind, bytes, place);
    }

    fn give_out(&mut self, export: ExportId, kind: Kind, bytes: Box<[u8; SMALL_STATE_BYTES]>, at: Place) {
        let token = self.records.insert(Record { export, kind, bytes }).expect("a few for each volume");
        self.volume_mut(export).at_disk += 1;
        self.push(Output::Metadata { id: MetadataId(place(token)), volume: export, place: at });
    }

    pub(crate) fn record_bytes(&self, id: MetadataId) -> &[u8] {
        let record = self.records.token_at(id.0).and_then(|token| self.records.find(token));
        let record = record.expect("a metadata write that is not over");
        &record.bytes[..record.kind.bytes()]
    }

    pub(crate) fn handle_record_written(&mut self, id: MetadataId, result: Result<(), BlockError>) {
        let token: Token = self.records.token_at(id.0).expect("a metadata write ends once");
        let Record { export, kind, bytes } = self.records.remove(token).expect("just found");
        self.spare_records.push(bytes);
        self.volume_mut(export).at_disk -= 1;
        self.attend(export);
        if let Err(error) = result {
            return self.metadata_failed(export, error);
        }
        let disk = &mut self.volume_mut(export).disk;
        match kind {
            Kind::Superblock => {
                disk.superblock_turns.complete();
                disk.superblock_durable = disk.superblock_writing.take().expect("the one under way");
                self.start_logged(export);
            }
            Kind::SmallState => {
                disk.small_state_turns.complete();
                disk.small_state_durable = disk.small_state_writing.take().expect("the one under way");
                self.small_state_is_durable(export);
            }
            Kind::Transaction(sequence) => {
                disk.log.handle_durable(sequence);
                self.start_logged(export);
            }
            Kind::Bitmap(block) => {
                disk.bitmap_writes -= 1;
                disk.bitmap.handle_written(block);
            }
            Kind::Blank => disk.blanks_under_way -= 1,
            Kind::Scramble(_) => disk.scrambles_under_way -= 1,
        }
    }

    /// Without metadata this node cannot say what it has promised: it serves no more, and its peer goes on.
    fn metadata_failed(&mut self, export: ExportId, error: BlockError) {
        if !std::mem::take(&mut self.volume_mut(export).disk.is_writable) {
            return;
        }
        self.event(export, Event::MetadataFailed(error));
        if self.volume(export).phase == Phase::Alone {
            self.freeze(export);
            // It may just be meeting its peer, which is to hear that this copy is not what it was.
            self.volume_mut(export).meeting.begin_anew();
        }
        self.disk_failed(export, error);
    }

    fn spare_record(&mut self) -> Box<[u8; SMALL_STATE_BYTES]> {
        self.spare_records.pop().unwrap_or_else(|| Box::new([0; SMALL_STATE_BYTES]))
    }
}

fn head(bytes: &mut [u8; SMALL_STATE_BYTES]) -> &mut [u8; RECORD_BYTES] {
    bytes.first_chunk_mut().expect("the larger record")
}

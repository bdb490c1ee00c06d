//! Command 0, ATA: reading, writing and flushing; `device` answers what is asked of the device itself.
//!
//! The opcode says whether an address has 28 or 48 bits and which way data goes; a write opcode without the W flag
//! contradicts itself and is aborted, never executed. Frames that cannot be what they say get an AoE error, requests
//! that the disk cannot do an ATA status. The A flag counts only where the operator allowed a write cache.

use block::{BlockError, BufferSlice, ExportId, LbaRange};

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::duplicate::{Verdict, WriteIdentity};
use super::execution::Admitted;
use super::output::Output;
use super::outstanding::{Answer, Request, Work};
use super::refusal::Refusal;
use crate::ata::{AtaCommand, ErrorRegister, Status};
use crate::digest::Digest;
use crate::limits::PAYLOAD_OFFSET;
use crate::wire::ata::{self, AtaFlags, Reply, View};
use crate::wire::header::AoeError;

/// CHECK POWER MODE: active or idle.
const POWER_ACTIVE: u8 = 0xff;

/// What became of looking at a request's registers.
pub(super) enum Checked {
    Range(LbaRange),
    Argument,
    Beyond,
}

impl Target {
    pub(super) fn ata(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let view = match View::new(arrival.frame) {
            Ok(view) => view,
            Err(error) => return self.refuse_argument(id, arrival, error),
        };
        let request = ata::Request::parse(view);
        if request.command.is_write() && arrival.is_to_many() {
            return Err(Refusal::WriteToMany);
        }
        let export = self.exports.find(id).expect("a frame was for this export");
        let reserved = export.state().is_reserved_against(arrival.initiator());
        if reserved && request.command != AtaCommand::IdentifyDevice {
            return self.refuse_arrival(id, arrival, AoeError::Reserved);
        }
        let head = arrival.reply(export.address());
        let answer = arrival.answer(head, request, None);
        match request.command {
            AtaCommand::ReadSectors | AtaCommand::ReadSectorsExt => self.read(id, arrival, answer),
            AtaCommand::WriteSectors | AtaCommand::WriteSectorsExt => self.write(id, arrival, answer, view),
            AtaCommand::FlushCache | AtaCommand::FlushCacheExt => self.flush(id, arrival, answer),
            AtaCommand::SetFeatures => self.set_features(id, arrival, answer),
            AtaCommand::IdentifyDevice => self.identify(id, &answer),
            AtaCommand::Smart => self.smart(id, &answer),
            AtaCommand::CheckPowerMode => {
                self.reply(&answer, Reply { sector_count: POWER_ACTIVE, ..Reply::success(&request) })
            }
            AtaCommand::Unknown(_) => self.abort(id, &answer, ErrorRegister::ABRT),
        }
    }

    fn read(&mut self, id: ExportId, arrival: &Arrival<'_>, answer: Answer) -> Result<Buffer, Refusal> {
        let range = match self.check_range(id, arrival, &answer.request) {
            Checked::Range(range) => range,
            Checked::Argument => return self.refuse_arrival(id, arrival, AoeError::BadArgument),
            Checked::Beyond => return self.abort(id, &answer, ErrorRegister::IDNF),
        };
        // What waits keeps its frame, and a frame is kept by one request only.
        if !arrival.head.header.address.is_exact() && self.outstanding.would_wait(id, range) {
            return Err(Refusal::ReadToMany);
        }
        let frame = arrival.whole();
        if let Some(earlier) = self.outstanding.renew_read(id, range, &answer, frame) {
            self.push(Output::Release(earlier.buffer));
            self.export_mut(id).statistics.duplicates_joined += 1;
            return Ok(Buffer::Kept);
        }
        self.check_room()?;
        let work = Work::Read { range, frame };
        let buffer = match self.admit(Request::new(id, arrival, answer, work), Some(range)) {
            Admitted::Started => Buffer::Done,
            Admitted::Waits => Buffer::Kept,
        };
        let statistics = &mut self.export_mut(id).statistics;
        statistics.reads += 1;
        statistics.sectors_read += u64::from(range.count().0);
        Ok(buffer)
    }

    fn write(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        answer: Answer,
        view: View<'_>,
    ) -> Result<Buffer, Refusal> {
        let request = &answer.request;
        if self.export_mut(id).config.read_only || !request.flags.contains(AtaFlags::WRITE) {
            return self.abort(id, &answer, ErrorRegister::ABRT);
        }
        let checked = self.check_range(id, arrival, request);
        let (range, data) = match (checked, view.sectors(request.sectors())) {
            (Checked::Argument, _) | (_, None) => {
                return self.refuse_arrival(id, arrival, AoeError::BadArgument);
            }
            (Checked::Beyond, Some(_)) => return self.abort(id, &answer, ErrorRegister::IDNF),
            (Checked::Range(range), Some(data)) => (range, data),
        };
        let mirror = self.export_mut(id).config.mirror;
        let digest = Digest::of(mirror.map_or(self.digest_seed, |mirror| mirror.digest_seed), data);
        let identity = WriteIdentity::stock(id, range, digest);
        self.admit_write(arrival, answer, identity, PAYLOAD_OFFSET)
    }

    /// Executes a write unless it is a duplicate of one seen before.
    pub(super) fn admit_write(
        &mut self,
        arrival: &Arrival<'_>,
        answer: Answer,
        identity: WriteIdentity,
        payload_offset: usize,
    ) -> Result<Buffer, Refusal> {
        let WriteIdentity { export: id, range, .. } = identity;
        if let Some(original) = self.outstanding.find_duplicate(&identity) {
            self.outstanding.add_duplicate(original, answer)?;
            self.export_mut(id).statistics.duplicates_joined += 1;
            return Ok(Buffer::Done);
        }
        self.check_followed(arrival.now, &identity)?;
        match self.history.judge(arrival.now, &identity, arrival.received) {
            Verdict::New => {}
            Verdict::Superseded => return Err(Refusal::Superseded),
            Verdict::Doubtful => return Err(Refusal::Doubtful),
            Verdict::Answer => {
                let answered = self.reply(&answer, Reply::success(&answer.request))?;
                self.export_mut(id).statistics.duplicates_answered += 1;
                return Ok(answered);
            }
        }
        self.check_room()?;
        let sequence = self.history.admit(arrival.now, id, range).ok_or(Refusal::HistoryFull)?;
        if let Some(number) = identity.number() {
            assert!(self.numbers.begin(arrival.now, number), "the caller has seen that there is room");
        }
        let data = BufferSlice {
            buffer: arrival.buffer,
            offset: u32::try_from(payload_offset).expect("36 or 60"),
            length: u32::try_from(range.bytes()).expect("a request is at most 64 KiB"),
        };
        let export = self.export_mut(id);
        export.statistics.writes += 1;
        export.statistics.sectors_written += u64::from(range.count().0);
        // Each node knows of its own address whether caching was forbidden there.
        let asynchronous = answer.request.flags.contains(AtaFlags::ASYNCHRONOUS);
        let is_allowed = export.write_cache_enabled || asynchronous;
        let cached = export.config.write_cache && is_allowed && !arrival.is_beside_peer(export);
        let ordered = range.widened_to(export.config.logical_sector_size.sectors());
        let work = Work::Write { identity, data, durable: !cached, sequence };
        self.admit(Request::new(id, arrival, answer, work), Some(ordered));
        Ok(Buffer::Kept)
    }

    /// Everything answered so far is completed at the disk, so the flush need not wait for anything.
    pub(super) fn flush(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        answer: Answer,
    ) -> Result<Buffer, Refusal> {
        self.check_room()?;
        self.admit(Request::new(id, arrival, answer, Work::Flush), None);
        self.export_mut(id).statistics.flushes += 1;
        Ok(Buffer::Done)
    }

    /// Fails a request that no disk has seen.
    pub(super) fn abort(
        &mut self,
        id: ExportId,
        answer: &Answer,
        error: ErrorRegister,
    ) -> Result<Buffer, Refusal> {
        let answered = self.reply(answer, Reply::failure(&answer.request, error))?;
        self.export_mut(id).statistics.aborted += 1;
        Ok(answered)
    }

    /// Answers a request that no disk has seen.
    pub(super) fn reply(&mut self, answer: &Answer, reply: Reply) -> Result<Buffer, Refusal> {
        self.check_output_room()?;
        self.send(answer, reply);
        Ok(Buffer::Done)
    }

    pub(super) fn check_range(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        request: &ata::Request,
    ) -> Checked {
        let count = request.sectors();
        if count.0 == 0 || count > arrival.link.sectors_accepted() {
            return Checked::Argument;
        }
        match LbaRange::new(request.lba(), count) {
            Some(range) if range.end().0 <= self.export_mut(id).config.sectors => Checked::Range(range),
            _ => Checked::Beyond,
        }
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.outstanding.is_full() { Err(Refusal::TooManyOutstanding) } else { Ok(()) }
    }
}

/// The reply when a disk could not do what it was asked. ERR is always set: iPXE looks at nothing else.
pub(super) fn failed(request: &ata::Request, error: BlockError) -> Reply {
    let (status, error) = match error {
        BlockError::Medium if request.command.is_read() => (Status::READY_ERROR, ErrorRegister::UNC),
        // ATA has no error bit for a medium that does not take data: the device is at fault.
        BlockError::Medium | BlockError::NoSpace => (Status::READY_FAULT, ErrorRegister::ABRT),
        BlockError::ReadOnly => (Status::READY_ERROR, ErrorRegister::ABRT),
        BlockError::BeyondEnd => (Status::READY_ERROR, ErrorRegister::IDNF),
        BlockError::Gone => (Status::DF | Status::ERR, ErrorRegister::ABRT),
    };
    Reply { status, ..Reply::failure(request, error) }
}

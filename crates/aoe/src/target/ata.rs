//! Command 0, ATA: what is asked of the disk, and what is answered without it.
//!
//! The opcode says whether an address has 28 or 48 bits and which way data goes; a write opcode without the W flag
//! contradicts itself and is aborted, never executed. Frames that cannot be what they say get an AoE error, requests
//! that the disk cannot do an ATA status. The A flag counts only where the operator allowed a write cache.

use block::{BlockError, BufferSlice, ExportId, LbaRange, SECTOR_BYTES};

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::duplicate::{Verdict, WriteIdentity};
use super::outstanding::{Answer, Request, Work};
use super::refusal::Refusal;
use crate::ata::smart::{self, Attribute, SmartFeature, SmartLog};
use crate::ata::{AtaCommand, ErrorRegister, Identify, Status};
use crate::digest::Digest;
use crate::limits::PAYLOAD_OFFSET;
use crate::wire::ata::{self, AtaFlags, Reply, View};
use crate::wire::header::AoeError;

/// SET FEATURES: switch the write cache on.
const ENABLE_WRITE_CACHE: u8 = 0x02;
/// SET FEATURES: make durable what is in the write cache, and switch it off.
const DISABLE_WRITE_CACHE: u8 = 0x82;
/// CHECK POWER MODE: active or idle.
const POWER_ACTIVE: u8 = 0xff;
/// What a SMART attribute begins with. It falls by one an error and never to 0, which means "not known".
const SMART_VALUE_BEST: u64 = 100;
/// A disk with an attribute this low is called failing.
const SMART_VALUE_FAILING: u64 = 50;

/// What became of looking at a request's registers.
enum Checked {
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
        let answer = Answer { port: arrival.port, head: arrival.reply(export.address()), request };
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
        self.check_room()?;
        let work = Work::Read { range };
        self.admit(Request { export: id, received: arrival.received, answer, work }, Some(range));
        let statistics = &mut self.export_mut(id).statistics;
        statistics.reads += 1;
        statistics.sectors_read += u64::from(range.count().0);
        Ok(Buffer::Done)
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
        let digest = Digest::of(self.digest_seed, data);
        let identity = WriteIdentity { export: id, initiator: arrival.initiator(), range, digest };
        self.admit_write(arrival, answer, identity)
    }

    /// Executes a write unless it is a copy of one seen before.
    fn admit_write(
        &mut self,
        arrival: &Arrival<'_>,
        answer: Answer,
        identity: WriteIdentity,
    ) -> Result<Buffer, Refusal> {
        let WriteIdentity { export: id, range, .. } = identity;
        if let Some(original) = self.outstanding.find_copy(&identity) {
            self.check_room()?;
            self.outstanding.add_copy(original, answer, arrival.received);
            self.export_mut(id).statistics.copies_joined += 1;
            return Ok(Buffer::Done);
        }
        match self.history.judge(arrival.now, &identity, arrival.received) {
            Verdict::New => {}
            Verdict::Superseded => return Err(Refusal::Superseded),
            Verdict::Answer => {
                let answered = self.reply(&answer, Reply::success(&answer.request))?;
                self.export_mut(id).statistics.copies_answered += 1;
                return Ok(answered);
            }
        }
        self.check_room()?;
        let sequence = self.history.admit(arrival.now, id, range).ok_or(Refusal::HistoryFull)?;
        let data = BufferSlice {
            buffer: arrival.buffer,
            offset: u32::try_from(PAYLOAD_OFFSET).expect("36"),
            length: u32::try_from(range.bytes()).expect("a request is at most 64 KiB"),
        };
        let export = self.export_mut(id);
        export.statistics.writes += 1;
        export.statistics.sectors_written += u64::from(range.count().0);
        let asynchronous = answer.request.flags.contains(AtaFlags::ASYNCHRONOUS);
        let cached = export.config.write_cache && (export.write_cache_enabled || asynchronous);
        let ordered = range.widened_to(export.config.logical_sector_size.sectors());
        let work = Work::Write { identity, data, durable: !cached, sequence };
        self.admit(Request { export: id, received: arrival.received, answer, work }, Some(ordered));
        Ok(Buffer::Kept)
    }

    /// Everything answered so far is completed at the disk, so the flush need not wait for anything.
    fn flush(&mut self, id: ExportId, arrival: &Arrival<'_>, answer: Answer) -> Result<Buffer, Refusal> {
        self.check_room()?;
        self.admit(Request { export: id, received: arrival.received, answer, work: Work::Flush }, None);
        self.export_mut(id).statistics.flushes += 1;
        Ok(Buffer::Done)
    }

    fn set_features(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        answer: Answer,
    ) -> Result<Buffer, Refusal> {
        let export = self.export_mut(id);
        match answer.request.feature {
            // Without leave to cache, writes stay durable: a cache that is never used is on as well as off.
            ENABLE_WRITE_CACHE => export.write_cache_enabled = export.config.write_cache,
            DISABLE_WRITE_CACHE if export.write_cache_enabled => {
                let flushed = self.flush(id, arrival, answer)?;
                self.export_mut(id).write_cache_enabled = false;
                return Ok(flushed);
            }
            DISABLE_WRITE_CACHE => {}
            _ => return self.abort(id, &answer, ErrorRegister::ABRT),
        }
        self.reply(&answer, Reply::success(&answer.request))
    }

    fn identify(&mut self, id: ExportId, answer: &Answer) -> Result<Buffer, Refusal> {
        let export = self.export_mut(id);
        let identify = Identify {
            sectors: export.config.sectors,
            lba48: true,
            serial: export.config.identity.serial,
            firmware: export.config.identity.firmware,
            model: export.config.identity.model,
            physical_sector_size: export.config.logical_sector_size,
            write_cache: export.write_cache_enabled,
            smart: export.smart_enabled,
        };
        self.answer_page(answer, Reply::success(&answer.request), |page| identify.emit(page))
    }

    fn smart(&mut self, id: ExportId, answer: &Answer) -> Result<Buffer, Refusal> {
        let request = &answer.request;
        let export = self.export_mut(id);
        let feature = SmartFeature::from(request.feature);
        let enabled = export.smart_enabled || feature == SmartFeature::EnableOperations;
        if request.lba.mid_high() != smart::SIGNATURE || !enabled {
            return self.abort_smart(id, answer);
        }
        let (read_errors, write_errors) = (export.statistics.read_errors, export.statistics.write_errors);
        let mut reply = Reply::success(request);
        match feature {
            SmartFeature::ReadData => {
                let attributes = attributes(read_errors, write_errors);
                return self.answer_page(answer, reply, |page| smart::emit_data(page, &attributes));
            }
            SmartFeature::ReadLog => {
                let Some(log) = SmartLog::from_address(request.lba.0[0]) else {
                    return self.abort_smart(id, answer);
                };
                let errors = u16::try_from(read_errors + write_errors).unwrap_or(u16::MAX);
                return self.answer_page(answer, reply, |page| log.emit(page, errors));
            }
            SmartFeature::ReturnStatus if is_failing(read_errors, write_errors) => {
                [reply.lba.0[1], reply.lba.0[2]] = smart::THRESHOLD_EXCEEDED;
            }
            SmartFeature::ReturnStatus => {}
            SmartFeature::ExecuteOfflineImmediate if request.lba.0[0] == smart::OFFLINE_ROUTINE => {}
            SmartFeature::EnableOperations => export.smart_enabled = true,
            SmartFeature::DisableOperations => export.smart_enabled = false,
            SmartFeature::ExecuteOfflineImmediate | SmartFeature::WriteLog | SmartFeature::Unknown(_) => {
                return self.abort_smart(id, answer);
            }
        }
        // A sector of nothing: aoeping takes no SMART reply without one.
        self.answer_page(answer, reply, |_| {})
    }

    /// Refuses a SMART sub-command, with a sector of nothing as behind every SMART reply.
    fn abort_smart(&mut self, id: ExportId, answer: &Answer) -> Result<Buffer, Refusal> {
        let reply = Reply::failure(&answer.request, ErrorRegister::ABRT);
        let answered = self.answer_page(answer, reply, |_| {})?;
        self.export_mut(id).statistics.aborted += 1;
        Ok(answered)
    }

    /// Answers with one sector of data that no disk holds.
    fn answer_page(
        &mut self,
        answer: &Answer,
        reply: Reply,
        emit: impl FnOnce(&mut [u8; SECTOR_BYTES]),
    ) -> Result<Buffer, Refusal> {
        let mut page = [0; SECTOR_BYTES];
        emit(&mut page);
        self.send_control(answer.port, &answer.head, |frame| {
            let start = reply.emit(frame);
            frame[start..start + SECTOR_BYTES].copy_from_slice(&page);
            start + SECTOR_BYTES
        })?;
        Ok(Buffer::Done)
    }

    /// Fails a request that no disk has seen.
    fn abort(&mut self, id: ExportId, answer: &Answer, error: ErrorRegister) -> Result<Buffer, Refusal> {
        let answered = self.reply(answer, Reply::failure(&answer.request, error))?;
        self.export_mut(id).statistics.aborted += 1;
        Ok(answered)
    }

    /// Answers a request that no disk has seen.
    fn reply(&mut self, answer: &Answer, reply: Reply) -> Result<Buffer, Refusal> {
        self.check_output_room()?;
        self.send(answer, reply);
        Ok(Buffer::Done)
    }

    fn check_range(&mut self, id: ExportId, arrival: &Arrival<'_>, request: &ata::Request) -> Checked {
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

fn attributes(read_errors: u64, write_errors: u64) -> [Attribute; 3] {
    let attribute = |id, errors| Attribute {
        id,
        prefailure: true,
        value: smart_value(errors),
        worst: smart_value(errors),
        raw: errors,
    };
    [
        attribute(Attribute::READ_ERROR_RATE, read_errors),
        attribute(Attribute::REPORTED_UNCORRECTABLE, read_errors + write_errors),
        attribute(Attribute::WRITE_ERROR_RATE, write_errors),
    ]
}

fn smart_value(errors: u64) -> u8 {
    u8::try_from(SMART_VALUE_BEST.saturating_sub(errors).max(1)).expect("at most 100")
}

fn is_failing(read_errors: u64, write_errors: u64) -> bool {
    u64::from(smart_value(read_errors + write_errors)) <= SMART_VALUE_FAILING
}

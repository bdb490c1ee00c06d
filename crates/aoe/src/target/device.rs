//! What is asked of the device and not of its sectors: IDENTIFY, SET FEATURES and SMART. Only switching the write
//! cache off reaches the disk: what is in the cache is flushed first.

use block::{ExportId, SECTOR_BYTES};

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::outstanding::Answer;
use super::refusal::Refusal;
use crate::ata::smart::{self, Attribute, SmartFeature, SmartLog};
use crate::ata::{ErrorRegister, Identify};
use crate::wire::ata::Reply;

/// SET FEATURES: switch the write cache on.
const ENABLE_WRITE_CACHE: u8 = 0x02;
/// SET FEATURES: make durable what is in the write cache, and switch it off.
const DISABLE_WRITE_CACHE: u8 = 0x82;
/// What a SMART attribute begins with. It falls by one an error and never to 0, which means "not known".
const SMART_VALUE_BEST: u64 = 100;
/// A disk with an attribute this low is called failing.
const SMART_VALUE_FAILING: u8 = 50;

impl Target {
    pub(super) fn set_features(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        answer: Answer,
    ) -> Result<Buffer, Refusal> {
        let export = self.export_mut(id);
        match answer.request.feature {
            // The other node would not know of it when it answers at its address again.
            ENABLE_WRITE_CACHE | DISABLE_WRITE_CACHE if arrival.is_beside_peer(export) => {
                return self.abort(id, &answer, ErrorRegister::ABRT);
            }
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

    pub(super) fn identify(&mut self, id: ExportId, answer: &Answer) -> Result<Buffer, Refusal> {
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

    pub(super) fn smart(&mut self, id: ExportId, answer: &Answer) -> Result<Buffer, Refusal> {
        let request = &answer.request;
        let export = self.export_mut(id);
        let feature = SmartFeature::from(request.feature);
        let enabled = export.smart_enabled || feature == SmartFeature::EnableOperations;
        if request.lba.mid_high() != smart::SIGNATURE || !enabled {
            return self.abort_smart(id, answer);
        }
        let errors = Errors { reads: export.statistics.read_errors, writes: export.statistics.write_errors };
        let mut reply = Reply::success(request);
        match feature {
            SmartFeature::ReadData | SmartFeature::ReadThresholds | SmartFeature::ReadLog => {
                return self.smart_page(id, answer, feature, errors);
            }
            SmartFeature::ReturnStatus if errors.are_too_many() => {
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

    /// Answers a SMART sub-command that reads.
    fn smart_page(
        &mut self,
        id: ExportId,
        answer: &Answer,
        feature: SmartFeature,
        errors: Errors,
    ) -> Result<Buffer, Refusal> {
        let reply = Reply::success(&answer.request);
        let attributes = errors.attributes();
        match feature {
            SmartFeature::ReadData => {
                self.answer_page(answer, reply, |page| smart::emit_data(page, &attributes))
            }
            SmartFeature::ReadThresholds => self.answer_page(answer, reply, |page| {
                smart::emit_thresholds(page, &attributes, SMART_VALUE_FAILING);
            }),
            _ => match SmartLog::from_address(answer.request.lba.0[0]) {
                Some(log) => self.answer_page(answer, reply, |page| log.emit(page, errors.in_log())),
                None => self.abort_smart(id, answer),
            },
        }
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
}

/// Errors of a disk since it is served, as SMART tells them.
#[derive(Clone, Copy)]
struct Errors {
    reads: u64,
    writes: u64,
}

impl Errors {
    fn attributes(self) -> [Attribute; 3] {
        let attribute = |id, errors| Attribute {
            id,
            prefailure: true,
            value: smart_value(errors),
            worst: smart_value(errors),
            raw: errors,
        };
        [
            attribute(Attribute::READ_ERROR_RATE, self.reads),
            attribute(Attribute::REPORTED_UNCORRECTABLE, self.reads + self.writes),
            attribute(Attribute::WRITE_ERROR_RATE, self.writes),
        ]
    }

    fn in_log(self) -> u16 {
        u16::try_from(self.reads + self.writes).unwrap_or(u16::MAX)
    }

    fn are_too_many(self) -> bool {
        smart_value(self.reads + self.writes) <= SMART_VALUE_FAILING
    }
}

fn smart_value(errors: u64) -> u8 {
    u8::try_from(SMART_VALUE_BEST.saturating_sub(errors).max(1)).expect("at most 100")
}

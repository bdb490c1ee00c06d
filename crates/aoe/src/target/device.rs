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
const SMART_VALUE_FAILING: u64 = 50;

impl Target {
    pub(super) fn set_features(
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

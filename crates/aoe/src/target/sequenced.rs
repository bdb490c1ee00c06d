//! Vendor command 0xf0, sequenced writes (rule D6): a number of an initiator is executed once.
//!
//! A write in flight, here or by the other node, is found like a stock one; one that has ended by `numbers`. Each answer
//! carries the epoch of the export's membership, so that an initiator which has seen a later one passes it over.

use block::ExportId;

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::ata::Checked;
use super::duplicate::WriteIdentity;
use super::numbers::{Known, Number};
use super::outstanding::{Answer, Sequenced};
use super::refusal::Refusal;
use crate::ata::ErrorRegister;
use crate::limits::SEQUENCE_WINDOW;
use crate::wire::ata::{self, AtaFlags};
use crate::wire::header::AoeError;
use crate::wire::sequenced::{self, Reply, Request, View};

impl Target {
    pub(super) fn sequenced(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let parsed = View::new(arrival.frame).and_then(|view| Ok((view, Request::parse(view)?)));
        let (view, request) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_argument(id, arrival, error),
        };
        match request {
            Request::Query { initiator } => self.sequenced_query(id, arrival, initiator),
            Request::Write { checksum, initiator, sequence, registers } => {
                if arrival.is_to_many() {
                    return Err(Refusal::WriteToMany);
                }
                let number = Number { export: id, initiator, sequence };
                self.sequenced_write(arrival, number, registers, checksum, view)
            }
        }
    }

    fn sequenced_query(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        initiator: u64,
    ) -> Result<Buffer, Refusal> {
        let has_room = self.numbers.has_room(arrival.now, id, initiator);
        let window = if has_room { u32::try_from(SEQUENCE_WINDOW).expect("small") } else { 0 };
        let export = self.export_mut(id);
        let reply = Reply::Query { window, initiator, epoch: export.epoch };
        let head = arrival.reply(export.address());
        self.answer_control(id, arrival.port, &head, |frame| reply.emit(frame))?;
        Ok(Buffer::Done)
    }

    fn sequenced_write(
        &mut self,
        arrival: &Arrival<'_>,
        number: Number,
        registers: ata::Request,
        checksum: u32,
        view: View<'_>,
    ) -> Result<Buffer, Refusal> {
        let Number { export: id, initiator, sequence } = number;
        let export = self.export_mut(id);
        if export.state().is_reserved_against(arrival.initiator()) {
            return self.refuse_arrival(id, arrival, AoeError::Reserved);
        }
        let sequenced = Some(Sequenced { export: id, initiator });
        let head = arrival.reply(export.address());
        let answer = arrival.answer(head, registers, sequenced);
        if !registers.command.is_write() || !registers.flags.contains(AtaFlags::WRITE) || sequence == 0 {
            return self.refuse_arrival(id, arrival, AoeError::BadArgument);
        }
        if export.config.read_only {
            return self.abort(id, &answer, ErrorRegister::ABRT);
        }
        let (range, data) =
            match (self.check_range(id, arrival, &registers), view.sectors(registers.sectors())) {
                (Checked::Argument, _) | (_, None) => {
                    return self.refuse_arrival(id, arrival, AoeError::BadArgument);
                }
                (Checked::Beyond, Some(_)) => return self.abort(id, &answer, ErrorRegister::IDNF),
                (Checked::Range(range), Some(data)) => (range, data),
            };
        if sequenced::checksum(data) != checksum {
            return Err(Refusal::BadChecksum);
        }
        self.admit_sequenced(arrival, answer, number, WriteIdentity::numbered(id, range, initiator, sequence))
    }

    fn admit_sequenced(
        &mut self,
        arrival: &Arrival<'_>,
        answer: Answer,
        number: Number,
        identity: WriteIdentity,
    ) -> Result<Buffer, Refusal> {
        let failed = ata::Reply::failure(&answer.request, ErrorRegister::ABRT);
        let reply = match self.numbers.find(number) {
            Known::No if self.numbers.has_room(arrival.now, number.export, number.initiator) => {
                return self.admit_write(arrival, answer, identity, sequenced::PAYLOAD_OFFSET);
            }
            Known::No => return Err(Refusal::TooManyInitiators),
            Known::TooOld => return self.refuse_arrival(number.export, arrival, AoeError::SequenceTooOld),
            Known::Executed => ata::Reply::success(&answer.request),
            Known::Failed => failed,
        };
        let answered = self.reply(&answer, reply)?;
        self.export_mut(number.export).statistics.duplicates_answered += 1;
        Ok(answered)
    }
}

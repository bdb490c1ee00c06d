//! What becomes of a frame that came in: the answer to a frame of ours, once; news for the discovery; or nothing.

use block::{BufferName, BufferSlice};

use super::path::TargetPath;
use super::retransmit::{Flight, Kind};
use super::{Error, Initiator, Output, PortId, RequestError, tag};
use crate::limits::PAYLOAD_OFFSET;
use crate::wire::header::{self, AoeError, Command};
use crate::wire::{Frame, ata, sequenced};

impl Initiator {
    pub(super) fn receive(&mut self, port: PortId, bytes: &[u8], buffer: BufferName) -> Result<(), Error> {
        let frame = Frame::new(bytes).inspect_err(|_| self.statistics.malformed += 1)?;
        let header = frame.header();
        if header.response && header.address == self.options.address.into() {
            if let Some(target) = tag::of_capability(self.options.seed, header.tag) {
                self.capability(target, &header, frame);
                return Ok(());
            }
            if header.command == sequenced::COMMAND && tag::is_data(header.tag) {
                return self
                    .sequenced_answer(port, &header, frame, buffer)
                    .inspect_err(|_| self.statistics.malformed += 1);
            }
        }
        let ours = header.response
            && header.command == Command::Ata
            && tag::is_data(header.tag)
            && header.address == self.options.address.into();
        if !ours {
            if self.discovery.handle_frame(self.now, port, frame) {
                self.note_heard(port, frame);
                self.drain_discovery();
            }
            return Ok(());
        }
        let Some(index) = self.flights.find(header.tag) else {
            self.statistics.late_answers += 1;
            return Ok(());
        };
        self.answer(port, index, &header, frame, buffer).inspect_err(|_| self.statistics.malformed += 1)
    }

    /// A target that answers anything on an interface can be reached there.
    fn note_heard(&mut self, port: PortId, frame: Frame<'_>) {
        let mac = frame.ethernet().source;
        let index = self.paths.indices().zip(self.paths.targets()).find(|(_, target)| target.mac == mac);
        let index = index.map(|(index, _)| index);
        if let Some(index) = index {
            self.paths.target(index).heard(port);
        }
    }

    /// A target says whether it knows sequenced writes.
    fn capability(&mut self, target: u8, header: &header::Repr, frame: Frame<'_>) {
        let reply = sequenced::View::new(frame).and_then(sequenced::Reply::parse);
        let window = match reply {
            Ok(sequenced::Reply::Query { window, initiator, .. })
                if header.error.is_none() && self.numbering.name() == Some(initiator) =>
            {
                u64::from(window)
            }
            _ => 0,
        };
        self.numbering.answered_question(target, window);
    }

    fn sequenced_answer(
        &mut self,
        port: PortId,
        header: &header::Repr,
        frame: Frame<'_>,
        buffer: BufferName,
    ) -> Result<(), Error> {
        let found = self.flights.find(header.tag);
        let Some(index) = found.filter(|index| self.flights.flight(*index).sequence.is_some()) else {
            self.statistics.late_answers += 1;
            return Ok(());
        };
        let flight = *self.flights.flight(index);
        if let Some(error) = header.error {
            self.refused(&flight, error);
            return Ok(());
        }
        let reply = sequenced::View::new(frame).and_then(sequenced::Reply::parse)?;
        match reply {
            sequenced::Reply::Write { initiator, epoch, registers }
                if self.numbering.name() == Some(initiator) && self.numbering.heed(epoch) =>
            {
                self.take_answer(port, index, &flight, &registers, buffer);
            }
            _ => self.statistics.late_answers += 1,
        }
        Ok(())
    }

    /// As with the Linux driver only an ATA status fails a request: the frame is left to be sent again.
    fn refused(&mut self, flight: &Flight, error: AoeError) {
        self.statistics.refusals += 1;
        self.requests.request(flight.request).refused = Some(error);
    }

    fn answer(
        &mut self,
        port: PortId,
        index: u32,
        header: &header::Repr,
        frame: Frame<'_>,
        buffer: BufferName,
    ) -> Result<(), Error> {
        let flight = *self.flights.flight(index);
        if let Some(error) = header.error {
            self.refused(&flight, error);
            return Ok(());
        }
        let view = ata::View::new(frame)?;
        let reply = ata::Reply::parse(view);
        let failed = reply.status.is_failure();
        if !failed && flight.kind == Kind::Read && view.sectors(flight.range.count()).is_none() {
            return Err(Error::ShortAnswer { wanted: flight.range.bytes(), length: view.payload().len() });
        }
        self.take_answer(port, index, &flight, &reply, buffer);
        Ok(())
    }

    fn take_answer(
        &mut self,
        port: PortId,
        index: u32,
        flight: &Flight,
        reply: &ata::Reply,
        buffer: BufferName,
    ) {
        self.close(port, index, flight);
        if reply.status.is_failure() {
            let error = RequestError::Ata { status: reply.status, error: reply.error };
            self.end(flight.request, Err(error));
        } else {
            self.advance(flight, buffer);
        }
    }

    /// Nothing more is awaited for a frame that was answered.
    fn close(&mut self, port: PortId, index: u32, flight: &Flight) {
        let under_way = self.flights.remove(index);
        if let Some(sequence) = flight.sequence {
            self.numbering.end(sequence.get());
        }
        let now = self.now;
        let target: &mut TargetPath = self.paths.target(flight.target);
        if under_way {
            let round_trip = (flight.retransmissions == 0).then(|| now.since(flight.sent));
            target.answered(flight.port, flight.kind, round_trip);
        } else {
            target.heard(port);
        }
    }

    /// A part of a request was done.
    fn advance(&mut self, flight: &Flight, buffer: BufferName) {
        let request = self.requests.request(flight.request);
        request.answered += match flight.kind {
            Kind::Flush => 1,
            Kind::Read | Kind::Write => u32::from(flight.range.count().0),
        };
        let done = request.answered == request.units;
        if flight.kind == Kind::Read {
            let (id, offset) = (request.id, request.byte_offset(flight.range));
            let length = u32::try_from(flight.range.bytes()).expect("a frame is short");
            let data = BufferSlice { buffer, offset: PAYLOAD_BYTES_BEFORE, length };
            self.outputs.push_back(Output::Data { id, offset, data });
        }
        if done {
            self.end(flight.request, Ok(()));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "36")]
const PAYLOAD_BYTES_BEFORE: u32 = PAYLOAD_OFFSET as u32;

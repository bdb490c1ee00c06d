//! From a received frame to the exports it is for: which frames count at all, and for whom.
//!
//! Everything dropped here is dropped silently; the wire is shared and most of what is on it is not for us.

use block::{BufferName, BufferSlice, ExportId, Instant};

use super::Target;
use super::duplicate::is_stale;
use super::export::Export;
use super::outstanding::{Answer, Sequenced};
use super::port::{PortId, PortLink};
use super::refusal::Refusal;
use crate::address::Address;
use crate::mac::MacAddress;
use crate::wire::header::{self, AoeError, Command};
use crate::wire::{Frame, Head, WireError, ata, sequenced};

/// How a frame has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reception {
    pub(crate) now: Instant,
    pub(crate) received: Instant,
    pub(crate) port: PortId,
    /// The other node has got it and handed it over.
    pub(crate) handed: bool,
}

/// A request that was looked at as far as its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) now: Instant,
    pub(crate) received: Instant,
    pub(crate) handed: bool,
    pub(crate) port: PortId,
    pub(crate) link: PortLink,
    /// The address that it was sent to, if that is the other node's: the answer comes from there, too.
    pub(crate) for_peer: Option<MacAddress>,
    pub(crate) frame: Frame<'a>,
    pub(crate) head: Head,
    pub(crate) buffer: BufferName,
}

impl Arrival<'_> {
    /// The head of an answer from the export at `address`.
    pub(crate) fn reply(&self, address: Address) -> Head {
        self.head.reply(self.for_peer.unwrap_or(self.link.mac), address)
    }

    /// All of the frame, where it lies.
    pub(crate) fn whole(&self) -> BufferSlice {
        let length = u32::try_from(self.frame.bytes().len()).expect("a frame is short");
        BufferSlice { buffer: self.buffer, offset: 0, length }
    }

    /// Where the answer to its request goes.
    pub(crate) const fn answer(
        &self,
        head: Head,
        request: ata::Request,
        sequenced: Option<Sequenced>,
    ) -> Answer {
        Answer { port: self.port, received: self.received, head, request, sequenced }
    }

    pub(crate) const fn initiator(&self) -> MacAddress {
        self.head.ethernet.source
    }

    /// Whether it was sent to the address of the other node, which serves as well.
    pub(crate) const fn is_beside_peer(&self, export: &Export) -> bool {
        self.for_peer.is_some() && !export.stands_in
    }

    /// Whether more than one target may have got it.
    pub(crate) const fn is_to_many(&self) -> bool {
        self.head.ethernet.destination.is_multicast() || !self.head.header.address.is_exact()
    }
}

/// What becomes of a frame's buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Buffer {
    /// A write's data lies in it, or a read that waits.
    Kept,
    /// Nobody needs it any more.
    Done,
}

impl Target {
    /// Looks at a frame and has every export that it is for answer it.
    pub(super) fn arrive(
        &mut self,
        reception: Reception,
        frame: &[u8],
        buffer: BufferName,
    ) -> Result<Buffer, Refusal> {
        let Reception { now, received, port, handed } = reception;
        let frame = Frame::new(frame).map_err(|_| Refusal::NotAoe)?;
        let link = self.ports.link(port).ok_or(Refusal::PortDown)?;
        let head = frame.head();
        let for_peer = self.ports.peer(port).filter(|peer| *peer == head.ethernet.destination);
        let arrival = Arrival { now, received, handed, port, link, for_peer, frame, head, buffer };
        self.check_header(&arrival)?;
        if head.header.address.is_exact() {
            let id = self.directory.find(head.header.address).ok_or(Refusal::UnknownAddress)?;
            return self.deliver_counted(id, &arrival);
        }
        self.deliver_to_many(&arrival)
    }

    /// The one export that a request is for, and whether it was sent to the other node's address. Nothing is known yet of
    /// whether it may be taken.
    #[must_use]
    pub fn recipient(&self, port: PortId, frame: &[u8]) -> Option<(ExportId, bool)> {
        let head = Frame::new(frame).ok()?.head();
        let is_to = |mac: Option<MacAddress>| mac == Some(head.ethernet.destination);
        let to_peer = is_to(self.ports.peer(port));
        let is_ours = to_peer || is_to(self.ports.link(port).map(|link| link.mac));
        let is_request = is_ours && !head.header.response && head.header.address.is_exact();
        let export = self.directory.find(head.header.address).filter(|_| is_request)?;
        Some((export, to_peer))
    }

    /// What can be said without knowing an export.
    #[inline]
    fn check_header(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let Head { ethernet, header } = &arrival.head;
        if header.response {
            return Err(Refusal::Response);
        }
        if ethernet.source.is_multicast() || self.ports.is_own(ethernet.source) {
            return Err(Refusal::BadSource);
        }
        let is_ours = ethernet.destination == arrival.link.mac || arrival.for_peer.is_some();
        if !is_ours && ethernet.destination != MacAddress::BROADCAST {
            return Err(Refusal::OtherDestination);
        }
        if is_stale(arrival.now, arrival.received) {
            return Err(Refusal::Stale);
        }
        Ok(())
    }

    /// Each export that a wildcard matches answers for itself. Nothing that keeps the buffer is done for many.
    fn deliver_to_many(&mut self, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let mut result = Err(Refusal::UnknownAddress);
        for id in self.exports.names() {
            let Some(export) = self.exports.find(id) else { continue };
            if !arrival.head.header.address.matches(export.address()) {
                continue;
            }
            match self.deliver_counted(id, arrival) {
                Ok(buffer) => {
                    assert_eq!(buffer, Buffer::Done, "a frame for many was kept by one");
                    result = Ok(Buffer::Done);
                }
                Err(refusal) if result.is_err() => result = Err(refusal),
                Err(_) => {}
            }
        }
        result
    }

    #[inline]
    fn deliver_counted(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        self.deliver(id, arrival).inspect_err(|refusal| {
            if let Some(export) = self.exports.find_mut(id) {
                export.statistics.refusals.add(*refusal);
            }
        })
    }

    #[inline]
    fn deliver(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let export = self.exports.find(id).expect("the directory names exports that exist");
        // What is handed over was never queued here while nothing could be known of it.
        if export.serving_since.is_none_or(|since| arrival.received < since && !arrival.handed) {
            return Err(Refusal::NotServing);
        }
        if arrival.for_peer.is_some() && !self.answers_for_peer(export, arrival.port) {
            return Err(Refusal::OtherDestination);
        }
        if !export.state().admits(arrival.initiator()) {
            return Err(Refusal::Masked);
        }
        if arrival.head.header.version != header::VERSION {
            return self.refuse_arrival(id, arrival, AoeError::UnsupportedVersion);
        }
        match arrival.head.header.command {
            Command::Ata => self.ata(id, arrival),
            Command::QueryConfig => self.config(id, arrival),
            Command::MacMaskList => self.mac_mask(id, arrival),
            Command::ReserveRelease => self.reserve(id, arrival),
            sequenced::COMMAND => self.sequenced(id, arrival),
            Command::Vendor(_) | Command::Unknown(_) => {
                self.refuse_arrival(id, arrival, AoeError::UnrecognizedCommand)
            }
        }
    }

    /// Whether this node answers at the other one's address there for an export that it serves.
    pub(super) fn answers_for_peer(&self, export: &Export, port: PortId) -> bool {
        export.stands_in || export.config.mirror.is_some() && self.ports.is_peer_down(port)
    }

    /// Answers a request with an error of the AoE header.
    pub(super) fn refuse_arrival(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        error: AoeError,
    ) -> Result<Buffer, Refusal> {
        let export = self.exports.find(id).expect("a frame was for this export");
        let head = arrival.reply(export.address());
        self.refuse(id, arrival.port, &head, error).map(|()| Buffer::Done)
    }

    /// Answers an argument that makes no sense as the protocol wants it.
    pub(super) fn refuse_argument(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        error: WireError,
    ) -> Result<Buffer, Refusal> {
        match error.answer() {
            Some(answer) => self.refuse_arrival(id, arrival, answer),
            None => Err(Refusal::NotAoe),
        }
    }
}

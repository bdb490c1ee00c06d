//! Command 3, Reserve/Release: who may use the disk. A release is a set of no addresses.

use block::ExportId;

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::change::ChangeCommand;
use super::export::SmallState;
use super::port::PortId;
use super::refusal::Refusal;
use crate::limits::RESERVATION_SET_MAX;
use crate::mac::MacAddress;
use crate::wire::Head;
use crate::wire::header::AoeError;
use crate::wire::reserve::{self, Addresses, Request, ReserveCommand, View};

impl Target {
    pub(super) fn reserve(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let request = match View::new(arrival.frame).and_then(Request::parse) {
            Ok(request) => request,
            Err(error) => return self.refuse_argument(id, arrival, error),
        };
        let export = self.exports.find(id).expect("a frame was for this export");
        let (command, addresses) = match request {
            Request::Read => {
                let head = arrival.reply(export.address());
                self.answer_reserve(id, arrival.port, &head, ReserveCommand::Read)?;
                return Ok(Buffer::Done);
            }
            Request::Set(_) if export.state().is_reserved_against(arrival.initiator()) => {
                return self.refuse_arrival(id, arrival, AoeError::Reserved);
            }
            Request::Set(addresses) => (ReserveCommand::Set, addresses),
            Request::ForceSet(addresses) => (ReserveCommand::ForceSet, addresses),
        };
        if addresses.len() > RESERVATION_SET_MAX {
            return self.refuse_arrival(id, arrival, AoeError::BadArgument);
        }
        let state = SmallState { reservation: each_once(addresses), ..export.state().clone() };
        self.change(id, arrival, ChangeCommand::Reserve(command), state)?;
        Ok(Buffer::Done)
    }

    pub(super) fn answer_reserve(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        command: ReserveCommand,
    ) -> Result<(), Refusal> {
        let export = self.exports.find(id).expect("an answer comes from an export");
        let addresses = export.state().reservation.clone();
        self.answer_control(id, port, head, |frame| reserve::emit(frame, command, addresses.into_iter()))
    }
}

fn each_once(addresses: Addresses<'_>) -> Vec<MacAddress> {
    let mut list = Vec::with_capacity(addresses.len());
    for address in addresses.iter() {
        if !list.contains(&address) {
            list.push(address);
        }
    }
    list
}

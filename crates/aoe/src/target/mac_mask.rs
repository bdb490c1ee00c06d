//! Command 2, MAC Mask List: who is listened to at all.
//!
//! An edit is done as a whole or not at all, and not at all where the operator has said who is on the list. A host may take itself off the list; only another one, or the operator,
//! can put it back.

use block::ExportId;

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::change::ChangeCommand;
use super::export::SmallState;
use super::port::PortId;
use super::refusal::Refusal;
use crate::limits::MAC_MASK_EDITED_MAX;
use crate::mac::MacAddress;
use crate::wire::Head;
use crate::wire::mac_mask::{
    DirectiveCommand, Directives, MacMaskCommand, MacMaskError, Request, View, emit_list, emit_refused,
};

impl Target {
    pub(super) fn mac_mask(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let request = match View::new(arrival.frame).and_then(Request::parse) {
            Ok(request) => request,
            Err(error) => return self.refuse_argument(id, arrival, error),
        };
        let export = self.exports.find(id).expect("a frame was for this export");
        let head = arrival.reply(export.address());
        match request {
            Request::Read => self.answer_mac_mask(id, arrival.port, &head, MacMaskCommand::Read)?,
            Request::Edit(directives) => match edited(&export.state().mac_mask, directives) {
                Ok(mac_mask) if export.operator_mask().is_some() && mac_mask != export.state().mac_mask => {
                    self.answer_control(id, arrival.port, &head, |frame| {
                        emit_refused(frame, MacMaskCommand::Edit, MacMaskError::Unspecified, 0)
                    })?;
                }
                Ok(mac_mask) => {
                    let state = SmallState { mac_mask, ..export.state().clone() };
                    self.change(id, arrival, ChangeCommand::MacMask, state)?;
                }
                Err((index, error)) => self.answer_control(id, arrival.port, &head, |frame| {
                    emit_refused(frame, MacMaskCommand::Edit, error, index)
                })?,
            },
        }
        Ok(Buffer::Done)
    }

    pub(super) fn answer_mac_mask_edit(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
    ) -> Result<(), Refusal> {
        self.answer_mac_mask(id, port, head, MacMaskCommand::Edit)
    }

    fn answer_mac_mask(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        command: MacMaskCommand,
    ) -> Result<(), Refusal> {
        let export = self.exports.find(id).expect("an answer comes from an export");
        let list = export.state().mac_mask.clone();
        self.answer_control(id, port, head, |frame| emit_list(frame, command, list.into_iter()))
    }
}

/// The list after all directives, or the first directive that cannot be done and why.
fn edited(list: &[MacAddress], directives: Directives<'_>) -> Result<Vec<MacAddress>, (u8, MacMaskError)> {
    let mut list = list.to_vec();
    for (index, directive) in (0..=u8::MAX).zip(directives.iter()) {
        match directive.command {
            DirectiveCommand::None => {}
            // Nobody sends from a group address, so a list of such would lock everybody out.
            DirectiveCommand::Add if directive.address.is_multicast() => {
                return Err((index, MacMaskError::Unspecified));
            }
            DirectiveCommand::Add if list.contains(&directive.address) => {}
            DirectiveCommand::Add if list.len() >= MAC_MASK_EDITED_MAX => {
                return Err((index, MacMaskError::ListFull));
            }
            DirectiveCommand::Add => list.push(directive.address),
            DirectiveCommand::Delete => list.retain(|address| *address != directive.address),
            DirectiveCommand::Unknown(_) => return Err((index, MacMaskError::BadDirective)),
        }
    }
    Ok(list)
}

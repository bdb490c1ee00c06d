//! Frames that are no answer of the hot path: assembled in memory of their own, and dropped rather than queued
//! without bound. Whoever waits for one asks again.

use block::ExportId;

use super::Target;
use super::output::Output;
use super::port::PortId;
use super::refusal::Refusal;
use crate::limits::CONTROL_FRAME_BYTES_MAX;
use crate::wire::header::AoeError;
use crate::wire::{self, Head};

impl Target {
    /// Sends `head` and what `argument` writes behind it, padded with zeros.
    pub(super) fn send_control(
        &mut self,
        port: PortId,
        head: &Head,
        argument: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), Refusal> {
        let link = self.ports.link(port).ok_or(Refusal::PortDown)?;
        self.check_output_room()?;
        let mut frame = vec![0; CONTROL_FRAME_BYTES_MAX];
        let head_length = head.emit(&mut frame);
        let length = argument(&mut frame).max(head_length);
        let length = wire::pad(&mut frame, length);
        frame.truncate(length);
        if length > link.frame_bytes_max() {
            return Err(Refusal::ReplyTooLong);
        }
        frame.shrink_to_fit();
        self.push(Output::SendControl { port, frame });
        Ok(())
    }

    /// Sends an answer to a control command and counts it.
    pub(super) fn answer_control(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        argument: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), Refusal> {
        self.send_control(port, head, argument)?;
        if let Some(export) = self.exports.find_mut(id) {
            export.statistics.control_replies += 1;
        }
        Ok(())
    }

    /// Sends an answer that has an error in its AoE header and no argument.
    pub(super) fn refuse(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        error: AoeError,
    ) -> Result<(), Refusal> {
        let head = Head { header: head.header.refusing(error), ..*head };
        self.send_control(port, &head, |_| 0)?;
        if let Some(export) = self.exports.find_mut(id) {
            export.statistics.aoe_errors += 1;
        }
        Ok(())
    }
}

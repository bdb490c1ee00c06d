//! Command 1, Query Config: how much a target takes, and the config string.

use block::ExportId;

use super::Target;
use super::arrival::{Arrival, Buffer};
use super::change::ChangeCommand;
use super::export::{Export, SmallState};
use super::port::{PortId, PortLink};
use super::refusal::Refusal;
use crate::wire::Head;
use crate::wire::config::{ConfigCommand, Repr, Request};
use crate::wire::header::{self, AoeError};

/// What the reply gives as firmware version: the protocol's revision of this target, upper byte major.
const FIRMWARE: u16 = 0x0001;

impl Target {
    pub(super) fn config(&mut self, id: ExportId, arrival: &Arrival<'_>) -> Result<Buffer, Refusal> {
        let request = match Request::parse(arrival.frame) {
            Ok(request) => request,
            Err(error) => return self.refuse_argument(id, arrival, error),
        };
        let export = self.exports.find(id).expect("a frame was for this export");
        let head = arrival.reply(export.address());
        let string = export.state().config_string.as_slice();
        let command = request.command();
        match request {
            Request::Test(expected) if expected != string => return Err(Refusal::ConfigMismatch),
            Request::TestPrefix(prefix) if !string.starts_with(prefix) => {
                return Err(Refusal::ConfigMismatch);
            }
            Request::Set(new) if !string.is_empty() && new != string => {
                return self.refuse_arrival(id, arrival, AoeError::ConfigStringPresent);
            }
            Request::Set(new) | Request::ForceSet(new) => {
                let state = SmallState { config_string: new.to_vec(), ..export.state().clone() };
                self.change(id, arrival, ChangeCommand::Config(command), state)?;
            }
            Request::Read | Request::Test(_) | Request::TestPrefix(_) => {
                self.answer_config(id, arrival.port, &head, command)?;
            }
        }
        Ok(Buffer::Done)
    }

    /// Says what this export takes on that interface and which string it has.
    pub(super) fn answer_config(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        command: ConfigCommand,
    ) -> Result<(), Refusal> {
        let link = self.ports.link(port).ok_or(Refusal::PortDown)?;
        let export = self.exports.find(id).expect("an answer comes from an export");
        let argument = OwnedConfig::new(export, link, command);
        self.answer_control(id, port, head, |frame| argument.emit(frame))
    }
}

/// The argument of a config reply, apart from the export that it describes.
#[derive(Clone, Debug)]
pub(super) struct OwnedConfig {
    buffer_count: u16,
    sector_count: u8,
    command: ConfigCommand,
    string: Vec<u8>,
}

impl OwnedConfig {
    pub(super) fn new(export: &Export, link: PortLink, command: ConfigCommand) -> Self {
        Self {
            buffer_count: export.config().buffer_count,
            sector_count: u8::try_from(link.sectors_offered().0).expect("at most 128 sectors a frame"),
            command,
            string: export.state().config_string.clone(),
        }
    }

    pub(super) fn emit(&self, frame: &mut [u8]) -> usize {
        let Self { buffer_count, sector_count, command, string } = self;
        Repr {
            buffer_count: *buffer_count,
            firmware: FIRMWARE,
            sector_count: *sector_count,
            version: header::VERSION,
            command: *command,
            string,
        }
        .emit(frame)
    }
}

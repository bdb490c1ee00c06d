//! Changes that clients make to the small state: made durable first, then visible, then answered.
//!
//! One change of an export is stored at a time; others are dropped meanwhile and will be asked for again.

use block::ExportId;

use super::Target;
use super::arrival::Arrival;
use super::export::SmallState;
use super::output::{Output, StateError};
use super::port::PortId;
use super::refusal::Refusal;
use crate::wire::Head;
use crate::wire::config::ConfigCommand;
use crate::wire::header::AoeError;
use crate::wire::reserve::ReserveCommand;

/// A change that is being stored.
#[derive(Debug)]
pub(crate) struct Change {
    state: SmallState,
    /// Nobody, where the operator wants it.
    asked_by: Option<Asker>,
}

/// A client that waits for its answer.
#[derive(Debug)]
struct Asker {
    port: PortId,
    head: Head,
    command: ChangeCommand,
}

impl Change {
    pub(super) const fn of_operator(state: SmallState) -> Self {
        Self { state, asked_by: None }
    }
}

/// What asked for it, as its answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChangeCommand {
    Config(ConfigCommand),
    MacMask,
    Reserve(ReserveCommand),
}

impl Target {
    /// Answers a change with how things are now, or has them changed first.
    pub(super) fn change(
        &mut self,
        id: ExportId,
        arrival: &Arrival<'_>,
        command: ChangeCommand,
        state: SmallState,
    ) -> Result<(), Refusal> {
        assert!(state.is_within_limits(), "a change was checked before it is stored");
        let export = self.exports.find_mut(id).expect("a frame was for this export");
        let head = arrival.reply(export.address());
        if export.change.is_some() {
            return Err(Refusal::ChangePending);
        }
        if *export.state() == state {
            return self.answer_change(id, arrival.port, &head, command);
        }
        self.check_output_room()?;
        let export = self.export_mut(id);
        let asked_by = Some(Asker { port: arrival.port, head, command });
        export.change = Some(Change { state: state.clone(), asked_by });
        self.push(Output::StoreState { export: id, state });
        Ok(())
    }

    /// The change is durable, or failed and nothing has changed.
    pub(super) fn state_stored(
        &mut self,
        id: ExportId,
        result: Result<(), StateError>,
    ) -> Result<(), Refusal> {
        let Some(export) = self.exports.find_mut(id) else { return Ok(()) };
        let Some(change) = export.change.take() else {
            assert!(export.config.mirror.is_some(), "a state is stored because a change asked for it");
            return Ok(());
        };
        let Change { state, asked_by } = change;
        if result.is_ok() {
            export.config.state = state;
        }
        self.set_operator_mask(id);
        let Some(Asker { port, head, command }) = asked_by else { return Ok(()) };
        let head = self.head_of(id, port, head);
        if result.is_err() {
            return self.refuse(id, port, &head, AoeError::DeviceUnavailable);
        }
        self.answer_change(id, port, &head, command)
    }

    /// Both nodes of a pair have this state, whoever asked for it. Who waits for another one has to ask again.
    pub(super) fn state_agreed(&mut self, id: ExportId, state: &SmallState) -> Result<(), Refusal> {
        assert!(state.is_within_limits(), "the other node's state was checked when it came");
        let Some(export) = self.exports.find_mut(id) else { return Ok(()) };
        export.config.state.clone_from(state);
        let change = export.change.take().filter(|change| change.state == *state);
        self.set_operator_mask(id);
        match change.and_then(|change| change.asked_by) {
            Some(Asker { port, head, command }) => {
                let head = self.head_of(id, port, head);
                self.answer_change(id, port, &head, command)
            }
            None => Ok(()),
        }
    }

    fn answer_change(
        &mut self,
        id: ExportId,
        port: PortId,
        head: &Head,
        command: ChangeCommand,
    ) -> Result<(), Refusal> {
        match command {
            ChangeCommand::Config(command) => self.answer_config(id, port, head, command),
            ChangeCommand::MacMask => self.answer_mac_mask_edit(id, port, head),
            ChangeCommand::Reserve(command) => self.answer_reserve(id, port, head, command),
        }
    }
}

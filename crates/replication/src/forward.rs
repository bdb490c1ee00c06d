//! Writes of a node without a disk: the peer, which serves alone, executes them as its own.

use block::{BlockError, BufferSlice, ExportId, LbaRange, RequestId};

use crate::engine::Engine;
use crate::message::{Origin, Token, VolumeMessage};
use crate::output::{Outcome, Output};
use crate::volume::Phase;
use crate::write::Asker;

/// A write that the peer executes.
#[derive(Debug)]
pub(crate) struct Forward {
    export: ExportId,
    id: RequestId,
}

impl Engine {
    pub(crate) fn forward(
        &mut self,
        export: ExportId,
        id: RequestId,
        range: LbaRange,
        data: BufferSlice,
        durable: bool,
        origin: Option<Origin>,
    ) {
        let write = self.forwards.insert(Forward { export, id }).expect("no more than there are requests");
        self.say(export, VolumeMessage::Forward { write, range, durable, origin }, Some(data));
    }

    /// The peer has no disk: its write is executed as one of this node's own.
    pub(crate) fn handle_forward(
        &mut self,
        export: ExportId,
        write: Token,
        range: LbaRange,
        durable: bool,
        origin: Option<Origin>,
        data: BufferSlice,
    ) {
        if self.volume(export).phase == Phase::Alone && self.volume(export).serving {
            self.begin_write(export, Asker::Peer(write), range, data, durable, origin);
        } else {
            self.push(Output::Release(data.buffer));
        }
    }

    pub(crate) fn handle_forwarded(&mut self, write: Token, result: Result<(), BlockError>) {
        let Some(Forward { export, id }) = self.forwards.remove(write) else { return };
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Done(None));
        self.complete(export, id, outcome);
    }

    pub(crate) fn drop_forwards(&mut self, export: ExportId) {
        let mut tokens = self.token_list();
        self.forwards.list(&mut tokens, |forward| forward.export == export);
        for token in tokens.iter().copied() {
            let Forward { id, .. } = self.forwards.remove(token).expect("just listed");
            self.complete(export, id, Outcome::Doubtful);
        }
        self.give_back(tokens);
    }
}

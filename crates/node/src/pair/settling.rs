//! What target and engine have to say to each other, carried from one to the other until both are silent.

use aoe::target::{self, FollowedWrite, MirrorEnd, MirrorInput};
use block::{Completion, ExportId, Instant, RequestId};
use replication::limits::NUMBERS_PER_MESSAGE;
use replication::message::{Message, VolumeMessage};
use replication::output::Event::{MaskDiffers, Removed};
use replication::output::{FollowedEnd, Outcome, Resolution};
use replication::{input, output};

use super::words::{
    to_engine_origin, to_engine_state, to_engine_window, to_target_origin, to_target_state, to_target_window,
};
use crate::hand_over::Manner;
use crate::node::Node;
use crate::output::{Output, SlowRequest};

impl Node {
    /// Has the two cores say to each other what they have to say. What is for the shell is queued.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.pair.as_mut().and_then(|pair| pair.engine.poll_output()) {
                self.take_from_engine(now, output);
            }
            let Some(output) = self.target.poll_output() else { return };
            self.take_from_target(now, output);
        }
    }

    fn take_from_target(&mut self, now: Instant, output: target::Output) {
        let output = match output {
            target::Output::MirrorBlock { request, origin } => {
                let input = input::Input::Request { request, origin: origin.map(to_engine_origin) };
                return self.tell_engine(now, input).expect("the engine takes every request");
            }
            target::Output::Block(request) => return self.ask_disk(request),
            target::Output::Send(transmit) => Output::Send(transmit),
            target::Output::SendControl { port, frame } => Output::SendControl { port, frame },
            target::Output::Release(buffer) => Output::Release(buffer),
            target::Output::Returned { export, port, to_peer, received, frame } => {
                return self.hand_over_returned(now, export, (port, to_peer), received, frame);
            }
            target::Output::StoreState { export, state } => match self.pair().volume(export) {
                None => Output::StoreState { export, state },
                Some(volume) => {
                    let state = Box::new(to_engine_state(volume, &state));
                    let input = input::Input::SmallState { volume: export, state };
                    return self.tell_engine(now, input).expect("the engine takes every state");
                }
            },
        };
        self.outputs.push_back(output);
    }

    fn ask_disk(&mut self, request: block::BlockRequest) {
        if let Some(request) = self.read_modify_write.begin(request) {
            self.outputs.push_back(Output::Disk(request));
        }
    }

    fn take_from_engine(&mut self, now: Instant, output: output::Output) {
        use output::Output as Of;
        let output = match output {
            Of::Disk(request) => return self.ask_disk(request),
            Of::Completed { id, outcome } => return self.completed_by_engine(now, id, outcome),
            Of::Serving { volume: export, serving, stands_in, hands_over } => {
                self.tell_epoch(now, export);
                self.tell_mirror(now, MirrorInput::Serving { export, serving });
                // Where the other node never serves, nobody else answers at its address.
                let stands_in = stands_in || serving && self.pair().is_only_server(export);
                self.tell_mirror(now, MirrorInput::StandsIn { export, stands_in });
                return self.set_manner(export, Manner { serving, stands_in, hands_over });
            }
            Of::PeerLinksDown(down) => return self.take_peer_links(now, down),
            Of::Handed { volume, port, to_receiver, received, frame } => {
                return self.keep_handed(volume, port, to_receiver, received, frame);
            }
            Of::Followed { volume, write, range, origin } => {
                let (write, origin) = (FollowedWrite(write.0), to_target_origin(origin));
                return self.tell_mirror(now, MirrorInput::Followed { export: volume, write, range, origin });
            }
            Of::FollowedEnded { write, end } => {
                let end = match end {
                    FollowedEnd::Finished | FollowedEnd::Started => MirrorEnd::Executed,
                    FollowedEnd::Dropped => MirrorEnd::Abandoned,
                    FollowedEnd::Doubtful => MirrorEnd::Doubtful,
                };
                return self
                    .tell_mirror(now, MirrorInput::FollowedEnded { write: FollowedWrite(write.0), end });
            }
            Of::Resolved { volume, range, origin, resolution } => {
                let origin = to_target_origin(origin);
                let end = match resolution {
                    Resolution::Executed => MirrorEnd::Executed,
                    Resolution::Overtaken => MirrorEnd::Overtaken,
                    Resolution::Abandoned => MirrorEnd::Abandoned,
                    Resolution::Unknown => MirrorEnd::Doubtful,
                };
                return self.tell_mirror(now, MirrorInput::Resolved { export: volume, range, origin, end });
            }
            Of::TellNumbers { volume, peer } => return self.tell_numbers(now, volume, peer),
            Of::Numbers { volume, windows } => {
                for window in &windows {
                    let input =
                        target::Input::NumbersTold { export: volume, window: &to_target_window(window) };
                    self.tell_target(now, input).expect("only frames are refused");
                }
                return;
            }
            Of::SmallState { volume, state } => {
                let state = to_target_state(&state);
                let input = target::Input::StateAgreed { export: volume, state: &state };
                // If there is no room for the answer its client asks again.
                let _ = self.tell_target(now, input);
                match self.other_mask(volume) {
                    Some(hosts) => Output::Event { volume, event: MaskDiffers { hosts } },
                    None => return,
                }
            }
            Of::Resized { volume, sectors } => {
                let input = target::Input::Resized { export: volume, sectors };
                return self.tell_target(now, input).expect("only frames are refused");
            }
            Of::Spent { spent, .. } => {
                self.pair_mut().spent = Some(spent);
                return;
            }
            Of::Release(buffer) => Output::Release(buffer),
            Of::Send { message, data } => Output::PeerSend { message, data },
            Of::Disconnect { reason } => {
                self.drop_handed();
                Output::PeerDisconnect { reason }
            }
            Of::Metadata { id, volume, place } => Output::MetadataWrite { id, volume, place },
            Of::Digest { of, data } => Output::Digest { of, data },
            Of::Ask { volume, question, expected, next, wish } => {
                Output::Ask { volume, question, expected, next, wish }
            }
            Of::Event { volume, event } => {
                self.tell_epoch(now, volume);
                if event == Removed {
                    self.forget_export(volume);
                }
                Output::Event { volume, event }
            }
        };
        self.outputs.push_back(output);
    }

    /// How many hosts are on the MAC mask list that holds, if it is not the one that the operator has said at this node.
    fn other_mask(&self, export: ExportId) -> Option<usize> {
        let export = self.target.export(export)?;
        let (wanted, mask) = (export.operator_mask()?, &export.state().mac_mask);
        (!export.operator_mask_is_due() && wanted != mask.as_slice()).then_some(mask.len())
    }

    fn completed_by_engine(&mut self, now: Instant, id: RequestId, outcome: Outcome) {
        let dropped = |end| target::Input::Mirror(MirrorInput::Dropped { id, end });
        let input = match outcome {
            Outcome::Done(payload) => target::Input::Completed(Completion { id, result: Ok(payload) }),
            Outcome::Failed(error) => target::Input::Completed(Completion { id, result: Err(error) }),
            Outcome::Started => dropped(MirrorEnd::Executed),
            Outcome::Dropped => dropped(MirrorEnd::Abandoned),
            Outcome::Doubtful => dropped(MirrorEnd::Doubtful),
        };
        self.tell_target(now, input).expect("only frames are refused");
        let spent = self.pair_mut().spent.take();
        if let Some(request) = self.target.take_slow() {
            self.outputs
                .push_back(Output::Slow(Box::new(SlowRequest { request, spent: spent.map(|spent| *spent) })));
        }
    }

    /// Which numbered writes this node remembers.
    fn tell_numbers(&mut self, now: Instant, export: ExportId, peer: ExportId) {
        let windows: Vec<_> = self.target.numbers(now, export).map(to_engine_window).collect();
        for part in windows.chunks(NUMBERS_PER_MESSAGE) {
            let message = Message::Volume(peer, VolumeMessage::Numbers(part.to_vec()));
            self.outputs.push_back(Output::PeerSend { message, data: None });
        }
    }

    /// The engine has ended all that it had under way for the export, and nobody is answered for it any more. Its number is not
    /// given out again.
    fn forget_export(&mut self, export: ExportId) {
        self.target.remove_export(export);
        self.set_manner(export, Manner::default());
        self.pair_mut().volumes[export.0 as usize] = None;
    }

    /// The membership may have changed.
    fn tell_epoch(&mut self, now: Instant, export: ExportId) {
        if let Some(status) = self.volume_status(export) {
            self.tell_mirror(now, MirrorInput::Epoch { export, epoch: status.membership.epoch.0 });
        }
    }

    fn tell_mirror(&mut self, now: Instant, input: MirrorInput) {
        self.tell_target(now, target::Input::Mirror(input)).expect("only frames are refused");
    }
}

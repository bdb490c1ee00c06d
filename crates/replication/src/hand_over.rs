//! Frames that reach the node which does not answer them any more, or does not yet: they go to the peer by the stream.
//!
//! A switch sends to where it has seen an address last. When a node leaves, the peer answers at its address, but only after
//! it may, and only then a switch can be told; a node that comes back takes its address again likewise. What
//! initiators send in between would be lost and cost them the time after which they send again, a tenth of a second and
//! more. So the node that gets such a frame hands it over, and so it does with one that waits behind others when it
//! ceases; the other takes it as soon as it may, as if the network had delivered it late. Whether it is too old, or known
//! already, is judged there and then as for every frame.
//!
//! ```text
//!   initiator ──frame──▶ leaver        leaver ceases, finishes what it took, says Leave
//!                          └──Handed──▶ peer   holds it until it stands in, then answers from the leaver's address
//! ```
//!
//! How old a frame is counts from the peer's renewal before it, which was sent before the leaver saw it: so on the peer's
//! clock the frame seems older than it is, never younger, however long it was under way.

use block::{BufferSlice, Duration, ExportId, Instant};

use crate::engine::Engine;
use crate::limits::{HAND_BACK, HANDED_AGE_MAX, HANDED_BYTES_MAX};
use crate::membership::Members;
use crate::message::{Handed, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::Output;
use crate::volume::Phase;

impl Engine {
    /// A frame that this node does not take.
    pub(crate) fn hand_over(
        &mut self,
        export: ExportId,
        port: u8,
        to_receiver: bool,
        received: Instant,
        frame: BufferSlice,
    ) {
        let is_fresh = self.now.since(received) <= HANDED_AGE_MAX && frame.length <= HANDED_BYTES_MAX;
        if let Some((renewal, seen)) = self.session.renewal_seen.filter(|_| is_fresh) {
            let after = nanoseconds_from(seen, received);
            let handed = Handed { port, to_receiver, bytes: frame.length, renewal, after };
            self.say(export, VolumeMessage::Handed(handed), Some(frame));
        }
        self.push(Output::Release(frame.buffer));
    }

    /// The peer has got a frame that this node is to answer.
    pub(crate) fn handle_handed(&mut self, volume: ExportId, handed: Handed, frame: BufferSlice) {
        let Handed { port, to_receiver, renewal, after, .. } = handed;
        // Where the peer's clock is the faster one the moment would be one to come.
        let received = self.lease.sent(renewal).and_then(|sent| moved_by(sent, after));
        let received = received.map(|received| received.min(self.now));
        let fresh = received.filter(|received| self.now.since(*received) <= HANDED_AGE_MAX);
        self.push(match fresh {
            Some(received) => Output::Handed { volume, port, to_receiver, received, frame },
            None => Output::Release(frame.buffer),
        });
    }

    /// Whether the peer is, or soon will be, the one to answer frames that are not taken here.
    pub(crate) fn should_hand_over(&mut self, export: ExportId, serving: bool) -> bool {
        let volume = self.volume(export);
        if !self.session.is_up() || volume.meeting.peer_export.is_none() {
            return false;
        }
        if volume.leaving {
            return !serving && matches!(volume.phase, Phase::Paired | Phase::Left | Phase::Frozen);
        }
        if volume.phase == Phase::Paired && !serving && !volume.may_serve_paired(self.config.node) {
            // The peer answers at this node's address, but a switch leads there what is meant for other volumes here.
            return true;
        }
        let peer_goes_on = volume.membership().members == Members::Only(self.config.node.other());
        if matches!(volume.phase, Phase::Frozen | Phase::Passing) && peer_goes_on {
            // This node is a way to it, without a disk as well.
            return !self.mutated(Mutation::NoWayToPeer);
        }
        let (begin, end) = (volume.peer_quiet_until, volume.peer_quiet_until.after(HAND_BACK));
        let is_back = volume.phase == Phase::Paired && begin > Instant::from_nanos(0);
        if is_back && self.now < end {
            self.wake_at(end);
        }
        is_back && serving && begin <= self.now && self.now < end
    }
}

/// How long after `from` it was; negative if before.
fn nanoseconds_from(from: Instant, at: Instant) -> i64 {
    let limited = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    if at >= from { limited(at.since(from)) } else { -limited(from.since(at)) }
}

/// The moment so long after, if there is one.
fn moved_by(at: Instant, nanoseconds: i64) -> Option<Instant> {
    Some(Instant::from_nanos(at.as_nanos().checked_add_signed(nanoseconds)?))
}

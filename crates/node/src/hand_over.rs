//! Frames that come to one node of a pair and are answered by the other.
//!
//! It decides which received frames are handed to the engine for the peer, and keeps those that the peer has handed over
//! until the target would take them. It does not look at what they ask for, and judges neither age nor duplicates: that is
//! the target's business when it gets them.
//!
//! Where the peer has no link on an interface, the target answers at its address there, and nothing of that is handed over. When the
//! link is back switches may go on for a moment to send here what is the peer's: it gets that.

use std::collections::VecDeque;

use aoe::target::{Input, PortId};
use block::{BufferSlice, ExportId, Instant};

use replication::limits::{HAND_BACK, HANDED_AGE_MAX};
use replication::links::Interfaces;

use crate::node::Node;
use crate::output::Output;

/// Frames kept at most; what comes beyond is dropped, and its initiator sends it again.
const KEPT_MAX: usize = 128;

/// How the frames of one export are dealt with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) serving: bool,
    pub(crate) stands_in: bool,
    pub(crate) hands_over: bool,
}

/// A frame that the peer has handed over.
#[derive(Clone, Copy, Debug)]
struct Kept {
    export: ExportId,
    port: PortId,
    /// Whether it was sent to this node's address, not to the peer's.
    to_us: bool,
    received: Instant,
    frame: BufferSlice,
}

/// What a node of a pair has to know for it.
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    /// By export.
    manners: Vec<Manner>,
    /// Whether any frame could be one to hand over.
    is_on: bool,
    /// Whether this node answers at the peer's address for any export.
    stands_in_for_some: bool,
    /// Where the peer has no link.
    peer_links_down: Interfaces,
    /// Where it had none until lately, and until when what is sent to it there goes to it.
    peer_links_back: Vec<(PortId, Instant)>,
    kept: VecDeque<Kept>,
}

impl HandOver {
    pub(crate) fn add_export(&mut self, export: ExportId) {
        let index = export.0 as usize;
        self.manners.resize(self.manners.len().max(index + 1), Manner::default());
        self.manners[index] = Manner::default();
    }

    /// Whether any frame could be one to hand over.
    #[inline]
    pub(crate) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether a request that came for this export, to the peer's address or not, goes to the peer.
    fn goes_to_peer(&self, export: ExportId, (port, to_peer): (PortId, bool)) -> bool {
        let Some(manner) = self.manners.get(export.0 as usize) else { return false };
        let Manner { serving, stands_in, hands_over } = *manner;
        // Switches know one place for an address. Whoever answers at the peer's for one volume gets what is meant for others there,
        // and the other way round.
        match (serving, to_peer) {
            (_, _) if stands_in => false,
            (true, true) if self.peer_links_down.contains(port.0) => false,
            (true, true) => hands_over || self.stands_in_for_some || self.is_back_lately(port),
            (true, false) => false,
            (false, _) => hands_over,
        }
    }

    fn is_back_lately(&self, port: PortId) -> bool {
        self.peer_links_back.iter().any(|(back, _)| *back == port)
    }

    /// Notes where the peer has no link from now on.
    fn set_peer_links_down(&mut self, now: Instant, down: Interfaces) {
        for number in self.peer_links_down.differing(down) {
            self.peer_links_back.retain(|(port, _)| port.0 != number);
            if !down.contains(number) {
                self.peer_links_back.push((PortId(number), now.after(HAND_BACK)));
            }
        }
        self.peer_links_down = down;
        self.look_again();
    }

    /// Links that have been back for a while are like any other.
    fn let_time_pass(&mut self, now: Instant) {
        if self.peer_links_back.iter().any(|(_, until)| *until <= now) {
            self.peer_links_back.retain(|(_, until)| *until > now);
            self.look_again();
        }
    }

    /// Finds out anew whether any frame could be one to hand over.
    fn look_again(&mut self) {
        let has = |of: fn(&Manner) -> bool| self.manners.iter().any(of);
        let serves_beside_peer = has(|manner| manner.serving && !manner.stands_in);
        let hands_over = has(|manner| manner.hands_over);
        self.stands_in_for_some = has(|manner| manner.stands_in);
        let may_come_here = self.stands_in_for_some || !self.peer_links_back.is_empty();
        self.is_on = hands_over || may_come_here && serves_beside_peer;
    }

    /// What becomes of a frame that is kept: `Some(true)` it is taken now, `Some(false)` it never will be.
    fn fate(&self, kept: &Kept) -> Option<bool> {
        let manner = self.manners[kept.export.0 as usize];
        match (kept.to_us, manner) {
            (true, Manner { serving: true, .. }) | (false, Manner { stands_in: true, .. }) => Some(true),
            // This node has frozen, and what was queued then is dropped.
            (false, Manner { serving: false, .. }) => Some(false),
            _ => None,
        }
    }
}

impl Node {
    /// Hands a received frame to the engine if it is one for the peer. Whether it did.
    pub(crate) fn hand_over(
        &mut self,
        now: Instant,
        port: PortId,
        received: Instant,
        frame: &[u8],
        buffer: block::BufferName,
    ) -> bool {
        self.pair_mut().hand_over.let_time_pass(now);
        let Some((volume, to_peer)) = self.target.recipient(port, frame) else { return false };
        let Ok(length) = u32::try_from(frame.len()) else { return false };
        let goes = self.pair().hand_over.goes_to_peer(volume, (port, to_peer));
        if goes {
            self.give_to_peer(
                now,
                volume,
                (port, to_peer),
                received,
                BufferSlice { buffer, offset: 0, length },
            );
        }
        goes
    }

    /// Hands a frame whose request waited here in vain to the engine, if it is one for the peer.
    pub(crate) fn hand_over_returned(
        &mut self,
        now: Instant,
        volume: ExportId,
        to: (PortId, bool),
        received: Instant,
        frame: BufferSlice,
    ) {
        if self.pair().hand_over.goes_to_peer(volume, to) {
            self.give_to_peer(now, volume, to, received, frame);
        } else {
            self.outputs.push_back(Output::Release(frame.buffer));
        }
    }

    fn give_to_peer(
        &mut self,
        now: Instant,
        volume: ExportId,
        (PortId(port), to_receiver): (PortId, bool),
        received: Instant,
        frame: BufferSlice,
    ) {
        let input = replication::input::Input::HandOver { volume, port, to_receiver, received, frame };
        self.tell_engine(now, input).expect("the engine takes every frame");
    }

    /// Takes over a frame from the peer, now or later.
    pub(crate) fn keep_handed(
        &mut self,
        export: ExportId,
        port: u8,
        to_us: bool,
        received: Instant,
        frame: BufferSlice,
    ) {
        let kept = Kept { export, port: PortId(port), to_us, received, frame };
        let hand_over = &mut self.pair_mut().hand_over;
        if hand_over.kept.len() < KEPT_MAX {
            hand_over.kept.push_back(kept);
            self.settle_kept();
        } else {
            self.outputs.push_back(Output::Release(frame.buffer));
        }
    }

    /// How the frames of an export are dealt with from now on.
    pub(crate) fn set_manner(&mut self, export: ExportId, manner: Manner) {
        let hand_over = &mut self.pair_mut().hand_over;
        hand_over.manners[export.0 as usize] = manner;
        hand_over.look_again();
        self.settle_kept();
    }

    /// An interface of this node has a link or not: the peer is told.
    pub(crate) fn tell_of_link(&mut self, now: Instant, port: PortId, is_down: bool) {
        let pair = self.pair_mut();
        let down = pair.links_down;
        pair.links_down = if is_down { down.with(port.0) } else { down.without(port.0) };
        let input = replication::input::Input::LinksDown(pair.links_down);
        self.tell_engine(now, input).expect("the engine takes every state of the links");
    }

    /// The peer has no link on these interfaces, and on no others.
    pub(crate) fn take_peer_links(&mut self, now: Instant, down: Interfaces) {
        let before = self.pair().hand_over.peer_links_down;
        self.pair_mut().hand_over.set_peer_links_down(now, down);
        for number in before.differing(down) {
            let input = Input::PeerLinkDown { port: PortId(number), down: down.contains(number) };
            self.tell_target(now, input).expect("only frames are refused");
        }
        self.outputs.push_back(Output::PeerLinksDown(down));
    }

    /// The peer is gone: whatever it has handed over is dropped.
    pub(crate) fn drop_handed(&mut self) {
        for kept in std::mem::take(&mut self.pair_mut().hand_over.kept) {
            self.outputs.push_back(Output::Release(kept.frame.buffer));
        }
    }

    /// What nobody would take any more is dropped.
    pub(crate) fn drop_old_handed(&mut self, now: Instant) {
        let is_old = |kept: &Kept| now.since(kept.received) > HANDED_AGE_MAX;
        while self.pair().hand_over.kept.front().is_some_and(is_old) {
            let Some(old) = self.pair_mut().hand_over.kept.pop_front() else { return };
            self.outputs.push_back(Output::Release(old.frame.buffer));
        }
    }

    /// Takes what may be taken now, in the order in which it came, and drops what never will be.
    fn settle_kept(&mut self) {
        for _ in 0..self.pair().hand_over.kept.len() {
            let hand_over = &mut self.pair_mut().hand_over;
            let Some(kept) = hand_over.kept.pop_front() else { return };
            match hand_over.fate(&kept) {
                Some(true) => {
                    let Kept { port, received, frame, .. } = kept;
                    self.outputs.push_back(Output::Arrived { port, received, frame });
                }
                Some(false) => self.outputs.push_back(Output::Release(kept.frame.buffer)),
                None => hand_over.kept.push_back(kept),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(0);

    #[test]
    fn who_serves_nothing_hands_over_what_was_sent_to_either_address() {
        let export = ExportId(1);
        let mut hand_over = HandOver::default();
        hand_over.add_export(ExportId(0));
        hand_over.add_export(export);
        // Whether frames to this node's address go to the peer, and those to the peer's.
        let mut goes = |serving, stands_in, hands_over| {
            hand_over.manners[1] = Manner { serving, stands_in, hands_over };
            [false, true].map(|to_peer| hand_over.goes_to_peer(export, (PORT, to_peer)))
        };
        assert_eq!(goes(false, false, true), [true, true], "the peer answers at both");
        assert_eq!(goes(true, false, true), [false, true], "each answers at its own");
        assert_eq!(goes(true, true, true), [false, false], "this node answers at both");
        assert_eq!(goes(false, false, false), [false, false], "nobody is there to answer");
        assert_eq!(goes(true, false, false), [false, false], "the peer's come to the peer");
        hand_over.stands_in_for_some = true;
        let manner = Manner { serving: true, ..Manner::default() };
        hand_over.manners[1] = manner;
        assert!(
            hand_over.goes_to_peer(export, (PORT, true)),
            "this node answers at the peer's address for another export"
        );
        assert!(!hand_over.goes_to_peer(export, (PORT, false)));
        assert!(!hand_over.goes_to_peer(ExportId(0), (PORT, true)), "another export");
    }

    #[test]
    fn what_is_sent_to_a_peer_without_a_link_stays_here_and_for_a_while_goes_to_one_whose_link_is_back() {
        let export = ExportId(0);
        let (begin, back) = (Instant::from_nanos(0), Instant::from_nanos(5_000_000_000));
        let mut hand_over = HandOver::default();
        hand_over.add_export(export);
        hand_over.manners[0] = Manner { serving: true, ..Manner::default() };
        hand_over.look_again();
        assert!(!hand_over.is_on());
        hand_over.set_peer_links_down(begin, Interfaces::NONE.with(PORT.0));
        assert!(!hand_over.is_on() && !hand_over.goes_to_peer(export, (PORT, true)), "it is answered here");
        hand_over.set_peer_links_down(back, Interfaces::NONE);
        assert!(hand_over.is_on() && hand_over.goes_to_peer(export, (PORT, true)));
        assert!(!hand_over.goes_to_peer(export, (PORT, false)), "to this node's own address");
        assert!(!hand_over.goes_to_peer(export, (PortId(1), true)), "a link that was there all the time");
        hand_over.let_time_pass(back.after(HAND_BACK));
        assert!(!hand_over.is_on() && !hand_over.goes_to_peer(export, (PORT, true)));
        // Lost once more while it is new.
        hand_over.set_peer_links_down(begin, Interfaces::NONE.with(PORT.0));
        hand_over.set_peer_links_down(begin, Interfaces::NONE);
        hand_over.set_peer_links_down(begin, Interfaces::NONE.with(PORT.0));
        assert!(!hand_over.is_on() && !hand_over.goes_to_peer(export, (PORT, true)));
    }
}

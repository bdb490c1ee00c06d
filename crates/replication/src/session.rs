//! The conversation with the peer as a whole: hello, leases, the end.
//!
//! ```text
//!   Down ── connected: Hello ──▶ Greeting ── the peer's Hello fits ──▶ Up ── lease granted ──▶ Up, lease held
//!     ▲                             │ refused: Goodbye                  │                        │
//!     └─────────────────────────────┴────── lost, lease run out ────────┴────────────────────────┘
//! ```
//!
//! A session that ends freezes every volume that depends on it; a new one begins with nothing.

use block::{ExportId, Instant};

use crate::engine::Engine;
use crate::lease::LeaseStatus;
use crate::limits::LEASE_MARGIN;
use crate::message::{Announce, Hello, Message, Refusal};
use crate::mutation::Mutation;
use crate::output::Output;
use crate::version::Version;
use crate::volume::{Meeting, Phase, Volume};

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Down,
    /// Connected, and this node's hello was sent.
    Greeting,
    Up,
    /// Refused or given up: what the shell hands in before it is closed is passed over.
    Ended,
}

/// The session with the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    state: State,
    /// In which version, once that is agreed.
    version: Option<Version>,
    /// Whether the peer has granted a lease in this session.
    lease_was_held: bool,
    /// The peer's newest renewal in this session, and when it came.
    pub(crate) renewal_seen: Option<(u64, Instant)>,
    /// The renewal that was sent behind a portion of runs which has not arrived yet.
    pub(crate) portion: Option<u64>,
}

impl Session {
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether it stands, and both nodes know [`crate::message::Message::LinksDown`].
    pub(crate) fn tells_of_links(&self) -> bool {
        self.is_up() && self.version >= Some(Version::V5)
    }

    /// Whether both nodes know [`crate::message::VolumeMessage::GivenBack`].
    pub(crate) fn tells_of_giving_back(&self) -> bool {
        self.version >= Some(Version::V3)
    }
}

impl Engine {
    pub(crate) fn handle_connected(&mut self) {
        if self.session.state != State::Down {
            self.end_session();
        }
        self.session = Session { state: State::Greeting, ..Session::default() };
        let lease_milliseconds =
            u32::try_from(self.config.lease.as_millis()).expect("a lease of some seconds");
        let hello = Hello {
            versions: self.config.versions,
            pair: self.config.pair,
            node: self.config.node,
            incarnation: self.config.incarnation,
            lease_milliseconds,
        };
        self.push(Output::Send { message: Message::Hello(hello), data: None });
    }

    pub(crate) fn handle_disconnected(&mut self) {
        self.end_session();
        self.session = Session::default();
    }

    pub(crate) fn handle_hello(&mut self, hello: Hello) -> Result<(), Refusal> {
        if self.session.state != State::Greeting {
            return Err(Refusal::Protocol("a second hello"));
        }
        let (ours, theirs) = (self.config.versions, hello.versions);
        let version = ours.in_common(theirs);
        if version.is_none() {
            return Err(Refusal::Version { refuser: ours, other: theirs });
        }
        if hello.pair != self.config.pair {
            return Err(Refusal::Pair);
        }
        if hello.node == self.config.node {
            return Err(Refusal::Node(hello.node));
        }
        if u128::from(hello.lease_milliseconds) != self.config.lease.as_millis() {
            return Err(Refusal::Lease(u32::try_from(self.config.lease.as_millis()).unwrap_or(u32::MAX)));
        }
        (self.session.state, self.session.version) = (State::Up, version);
        self.lease.begin_session(self.now);
        self.renew();
        self.introduce_links();
        for export in self.exports() {
            let volume = self.volume(export);
            if !volume.is_growing() && !volume.removing {
                self.announce(export);
            }
            self.attend(export);
        }
        Ok(())
    }

    /// Tells the peer of a volume: what it is called here, and how large it is.
    pub(crate) fn announce(&mut self, export: ExportId) {
        let volume = self.volume(export);
        let announce = Announce {
            volume: volume.disk.superblock.volume,
            export,
            sectors: volume.layout().volume_sectors(),
        };
        self.push(Output::Send { message: Message::Announce(announce), data: None });
    }

    pub(crate) fn handle_goodbye(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.end_session();
        self.session.state = State::Ended;
        self.push(Output::Disconnect { reason: refusal });
        Ok(())
    }

    /// The peer's lease is lengthened, if it may serve at all by what this node knows.
    pub(crate) fn handle_renew(&mut self, number: u64) -> Result<(), Refusal> {
        self.must_be_up()?;
        let margin = self.config.lease / LEASE_MARGIN;
        let is_short = self.mutated(Mutation::LeaseWithoutMargin);
        self.lease.grant(if is_short { self.now.before(margin) } else { self.now });
        self.session.renewal_seen = Some((number, self.now));
        self.push(Output::Send { message: Message::Granted { number }, data: None });
        Ok(())
    }

    pub(crate) fn handle_granted(&mut self, number: u64) -> Result<(), Refusal> {
        self.must_be_up()?;
        if self.mutated(Mutation::LeaseFromAnswer) {
            self.lease.hold_from(self.now);
        }
        self.lease.handle_granted(number);
        if self.session.portion.is_some_and(|portion| portion <= number) {
            self.portion_has_arrived();
        }
        if !self.session.lease_was_held && self.lease.is_held(self.now) {
            self.session.lease_was_held = true;
            self.attend_to_all();
        }
        Ok(())
    }

    pub(crate) fn handle_announce(&mut self, announce: Announce) -> Result<(), Refusal> {
        self.must_be_up()?;
        self.take_announce(announce);
        Ok(())
    }

    pub(crate) fn take_announce(&mut self, announce: Announce) {
        let is_it =
            |volume: &&mut Volume| volume.disk.superblock.volume == announce.volume && !volume.removing;
        let found = self.volumes.iter_mut().flatten().find(is_it);
        let Some(volume) = found else {
            // It stays as it is until an operator looks, or has it added here, too.
            if self.unplaced.len() < self.config.limits.volumes {
                self.unplaced.push(announce);
            }
            return;
        };
        let export = volume.export;
        if volume.is_growing() || volume.layout().volume_sectors() != announce.sectors {
            return self.handle_other_size(export, announce);
        }
        let is_anew = volume.meeting.peer_export.is_some_and(|before| before != announce.export);
        if is_anew && !matches!(volume.phase, Phase::Frozen | Phase::Alone) {
            return self
                .refuse(Refusal::Protocol("a volume that was removed is back before that was noticed"));
        }
        if is_anew {
            // Nothing of what was said about the one before is about this one.
            volume.meeting.begin_anew();
        }
        volume.meeting.peer_export = Some(announce.export);
        self.tell_of_serving_alone(export);
        self.attend(export);
    }

    /// A volume was added while the nodes were talking: the peer hears of it, and may have spoken of it before.
    pub(crate) fn announce_added(&mut self, export: ExportId) {
        if !self.session.is_up() {
            return;
        }
        self.announce(export);
        let volume = self.volume(export).disk.superblock.volume;
        if let Some(at) = self.unplaced.iter().rposition(|announce| announce.volume == volume) {
            let announce = self.unplaced[at];
            self.unplaced.retain(|announce| announce.volume != volume);
            self.take_announce(announce);
        }
    }

    /// Ends the session because of something the peer has done, if it has.
    pub(crate) fn end_if_refused(&mut self, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.refuse(refusal);
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        if matches!(self.session.state, State::Down | State::Ended) {
            return;
        }
        self.push(Output::Send { message: Message::Goodbye(refusal), data: None });
        self.end_session();
        self.session.state = State::Ended;
        self.push(Output::Disconnect { reason: refusal });
    }

    /// First thing of every input: what is not allowed any more is not done.
    pub(crate) fn let_time_pass(&mut self) {
        if !self.session.is_up() {
            return;
        }
        let is_over = self.session.lease_was_held && !self.lease.is_held(self.now);
        if is_over && !self.mutated(Mutation::LeaseNotLookedAt) {
            return self.refuse(Refusal::LeaseExpired);
        }
        self.renew();
    }

    /// When the lease runs out or is to be renewed.
    pub(crate) fn session_timeout(&self) -> Option<Instant> {
        let held_until = self.session.lease_was_held.then(|| self.lease.held_until());
        self.session
            .is_up()
            .then(|| held_until.map_or(self.lease.next_renewal(), |at| at.min(self.lease.next_renewal())))
    }

    /// Until when answers may leave that depend on the lease; `None` if none was granted in this session.
    #[must_use]
    pub fn lease_end(&self) -> Option<Instant> {
        (self.session.is_up() && self.session.lease_was_held).then(|| self.lease.held_until())
    }

    /// How long both nodes' leases last from `now` on.
    #[must_use]
    pub fn lease_status(&self, now: Instant) -> LeaseStatus {
        let left = |end: Instant| Some(end.since(now)).filter(|left| !left.is_zero());
        LeaseStatus { held: self.lease_end().and_then(left), granted: left(self.lease.granted_until()) }
    }

    /// Whether this node holds a lease.
    pub(crate) fn holds_lease(&self) -> bool {
        self.session.is_up() && self.session.lease_was_held && self.lease.is_held(self.now)
    }

    fn renew(&mut self) {
        if let Some(number) = self.lease.poll_renewal(self.now) {
            self.push(Output::Send { message: Message::Renew { number }, data: None });
        }
    }

    /// Renews the lease though that is not due: when it is granted, the peer has heard whatever was said before. Tells its number.
    pub(crate) fn renew_now(&mut self) -> u64 {
        let number = self.lease.renew(self.now);
        self.push(Output::Send { message: Message::Renew { number }, data: None });
        number
    }

    pub(crate) fn must_be_up(&self) -> Result<(), Refusal> {
        if self.session.is_up() { Ok(()) } else { Err(Refusal::Protocol("a message before hello")) }
    }

    fn end_session(&mut self) {
        self.session.state = State::Down;
        self.forget_peer_links();
        self.unplaced.clear();
        self.removed.clear();
        for export in self.exports() {
            match self.volume(export).phase {
                Phase::Paired | Phase::Left | Phase::Passing => self.freeze(export),
                Phase::Frozen | Phase::Alone => {
                    self.drop_for_peer(export);
                    // The answers would be taken for those to what another session asks.
                    self.drop_asked_by_peer(export);
                }
            }
            let stops_at = self.lease.granted_until();
            let volume = self.volume_mut(export);
            // A frozen node has granted a lease, too, and the peer may have gone on to serve with it.
            volume.peer_stops_at = volume.peer_stops_at.max(stops_at);
            volume.meeting = Meeting::default();
            volume.forget_announced();
            self.attend(export);
        }
    }
}

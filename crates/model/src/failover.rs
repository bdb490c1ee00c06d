//! Losing the peer and finding it again: freeze, the arbiter's swap, serving alone, meeting, planned leave, power.
//!
//! Time is not counted here. A node that holds a lease may serve until it freezes, by its own will or because the lease
//! has run out, whichever is first; that the granter waits longer than the holder serves is shown in `lease` and used
//! here as a rule: before a node goes on alone, its peer has stopped.
//!
//! ```text
//!            session lost              granted, or already sole
//!   Paired ---------------> Frozen ---------------------------> Alone
//!     ^ ^                   |    ^ restart                        |
//!     | '-------------------'    Down <--- power loss --- any     |
//!     |        meet                                               |
//!     '-----------------------------------------------------------'
//!                     meet: the other one returns
//! ```

use std::cmp::Ordering;

use crate::arbiter::{Members, Membership, Question, swap};
use crate::history::Progress;
use crate::initiator::{Kind, WINDOW};
use crate::link::Message;
use crate::node::Phase;
use crate::rules::Rule;
use crate::scope::{Memory, Scope};
use crate::words::{RequestSet, Sectors, Side};
use crate::world::World;

impl World {
    /// The peer link breaks. What was under way may still arrive, what is sent from now on does not.
    pub fn cut(&mut self) {
        self.link_up = false;
        self.session = false;
    }

    /// A node that noticed, or whose lease has run out, stops serving and drops every request.
    pub fn freeze(&mut self, scope: &Scope, at: Side) {
        self.links[at.index()].clear();
        let node = &mut self.nodes[at.index()];
        node.phase = Phase::Frozen;
        node.peer_left = false;
        if scope.rules.has(Rule::LeaseCheckedAfterWork) {
            node.reads.clear();
        } else {
            node.reads.retain(|read| read.found.is_none());
        }
        node.remember_started(scope, at);
        node.drop_writes();
        self.ethernet.queues[at.index()].retain(|frame| !frame.waits);
        self.drop_requests(scope, at);
    }

    /// Power is lost at a node. Of what its disk's cache shows, these sectors had been written through.
    pub fn lose_power(&mut self, scope: &Scope, at: Side, kept: Sectors) {
        self.session = false;
        self.links[at.index()].clear();
        let node = &mut self.nodes[at.index()];
        node.phase = Phase::Down;
        node.peer_left = false;
        node.reads.clear();
        node.remember_started(scope, at);
        node.keep_names(scope);
        node.forgetful = true;
        node.drop_writes();
        node.disk.lose_power(kept);
        node.membership = node.kept_membership;
        if !scope.rules.has(Rule::LogFirst) {
            node.log = Sectors::NONE;
        }
        if !scope.rules.has(Rule::BitmapKept) {
            node.missed = Sectors::NONE;
        }
        node.question = match node.question {
            Question::Asked(expected) | Question::Abandoned(expected) => Question::Abandoned(expected),
            _ => Question::None,
        };
        self.ethernet.queues[at.index()].clear();
        self.drop_requests(scope, at);
    }

    /// Whether a node may ask the arbiter to make it the sole member.
    #[must_use]
    pub fn may_ask(&self, scope: &Scope, at: Side) -> bool {
        let node = &self.nodes[at.index()];
        let in_need = node.phase == Phase::Frozen || node.phase == Phase::Paired && node.peer_left;
        in_need
            && !self.must_meet_first(scope, at)
            && node.question == Question::None
            && node.membership.members == Members::Both
            && (node.peer_left || self.peer_has_stopped(scope, at))
    }

    /// A node asks the arbiter.
    pub fn ask(&mut self, at: Side) {
        let node = &mut self.nodes[at.index()];
        node.question = Question::Asked(node.membership);
    }

    /// A question reaches the arbiter.
    pub fn arbitrate(&mut self, scope: &Scope, at: Side) {
        let node = &mut self.nodes[at.index()];
        let (Question::Asked(expected) | Question::Abandoned(expected)) = node.question else {
            unreachable!("only a question that was asked is answered");
        };
        let granted =
            swap(&mut self.arbiter, expected, Members::Only(at)) || !scope.rules.has(Rule::ExclusiveArbiter);
        node.question = match node.question {
            Question::Asked(_) if granted => Question::Granted(expected),
            Question::Asked(_) => Question::Refused,
            _ => Question::None,
        };
    }

    /// Whether a node that was granted the membership, or has it already, may begin to serve alone.
    #[must_use]
    pub fn may_go_alone(&self, scope: &Scope, at: Side) -> bool {
        let node = &self.nodes[at.index()];
        let drained = node.disk.is_idle() || !scope.rules.has(Rule::DrainFirst);
        if self.must_meet_first(scope, at) {
            return false;
        }
        if self.waits_for_memory(scope, at)
            && self.history.iter().any(|(request, _)| self.may_return(request))
        {
            return false;
        }
        match (node.phase, node.question) {
            (Phase::Frozen, Question::Granted(_)) => drained,
            (Phase::Paired, Question::Granted(_)) => {
                node.peer_left || !scope.rules.has(Rule::AbandonedGrantsIgnored)
            }
            (Phase::Frozen, _) => {
                drained && node.membership.members == Members::Only(at) && self.peer_has_stopped(scope, at)
            }
            _ => false,
        }
    }

    /// A node begins to serve alone: the membership and what the peer may miss are durable before the first answer.
    pub fn go_alone(&mut self, scope: &Scope, at: Side) {
        if self.waits_for_memory(scope, at) {
            (0..=WINDOW).for_each(|_| self.tick());
        }
        self.wait_out(scope, self.nodes[at.index()].forgetful);
        self.session = false;
        self.links[at.index()].clear();
        let node = &mut self.nodes[at.index()];
        if let Question::Granted(expected) = node.question {
            node.membership = expected.next(Members::Only(at));
        }
        if scope.rules.has(Rule::EpochBeforeAnswers) {
            node.kept_membership = node.membership;
        }
        let froze = node.phase == Phase::Frozen;
        node.question = Question::None;
        node.phase = Phase::Alone;
        node.forgetful = false;
        node.peer_left = false;
        node.missed = node.missed.or(node.log);
        node.log = Sectors::NONE;
        node.adopt_started(scope);
        for local in &mut node.local {
            (local.acked, local.alone) = (true, true);
        }
        if froze {
            self.clear_queue(scope, at);
        }
        self.follow_up(scope);
    }

    /// Whether a node waits, before it serves alone, until what it might have remembered is too old to matter.
    fn waits_for_memory(&self, scope: &Scope, at: Side) -> bool {
        self.nodes[at.index()].forgetful
            && scope.initiator == Kind::Stock
            && scope.rules.has(Rule::ForgetfulWaits)
    }

    /// Where nobody may remember a sequenced write any more, as much time passes as frames and answers may be under way.
    fn wait_out(&mut self, scope: &Scope, is_forgotten: bool) {
        if is_forgotten && scope.memory >= Memory::NotKept && scope.rules.has(Rule::ForgetfulWaits) {
            self.ethernet.answers = RequestSet::default();
            self.ethernet.queues.iter_mut().for_each(Vec::clear);
        }
    }

    /// Whether a node that has forgotten serves nothing before it has met the other one, because the scope has it so.
    fn must_meet_first(&self, scope: &Scope, at: Side) -> bool {
        scope.memory >= Memory::MetFirst && self.nodes[at.index()].forgetful
    }

    /// Whether power may be lost at a node: somewhere the scope has it that the other one remembers, and could go on.
    #[must_use]
    pub fn may_lose_power(&self, scope: &Scope, at: Side) -> bool {
        let [node, peer] = [at, at.peer()].map(|side| &self.nodes[side.index()]);
        let could_go_on = peer.membership >= node.membership && peer.membership.members != Members::Only(at);
        let remembers = !peer.forgetful && could_go_on;
        node.phase != Phase::Down && (scope.memory < Memory::OneRemembers || remembers)
    }

    /// Whether the two nodes may meet: neither serves on an old session, and none has an answer it did not look at.
    #[must_use]
    pub fn may_meet(&self, scope: &Scope) -> bool {
        let ready = |side: Side| {
            let node = &self.nodes[side.index()];
            let drained = node.disk.is_idle() || !scope.rules.has(Rule::DrainFirst);
            node.phase == Phase::Frozen && drained && !matches!(node.question, Question::Granted(_))
        };
        let fits = match self.sole() {
            Some(sole) => ready(sole.peer()) && self.is_settled(scope, sole),
            None => ready(Side::Zero) && ready(Side::One) && self.are_equals(),
        };
        self.link_up && !self.session && fits
    }

    /// The two nodes meet: as equals, or one comes back to the other, which has served alone.
    pub fn meet(&mut self, scope: &Scope) {
        match self.sole() {
            Some(sole) => self.take_back(scope, sole),
            None => self.reconcile(scope),
        }
        self.session = true;
        for side in Side::BOTH {
            if self.nodes[side.index()].phase == Phase::Frozen {
                self.clear_queue(scope, side);
            }
        }
        for node in &mut self.nodes {
            node.phase = Phase::Paired;
            node.forgetful = false;
            node.question = match node.question {
                Question::Asked(expected) if scope.rules.has(Rule::AbandonedGrantsIgnored) => {
                    Question::Abandoned(expected)
                }
                Question::Refused => Question::None,
                other => other,
            };
        }
        self.follow_up(scope);
    }

    /// Whether a node may leave on purpose: it takes no new request and has finished those it took.
    #[must_use]
    pub fn may_leave(&self, scope: &Scope, at: Side) -> bool {
        let node = &self.nodes[at.index()];
        let settled = node.local.is_empty() && node.reads.is_empty() || !scope.rules.has(Rule::LeaverSettles);
        node.phase == Phase::Paired
            && self.session
            && !node.peer_left
            && self
                .nodes
                .iter()
                .all(|node| node.membership.members == Members::Both && node.phase == Phase::Paired)
            && settled
    }

    /// A node leaves on purpose. It serves no more, and follows until its peer has become the sole member.
    pub fn leave(&mut self, at: Side) {
        self.nodes[at.index()].phase = Phase::Left;
        self.send(at, Message::Leave);
    }

    /// The node that serves alone, if one does and is not connected.
    fn sole(&self) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| self.nodes[side.index()].phase == Phase::Alone)
    }

    /// Whether the lease that the peer holds from this node has surely run out.
    fn peer_has_stopped(&self, scope: &Scope, at: Side) -> bool {
        self.nodes[at.peer().index()].phase != Phase::Paired || !scope.rules.has(Rule::LeaseWait)
    }

    /// Neither node has served alone since both were members: one may have heard later than the other that they are.
    fn are_equals(&self) -> bool {
        let [zero, one] = [0, 1].map(|index| self.nodes[index].membership);
        let told_late = |behind: Membership, ahead: Membership, sole: Side| {
            behind.members == Members::Only(sole) && ahead == behind.next(Members::Both)
        };
        zero == one && zero.members == Members::Both
            || told_late(zero, one, Side::One)
            || told_late(one, zero, Side::Zero)
    }

    /// Both were members to the end: whose copy counts.
    fn source_of_equals(&self, scope: &Scope) -> Side {
        let [zero, one] = &self.nodes;
        match zero.membership.cmp(&one.membership) {
            _ if !scope.rules.has(Rule::RememberingCopyWins) => Side::Zero,
            Ordering::Less => Side::One,
            Ordering::Equal if zero.forgetful && !one.forgetful => Side::One,
            _ => Side::Zero,
        }
    }

    /// Both were members to the end: where either may have been writing, one copy is taken.
    fn reconcile(&mut self, scope: &Scope) {
        let newest = self.nodes[0].membership.max(self.nodes[1].membership);
        let dirty = self.nodes[0].log.or(self.nodes[1].log);
        let source = self.source_of_equals(scope);
        self.wait_out(scope, self.nodes.iter().all(|node| node.forgetful));
        self.nodes[source.index()].adopt_started(scope);
        if scope.rules.has(Rule::OneCopyWins) {
            let content = self.nodes[source.index()].disk.visible;
            let target = &mut self.nodes[source.peer().index()];
            dirty.iter().for_each(|sector| target.disk.overwrite(sector, content[sector]));
        }
        for node in &mut self.nodes {
            (node.membership, node.kept_membership) = (newest, newest);
            (node.log, node.missed, node.lacks) = (Sectors::NONE, Sectors::NONE, Sectors::NONE);
        }
        if scope.rules.has(Rule::NumbersShared) {
            self.tell_executed(source);
            self.tell_executed(source.peer());
        }
        self.share_memory(scope);
    }

    /// A node tells the other one which writes of sequenced initiators it remembers.
    fn tell_executed(&mut self, by: Side) {
        let told = self.nodes[by.index()].executed;
        let listener = &mut self.nodes[by.peer().index()];
        listener.executed = listener.executed.or(told);
    }

    /// What is finished is known to both, and what was only on its way to the disk of one is no news any more.
    fn share_memory(&mut self, scope: &Scope) {
        let doubtful = self.nodes[0].started.or(self.nodes[1].started);
        for node in &mut self.nodes {
            node.started = RequestSet::default();
            if scope.initiator == Kind::Stock && scope.rules.has(Rule::DoubtfulDropped) {
                node.remember_doubtful(scope, doubtful);
            }
        }
        if scope.rules.has(Rule::MemoryShared) {
            let [zero, one] = &mut self.nodes;
            zero.learn_finished(&one.finished);
            one.learn_finished(&zero.finished);
        }
    }

    /// Whether the sole member has nothing in flight that a returning peer would not hear of.
    fn is_settled(&self, scope: &Scope, sole: Side) -> bool {
        let mut local = self.nodes[sole.index()].local.iter();
        !scope.rules.has(Rule::SoleSettlesFirst) || !local.any(|local| scope.is_framed(local.id.request))
    }

    /// One has served alone: the other gives up what only it has, and fetches what it lacks.
    fn take_back(&mut self, scope: &Scope, sole: Side) {
        let returning = &mut self.nodes[sole.peer().index()];
        let own = if scope.rules.has(Rule::ReturningGivesUp) { returning.log } else { Sectors::NONE };
        returning.log = Sectors::NONE;
        let source = &mut self.nodes[sole.index()];
        source.missed = source.missed.or(own);
        let (lacks, membership) = (source.missed, source.membership);
        let returning = &mut self.nodes[sole.peer().index()];
        returning.lacks = lacks;
        (returning.membership, returning.kept_membership) = (membership, membership);
        if scope.rules.has(Rule::NumbersShared) {
            self.tell_executed(sole);
        }
        self.share_memory(scope);
    }

    fn drop_requests(&mut self, scope: &Scope, at: Side) {
        let node = &self.nodes[at.index()];
        let kept: Vec<_> = node.reads.iter().map(|read| read.request).collect();
        let dropped: Vec<_> = self
            .history
            .iter()
            .filter(|(id, call)| {
                call.at == at
                    && call.progress == Progress::Pending
                    && !kept.contains(id)
                    && !scope.is_framed(*id)
            })
            .map(|(id, _)| id)
            .collect();
        dropped.into_iter().for_each(|id| self.history.give_up(id));
    }
}

//! Bringing a returned node up to date while both serve, and making it a member again.
//!
//! The sole member is the source; it copies a sector when no write to it is in flight there. A copy is older than every
//! write that the target has in flight, so the target lets it go where it has one. It never decides who is a member: the
//! arbiter does, and only when nothing is missing.

use crate::arbiter::{Members, swap};
use crate::link::Message;
use crate::node::{Phase, RemoteStage};
use crate::rules::Rule;
use crate::scope::Scope;
use crate::words::{Sectors, Side, Value};
use crate::world::World;

impl World {
    /// The sectors that a node may copy to its peer now.
    #[must_use]
    pub fn may_copy(&self, scope: &Scope, from: Side) -> Sectors {
        if !self.is_source(from) {
            return Sectors::NONE;
        }
        let node = &self.nodes[from.index()];
        let mut busy = node.copying;
        if scope.rules.has(Rule::CopyWaitsForWrites) {
            for local in &node.local {
                busy = busy.or(local.sectors);
            }
            for remote in node.remote.iter().filter(|remote| remote.stage < RemoteStage::Acked) {
                busy = busy.or(remote.sectors);
            }
        }
        node.missed.without(busy)
    }

    /// The source copies a sector.
    pub fn copy(&mut self, from: Side, sector: usize) {
        let node = &mut self.nodes[from.index()];
        node.copying = node.copying.or(Sectors::one(sector));
        let value = node.disk.visible[sector];
        self.send(from, Message::Copy(sector, value));
    }

    /// A copy arrives at the target.
    pub(crate) fn receive_copy(&mut self, scope: &Scope, at: Side, sector: usize, value: Value) {
        let node = &mut self.nodes[at.index()];
        let covers = |sectors: Sectors| sectors.contains(sector);
        let newer_under_way = node.local.iter().any(|local| !local.acked && covers(local.sectors));
        let yields = scope.rules.has(Rule::CopyYields);
        if newer_under_way && yields {
            return;
        }
        if node.lacks.contains(sector) || !yields {
            node.disk.overwrite(sector, value);
            node.lacks = node.lacks.without(Sectors::one(sector));
        }
        self.send(at, Message::Copied(sector));
    }

    /// Whether the source may ask the arbiter to make the target a member.
    #[must_use]
    pub fn may_propose(&self, scope: &Scope, from: Side) -> bool {
        let in_sync = self.nodes[from.index()].missed.is_empty() || !scope.rules.has(Rule::MemberWhenInSync);
        self.is_source(from) && in_sync && self.arbiter == self.nodes[from.index()].membership
    }

    /// The arbiter makes both nodes members; the source does not know it yet.
    pub fn propose(&mut self, from: Side) {
        let granted = swap(&mut self.arbiter, self.nodes[from.index()].membership, Members::Both);
        assert!(granted, "nobody but the sole member changes the membership");
    }

    /// Whether the source may hear that both nodes are members.
    #[must_use]
    pub fn may_promote(&self, scope: &Scope, from: Side) -> bool {
        let node = &self.nodes[from.index()];
        let in_sync = node.missed.is_empty() || !scope.rules.has(Rule::MemberWhenInSync);
        self.is_source(from) && in_sync && self.arbiter == node.membership.next(Members::Both)
    }

    /// The source records that both are members, and tells the target.
    pub fn promote(&mut self, from: Side) {
        let node = &mut self.nodes[from.index()];
        node.membership = self.arbiter;
        node.kept_membership = self.arbiter;
        self.send(from, Message::Member(self.arbiter));
    }

    fn is_source(&self, side: Side) -> bool {
        let node = &self.nodes[side.index()];
        node.phase == Phase::Paired && self.session && node.membership.members == Members::Only(side)
    }
}

//! Leases, with clocks: shows that a holder stops serving before its granter takes it for stopped.
//!
//! A model of its own, because clocks would make the other one too large: one holder, one granter, an ordered link each
//! way, and two clocks whose rates differ. What it shows, `failover` uses as a rule without clocks: before a node goes on
//! alone, its peer has stopped. It knows nothing of requests or disks.

use stateright::{Model, Property};

use crate::rules::{Rule, Rules};
use crate::search::{Scene, Tell};

/// How long a lease lasts on the holder's clock.
const LEASE: u8 = 3;
/// How much longer the granter waits on its own clock.
const MARGIN: u8 = 1;
/// When the search ends, on either clock.
const HORIZON: u8 = 10;

/// The granter never takes a holder for stopped that may still serve.
pub const HOLDER_STOPS_FIRST: &str = "holder stops first";

/// The bounds of a search.
#[derive(Clone, Debug)]
pub struct LeaseScope {
    /// The rules in force.
    pub rules: Rules,
    /// How many ticks one clock may lose or win against the other.
    pub drift: u8,
    /// What to call it.
    pub name: &'static str,
}

/// Clocks that drift by no more than the margin, and a holder that may be suspended.
#[must_use]
pub fn two_clocks() -> LeaseScope {
    LeaseScope { rules: Rules::all(), drift: MARGIN, name: "two clocks, a lease renewed at any time" }
}

/// A renewal on its way, with the holder's clock when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Renewal {
    /// Idle.
    None,
    /// Under way to the granter.
    Asked(u8),
    /// At the granter, which received it at this time of its own.
    Received(u8, u8),
    /// Under way to the holder.
    Answered(u8),
}

/// Two clocks, a lease as either side sees it, and one renewal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    holder: u8,
    granter: u8,
    /// How many more ticks one clock may be ahead of its share.
    drift_left: u8,
    suspended: bool,
    renewal: Renewal,
    /// The holder serves until then, on its clock.
    held_until: u8,
    /// The granter waits until then, on its clock.
    granted_until: u8,
    /// The granter renews no more and waits.
    withdrawn: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passes on both clocks.
    Tick,
    /// Time passes on the holder's clock only.
    HolderTick,
    /// Time passes on the granter's clock only.
    GranterTick,
    /// The holder's machine is suspended.
    Suspend,
    /// It wakes.
    Wake,
    /// The holder asks for a renewal.
    Ask,
    /// The granter receives it.
    Receive,
    /// The granter answers.
    Answer,
    /// The holder has the answer.
    Renew,
    /// The granter decides to go on alone.
    Withdraw,
}

impl Model for LeaseScope {
    type State = Clocks;
    type Action = Event;

    fn init_states(&self) -> Vec<Clocks> {
        vec![Clocks {
            holder: 0,
            granter: 0,
            drift_left: self.drift,
            suspended: false,
            renewal: Renewal::None,
            held_until: 0,
            granted_until: 0,
            withdrawn: false,
        }]
    }

    fn actions(&self, state: &Clocks, actions: &mut Vec<Event>) {
        actions.push(Event::Tick);
        if state.drift_left > 0 {
            actions.extend([Event::HolderTick, Event::GranterTick]);
        }
        actions.push(if state.suspended { Event::Wake } else { Event::Suspend });
        match state.renewal {
            Renewal::None if !state.suspended => actions.push(Event::Ask),
            Renewal::Asked(_) => actions.push(Event::Receive),
            Renewal::Received(..) if !state.withdrawn => actions.push(Event::Answer),
            Renewal::Answered(_) if !state.suspended => actions.push(Event::Renew),
            _ => {}
        }
        if !state.withdrawn {
            actions.push(Event::Withdraw);
        }
    }

    fn next_state(&self, last: &Clocks, event: Event) -> Option<Clocks> {
        let mut next = last.clone();
        match event {
            Event::Tick => {
                // a clock that stands still in a suspend is the one that must not be used
                next.holder += u8::from(!last.suspended || self.rules.has(Rule::ClockCountsSuspend));
                next.granter += 1;
            }
            Event::HolderTick => (next.holder, next.drift_left) = (last.holder + 1, last.drift_left - 1),
            Event::GranterTick => (next.granter, next.drift_left) = (last.granter + 1, last.drift_left - 1),
            Event::Suspend => next.suspended = true,
            Event::Wake => next.suspended = false,
            Event::Withdraw => next.withdrawn = true,
            _ => self.renew(&mut next),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(HOLDER_STOPS_FIRST, |_, state: &Clocks| {
            let taken_for_stopped = state.withdrawn && state.granter >= state.granted_until;
            !(taken_for_stopped && state.holder < state.held_until)
        })]
    }

    fn within_boundary(&self, state: &Clocks) -> bool {
        state.holder <= HORIZON && state.granter <= HORIZON
    }
}

impl LeaseScope {
    /// The renewal comes one step further.
    fn renew(&self, next: &mut Clocks) {
        next.renewal = match next.renewal {
            Renewal::None => Renewal::Asked(next.holder),
            Renewal::Asked(sent) => Renewal::Received(sent, next.granter),
            Renewal::Received(sent, received) => {
                let from_answering = self.rules.has(Rule::GranterCountsFromAnswering);
                let from = if from_answering { next.granter } else { received };
                let margin = if self.rules.has(Rule::LeaseMargin) { MARGIN } else { 0 };
                next.granted_until = next.granted_until.max(from + LEASE + margin);
                Renewal::Answered(sent)
            }
            Renewal::Answered(sent) => {
                let from = if self.rules.has(Rule::HolderCountsFromSending) { sent } else { next.holder };
                next.held_until = next.held_until.max(from + LEASE);
                Renewal::None
            }
        };
    }
}

impl Tell for LeaseScope {
    fn tell(&self, _: &Clocks, event: Event, after: &Clocks) -> String {
        let what = match event {
            Event::Tick => "time passes on both clocks",
            Event::HolderTick => "time passes on the holder's clock only",
            Event::GranterTick => "time passes on the granter's clock only",
            Event::Suspend => "the holder is suspended",
            Event::Wake => "the holder wakes",
            Event::Ask => "the holder asks for a renewal",
            Event::Receive => "the granter receives it",
            Event::Answer => "the granter answers",
            Event::Renew => "the holder has the answer",
            Event::Withdraw => "the granter renews no more",
        };
        let times = (after.holder, after.held_until, after.granter, after.granted_until);
        format!("{what} (holder at {} of {}, granter at {} of {})", times.0, times.1, times.2, times.3)
    }
}

impl Scene for LeaseScope {
    type Model = Self;

    fn name(&self) -> &'static str {
        self.name
    }

    fn without(self, rule: Rule) -> Self {
        Self { rules: self.rules.without(rule), ..self }
    }

    fn model(&self) -> Self {
        self.clone()
    }
}

//! The link between the nodes: a connection that keeps bytes in order, and all that happens to it.
//!
//! It decides when bytes arrive, and when which end hears that the connection is no more. What the bytes say it does not
//! know. What is sent into a cut waits for its end, as TCP would send it again, until somebody gives up.

use std::collections::VecDeque;

use block::{Duration, Instant};

use crate::fault::{Fault, FaultCounts, Injection};
use crate::random::Random;

/// Names a connection; each one that is made has another.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Connection(pub u32);

/// What comes out of the link at a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// A new connection stands; one that stood before is no more.
    Connected(Connection),
    /// The next bytes.
    Bytes(Connection, Vec<u8>),
    /// The connection is no more.
    Closed(Connection),
}

/// When what comes out where.
pub type Deliveries = Vec<(Instant, usize, Delivery)>;

#[derive(Debug, Default)]
struct Direction {
    cut: bool,
    slow: Duration,
    corrupt: bool,
    /// Nothing sent later arrives before.
    last: Instant,
    held: VecDeque<Delivery>,
}

/// The link.
#[derive(Debug)]
pub struct PeerLink {
    random: Random,
    latency: Duration,
    connection: Connection,
    /// By the node that sends.
    directions: [Direction; 2],
    active: Vec<Injection>,
}

impl PeerLink {
    /// A link without a connection.
    #[must_use]
    pub fn new(random: Random, latency: Duration) -> Self {
        Self {
            random,
            latency,
            connection: Connection::default(),
            directions: Default::default(),
            active: Vec::new(),
        }
    }

    /// Something goes wrong from now on.
    pub fn begin(&mut self, now: Instant, injection: Injection, deliveries: &mut Deliveries) {
        match injection.fault {
            Fault::PeerCorrupt => self.directions[injection.node].corrupt = true,
            Fault::PeerReset => self.reset(now, deliveries),
            _ => {
                self.active.push(injection);
                self.apply(now, deliveries);
            }
        }
    }

    /// It is over.
    pub fn end(&mut self, now: Instant, number: u32, deliveries: &mut Deliveries) {
        self.active.retain(|injection| injection.number != number);
        self.apply(now, deliveries);
    }

    /// Everything is well from now on.
    pub fn heal(&mut self, now: Instant, deliveries: &mut Deliveries) {
        self.active.clear();
        for direction in &mut self.directions {
            direction.corrupt = false;
        }
        self.apply(now, deliveries);
    }

    /// A link that comes and goes has its next turn; tells whether it is one.
    pub fn flap(&mut self, now: Instant, deliveries: &mut Deliveries) -> bool {
        let flaps = self.active.iter().any(|injection| injection.fault == Fault::PeerFlap);
        if flaps {
            let cut = self.random.coin();
            for from in 0..2 {
                self.set_cut(now, from, cut, deliveries);
            }
        }
        flaps
    }

    /// The nodes try to connect; tells whether they could.
    pub fn connect(&mut self, now: Instant, deliveries: &mut Deliveries) -> bool {
        if self.directions.iter().any(|direction| direction.cut) {
            return false;
        }
        self.connection.0 += 1;
        let connection = self.connection;
        for node in 0..2 {
            // What was under way on the old connection is gone.
            self.directions[1 - node].held.clear();
            self.directions[1 - node].corrupt = false;
            let at = self.next_arrival(now, 1 - node);
            deliveries.push((at, node, Delivery::Connected(connection)));
        }
        true
    }

    /// A node sends.
    pub fn send(
        &mut self,
        now: Instant,
        from: usize,
        connection: Connection,
        mut bytes: Vec<u8>,
        counts: &mut FaultCounts,
        deliveries: &mut Deliveries,
    ) {
        if connection != self.connection {
            return;
        }
        if std::mem::take(&mut self.directions[from].corrupt) {
            counts.add(Fault::PeerCorrupt);
            let place = self.random.index(bytes.len());
            bytes[place] ^= 1 << self.random.below(8);
        }
        self.carry(now, from, Delivery::Bytes(connection, bytes), deliveries);
    }

    /// A node closes, or its process ended and its kernel does.
    pub fn close(&mut self, now: Instant, from: usize, connection: Connection, deliveries: &mut Deliveries) {
        if connection == self.connection {
            self.carry(now, from, Delivery::Closed(connection), deliveries);
        }
    }

    /// A node's power is gone: what it had not sent yet never is. Its peer hears nothing.
    pub fn forget(&mut self, from: usize) {
        self.directions[from].held.clear();
    }

    /// Whether a node waits in vain for what it sent to arrive.
    #[must_use]
    pub fn is_stuck(&self, from: usize) -> bool {
        self.directions[from].cut && !self.directions[from].held.is_empty()
    }

    fn reset(&mut self, now: Instant, deliveries: &mut Deliveries) {
        let connection = self.connection;
        for from in 0..2 {
            self.directions[from].held.clear();
            let at = self.next_arrival(now, from);
            deliveries.push((at, 1 - from, Delivery::Closed(connection)));
        }
    }

    fn carry(&mut self, now: Instant, from: usize, delivery: Delivery, deliveries: &mut Deliveries) {
        if self.directions[from].cut {
            self.directions[from].held.push_back(delivery);
            return;
        }
        let at = self.next_arrival(now, from);
        deliveries.push((at, 1 - from, delivery));
    }

    fn next_arrival(&mut self, now: Instant, from: usize) -> Instant {
        let delay = self.random.duration(self.latency / 2, self.latency * 2) + {
            let slow = self.directions[from].slow;
            if slow > Duration::ZERO { self.random.tailed(slow) } else { Duration::ZERO }
        };
        let direction = &mut self.directions[from];
        direction.last = direction.last.max(now.after(delay));
        direction.last
    }

    fn apply(&mut self, now: Instant, deliveries: &mut Deliveries) {
        for from in 0..2 {
            let cuts = |injection: &Injection| match injection.fault {
                Fault::PeerCut | Fault::NodeIsolated => true,
                Fault::PeerOneWay => injection.node == from,
                _ => false,
            };
            let cut = self.active.iter().any(cuts);
            let slow = self.active.iter().filter(|injection| injection.fault == Fault::PeerSlow);
            let slow = slow.map(|injection| Duration::from_micros(u64::from(injection.strength) / 20)).max();
            self.directions[from].slow = slow.unwrap_or_default();
            self.set_cut(now, from, cut, deliveries);
        }
    }

    fn set_cut(&mut self, now: Instant, from: usize, cut: bool, deliveries: &mut Deliveries) {
        self.directions[from].cut = cut;
        if cut {
            return;
        }
        // The sender tries again only after a while.
        let again = self.random.duration(Duration::from_millis(1), Duration::from_millis(200));
        for delivery in std::mem::take(&mut self.directions[from].held) {
            let at = self.next_arrival(now.after(again), from);
            deliveries.push((at, 1 - from, delivery));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn cut(number: u32) -> Injection {
        let lasts = Duration::from_secs(1);
        Injection {
            number,
            fault: Fault::PeerCut,
            at: NOW,
            lasts,
            node: 0,
            place: 0,
            strength: 0,
            fixes: false,
        }
    }

    #[test]
    fn what_is_sent_into_a_cut_arrives_after_it_in_order() {
        let mut link = PeerLink::new(Random::new(1, "peer"), Duration::from_micros(50));
        let mut deliveries = Vec::new();
        let mut counts = FaultCounts::default();
        assert!(link.connect(NOW, &mut deliveries));
        deliveries.clear();
        link.begin(NOW, cut(1), &mut deliveries);
        for byte in 0..3 {
            link.send(NOW, 0, Connection(1), vec![byte], &mut counts, &mut deliveries);
        }
        assert!(deliveries.is_empty() && link.is_stuck(0) && !link.is_stuck(1));
        link.end(NOW, 1, &mut deliveries);
        let bytes: Vec<_> = deliveries.iter().map(|(_, node, delivery)| (*node, delivery.clone())).collect();
        let expected = (0..3).map(|byte| (1, Delivery::Bytes(Connection(1), vec![byte])));
        assert_eq!(bytes, expected.collect::<Vec<_>>());
        assert!(deliveries.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn nothing_of_an_old_connection_is_carried_by_the_next() {
        let mut link = PeerLink::new(Random::new(1, "peer"), Duration::from_micros(50));
        let mut deliveries = Vec::new();
        link.connect(NOW, &mut deliveries);
        link.connect(NOW, &mut deliveries);
        deliveries.clear();
        link.send(NOW, 0, Connection(1), vec![1], &mut FaultCounts::default(), &mut deliveries);
        assert!(deliveries.is_empty());
    }
}

//! The arbiter: one compare-and-swap register a volume, and all that keeps a node from being answered.
//!
//! The register itself never fails: it survives restarts, and does one thing at a time. Whether it was asked at all, and
//! whether its answer arrives, is another matter.

use block::{Duration, Instant};
use replication::input::ArbiterAnswer;
use replication::membership::Membership;

use crate::fault::{Fault, FaultCounts, Injection};
use crate::random::Random;

/// A question on its way.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Which node asks.
    pub node: usize,
    /// In which life of its process.
    pub boot: u32,
    /// About which volume.
    pub volume: usize,
    /// The node's number for it.
    pub number: u64,
    /// What the register must hold.
    pub expected: Membership,
    /// What it shall hold.
    pub next: Membership,
}

/// The arbiter.
#[derive(Debug)]
pub struct Arbiter {
    random: Random,
    registers: Vec<Membership>,
    active: Vec<Injection>,
    /// By node, how many of its questions are on their way.
    under_way: [u32; 2],
}

impl Arbiter {
    /// An arbiter that holds these.
    #[must_use]
    pub const fn new(random: Random, registers: Vec<Membership>) -> Self {
        Self { random, registers, active: Vec::new(), under_way: [0; 2] }
    }

    /// Something goes wrong from now on.
    pub fn begin(&mut self, injection: Injection) {
        self.active.push(injection);
    }

    /// It is over.
    pub fn end(&mut self, number: u32) {
        self.active.retain(|injection| injection.number != number);
    }

    /// Everything is well from now on.
    pub fn heal(&mut self) {
        self.active.clear();
    }

    /// What it holds, by volume.
    #[must_use]
    pub fn registers(&self) -> &[Membership] {
        &self.registers
    }

    /// When a node's question comes in, if it does.
    pub fn ask(&mut self, now: Instant, node: usize, counts: &mut FaultCounts) -> Option<Instant> {
        let arrives_at = self.pass(now, node, counts)?;
        self.under_way[node] += 1;
        Some(arrives_at)
    }

    /// Whether a question of that node has not come in yet.
    #[must_use]
    pub const fn is_asked_by(&self, node: usize) -> bool {
        self.under_way[node] > 0
    }

    /// The question has come in: what is answered, and when the answer arrives, if it does.
    pub fn decide(
        &mut self,
        now: Instant,
        question: &Question,
        counts: &mut FaultCounts,
    ) -> Option<(Instant, ArbiterAnswer)> {
        self.under_way[question.node] -= 1;
        if self.suffers(Fault::ArbiterDown, None) {
            counts.add(Fault::ArbiterDown);
            return None;
        }
        let register = &mut self.registers[question.volume];
        let answer = if *register == question.expected {
            *register = question.next;
            ArbiterAnswer::Swapped
        } else {
            ArbiterAnswer::Holds(*register)
        };
        if self.suffers(Fault::ArbiterDeaf, None) {
            counts.add(Fault::ArbiterDeaf);
            return None;
        }
        Some((self.pass(now, question.node, counts)?, answer))
    }

    fn pass(&mut self, now: Instant, node: usize, counts: &mut FaultCounts) -> Option<Instant> {
        for fault in [Fault::ArbiterCut, Fault::NodeIsolated] {
            if self.suffers(fault, Some(node)) {
                counts.add(Fault::ArbiterCut);
                return None;
            }
        }
        let mut delay = self.random.tailed(Duration::from_micros(200));
        if self.suffers(Fault::ArbiterSlow, None) {
            counts.add(Fault::ArbiterSlow);
            delay += self.random.duration(Duration::ZERO, Duration::from_millis(1500));
        }
        Some(now.after(delay))
    }

    fn suffers(&self, fault: Fault, node: Option<usize>) -> bool {
        let of_node = |injection: &Injection| node.is_none_or(|node| injection.node == node);
        self.active.iter().any(|injection| injection.fault == fault && of_node(injection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replication::membership::{Epoch, Members, NodeNumber};

    const NOW: Instant = Instant::from_nanos(1);
    const BOTH: Membership = Membership { epoch: Epoch(1), members: Members::Both };

    fn question(node: usize, number: NodeNumber) -> Question {
        let next = Membership { epoch: Epoch(2), members: Members::Only(number) };
        Question { node, boot: 1, volume: 0, number: 1, expected: BOTH, next }
    }

    fn put(arbiter: &mut Arbiter, question: &Question) -> Option<ArbiterAnswer> {
        let mut counts = FaultCounts::default();
        let at = arbiter.ask(NOW, question.node, &mut counts).expect("nobody cut it off");
        assert!(arbiter.is_asked_by(question.node));
        let answer = arbiter.decide(at, question, &mut counts);
        assert!(!arbiter.is_asked_by(question.node));
        answer.map(|(_, answer)| answer)
    }

    #[test]
    fn of_two_that_ask_for_the_same_one_gets_it() {
        let mut arbiter = Arbiter::new(Random::new(1, "arbiter"), vec![BOTH]);
        let (zero, one) = (question(0, NodeNumber::Zero), question(1, NodeNumber::One));
        let answers = [zero, one].map(|question| put(&mut arbiter, &question));
        assert_eq!(answers, [Some(ArbiterAnswer::Swapped), Some(ArbiterAnswer::Holds(zero.next))]);
    }

    #[test]
    fn an_answer_that_is_lost_was_granted_all_the_same() {
        let mut arbiter = Arbiter::new(Random::new(1, "arbiter"), vec![BOTH]);
        let lasts = Duration::from_secs(1);
        let fault = Fault::ArbiterDeaf;
        arbiter.begin(Injection {
            number: 1,
            fault,
            at: NOW,
            lasts,
            node: 0,
            place: 0,
            strength: 0,
            fixes: false,
        });
        let question = question(0, NodeNumber::Zero);
        assert_eq!(put(&mut arbiter, &question), None);
        assert_eq!(arbiter.registers(), [question.next]);
    }
}

//! The registers of a witness: which question is granted. What is to change is said, not done: the witness makes it durable,
//! then calls [`Registers::apply`], and only then answers.

use std::collections::BTreeMap;

use super::question::{AnswerKind, QuestionKind, RegisterKey};
use crate::identity::{PairIdentity, VolumeIdentity};
use crate::membership::Membership;

/// Registers of one pair at most: as many as there are volumes of one pair at all.
pub const REGISTERS_PER_PAIR_MAX: usize = 65_536;
/// Registers of all pairs together at most: a thousand pairs with a thousand volumes each, in some 100 MB of memory.
pub const REGISTERS_MAX: usize = 1 << 20;
/// Pairs with registers at most, each of which has a file.
pub const PAIRS_MAX: usize = 1024;

/// What is to be said, and changed before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing changes.
    Answer(AnswerKind),
    /// This is to be durable first; then it is done.
    Change(Change),
}

/// A change of one register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which.
    pub key: RegisterKey,
    /// What it holds from then on; `None`: it is no more.
    pub to: Option<Membership>,
}

/// All registers of a witness, by pair. A pair without any is not known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registers(BTreeMap<PairIdentity, BTreeMap<VolumeIdentity, Membership>>);

impl Registers {
    /// What follows from a question.
    #[must_use]
    pub fn decide(&self, key: RegisterKey, question: QuestionKind) -> Decision {
        let held = self.read(key);
        let change = |to| Decision::Change(Change { key, to });
        match (question, held) {
            (QuestionKind::Hello, _) => Decision::Answer(AnswerKind::Welcome),
            (QuestionKind::Create { first }, None) if self.has_room(key.pair) => change(Some(first)),
            (QuestionKind::Create { .. }, None) => Decision::Answer(AnswerKind::Refused),
            (QuestionKind::Create { first }, Some(held)) if held == first => {
                Decision::Answer(AnswerKind::Done)
            }
            // Whoever asks again has not heard that it was done.
            (QuestionKind::Remove { .. }, None) => Decision::Answer(AnswerKind::Done),
            (QuestionKind::Swap { .. } | QuestionKind::Read, None) => {
                Decision::Answer(AnswerKind::NoRegister)
            }
            (QuestionKind::Swap { expected, next }, Some(held)) if held == expected => {
                if next == expected {
                    Decision::Answer(AnswerKind::Done)
                } else {
                    change(Some(next))
                }
            }
            (QuestionKind::Remove { expected }, Some(held)) if held == expected => change(None),
            (_, Some(held)) => Decision::Answer(AnswerKind::Holds(held)),
        }
    }

    /// A change is durable.
    pub fn apply(&mut self, change: Change) {
        let Change { key, to } = change;
        match to {
            Some(membership) => {
                self.0.entry(key.pair).or_default().insert(key.volume, membership);
            }
            None => {
                let Some(of_pair) = self.0.get_mut(&key.pair) else { return };
                of_pair.remove(&key.volume);
                if of_pair.is_empty() {
                    self.0.remove(&key.pair);
                }
            }
        }
    }

    /// What a register holds.
    #[must_use]
    pub fn read(&self, key: RegisterKey) -> Option<Membership> {
        self.0.get(&key.pair)?.get(&key.volume).copied()
    }

    /// Every register of a pair.
    pub fn of_pair(&self, pair: PairIdentity) -> impl Iterator<Item = (VolumeIdentity, Membership)> + '_ {
        self.0.get(&pair).into_iter().flatten().map(|(volume, membership)| (*volume, *membership))
    }

    /// Every pair that has registers.
    pub fn pairs(&self) -> impl Iterator<Item = PairIdentity> + '_ {
        self.0.keys().copied()
    }

    /// Whether a pair has registers.
    #[must_use]
    pub fn knows(&self, pair: PairIdentity) -> bool {
        self.0.contains_key(&pair)
    }

    fn has_room(&self, pair: PairIdentity) -> bool {
        let has_pair_room = match self.0.get(&pair) {
            Some(registers) => registers.len() < REGISTERS_PER_PAIR_MAX,
            None => self.0.len() < PAIRS_MAX,
        };
        has_pair_room && self.0.values().map(BTreeMap::len).sum::<usize>() < REGISTERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Epoch, Members, NodeNumber};

    const KEY: RegisterKey = RegisterKey { pair: PairIdentity(1), volume: VolumeIdentity(2) };

    fn at(epoch: u64, members: Members) -> Membership {
        Membership { epoch: Epoch(epoch), members }
    }

    fn ask(registers: &mut Registers, question: QuestionKind) -> AnswerKind {
        match registers.decide(KEY, question) {
            Decision::Answer(answer) => answer,
            Decision::Change(change) => {
                registers.apply(change);
                AnswerKind::Done
            }
        }
    }

    #[test]
    fn of_two_that_ask_for_the_same_one_gets_it() {
        let mut registers = Registers::default();
        let both = at(1, Members::Both);
        assert_eq!(ask(&mut registers, QuestionKind::Create { first: both }), AnswerKind::Done);
        let [zero, one] = [NodeNumber::Zero, NodeNumber::One].map(|node| at(2, Members::Only(node)));
        let swap = |next| QuestionKind::Swap { expected: both, next };
        assert_eq!(ask(&mut registers, swap(one)), AnswerKind::Done);
        assert_eq!(ask(&mut registers, swap(zero)), AnswerKind::Holds(one));
        assert_eq!(ask(&mut registers, QuestionKind::Swap { expected: one, next: one }), AnswerKind::Done);
        assert_eq!(ask(&mut registers, QuestionKind::Read), AnswerKind::Holds(one));
    }

    #[test]
    fn a_register_that_is_not_there_grants_nothing_and_is_made_once() {
        let mut registers = Registers::default();
        let (both, zero) = (at(1, Members::Both), at(2, Members::Only(NodeNumber::Zero)));
        let swap = QuestionKind::Swap { expected: both, next: zero };
        assert_eq!(ask(&mut registers, swap), AnswerKind::NoRegister);
        assert_eq!(ask(&mut registers, QuestionKind::Create { first: both }), AnswerKind::Done);
        assert_eq!(
            ask(&mut registers, QuestionKind::Create { first: both }),
            AnswerKind::Done,
            "asked again"
        );
        assert_eq!(ask(&mut registers, swap), AnswerKind::Done);
        assert_eq!(ask(&mut registers, QuestionKind::Create { first: both }), AnswerKind::Holds(zero));
        assert_eq!(ask(&mut registers, QuestionKind::Remove { expected: both }), AnswerKind::Holds(zero));
        assert_eq!(ask(&mut registers, QuestionKind::Remove { expected: zero }), AnswerKind::Done);
        assert_eq!(
            ask(&mut registers, QuestionKind::Remove { expected: zero }),
            AnswerKind::Done,
            "asked again"
        );
    }
    #[test]
    fn so_many_pairs_have_registers_and_no_more_until_one_has_none_any_more() {
        let first = at(1, Members::Both);
        let key = |pair, volume| RegisterKey { pair: PairIdentity(pair), volume: VolumeIdentity(volume) };
        let create = |registers: &Registers, key| registers.decide(key, QuestionKind::Create { first });
        let mut registers = Registers::default();
        for pair in 0..PAIRS_MAX as u128 {
            let key = key(pair, 0);
            let change = Change { key, to: Some(first) };
            assert_eq!(create(&registers, key), Decision::Change(change));
            registers.apply(change);
        }
        let stranger = key(PAIRS_MAX as u128, 0);
        assert_eq!(create(&registers, stranger), Decision::Answer(AnswerKind::Refused));
        assert!(matches!(create(&registers, key(0, 1)), Decision::Change(_)), "of a pair that is known");
        registers.apply(Change { key: key(0, 0), to: None });
        assert!(!registers.knows(PairIdentity(0)));
        assert!(matches!(create(&registers, stranger), Decision::Change(_)));
    }

    #[test]
    fn a_pair_has_so_many_registers_and_all_pairs_together_have() {
        let first = at(1, Members::Both);
        let mut registers = Registers::default();
        let pairs = (REGISTERS_MAX / REGISTERS_PER_PAIR_MAX) as u128;
        for pair in 0..pairs {
            let volumes = (0..REGISTERS_PER_PAIR_MAX as u128).map(|volume| (VolumeIdentity(volume), first));
            registers.0.insert(PairIdentity(pair), volumes.collect());
            let one_more = RegisterKey { pair: PairIdentity(pair), volume: VolumeIdentity(u128::MAX) };
            let decision = registers.decide(one_more, QuestionKind::Create { first });
            assert_eq!(decision, Decision::Answer(AnswerKind::Refused));
        }
        let another = RegisterKey { pair: PairIdentity(pairs), volume: VolumeIdentity(0) };
        let decision = registers.decide(another, QuestionKind::Create { first });
        assert_eq!(decision, Decision::Answer(AnswerKind::Refused));
    }
}

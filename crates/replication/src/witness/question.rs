//! A question to the witness and its answer: their meaning, and their bytes.
//!
//! ```text
//!   0      4         5      6        8          16            96     100        64     68
//!   ┌──────┬─────────┬──────┬────────┬──────────┬──────────────┬──────┐
//!   │magic │ version │ kind │ zero   │ number   │ body         │ CRC  │     question: a body of 80 bytes
//!   └──────┴─────────┴──────┴────────┴──────────┴──────────────┴──────┘     answer: of 48
//! ```
//!
//! All numbers are little-endian. Both lengths and the place of the version hold for all versions, so that a witness can
//! always say which ones it speaks.

use std::ops::Range;

use block::Duration;

use super::stream::FrameError;
use crate::identity::{PairIdentity, VolumeIdentity};
use crate::membership::{Epoch, Members, Membership, NodeNumber};

/// The version of the protocol that this program speaks.
pub const VERSION: u8 = 1;
/// Bytes of a question.
pub const QUESTION_BYTES: usize = 100;
/// Bytes of an answer.
pub const ANSWER_BYTES: usize = 68;
/// A question is carried out only if the moment it quotes was told at most so long ago. Much shorter than what a node
/// believes a question that it gave up may live ([`crate::limits::QUESTION_LIFE`]).
pub const MOMENT_LIFE: Duration = Duration::from_millis(4000);

const MAGIC: [u8; 4] = *b"EPw\n";

mod field {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: usize = 4;
    pub(super) const KIND: usize = 5;
    pub(super) const NUMBER: Range<usize> = 8..16;
}

mod asked {
    use std::ops::Range;

    pub(super) const PAIR: Range<usize> = 16..32;
    pub(super) const VOLUME: Range<usize> = 32..48;
    pub(super) const MOMENT: usize = 48;
    pub(super) const EXPECTED: usize = 64;
    pub(super) const NEXT: usize = 80;
}

mod answered {
    use std::ops::Range;

    pub(super) const WITNESS: Range<usize> = 16..32;
    pub(super) const MOMENT: usize = 32;
    pub(super) const HELD: usize = 48;
}

const _: () = {
    assert!(MOMENT_LIFE.as_millis() * 2 < crate::limits::QUESTION_LIFE.as_millis());
    assert!(asked::NEXT + 16 + 4 == QUESTION_BYTES && answered::HELD + 16 + 4 == ANSWER_BYTES);
};

/// Which register: one for each volume of a pair.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RegisterKey {
    /// Of which pair.
    pub pair: PairIdentity,
    /// Of which volume.
    pub volume: VolumeIdentity,
}

/// A moment of one connection, as the witness told it: a question that quotes it cannot be older, however long it lay in a
/// buffer, and cannot be said again on another connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moment {
    /// Drawn at random for the connection.
    pub connection: u64,
    /// Milliseconds on the witness's clock since the connection began.
    pub milliseconds: u64,
}

/// What is wanted of the witness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuestionKind {
    /// Who are you, and what moment is it?
    Hello,
    /// Put `next` in the place of `expected`; if they are equal: does it hold that?
    Swap {
        /// What the register must hold.
        expected: Membership,
        /// What it shall hold.
        next: Membership,
    },
    /// What does the register hold?
    Read,
    /// Make the register of a new volume.
    Create {
        /// What it shall hold.
        first: Membership,
    },
    /// Forget the register of a volume that is no more.
    Remove {
        /// What it must hold.
        expected: Membership,
    },
}

/// A question to the witness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question {
    /// Chosen by whoever asks; comes back in the answer.
    pub number: u64,
    /// About which register; zeros for [`QuestionKind::Hello`].
    pub key: RegisterKey,
    /// The moment that the witness told last on this connection.
    pub moment: Moment,
    /// What is wanted.
    pub kind: QuestionKind,
}

/// What the witness says to a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswerKind {
    /// To a hello.
    Welcome,
    /// Done, durably: the register holds what was wanted.
    Done,
    /// The register holds something else, or what was to be read.
    Holds(Membership),
    /// There is no such register.
    NoRegister,
    /// The question came too late, or quotes no moment of this connection. It was not carried out.
    Late,
    /// The witness cannot store it: its disk is full or failed. It may have been carried out all the same.
    Failed,
    /// The witness serves other pairs, or has no room for more registers.
    Refused,
    /// The witness speaks another version of the protocol: the one in the head of this answer.
    Version,
}

/// An answer of the witness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Of the question.
    pub number: u64,
    /// Which witness this is: 128 bits drawn when its directory was made.
    pub witness: u128,
    /// The moment it is.
    pub moment: Moment,
    /// What.
    pub kind: AnswerKind,
}

impl Moment {
    /// Whether a question that quotes this may be carried out at `now`.
    #[must_use]
    pub fn is_fresh(self, now: Self) -> bool {
        let age = now.milliseconds.checked_sub(self.milliseconds);
        self.connection == now.connection && age.is_some_and(|age| u128::from(age) <= MOMENT_LIFE.as_millis())
    }

    fn emit(self, at: usize, bytes: &mut [u8]) {
        put(bytes, at, &self.connection.to_le_bytes());
        put(bytes, at + 8, &self.milliseconds.to_le_bytes());
    }

    fn parse(at: usize, bytes: &[u8]) -> Self {
        Self { connection: u64_at(bytes, at), milliseconds: u64_at(bytes, at + 8) }
    }
}

impl QuestionKind {
    const fn number(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Swap { .. } => 2,
            Self::Read => 3,
            Self::Create { .. } => 4,
            Self::Remove { .. } => 5,
        }
    }
}

impl Question {
    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; QUESTION_BYTES] {
        let mut bytes = [0; QUESTION_BYTES];
        put(&mut bytes, asked::PAIR.start, &self.key.pair.0.to_le_bytes());
        put(&mut bytes, asked::VOLUME.start, &self.key.volume.0.to_le_bytes());
        self.moment.emit(asked::MOMENT, &mut bytes);
        match self.kind {
            QuestionKind::Hello | QuestionKind::Read => {}
            QuestionKind::Swap { expected, next } => {
                emit_membership(expected, asked::EXPECTED, &mut bytes);
                emit_membership(next, asked::NEXT, &mut bytes);
            }
            QuestionKind::Create { first } => emit_membership(first, asked::NEXT, &mut bytes),
            QuestionKind::Remove { expected } => emit_membership(expected, asked::EXPECTED, &mut bytes),
        }
        close(&mut bytes, self.kind.number(), self.number);
        bytes
    }

    /// What the bytes mean.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong with them.
    pub fn parse(bytes: &[u8; QUESTION_BYTES]) -> Result<Self, FrameError> {
        check(bytes)?;
        let key = RegisterKey {
            pair: PairIdentity(u128_at(bytes, asked::PAIR)),
            volume: VolumeIdentity(u128_at(bytes, asked::VOLUME)),
        };
        let membership = |at| parse_membership(at, bytes);
        let kind = match bytes[field::KIND] {
            1 => QuestionKind::Hello,
            2 => {
                QuestionKind::Swap { expected: membership(asked::EXPECTED)?, next: membership(asked::NEXT)? }
            }
            3 => QuestionKind::Read,
            4 => QuestionKind::Create { first: membership(asked::NEXT)? },
            5 => QuestionKind::Remove { expected: membership(asked::EXPECTED)? },
            found => return Err(FrameError::Kind { found }),
        };
        let number = u64_at(bytes, field::NUMBER.start);
        Ok(Self { number, key, moment: Moment::parse(asked::MOMENT, bytes), kind })
    }
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        put(&mut bytes, answered::WITNESS.start, &self.witness.to_le_bytes());
        self.moment.emit(answered::MOMENT, &mut bytes);
        let kind = match self.kind {
            AnswerKind::Welcome => 128,
            AnswerKind::Done => 129,
            AnswerKind::Holds(held) => {
                emit_membership(held, answered::HELD, &mut bytes);
                130
            }
            AnswerKind::NoRegister => 131,
            AnswerKind::Late => 132,
            AnswerKind::Failed => 133,
            AnswerKind::Refused => 134,
            AnswerKind::Version => 135,
        };
        close(&mut bytes, kind, self.number);
        bytes
    }

    /// What the bytes mean.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong with them.
    pub fn parse(bytes: &[u8; ANSWER_BYTES]) -> Result<Self, FrameError> {
        check(bytes)?;
        let kind = match bytes[field::KIND] {
            128 => AnswerKind::Welcome,
            129 => AnswerKind::Done,
            130 => AnswerKind::Holds(parse_membership(answered::HELD, bytes)?),
            131 => AnswerKind::NoRegister,
            132 => AnswerKind::Late,
            133 => AnswerKind::Failed,
            134 => AnswerKind::Refused,
            135 => AnswerKind::Version,
            found => return Err(FrameError::Kind { found }),
        };
        Ok(Self {
            number: u64_at(bytes, field::NUMBER.start),
            witness: u128_at(bytes, answered::WITNESS),
            moment: Moment::parse(answered::MOMENT, bytes),
            kind,
        })
    }
}

/// The number of a question that cannot be understood, for the answer that says so.
pub(crate) fn number_of(bytes: &[u8; QUESTION_BYTES]) -> u64 {
    u64_at(bytes, field::NUMBER.start)
}

fn close(bytes: &mut [u8], kind: u8, number: u64) {
    put(bytes, field::MAGIC.start, &MAGIC);
    bytes[field::VERSION] = VERSION;
    bytes[field::KIND] = kind;
    put(bytes, field::NUMBER.start, &number.to_le_bytes());
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    put(bytes, end, &crc.to_le_bytes());
}

fn check(bytes: &[u8]) -> Result<(), FrameError> {
    check_magic(bytes)?;
    let end = bytes.len() - 4;
    let found = u32::from_le_bytes(*bytes[end..].first_chunk().expect("four bytes are left"));
    let computed = crc32fast::hash(&bytes[..end]);
    if found != computed {
        return Err(FrameError::Checksum { found, computed });
    }
    match bytes[field::VERSION] {
        VERSION => Ok(()),
        found => Err(FrameError::Version { found }),
    }
}

/// Whether a message may begin with as much as there is of these bytes.
pub(crate) fn check_magic(bytes: &[u8]) -> Result<(), FrameError> {
    let length = bytes.len().min(MAGIC.len());
    if bytes[..length] == MAGIC[..length] {
        return Ok(());
    }
    let mut found = [0; 4];
    found[..length].copy_from_slice(&bytes[..length]);
    Err(FrameError::Magic { found })
}

fn emit_membership(membership: Membership, at: usize, bytes: &mut [u8]) {
    put(bytes, at, &membership.epoch.0.to_le_bytes());
    bytes[at + 8] = match membership.members {
        Members::Both => 0,
        Members::Only(NodeNumber::Zero) => 1,
        Members::Only(NodeNumber::One) => 2,
    };
}

fn parse_membership(at: usize, bytes: &[u8]) -> Result<Membership, FrameError> {
    let members = match bytes[at + 8] {
        0 => Members::Both,
        1 => Members::Only(NodeNumber::Zero),
        2 => Members::Only(NodeNumber::One),
        found => return Err(FrameError::Members { found }),
    };
    Ok(Membership { epoch: Epoch(u64_at(bytes, at)), members })
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("within the message"))
}

fn u128_at(bytes: &[u8], range: Range<usize>) -> u128 {
    u128::from_le_bytes(*bytes[range].first_chunk().expect("within the message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Membership = Membership { epoch: Epoch(7), members: Members::Both };
    const ONE: Membership = Membership { epoch: Epoch(8), members: Members::Only(NodeNumber::One) };
    const MOMENT: Moment = Moment { connection: 0x0102_0304_0506_0708, milliseconds: 900 };

    fn question(kind: QuestionKind) -> Question {
        let key = RegisterKey { pair: PairIdentity(0xaa << 64), volume: VolumeIdentity(0xbb) };
        Question { number: 5, key, moment: MOMENT, kind }
    }

    #[test]
    fn every_question_and_every_answer_means_the_same_after_the_wire() {
        let questions = [
            QuestionKind::Hello,
            QuestionKind::Swap { expected: BOTH, next: ONE },
            QuestionKind::Read,
            QuestionKind::Create { first: BOTH },
            QuestionKind::Remove { expected: ONE },
        ];
        for kind in questions {
            assert_eq!(Question::parse(&question(kind).emit()), Ok(question(kind)));
        }
        let answers = [
            AnswerKind::Welcome,
            AnswerKind::Done,
            AnswerKind::Holds(ONE),
            AnswerKind::NoRegister,
            AnswerKind::Late,
            AnswerKind::Failed,
            AnswerKind::Refused,
            AnswerKind::Version,
        ];
        for kind in answers {
            let answer = Answer { number: 5, witness: 1 << 100, moment: MOMENT, kind };
            assert_eq!(Answer::parse(&answer.emit()), Ok(answer));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = question(QuestionKind::Swap { expected: BOTH, next: ONE }).emit();
        assert_eq!(bytes[..16], *b"EPw\n\x01\x02\0\0\x05\0\0\0\0\0\0\0");
        assert_eq!((bytes[24], bytes[32]), (0xaa, 0xbb));
        assert_eq!(bytes[48..56], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((bytes[64], bytes[72], bytes[80], bytes[88]), (7, 0, 8, 2));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let whole = question(QuestionKind::Swap { expected: BOTH, next: ONE }).emit();
        for index in 0..whole.len() {
            let mut bytes = whole;
            bytes[index] ^= 0x10;
            assert!(Question::parse(&bytes).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_moment_is_fresh_on_its_own_connection_and_for_a_while() {
        let at = |milliseconds| Moment { milliseconds, ..MOMENT };
        assert!(MOMENT.is_fresh(at(900)) && MOMENT.is_fresh(at(4900)));
        assert!(!MOMENT.is_fresh(at(4901)), "too old");
        assert!(!MOMENT.is_fresh(at(899)), "of the future");
        assert!(!MOMENT.is_fresh(Moment { connection: 1, ..MOMENT }), "of another connection");
    }
}

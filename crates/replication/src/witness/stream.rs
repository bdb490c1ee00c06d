//! Finds questions, or answers, in what a connection brings, piece by piece. It holds less than one message at a time.
//!
//! Any fault ends the connection: whoever speaks something else is not listened to any further.

use thiserror::Error;

use super::question::{ANSWER_BYTES, Answer, QUESTION_BYTES, Question, VERSION, check_magic, number_of};

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// Something else is at the other end.
    #[error(
        "no message begins where one must (there is {found:02x?}): what is at the other end is no etherpair, or its address \
         and port are another service's"
    )]
    Magic {
        /// What there is.
        found: [u8; 4],
    },
    /// Torn apart on the way.
    #[error(
        "a message arrived damaged (checksum {found:08x}, not {computed:08x}); test the network between the two"
    )]
    Checksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
    /// Another version.
    #[error(
        "the other end speaks version {found} of the witness protocol, this program {VERSION}: upgrade the older one"
    )]
    Version {
        /// Which.
        found: u8,
    },
    /// No such kind.
    #[error(
        "a message of kind {found}, which version {VERSION} does not have: upgrade the program at the other end"
    )]
    Kind {
        /// Its number.
        found: u8,
    },
    /// No such members.
    #[error("members are numbered 0 to 2, not {found}: upgrade the program at the other end")]
    Members {
        /// What was found.
        found: u8,
    },
}

/// Finds messages of `N` bytes.
#[derive(Clone, Debug)]
pub struct Reader<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

/// Finds questions, at the witness.
pub type QuestionReader = Reader<QUESTION_BYTES>;
/// Finds answers, at a node.
pub type AnswerReader = Reader<ANSWER_BYTES>;

impl<const N: usize> Default for Reader<N> {
    fn default() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }
}

impl<const N: usize> Reader<N> {
    /// Takes what has come, up to the end of a message, and takes it off `bytes`.
    fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<[u8; N]>, FrameError> {
        let count = bytes.len().min(N - self.filled);
        let (taken, rest) = bytes.split_at(count);
        self.bytes[self.filled..self.filled + count].copy_from_slice(taken);
        self.filled += count;
        *bytes = rest;
        check_magic(&self.bytes[..self.filled])?;
        if self.filled < N {
            return Ok(None);
        }
        self.filled = 0;
        Ok(Some(self.bytes))
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub const fn is_amid_message(&self) -> bool {
        self.filled > 0
    }
}

impl QuestionReader {
    /// The next question in `bytes`, which are taken off it; `None` when more must come first.
    ///
    /// # Errors
    /// What is wrong, and the number of the question if there is one to answer.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Question>, (FrameError, Option<u64>)> {
        let Some(message) = self.take(bytes).map_err(|error| (error, None))? else { return Ok(None) };
        Question::parse(&message).map(Some).map_err(|error| {
            let is_answered = matches!(error, FrameError::Version { .. });
            (error, is_answered.then(|| number_of(&message)))
        })
    }
}

impl AnswerReader {
    /// The next answer in `bytes`, which are taken off it; `None` when more must come first.
    ///
    /// # Errors
    /// What is wrong.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Answer>, FrameError> {
        self.take(bytes)?.map(|message| Answer::parse(&message)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::question::{Moment, QuestionKind, RegisterKey};
    use super::*;
    use crate::identity::{PairIdentity, VolumeIdentity};

    fn hello(number: u64) -> Question {
        let key = RegisterKey { pair: PairIdentity(1), volume: VolumeIdentity(2) };
        Question { number, key, moment: Moment::default(), kind: QuestionKind::Hello }
    }

    #[test]
    fn questions_are_found_however_they_are_cut() {
        let bytes = [hello(1).emit(), hello(2).emit()].concat();
        for size in 1..bytes.len() {
            let mut reader = QuestionReader::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(question) = reader.next(&mut piece).expect("good bytes") {
                    found.push(question);
                }
            }
            assert_eq!(found, [hello(1), hello(2)], "pieces of {size}");
            assert!(!reader.is_amid_message());
        }
    }

    #[test]
    fn something_else_is_noticed_at_its_first_byte() {
        let mut reader = QuestionReader::default();
        let error = reader.next(&mut &b"GET / HTTP/1.1\r\n"[..]).expect_err("no question");
        assert!(matches!(error, (FrameError::Magic { found: [b'G', b'E', b'T', b' '] }, None)), "{error:?}");
        assert!(QuestionReader::default().next(&mut &b"x"[..]).is_err());
    }

    #[test]
    fn a_question_of_another_version_can_be_answered() {
        let mut bytes = hello(9).emit();
        bytes[4] = 2;
        let crc = crc32fast::hash(&bytes[..96]);
        bytes[96..].copy_from_slice(&crc.to_le_bytes());
        let error = QuestionReader::default().next(&mut &bytes[..]).expect_err("a newer version");
        assert_eq!(error, (FrameError::Version { found: 2 }, Some(9)));
    }
}

//! What a node and a witness say to each other, and what the witness does with it.
//!
//! Read [`question`] (the words and their bytes), [`stream`] (finding them in what a connection brings), [`registers`] (what
//! is granted). No I/O: the witness is a program of its own, which makes durable what [`registers`] wants changed
//! before it answers. `docs/witness-protocol.md` is the same for people.

pub mod question;
pub mod registers;
pub mod stream;

pub use question::{Answer, AnswerKind, Moment, Question, QuestionKind, RegisterKey};
pub use registers::{Decision, Registers};
pub use stream::{AnswerReader, FrameError, QuestionReader};

//! No request is answered more often than it came, nor twice with different data while nobody wrote in between.
//!
//! A request is known by its sender and its tag, and begins anew when the tag is used for something else. Copies that the
//! network made are requests of their own to a node, and may each be answered; what they answer must agree, unless a write
//! to the same sectors was open at some time between the two answers, or both nodes lost what they held in memory only.

use std::collections::BTreeMap;

use aoe::ata::AtaCommand;
use aoe::wire::Frame;
use aoe::{MacAddress, Tag};
use block::{Instant, LbaRange};
use thiserror::Error;

use crate::content::Value;
use crate::exchange::{Body, Numbers};
use crate::history::{Action, Fate, History};

/// An answer too many, or another one.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AnsweredTwice {
    /// More answers than requests.
    #[error("request {tag} of {initiator} came {came} times to node {node} and was answered once more")]
    TooOften {
        /// Whose.
        initiator: MacAddress,
        /// Which.
        tag: Tag,
        /// By which node.
        node: usize,
        /// How often it had come.
        came: u32,
    },
    /// Two answers that do not agree.
    #[error("request {tag} of {initiator} for sectors {range} was answered with {} and then with {}", list(.first), list(.second))]
    Differently {
        /// Whose.
        initiator: MacAddress,
        /// Which.
        tag: Tag,
        /// For what.
        range: LbaRange,
        /// What it was answered first.
        first: Vec<Value>,
        /// What then.
        second: Vec<Value>,
    },
    /// An answer to nothing.
    #[error("node {node} answered request {tag} of {initiator}, which never came")]
    Unasked {
        /// Whose.
        initiator: MacAddress,
        /// Which.
        tag: Tag,
        /// By which node.
        node: usize,
    },
}

fn list(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Requests seen so far.
#[derive(Debug, Default)]
pub struct AnsweredOnce {
    requests: BTreeMap<(MacAddress, Tag), Request>,
    /// To which address each numbered write was sent last.
    numbers: BTreeMap<Numbers, MacAddress>,
    numbers_moved: u64,
}

#[derive(Debug)]
struct Request {
    command: AtaCommand,
    range: LbaRange,
    numbers: Option<Numbers>,
    /// When it came first: no answer is of an earlier time.
    began: Instant,
    /// How often it came to each node, and was answered.
    came: [u32; 2],
    answered: [u32; 2],
    /// The tag was used for something else before: whose an answer is nobody can tell.
    reused: bool,
    first: Option<Vec<Value>>,
}

impl AnsweredOnce {
    /// A frame has come to a node.
    pub fn came(&mut self, now: Instant, node: usize, bytes: &[u8]) {
        let Some((frame, body)) = parse(bytes) else { return };
        let header = frame.header();
        if header.response {
            return;
        }
        let Some((request, numbers)) = body.request() else { return };
        let Some(range) = LbaRange::new(request.lba(), request.sectors()) else { return };
        if let Some(numbers) = numbers {
            let to = frame.ethernet().destination;
            let before = self.numbers.insert(numbers, to);
            self.numbers_moved += u64::from(before.is_some_and(|before| before != to));
        }
        let command = request.command;
        let new = || Request {
            command,
            range,
            numbers,
            began: now,
            came: [0; 2],
            answered: [0; 2],
            reused: false,
            first: None,
        };
        let entry = self.requests.entry((frame.ethernet().source, header.tag)).or_insert_with(new);
        if (entry.command, entry.range, entry.numbers) != (command, range, numbers) {
            // Answers to what the tag was used for before may still come.
            let (came, answered) = (entry.came, entry.answered);
            *entry = Request { came, answered, reused: true, ..new() };
        }
        entry.came[node] += 1;
    }

    /// How often a numbered write was sent to another address than before.
    #[must_use]
    pub const fn numbers_moved(&self) -> u64 {
        self.numbers_moved
    }

    /// A node has sent a frame.
    ///
    /// # Errors
    /// If that was an answer too many, or another than before.
    pub fn sent(&mut self, node: usize, bytes: &[u8], history: &History) -> Result<(), AnsweredTwice> {
        let Some((frame, body)) = parse(bytes) else { return Ok(()) };
        let header = frame.header();
        let is_done = || body.reply().is_some_and(|reply| !reply.status.is_failure());
        if !header.response || header.error.is_some() || !is_done() {
            return Ok(());
        }
        let (initiator, tag) = (frame.ethernet().destination, header.tag);
        let Some(request) = self.requests.get_mut(&(initiator, tag)) else { return Ok(()) };
        let came = request.came[node];
        if request.answered[node] == came {
            return Err(match came {
                0 => AnsweredTwice::Unasked { initiator, tag, node },
                _ => AnsweredTwice::TooOften { initiator, tag, node, came },
            });
        }
        request.answered[node] += 1;
        let range = request.range;
        let Some(data) = body.sectors(range.count()).filter(|_| request.command.is_read()) else {
            return Ok(());
        };
        let second: Vec<Value> = Value::of_all(range.start(), data).collect();
        match &request.first {
            None => request.first = Some(second),
            Some(first) if !request.reused && *first != second && !written(history, range, request.began) => {
                return Err(AnsweredTwice::Differently {
                    initiator,
                    tag,
                    range,
                    first: first.clone(),
                    second,
                });
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Whether a write to these sectors was open at some time since that moment, or what stood there was lost by permission. A write that
/// was given up stays open, and so does a late copy of one: nobody knows when it takes effect.
fn written(history: &History, range: LbaRange, since: Instant) -> bool {
    let is_lost = history.losses().iter().any(|loss| loss.at.at >= since);
    let late = history.late_copies().iter().any(|copy| copy.part.overlaps(range));
    is_lost
        || late
        || history.operations().iter().any(|operation| {
            let ends = history.sector_ends(operation).iter();
            matches!(operation.action, Action::Write { .. })
                && operation.range.overlaps(range)
                && (operation.fate != Fate::Done || ends.filter_map(|end| end.end).any(|end| end.at >= since))
        })
}

fn parse(bytes: &[u8]) -> Option<(Frame<'_>, Body<'_>)> {
    let frame = Frame::new(bytes).ok()?;
    Some((frame, Body::new(frame)?))
}

#[cfg(test)]
mod tests {
    use aoe::wire::ata::{self, AtaFlags, LbaRegisters};
    use aoe::wire::{Head, ethernet, header};
    use aoe::{Address, Command, Shelf, Slot};
    use block::{Duration, Lba, SECTOR_BYTES};

    use super::*;
    use crate::exchange::tests::{HOST, NODE, numbered_answer, numbered_write};
    use crate::history::Moment;

    const NOW: Instant = Instant::from_nanos(5);

    fn address() -> Address {
        Address::new(Shelf(7), Slot(1)).expect("valid")
    }

    fn head() -> Head {
        let ethernet = ethernet::Repr { destination: NODE, source: HOST };
        Head { ethernet, header: header::Repr::request(address().into(), Command::Ata, Tag(9)) }
    }

    fn registers() -> ata::Request {
        let lba = LbaRegisters::from_lba48(Lba(4));
        let command = AtaCommand::ReadSectorsExt;
        ata::Request { flags: AtaFlags::EXTENDED, feature: 0, sector_count: 1, command, lba }
    }

    fn read() -> Vec<u8> {
        let mut bytes = vec![0; 60];
        head().emit(&mut bytes);
        registers().emit(&mut bytes);
        bytes
    }

    fn answer(value: Value) -> Vec<u8> {
        let mut bytes = vec![0; 36 + SECTOR_BYTES];
        head().reply(NODE, address()).emit(&mut bytes);
        ata::Reply::success(&registers()).emit(&mut bytes);
        value.fill(Lba(4), &mut bytes[36..]);
        bytes
    }

    #[test]
    fn an_answer_too_many_is_found() {
        let history = History::new(Duration::ZERO);
        let mut property = AnsweredOnce::default();
        let answer = answer(Value::new(1, 1));
        assert_eq!(property.sent(0, &answer, &history), Ok(()), "a tag that nobody knows");
        property.came(NOW, 0, &read());
        assert_eq!(property.sent(0, &answer, &history), Ok(()));
        let error = property.sent(0, &answer, &history);
        assert!(matches!(error, Err(AnsweredTwice::TooOften { came: 1, .. })));
        let error = property.sent(1, &answer, &history);
        assert!(matches!(error, Err(AnsweredTwice::Unasked { node: 1, .. })));
        property.came(NOW, 1, &read());
        assert_eq!(property.sent(1, &answer, &history), Ok(()));
    }

    #[test]
    fn a_numbered_write_that_is_answered_twice_is_found_and_one_that_moves_is_counted() {
        let history = History::new(Duration::ZERO);
        let mut property = AnsweredOnce::default();
        property.came(NOW, 0, &numbered_write(NODE, 1));
        assert_eq!(property.sent(0, &numbered_answer(), &history), Ok(()));
        let error = property.sent(0, &numbered_answer(), &history);
        assert!(matches!(error, Err(AnsweredTwice::TooOften { came: 1, .. })), "{error:?}");
        let error = property.sent(1, &numbered_answer(), &history);
        assert!(matches!(error, Err(AnsweredTwice::Unasked { node: 1, .. })), "{error:?}");
        property.came(NOW, 0, &numbered_write(NODE, 1));
        property.came(NOW, 0, &numbered_write(NODE, 2));
        assert_eq!(property.numbers_moved(), 0);
        property.came(NOW, 1, &numbered_write(HOST, 1));
        assert_eq!(property.numbers_moved(), 1);
        assert_eq!(property.sent(1, &numbered_answer(), &history), Ok(()));
    }

    #[test]
    fn another_answer_to_the_same_request_is_found_unless_somebody_wrote() {
        let mut history = History::new(Duration::ZERO);
        let mut property = AnsweredOnce::default();
        for _ in 0..3 {
            property.came(NOW, 0, &read());
        }
        assert_eq!(property.sent(0, &answer(Value::new(1, 1)), &history), Ok(()));
        let error = property.sent(0, &answer(Value::new(1, 2)), &history).expect_err("another answer");
        assert_eq!(
            error.to_string(),
            "request 0x00000009 of 02:00:00:00:00:01 for sectors 4+1 was answered with write 1:1 and then with write 1:2"
        );
        let range = LbaRange::new(Lba(4), block::SectorCount(2)).expect("two sectors");
        history.call(NOW, 1, Action::Write { value: Value::new(1, 2), sequenced: false }, range);
        assert_eq!(property.sent(0, &answer(Value::new(1, 2)), &history), Ok(()));
    }

    #[test]
    fn another_answer_is_allowed_after_the_memories_of_both_nodes_were_lost() {
        let mut property = AnsweredOnce::default();
        for _ in 0..3 {
            property.came(NOW, 0, &read());
        }
        let lost_at = |now| {
            let mut history = History::new(Duration::ZERO);
            history.lost(now, Moment::BEGINNING, Default::default());
            history
        };
        let (before, after) = (lost_at(Instant::from_nanos(1)), lost_at(NOW.after(Duration::from_nanos(1))));
        assert_eq!(property.sent(0, &answer(Value::new(1, 2)), &before), Ok(()));
        assert!(property.sent(0, &answer(Value::new(1, 1)), &before).is_err(), "a loss before the request");
        assert_eq!(property.sent(0, &answer(Value::new(1, 1)), &after), Ok(()));
    }
}

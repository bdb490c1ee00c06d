//! Messages with which nodes meet and part: what differs, what is in doubt, what each brings, and who serves.

use super::WireError;
use super::view::{Body, Bytes, BytesMut, View};
use super::write::{ORIGIN_BYTES, parse_origin, put_origin};
use crate::durability::Mode;
use crate::limits::{DOUBTFUL_PER_MESSAGE, NUMBER_WORDS, NUMBERS_PER_MESSAGE, RUNS_PER_MESSAGE};
use crate::membership::{Epoch, Members, Membership, NodeNumber};
use crate::message::{BlockRun, CopyState, DoubtfulWrite, Effect, NumberWindow, Offer};

mod run {
    use std::ops::Range;

    pub(super) const START: Range<usize> = 0..8;
    pub(super) const COUNT: Range<usize> = 8..16;
    pub(super) const END: usize = 16;
}

impl Body for Vec<BlockRun> {
    fn emit(&self, body: &mut [u8]) -> usize {
        assert!(self.len() <= RUNS_PER_MESSAGE, "runs are divided into messages when they are sent");
        for (entry, BlockRun { start, count }) in body.chunks_exact_mut(run::END).zip(self) {
            assert!(*count > 0, "nothing is said of no blocks");
            entry.put_u64(run::START, *start);
            entry.put_u64(run::COUNT, *count);
        }
        self.len() * run::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let runs = view.entries(run::END, RUNS_PER_MESSAGE)?.map(|entry| {
            let (start, count) = (entry.u64(run::START), entry.u64(run::COUNT));
            start.checked_add(count).filter(|end| *end > start).ok_or(view.value_error("run of blocks"))?;
            Ok(BlockRun { start, count })
        });
        runs.collect()
    }
}

mod doubtful {
    pub(super) const RANGE: usize = 0;
    pub(super) const EFFECT: usize = 10;
    pub(super) const ORIGIN: usize = 11;
    pub(super) const END: usize = 40;
}

impl Body for Vec<DoubtfulWrite> {
    fn emit(&self, body: &mut [u8]) -> usize {
        assert!(self.len() <= DOUBTFUL_PER_MESSAGE, "writes are divided into messages when they are sent");
        for (entry, DoubtfulWrite { range, origin, effect }) in body.chunks_exact_mut(doubtful::END).zip(self)
        {
            entry.fill(0);
            entry.put_range(doubtful::RANGE, *range);
            entry[doubtful::EFFECT] = match effect {
                Effect::Whole => 0,
                Effect::Nothing => 1,
                Effect::Unknown => 2,
                Effect::Overtaken => 3,
            };
            put_origin(entry, doubtful::ORIGIN, Some(*origin));
        }
        self.len() * doubtful::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let writes = view.entries(doubtful::END, DOUBTFUL_PER_MESSAGE)?.map(|entry| {
            let range = view.range(entry, doubtful::RANGE)?;
            let origin = parse_origin(view, entry, doubtful::ORIGIN)?;
            let effect = match entry[doubtful::EFFECT] {
                0 => Effect::Whole,
                1 => Effect::Nothing,
                2 => Effect::Unknown,
                3 => Effect::Overtaken,
                _ => return Err(view.value_error("effect of a write")),
            };
            Ok(DoubtfulWrite { range, origin: origin.ok_or(view.value_error("origin"))?, effect })
        });
        writes.collect()
    }
}

mod window {
    use std::ops::Range;

    pub(super) const INITIATOR: Range<usize> = 0..8;
    pub(super) const LATEST: Range<usize> = 8..16;
    pub(super) const EXECUTED: usize = 16;
    pub(super) const FAILED: usize = 144;
    pub(super) const END: usize = 272;
}

const _: () = assert!(window::EXECUTED + NUMBER_WORDS * 8 == window::FAILED);
const _: () = assert!(window::FAILED + NUMBER_WORDS * 8 == window::END);

/// Bytes of what is said of one initiator.
pub(super) const WINDOW_BYTES: usize = window::END;

impl Body for Vec<NumberWindow> {
    fn emit(&self, body: &mut [u8]) -> usize {
        assert!(self.len() <= NUMBERS_PER_MESSAGE, "windows are divided into messages when they are sent");
        for (entry, said) in body.chunks_exact_mut(window::END).zip(self) {
            entry.put_u64(window::INITIATOR, said.initiator);
            entry.put_u64(window::LATEST, said.latest);
            for (word, (executed, failed)) in said.executed.iter().zip(&said.failed).enumerate() {
                entry.put_u64(place(window::EXECUTED, word), *executed);
                entry.put_u64(place(window::FAILED, word), *failed);
            }
        }
        self.len() * window::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let windows = view.entries(window::END, NUMBERS_PER_MESSAGE)?.map(|entry| NumberWindow {
            initiator: entry.u64(window::INITIATOR),
            latest: entry.u64(window::LATEST),
            executed: std::array::from_fn(|word| entry.u64(place(window::EXECUTED, word))),
            failed: std::array::from_fn(|word| entry.u64(place(window::FAILED, word))),
        });
        Ok(windows.collect())
    }
}

const fn place(first: usize, word: usize) -> std::ops::Range<usize> {
    let start = first + word * 8;
    start..start + 8
}

mod membership {
    use std::ops::Range;

    pub(super) const EPOCH: Range<usize> = 0..8;
    pub(super) const MEMBERS: usize = 8;
    pub(super) const END: usize = 16;
}

impl Body for Membership {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..membership::END].fill(0);
        body.put_u64(membership::EPOCH, self.epoch.0);
        body[membership::MEMBERS] = match self.members {
            Members::Both => 0,
            Members::Only(NodeNumber::Zero) => 1,
            Members::Only(NodeNumber::One) => 2,
        };
        membership::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        parse_membership(view, view.of_length(membership::END)?)
    }
}

fn parse_membership(view: View<'_>, body: &[u8]) -> Result<Membership, WireError> {
    let members = match body[membership::MEMBERS] {
        0 => Members::Both,
        1 => Members::Only(NodeNumber::Zero),
        2 => Members::Only(NodeNumber::One),
        _ => return Err(view.value_error("membership")),
    };
    let epoch = Epoch(view.counted(body.u64(membership::EPOCH), "epoch")?);
    Ok(Membership { epoch, members })
}

mod offer {
    use std::ops::Range;

    pub(super) const COPY: usize = super::membership::END;
    pub(super) const ALONE: usize = COPY + 1;
    pub(super) const FORGETFUL: usize = COPY + 2;
    pub(super) const LOST_MEMORY: usize = COPY + 3;
    pub(super) const MODE: usize = COPY + 4;
    pub(super) const REVISION: Range<usize> = 24..32;
    pub(super) const END: usize = 32;
}

impl Body for Offer {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..offer::END].fill(0);
        self.membership.emit(body);
        body[offer::COPY] = match self.copy {
            CopyState::Good => 0,
            CopyState::Inconsistent => 1,
            CopyState::Diskless => 2,
        };
        body[offer::ALONE] = u8::from(self.alone);
        body[offer::FORGETFUL] = u8::from(self.forgetful);
        body[offer::LOST_MEMORY] = u8::from(self.lost_memory);
        body[offer::MODE] = match self.mode {
            None => 0,
            Some(Mode::Stable) => 1,
            Some(Mode::Memory) => 2,
            Some(Mode::Async(NodeNumber::Zero)) => 3,
            Some(Mode::Async(NodeNumber::One)) => 4,
        };
        body.put_u64(offer::REVISION, self.small_state_revision);
        offer::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(offer::END)?;
        let copy = match body[offer::COPY] {
            0 => CopyState::Good,
            1 => CopyState::Inconsistent,
            2 => CopyState::Diskless,
            _ => return Err(view.value_error("state of the copy")),
        };
        let mode = match body[offer::MODE] {
            0 => None,
            1 => Some(Mode::Stable),
            2 => Some(Mode::Memory),
            3 => Some(Mode::Async(NodeNumber::Zero)),
            4 => Some(Mode::Async(NodeNumber::One)),
            _ => return Err(view.value_error("mode")),
        };
        Ok(Self {
            membership: parse_membership(view, body)?,
            copy,
            alone: view.flag(body[offer::ALONE], "flag of a node that serves alone")?,
            forgetful: view.flag(body[offer::FORGETFUL], "flag of a forgetful node")?,
            lost_memory: view.flag(body[offer::LOST_MEMORY], "flag of a node that has lost its memory")?,
            mode,
            small_state_revision: view.counted(body.u64(offer::REVISION), "revision of the small state")?,
        })
    }
}

mod resize_answer {
    use std::ops::Range;

    pub(super) const SECTORS: Range<usize> = 0..8;
    pub(super) const AGREED: usize = 8;
    pub(super) const END: usize = 16;
}

/// `ResizeAnswered`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResizeAnswer {
    pub(super) sectors: u64,
    pub(super) agreed: bool,
}

impl Body for ResizeAnswer {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..resize_answer::END].fill(0);
        body.put_u64(resize_answer::SECTORS, self.sectors);
        body[resize_answer::AGREED] = u8::from(self.agreed);
        resize_answer::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(resize_answer::END)?;
        Ok(Self {
            sectors: body.u64(resize_answer::SECTORS),
            agreed: view.flag(body[resize_answer::AGREED], "answer to a resize")?,
        })
    }
}

const _: () = assert!(doubtful::ORIGIN + ORIGIN_BYTES <= doubtful::END, "an origin fits behind the range");

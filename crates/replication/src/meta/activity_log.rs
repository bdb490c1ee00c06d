//! The ring of the activity log: transactions that name a few changes each, and how a replay finds the hot extents.
//!
//! Transaction s lies in slot s mod 128 of the ring. It holds up to 64 changes ("slot 17 of the log is extent 4711 now")
//! and, besides, what a window of the log's slots held after them. The window moves on with each transaction, so the last
//! ⌈hot extents / 872⌉ transactions tell the whole log, and everything before them may be overwritten. One transaction is
//! written at a time: a crash tears at most the one after the newest good one, whose extents nobody used yet.
//!
//! What no single torn write explains (a hole in the row, a transaction that lies elsewhere) is told as an error, and
//! then every extent counts as in doubt: the volume is resynced as a whole.

use thiserror::Error;

use super::layout::{HOT_EXTENTS_MAX, Layout, RECORD_BYTES, RING_TRANSACTIONS};
use super::record::{self, Expected, Flaw, HEADER_BYTES, Kind, Label, RecordError, Sequence, array};
use super::version::Version;
use crate::identity::FormatIdentity;

/// Changes a transaction carries at most.
pub const CHANGES_MAX: usize = 64;
/// Slots of the log whose content a transaction tells besides.
pub const WINDOW_MAX: usize = 872;
/// Bytes of the ring.
#[expect(clippy::cast_possible_truncation, reason = "128 pages")]
pub const RING_BYTES: usize = RING_TRANSACTIONS as usize * RECORD_BYTES;

mod field {
    use std::ops::Range;

    pub(super) const HOT_EXTENTS: Range<usize> = 0..4;
    pub(super) const CHANGE_COUNT: Range<usize> = 4..8;
    pub(super) const CHANGES: usize = 32;
    pub(super) const CHANGE_BYTES: usize = 8;
    pub(super) const WINDOW: usize = CHANGES + super::CHANGES_MAX * CHANGE_BYTES;
    pub(super) const ENTRY_BYTES: usize = 4;
    pub(super) const END: usize = WINDOW + super::WINDOW_MAX * ENTRY_BYTES;
}

/// The number of an extent: a run of [`super::layout::EXTENT_SECTORS`] sectors.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Extent(pub u32);

impl Extent {
    /// What stands where there is none.
    const NONE: u32 = u32::MAX;

    fn number(extent: Option<Self>) -> u32 {
        extent.map_or(Self::NONE, |extent| extent.0)
    }
}

/// A slot of the log has become an extent's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which slot, below the number of hot extents.
    pub slot: u32,
    /// Which extent it holds from now on. What it held before is no longer hot.
    pub extent: Extent,
}

/// A transaction that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// Which.
    pub sequence: Sequence,
    /// What changed.
    pub changes: Vec<Change>,
    /// What the slots from [`window`]'s start on hold after the changes.
    pub window: Vec<Option<Extent>>,
}

/// The slots of the log that the transaction with that number tells.
#[must_use]
pub fn window(sequence: Sequence, hot_extents: u32) -> std::ops::Range<usize> {
    let slots = slot_index(hot_extents);
    let windows = slots.div_ceil(WINDOW_MAX);
    let turn = usize::try_from(sequence.0 % windows as u64).expect("fewer than there are windows");
    turn * WINDOW_MAX..slots.min((turn + 1) * WINDOW_MAX)
}

/// Writes the transaction with that number: `slots` is the whole log after `changes`.
///
/// # Panics
/// If there are too many changes, or `slots` is not as long as the log.
pub fn emit(
    slot: &mut [u8; RECORD_BYTES],
    layout: Layout,
    format: FormatIdentity,
    sequence: Sequence,
    changes: impl Iterator<Item = Change>,
    slots: impl ExactSizeIterator<Item = Option<Extent>>,
) {
    assert!(slots.len() == slot_index(layout.hot_extents()), "the whole log");
    let payload = &mut slot[HEADER_BYTES..];
    payload.fill(0);
    let mut count = 0;
    for change in changes {
        assert!(count < CHANGES_MAX, "a batch is bounded when it is made");
        let at = field::CHANGES + count * field::CHANGE_BYTES;
        payload[at..at + 4].copy_from_slice(&change.slot.to_le_bytes());
        payload[at + 4..at + 8].copy_from_slice(&change.extent.0.to_le_bytes());
        count += 1;
    }
    let count = u32::try_from(count).expect("just compared");
    payload[field::HOT_EXTENTS].copy_from_slice(&layout.hot_extents().to_le_bytes());
    payload[field::CHANGE_COUNT].copy_from_slice(&count.to_le_bytes());
    let window = window(sequence, layout.hot_extents());
    let told = slots.skip(window.start).take(window.len());
    for (entry, extent) in payload[field::WINDOW..].chunks_exact_mut(field::ENTRY_BYTES).zip(told) {
        entry.copy_from_slice(&Extent::number(extent).to_le_bytes());
    }
    let label = Label { kind: Kind::Transaction, place: Layout::transaction(sequence.0), format, sequence };
    record::seal(slot, &label, field::END);
}

impl Transaction {
    /// Reads the record in the ring's slot `index`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        slot: &[u8],
        index: u64,
        layout: Layout,
        format: FormatIdentity,
    ) -> Result<Self, RecordError> {
        let place = Layout::transaction(index);
        let expected = Expected { kind: Kind::Transaction, place, format: Some(format) };
        let record = record::open(slot, &expected)?;
        if Layout::transaction(record.sequence.0) != place {
            return Err(expected.flawed(Flaw::OutOfRow { found: record.sequence }));
        }
        let transaction = match record.version {
            Version::V1 => Self::parse_v1(record.payload, record.sequence, layout),
        };
        transaction.map_err(|flaw| expected.flawed(flaw))
    }

    fn parse_v1(payload: &[u8], sequence: Sequence, layout: Layout) -> Result<Self, Flaw> {
        if payload.len() != field::END {
            return Err(Flaw::Length { found: u32::try_from(payload.len()).unwrap_or(u32::MAX) });
        }
        if u32::from_le_bytes(array(payload, field::HOT_EXTENTS)) != layout.hot_extents() {
            return Err(Flaw::Value { what: "number of hot extents" });
        }
        let count = u32::from_le_bytes(array(payload, field::CHANGE_COUNT));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > CHANGES_MAX {
            return Err(Flaw::Value { what: "number of changes" });
        }
        let changes = payload[field::CHANGES..].chunks_exact(field::CHANGE_BYTES).take(count);
        let changes = changes.map(|bytes| parse_change(bytes, layout)).collect::<Result<_, _>>()?;
        let told = window(sequence, layout.hot_extents()).len();
        let entries = payload[field::WINDOW..].chunks_exact(field::ENTRY_BYTES).take(told);
        let window = entries.map(|bytes| parse_entry(bytes, layout)).collect::<Result<_, _>>()?;
        Ok(Self { sequence, changes, window })
    }
}

fn parse_change(bytes: &[u8], layout: Layout) -> Result<Change, Flaw> {
    let slot = u32::from_le_bytes(array(bytes, 0..4));
    if slot >= layout.hot_extents() {
        return Err(Flaw::Value { what: "slot" });
    }
    match parse_entry(&bytes[4..], layout)? {
        Some(extent) => Ok(Change { slot, extent }),
        None => Err(Flaw::Value { what: "extent" }),
    }
}

fn parse_entry(bytes: &[u8], layout: Layout) -> Result<Option<Extent>, Flaw> {
    match u32::from_le_bytes(array(bytes, 0..4)) {
        Extent::NONE => Ok(None),
        number if number < layout.extents() => Ok(Some(Extent(number))),
        _ => Err(Flaw::Value { what: "extent" }),
    }
}

fn slot_index(slot: u32) -> usize {
    usize::try_from(slot).expect("a slot number fits memory")
}

/// What the ring says was hot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replay {
    /// The newest good transaction.
    pub newest: Sequence,
    /// The log: each slot's extent. After a crash all of them are in doubt.
    pub slots: Vec<Option<Extent>>,
    /// A transaction after the newest that is torn: its extents were not used yet.
    pub torn: Option<RecordError>,
}

impl Replay {
    /// Every extent that may have been in flight.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.slots.iter().copied().flatten()
    }
}

/// Why the ring does not say what was hot: then every extent of the volume may have been. Before a new log begins, first
/// every bit of the bitmap is set, durably, and then the ring is filled with zeros: what is left of the old row must not
/// be taken for a part of the new one.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ReplayError {
    /// A later program's transaction.
    #[error("{0}")]
    Refused(RecordError),
    /// The row of transactions is broken where no single torn write breaks it.
    #[error(
        "the activity log is broken at transaction {missing} of {newest} ({error}); resync the whole volume"
    )]
    Hole {
        /// Newest good one.
        newest: Sequence,
        /// The one that is missing.
        missing: Sequence,
        /// What is in its place.
        error: RecordError,
    },
    /// An old transaction lies where a newer one was acknowledged.
    #[error(
        "the activity log holds transaction {found} in place of {missing}, whose write was lost; resync the whole volume"
    )]
    Stale {
        /// The one that is missing.
        missing: Sequence,
        /// The one that is there.
        found: Sequence,
    },
    /// The newest transaction was written to the place of another.
    #[error(
        "the activity log's newest transaction {sequence} lies in a wrong place ({error}); resync the whole volume"
    )]
    Astray {
        /// Which.
        sequence: Sequence,
        /// Where it lies.
        error: RecordError,
    },
}

/// Finds what was hot from the whole ring.
///
/// # Errors
/// [`ReplayError`]: nothing is known about what was hot.
///
/// # Panics
/// If `ring` is not [`RING_BYTES`] long.
pub fn replay(ring: &[u8], layout: Layout, format: FormatIdentity) -> Result<Replay, ReplayError> {
    assert!(ring.len() == RING_BYTES, "the whole ring");
    let read: Vec<_> = ring
        .chunks_exact(RECORD_BYTES)
        .zip(0..)
        .map(|(slot, index)| Transaction::parse(slot, index, layout, format))
        .collect();
    let ring = Ring { read, layout };
    let newest = ring.newest();
    ring.check_strays(newest)?;
    let torn = ring.check_tail(newest)?;
    let slots = ring.slots(newest)?;
    Ok(Replay { newest, slots, torn })
}

struct Ring {
    read: Vec<Result<Transaction, RecordError>>,
    layout: Layout,
}

impl Ring {
    fn at(&self, sequence: Sequence) -> &Result<Transaction, RecordError> {
        &self.read[usize::try_from(sequence.0 % RING_TRANSACTIONS).expect("a slot of the ring")]
    }

    fn newest(&self) -> Sequence {
        self.read.iter().flatten().map(|transaction| transaction.sequence).max().unwrap_or(Sequence::NONE)
    }

    fn check_strays(&self, newest: Sequence) -> Result<(), ReplayError> {
        for error in self.read.iter().filter_map(|read| read.as_ref().err()) {
            match error.flaw {
                Flaw::UnknownVersion { .. } => return Err(ReplayError::Refused(*error)),
                // A record of another kind is numbered in a row of its own.
                Flaw::Misdirected { found, sequence }
                    if sequence > newest && Layout::is_transaction(found) =>
                {
                    return Err(ReplayError::Astray { sequence, error: *error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The transaction after the newest may be torn, the one after that may not be broken as well.
    fn check_tail(&self, newest: Sequence) -> Result<Option<RecordError>, ReplayError> {
        let broken = |sequence| match self.at(sequence) {
            Err(error) if error.flaw != Flaw::Blank => Some(*error),
            _ => None,
        };
        if newest == Sequence::NONE
            && let Some((missing, error)) = (2..=RING_TRANSACTIONS)
                .map(Sequence)
                .find_map(|sequence| broken(sequence).map(|error| (sequence, error)))
        {
            return Err(ReplayError::Hole { newest, missing, error });
        }
        let next = newest.next();
        // A torn write leaves no whole record: something else was written over the newest, or over one that is needed no more.
        if let Some(error @ RecordError { flaw: Flaw::Misdirected { sequence, .. }, .. }) = broken(next) {
            return Err(ReplayError::Astray { sequence, error });
        }
        if let (Some(_), Some(error)) = (broken(next), broken(next.next())) {
            return Err(ReplayError::Hole { newest, missing: next.next(), error });
        }
        Ok(broken(next))
    }

    fn slots(&self, newest: Sequence) -> Result<Vec<Option<Extent>>, ReplayError> {
        let hot_extents = self.layout.hot_extents();
        let mut slots = vec![None; slot_index(hot_extents)];
        let windows = slots.len().div_ceil(WINDOW_MAX) as u64;
        let first = newest.0.saturating_sub(windows - 1).max(1);
        for sequence in (first..=newest.0).map(Sequence) {
            let transaction = self.at(sequence).as_ref().map_err(|error| ReplayError::Hole {
                newest,
                missing: sequence,
                error: *error,
            })?;
            if transaction.sequence != sequence {
                return Err(ReplayError::Stale { missing: sequence, found: transaction.sequence });
            }
            slots[window(sequence, hot_extents)].copy_from_slice(&transaction.window);
            for change in &transaction.changes {
                slots[slot_index(change.slot)] = Some(change.extent);
            }
        }
        Ok(slots)
    }
}

const _: () = {
    assert!(HEADER_BYTES + field::END == RECORD_BYTES, "a transaction fills its record");
    assert!(
        (RING_TRANSACTIONS - 2) * WINDOW_MAX as u64 >= HOT_EXTENTS_MAX as u64,
        "the ring tells the whole log although one transaction is torn and one is spare"
    );
};

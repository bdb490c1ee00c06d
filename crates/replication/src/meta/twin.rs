//! A value that is kept twice and written in turns, so that a torn write always leaves the one before it.
//!
//! The record with sequence number s lies on side s mod 2. Each write goes to the side that does *not* hold the newest,
//! and the next begins only when it has completed. So whatever a power loss makes of the side being written, the other
//! one holds what was acknowledged last. Whoever opens metadata flushes it once before the first write: what was read
//! may stand only in a cache, and the next write but one would go over the copy that is really on disk.

use thiserror::Error;

use super::record::{Flaw, RecordError, Sequence};
use crate::identity::FormatIdentity;

/// One of the two places.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// Even sequence numbers.
    Zero,
    /// Odd ones; the first record has 1.
    One,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Zero, Self::One];

    /// Where the record with that number lies.
    #[must_use]
    pub const fn of(sequence: Sequence) -> Self {
        if sequence.0.is_multiple_of(2) { Self::Zero } else { Self::One }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

/// What both sides together hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Twin<T> {
    /// The newest good record; `None` if nothing was written yet.
    pub newest: Option<(Sequence, T)>,
    /// What is wrong with the other side: after a crash a torn write, otherwise damage.
    pub flaw: Option<RecordError>,
}

impl<T> Twin<T> {
    /// Number of the newest good record.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.newest.as_ref().map_or(Sequence::NONE, |(sequence, _)| *sequence)
    }
}

/// Why neither side is used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TwinError {
    /// One side is of a version this program does not know; the other may be older.
    #[error("{0}")]
    Refused(RecordError),
    /// No torn write explains this.
    #[error("both copies are lost: {zero}; {one}")]
    BothLost {
        /// Side 0.
        zero: RecordError,
        /// Side 1.
        one: RecordError,
    },
    /// Two formattings of the same place: making the metadata was interrupted.
    #[error(
        "the two superblocks belong to different metadata, {zero} and {one}; make the metadata anew and resync"
    )]
    TwoFormats {
        /// Side 0.
        zero: FormatIdentity,
        /// Side 1.
        one: FormatIdentity,
    },
    /// Both sides are blank.
    #[error("there is no superblock at byte 0 nor at byte 1048576; this is not the metadata of a volume")]
    NoMetadata,
}

/// What was found on one side.
pub type Read<T> = Result<(Sequence, T), RecordError>;

/// Decides which side holds.
///
/// # Errors
/// [`TwinError::Refused`], [`TwinError::BothLost`].
pub fn choose<T>(zero: Read<T>, one: Read<T>) -> Result<Twin<T>, TwinError> {
    for side in [&zero, &one] {
        if let Err(error @ RecordError { flaw: Flaw::UnknownVersion { .. }, .. }) = side {
            return Err(TwinError::Refused(*error));
        }
    }
    match (zero, one) {
        (Ok(zero), Ok(one)) => Ok(Twin { newest: Some(if zero.0 > one.0 { zero } else { one }), flaw: None }),
        (Ok(newest), Err(flaw)) => Ok(Twin { newest: Some(newest), flaw: Some(flaw) }),
        (Err(flaw), Ok(newest)) => {
            // Only the first record has nothing before it.
            let alone = newest.0 == Sequence(1) && flaw.flaw == Flaw::Blank;
            Ok(Twin { newest: Some(newest), flaw: (!alone).then_some(flaw) })
        }
        (Err(zero), Err(one)) => neither(zero, one),
    }
}

fn neither<T>(zero: RecordError, one: RecordError) -> Result<Twin<T>, TwinError> {
    match (zero.flaw, one.flaw) {
        (Flaw::Blank, Flaw::Blank) => Ok(Twin { newest: None, flaw: None }),
        // The first write goes to side 1: torn, it leaves this.
        (Flaw::Blank, Flaw::CutShort { .. }) => Err(TwinError::BothLost { zero, one }),
        (Flaw::Blank, _) => Ok(Twin { newest: None, flaw: Some(one) }),
        _ => Err(TwinError::BothLost { zero, one }),
    }
}

/// Hands out the sequence numbers of a twin, one write at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Turns {
    newest: Sequence,
    writing: bool,
}

impl Turns {
    /// Goes on after the newest record.
    #[must_use]
    pub const fn after(newest: Sequence) -> Self {
        Self { newest, writing: false }
    }

    /// Whether a write is under way: the next has to wait for it.
    #[must_use]
    pub const fn is_writing(self) -> bool {
        self.writing
    }

    /// Number of the record that is written now; its side follows from it.
    ///
    /// # Panics
    /// If the write before has not completed.
    pub fn begin(&mut self) -> Sequence {
        assert!(!self.writing, "two writes at once could tear both copies");
        self.writing = true;
        self.newest.next()
    }

    /// The write is durable.
    ///
    /// # Panics
    /// If there was none.
    pub fn complete(&mut self) {
        assert!(self.writing, "a completion without its write");
        self.writing = false;
        self.newest = self.newest.next();
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Place;
    use super::super::record::Kind;
    use super::*;

    const fn bad(flaw: Flaw) -> RecordError {
        RecordError { kind: Kind::Superblock, place: Place(0), flaw }
    }

    const BLANK: RecordError = bad(Flaw::Blank);
    const TORN: RecordError = bad(Flaw::HeaderChecksum { found: 1, computed: 2 });
    const LATER: RecordError = bad(Flaw::UnknownVersion { found: 9 });

    #[test]
    fn the_newer_side_holds() {
        let twin = choose(Ok((Sequence(4), 'a')), Ok((Sequence(5), 'b'))).expect("good");
        assert_eq!(twin, Twin { newest: Some((Sequence(5), 'b')), flaw: None });
        let twin = choose(Ok((Sequence(6), 'a')), Ok((Sequence(5), 'b'))).expect("good");
        assert_eq!(twin.newest, Some((Sequence(6), 'a')));
    }

    #[test]
    fn a_torn_side_leaves_the_other() {
        let twin = choose(Ok((Sequence(4), 'a')), Err(TORN)).expect("good");
        assert_eq!(twin, Twin { newest: Some((Sequence(4), 'a')), flaw: Some(TORN) });
        let twin = choose(Err(BLANK), Ok((Sequence(1), 'a'))).expect("good");
        assert_eq!(twin, Twin { newest: Some((Sequence(1), 'a')), flaw: None });
        let twin = choose(Err(BLANK), Ok((Sequence(3), 'a'))).expect("good");
        assert_eq!(twin.flaw, Some(BLANK), "there was a second record");
    }

    #[test]
    fn a_torn_first_write_leaves_nothing_and_anything_else_is_a_loss() {
        assert_eq!(choose::<char>(Err(BLANK), Err(BLANK)), Ok(Twin { newest: None, flaw: None }));
        assert_eq!(choose::<char>(Err(BLANK), Err(TORN)), Ok(Twin { newest: None, flaw: Some(TORN) }));
        let lost = TwinError::BothLost { zero: TORN, one: BLANK };
        assert_eq!(choose::<char>(Err(TORN), Err(BLANK)), Err(lost));
    }

    #[test]
    fn an_unknown_version_is_refused_even_beside_a_good_copy() {
        assert_eq!(choose(Ok((Sequence(4), 'a')), Err(LATER)), Err(TwinError::Refused(LATER)));
        assert_eq!(choose(Err(LATER), Ok((Sequence(5), 'a'))), Err(TwinError::Refused(LATER)));
    }

    #[test]
    #[should_panic(expected = "two writes at once")]
    fn a_second_write_waits_for_the_first() {
        let mut turns = Turns::after(Sequence(4));
        assert_eq!(turns.begin(), Sequence(5));
        turns.begin();
    }
}

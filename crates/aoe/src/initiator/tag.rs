//! Tags: how an answer finds the frame it answers.
//!
//! A data tag is a number that goes up by one with each new frame and comes round after 2^30 of them, forty minutes at
//! 450,000 frames a second: an answer that comes late, or twice, meets no other frame under its tag. A frame that is
//! sent again keeps its tag, unlike with the Linux driver. Then an answer to any copy is the answer, a late answer to
//! the first copy is not lost, and a target can tell a copy from a new request. That an answer may belong to any of
//! the copies only forbids to measure the round trip with it.

use crate::wire::header::Tag;

/// Set in tags of discovery, clear in those of data.
const DISCOVERY: u32 = 1 << 30;
const SEQUENCE_MASK: u32 = DISCOVERY - 1;

/// Gives out data tags.
#[derive(Debug)]
pub(crate) struct TagSequence {
    next: u32,
}

impl TagSequence {
    /// Begins at a number that other initiators on the same interface, which see our answers, do not begin at.
    pub(crate) const fn new(seed: u32) -> Self {
        Self { next: seed & SEQUENCE_MASK }
    }

    /// The next tag whose place in a table of `places` (a power of two) is not `taken`; and the place.
    pub(crate) fn next(&mut self, places: usize, taken: impl Fn(usize) -> bool) -> (Tag, usize) {
        loop {
            let tag = Tag(Tag::USER_SPACE | self.next);
            self.next = (self.next + 1) & SEQUENCE_MASK;
            let place = place(tag, places);
            if !taken(place) {
                return (tag, place);
            }
        }
    }
}

/// Where in a table of `places` (a power of two) the frame with that tag is.
pub(crate) const fn place(tag: Tag, places: usize) -> usize {
    tag.0 as usize & (places - 1)
}

/// Whether it is a data tag of this crate's initiators.
pub(crate) const fn is_data(tag: Tag) -> bool {
    tag.0 & (Tag::USER_SPACE | DISCOVERY) == Tag::USER_SPACE
}

/// The tag of the `number`th question of a discovery.
pub(crate) const fn discovery(seed: u32, number: u16) -> Tag {
    Tag(Tag::USER_SPACE | DISCOVERY | (seed & 0x3fff) << 16 | number as u32)
}

/// The tag of the question to a target whether it knows sequenced writes.
pub(crate) const fn capability(seed: u32, target: u8) -> Tag {
    discovery(seed, CAPABILITY | target as u16)
}

/// The target of such a question.
pub(crate) const fn of_capability(seed: u32, tag: Tag) -> Option<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is the target")]
    let target = tag.0 as u8;
    if tag.0 == capability(seed, target).0 { Some(target) } else { None }
}

/// Numbers of a discovery's questions are below.
const CAPABILITY: u16 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_skips_places_that_are_taken_and_comes_round() {
        let mut tags = TagSequence::new(SEQUENCE_MASK - 1);
        let (first, place) = tags.next(8, |place| place == 7);
        assert_eq!((first, place), (Tag(Tag::USER_SPACE | (SEQUENCE_MASK - 1)), 6));
        let (second, place) = tags.next(8, |place| place == 7);
        assert_eq!((second, place), (Tag(Tag::USER_SPACE), 0));
        assert!(is_data(first) && is_data(second));
    }

    #[test]
    fn discovery_and_data_never_share_a_tag() {
        assert!(!is_data(discovery(u32::MAX, 0)));
        assert!(!is_data(Tag(0)), "an advertisement");
        assert_ne!(discovery(1, 2), discovery(1, 3));
    }
}

//! Fresh metadata: which records make a file or device the metadata of a volume.
//!
//! Decides what is written and in which order; draws no identity and writes nothing. A copy that is not good begins with
//! every bit of its bitmap set, so that whichever node it meets, nothing is taken for equal that was never copied.

use super::bitmap::{self, WORDS_PER_BLOCK, bits_in_block, valid_mask};
use super::layout::{Layout, Place, RECORD_BYTES};
use super::record::Sequence;
use super::superblock::Superblock;
use super::twin::Side;
use crate::identity::{FormatIdentity, PairIdentity, VolumeIdentity};
use crate::membership::{Membership, NodeNumber};

/// What fresh metadata is to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Format {
    /// Of this formatting; drawn at random for it alone.
    pub format: FormatIdentity,
    /// Which volume; the same on both nodes.
    pub volume: VolumeIdentity,
    /// Which pair; the same on both nodes.
    pub pair: PairIdentity,
    /// Which of the two nodes this is for.
    pub node: NodeNumber,
    /// Size of the volume and of its activity log.
    pub layout: Layout,
    /// Who serves: what the arbiter holds.
    pub membership: Membership,
    /// Whether the data is the volume's content as it stands. Otherwise all of it is to come from the peer.
    pub good: bool,
}

/// What makes metadata of a file or device, in two steps with a flush after each:
///
/// 1. zeros everywhere, and over them the [`Fresh::bitmap_records`];
/// 2. the [`Fresh::superblock_records`].
///
/// Before the second step has begun there is no metadata; whatever of it arrived is whole metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fresh(Format);

/// Fresh metadata that says so.
#[must_use]
pub const fn format(format: Format) -> Fresh {
    Fresh(format)
}

impl Fresh {
    /// Length that the file gets, or that the device must have at least.
    #[must_use]
    pub const fn byte_count(&self) -> u64 {
        self.0.layout.byte_count()
    }

    /// One record a block with every bit set if the copy is not good, otherwise none.
    pub fn bitmap_records(&self) -> impl Iterator<Item = (Place, [u8; RECORD_BYTES])> + '_ {
        let Format { format, layout, good, .. } = self.0;
        let blocks = if good { 0 } else { layout.bitmap_blocks() };
        (0..blocks).map(move |block| {
            let valid = bits_in_block(layout, block);
            let mut words = [0; WORDS_PER_BLOCK];
            for (word, index) in words.iter_mut().zip(0..) {
                *word = valid_mask(valid, index);
            }
            let mut record = [0; RECORD_BYTES];
            let first = Sequence::NONE.next();
            bitmap::emit(&mut record, layout, format, block, first, &words);
            (layout.bitmap_block(block, Side::of(first)), record)
        })
    }

    /// Both superblocks.
    #[must_use]
    pub fn superblock_records(&self) -> [(Place, [u8; RECORD_BYTES]); 2] {
        let first = Sequence::NONE.next();
        [first, first.next()].map(|sequence| {
            let mut record = [0; RECORD_BYTES];
            self.superblock().emit(&mut record, self.0.format, sequence);
            (Layout::superblock(Side::of(sequence)), record)
        })
    }

    /// What both of them say.
    #[must_use]
    pub const fn superblock(&self) -> Superblock {
        let Format { volume, pair, node, layout, membership, good, .. } = self.0;
        // Nothing was in flight yet.
        Superblock {
            volume,
            pair,
            node,
            layout,
            membership,
            clean: true,
            inconsistent: !good,
            disk_lost: false,
        }
    }
}

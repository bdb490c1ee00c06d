//! Messages about the session as a whole: how it begins and ends, and which volumes are in it.

use block::ExportId;

use super::WireError;
use super::view::{Body, Bytes, BytesMut, View};
use crate::identity::{PairIdentity, VolumeIdentity};
use crate::membership::NodeNumber;
use crate::message::{Announce, Hello, Refusal};
use crate::version::VersionRange;

/// What stands for the text of [`Refusal::Protocol`], which is not sent: it names a place in the peer's program.
pub const TOLD_BY_PEER: &str = "the peer's log says which";

mod hello {
    use std::ops::Range;

    pub(super) const VERSION_MIN: Range<usize> = 0..2;
    pub(super) const VERSION_MAX: Range<usize> = 2..4;
    pub(super) const LEASE: Range<usize> = 4..8;
    pub(super) const PAIR: Range<usize> = 8..24;
    pub(super) const INCARNATION: Range<usize> = 24..32;
    pub(super) const NODE: usize = 32;
    pub(super) const END: usize = 40;
}

impl Body for Hello {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..hello::END].fill(0);
        body.put_u16(hello::VERSION_MIN, self.versions.oldest);
        body.put_u16(hello::VERSION_MAX, self.versions.newest);
        body.put_u32(hello::LEASE, self.lease_milliseconds);
        body.put_u128(hello::PAIR, self.pair.0);
        body.put_u64(hello::INCARNATION, self.incarnation);
        body[hello::NODE] = self.node.number();
        hello::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length_min(hello::END)?;
        let versions =
            VersionRange { oldest: body.u16(hello::VERSION_MIN), newest: body.u16(hello::VERSION_MAX) };
        if !versions.is_range() {
            return Err(view.value_error("range of versions"));
        }
        Ok(Self {
            versions,
            pair: PairIdentity(body.u128(hello::PAIR)),
            node: node(view, body[hello::NODE])?,
            incarnation: body.u64(hello::INCARNATION),
            lease_milliseconds: body.u32(hello::LEASE),
        })
    }
}

mod goodbye {
    use std::ops::Range;

    pub(super) const REASON: usize = 0;
    pub(super) const NODE: usize = 1;
    pub(super) const VERSION_MIN: Range<usize> = 2..4;
    pub(super) const VERSION_MAX: Range<usize> = 4..6;
    pub(super) const LEASE: Range<usize> = 8..12;
    pub(super) const OTHER_VERSION_MIN: Range<usize> = 12..14;
    pub(super) const OTHER_VERSION_MAX: Range<usize> = 14..16;
    pub(super) const END: usize = 16;
}

impl Body for Refusal {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..goodbye::END].fill(0);
        body[goodbye::REASON] = match self {
            Self::Version { .. } => 1,
            Self::Pair => 2,
            Self::Node(_) => 3,
            Self::Lease(_) => 4,
            Self::Protocol(_) => 5,
            Self::LeaseExpired => 6,
            Self::Resized => 7,
            Self::WriteFailed => 8,
            Self::Changed => 9,
        };
        match *self {
            Self::Version { refuser, other } => {
                body.put_u16(goodbye::VERSION_MIN, refuser.oldest);
                body.put_u16(goodbye::VERSION_MAX, refuser.newest);
                body.put_u16(goodbye::OTHER_VERSION_MIN, other.oldest);
                body.put_u16(goodbye::OTHER_VERSION_MAX, other.newest);
            }
            Self::Node(node) => body[goodbye::NODE] = node.number(),
            Self::Lease(milliseconds) => body.put_u32(goodbye::LEASE, milliseconds),
            Self::Pair
            | Self::Protocol(_)
            | Self::LeaseExpired
            | Self::Resized
            | Self::WriteFailed
            | Self::Changed => {}
        }
        goodbye::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length_min(goodbye::END)?;
        match body[goodbye::REASON] {
            1 => Ok(Self::Version {
                refuser: VersionRange {
                    oldest: body.u16(goodbye::VERSION_MIN),
                    newest: body.u16(goodbye::VERSION_MAX),
                },
                other: VersionRange {
                    oldest: body.u16(goodbye::OTHER_VERSION_MIN),
                    newest: body.u16(goodbye::OTHER_VERSION_MAX),
                },
            }),
            2 => Ok(Self::Pair),
            3 => Ok(Self::Node(node(view, body[goodbye::NODE])?)),
            4 => Ok(Self::Lease(body.u32(goodbye::LEASE))),
            5 => Ok(Self::Protocol(TOLD_BY_PEER)),
            6 => Ok(Self::LeaseExpired),
            7 => Ok(Self::Resized),
            8 => Ok(Self::WriteFailed),
            9 => Ok(Self::Changed),
            _ => Err(view.value_error("reason")),
        }
    }
}

mod announce {
    use std::ops::Range;

    pub(super) const VOLUME: Range<usize> = 0..16;
    pub(super) const SECTORS: Range<usize> = 16..24;
    pub(super) const EXPORT: Range<usize> = 24..28;
    pub(super) const END: usize = 32;
}

impl Body for Announce {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..announce::END].fill(0);
        body.put_u128(announce::VOLUME, self.volume.0);
        body.put_u64(announce::SECTORS, self.sectors);
        body.put_u32(announce::EXPORT, self.export.0);
        announce::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(announce::END)?;
        Ok(Self {
            volume: VolumeIdentity(body.u128(announce::VOLUME)),
            export: ExportId(body.u32(announce::EXPORT)),
            sectors: body.u64(announce::SECTORS),
        })
    }
}

fn node(view: View<'_>, number: u8) -> Result<NodeNumber, WireError> {
    NodeNumber::from_number(number).ok_or(view.value_error("node number"))
}

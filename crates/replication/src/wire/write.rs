//! A write and what follows from it, the messages that are sent most: fixed in size, made and read without allocation.
//! What reads say is of the same shapes.

use block::{BlockError, LbaRange};

use super::WireError;
use super::view::{Body, Bytes, BytesMut, RANGE_BYTES, View};
use crate::message::{Origin, Token};
use crate::version::Version;

/// Bytes of an [`Origin`], or of none.
pub(super) const ORIGIN_BYTES: usize = 29;

mod origin {
    use std::ops::Range;

    pub(super) const KIND: usize = 0;
    pub(super) const INITIATOR: Range<usize> = 5..13;
    pub(super) const DIGEST: Range<usize> = 13..29;
    pub(super) const SEQUENCE: Range<usize> = 13..21;
}

/// Writes over zeros.
pub(super) fn put_origin(bytes: &mut [u8], at: usize, origin: Option<Origin>) {
    let bytes = &mut bytes[at..at + ORIGIN_BYTES];
    match origin {
        None => {}
        Some(Origin::Stock { digest }) => {
            bytes[origin::KIND] = 1;
            bytes.put_u128(origin::DIGEST, digest);
        }
        Some(Origin::Sequenced { initiator, sequence }) => {
            bytes[origin::KIND] = 2;
            bytes.put_u64(origin::INITIATOR, initiator);
            bytes.put_u64(origin::SEQUENCE, sequence);
        }
    }
}

pub(super) fn parse_origin(view: View<'_>, bytes: &[u8], at: usize) -> Result<Option<Origin>, WireError> {
    let bytes = &bytes[at..at + ORIGIN_BYTES];
    match bytes[origin::KIND] {
        0 => Ok(None),
        1 => Ok(Some(Origin::Stock { digest: bytes.u128(origin::DIGEST) })),
        2 => Ok(Some(Origin::Sequenced {
            initiator: bytes.u64(origin::INITIATOR),
            sequence: bytes.u64(origin::SEQUENCE),
        })),
        _ => Err(view.value_error("origin")),
    }
}

mod request {
    use std::ops::Range;

    pub(super) const TOKEN: Range<usize> = 0..8;
    pub(super) const RANGE: usize = 8;
    pub(super) const DURABLE: usize = 18;
    pub(super) const ORIGIN: usize = 19;
    pub(super) const END: usize = 48;
}

/// `Replicate`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) token: Token,
    pub(super) range: LbaRange,
    pub(super) durable: bool,
    pub(super) origin: Option<Origin>,
}

impl Body for Write {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..request::END].fill(0);
        body.put_u64(request::TOKEN, self.token.0);
        body.put_range(request::RANGE, self.range);
        body[request::DURABLE] = u8::from(self.durable);
        put_origin(body, request::ORIGIN, self.origin);
        request::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(request::END)?;
        Ok(Self {
            token: Token(body.u64(request::TOKEN)),
            range: view.range(body, request::RANGE)?,
            durable: view.flag(body[request::DURABLE], "flag of a durable write")?,
            origin: parse_origin(view, body, request::ORIGIN)?,
        })
    }
}

mod ack {
    use std::ops::Range;

    pub(super) const WRITE: Range<usize> = 0..8;
    pub(super) const FOLLOWER: Range<usize> = 8..16;
    pub(super) const END_V1: usize = 16;
    pub(super) const MICROSECONDS: Range<usize> = 16..20;
    pub(super) const END: usize = 24;
}

/// `Ack`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    pub(super) write: Token,
    pub(super) follower: Token,
    /// Since version 2.
    pub(super) microseconds: u32,
}

impl Ack {
    pub(super) fn emit_in(self, version: Version, body: &mut [u8]) -> usize {
        body.put_u64(ack::WRITE, self.write.0);
        body.put_u64(ack::FOLLOWER, self.follower.0);
        if version == Version::V1 {
            return ack::END_V1;
        }
        body[ack::END_V1..ack::END].fill(0);
        body.put_u32(ack::MICROSECONDS, self.microseconds);
        ack::END
    }

    pub(super) fn parse_in(version: Version, view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(if version == Version::V1 { ack::END_V1 } else { ack::END })?;
        Ok(Self {
            write: Token(body.u64(ack::WRITE)),
            follower: Token(body.u64(ack::FOLLOWER)),
            microseconds: if version == Version::V1 { 0 } else { body.u32(ack::MICROSECONDS) },
        })
    }
}

mod sectors {
    use std::ops::Range;

    pub(super) const TOKEN: Range<usize> = 0..8;
    pub(super) const RANGE: usize = 8;
    pub(super) const END: usize = 24;
}

/// `Fetch` and `Copy`; `Missing` with no name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sectors {
    pub(super) token: Token,
    pub(super) range: LbaRange,
}

impl Body for Sectors {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..sectors::END].fill(0);
        body.put_u64(sectors::TOKEN, self.token.0);
        body.put_range(sectors::RANGE, self.range);
        sectors::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(sectors::END)?;
        let token = Token(body.u64(sectors::TOKEN));
        Ok(Self { token, range: view.range(body, sectors::RANGE)? })
    }
}

mod done {
    use std::ops::Range;

    pub(super) const TOKEN: Range<usize> = 0..8;
    pub(super) const RESULT: usize = 8;
    pub(super) const END: usize = 16;
}

/// `Fetched`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) token: Token,
    pub(super) result: Result<(), BlockError>,
}

impl Body for Done {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..done::END].fill(0);
        body.put_u64(done::TOKEN, self.token.0);
        body[done::RESULT] = match self.result {
            Ok(()) => 0,
            Err(BlockError::Medium) => 1,
            Err(BlockError::NoSpace) => 2,
            Err(BlockError::ReadOnly) => 3,
            Err(BlockError::BeyondEnd) => 4,
            Err(BlockError::Gone) => 5,
        };
        done::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(done::END)?;
        let result = match body[done::RESULT] {
            0 => Ok(()),
            1 => Err(BlockError::Medium),
            2 => Err(BlockError::NoSpace),
            3 => Err(BlockError::ReadOnly),
            4 => Err(BlockError::BeyondEnd),
            5 => Err(BlockError::Gone),
            _ => return Err(view.value_error("result")),
        };
        Ok(Self { token: Token(body.u64(done::TOKEN)), result })
    }
}

const _: () = {
    assert!(
        request::RANGE + RANGE_BYTES == request::DURABLE && request::ORIGIN + ORIGIN_BYTES == request::END
    );
    assert!(sectors::RANGE + RANGE_BYTES <= sectors::END);
};

//! Messages that compare the copies without moving them: digests in a resync, and online verify.

use block::LbaRange;

use super::WireError;
use super::view::{Body, Bytes, BytesMut, RANGE_BYTES, View};
use crate::message::Token;

mod digest {
    use std::ops::Range;

    pub(super) const TOKEN: Range<usize> = 0..8;
    pub(super) const RANGE: usize = 8;
    pub(super) const DIGEST: Range<usize> = 24..40;
    pub(super) const END: usize = 40;
}

/// `CopyDigest` and `Verify`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest {
    pub(super) token: Token,
    pub(super) range: LbaRange,
    pub(super) digest: u128,
}

impl Body for Digest {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..digest::END].fill(0);
        body.put_u64(digest::TOKEN, self.token.0);
        body.put_range(digest::RANGE, self.range);
        body.put_u128(digest::DIGEST, self.digest);
        digest::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(digest::END)?;
        Ok(Self {
            token: Token(body.u64(digest::TOKEN)),
            range: view.range(body, digest::RANGE)?,
            digest: body.u128(digest::DIGEST),
        })
    }
}

mod verified {
    use std::ops::Range;

    pub(super) const TOKEN: Range<usize> = 0..8;
    pub(super) const EQUAL: usize = 8;
    pub(super) const END: usize = 16;
}

/// `Verified`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verified {
    pub(super) token: Token,
    pub(super) equal: Option<bool>,
}

impl Body for Verified {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..verified::END].fill(0);
        body.put_u64(verified::TOKEN, self.token.0);
        body[verified::EQUAL] = match self.equal {
            Some(false) => 0,
            Some(true) => 1,
            None => 2,
        };
        verified::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(verified::END)?;
        let equal = match body[verified::EQUAL] {
            0 => Some(false),
            1 => Some(true),
            2 => None,
            _ => return Err(view.value_error("outcome of a verify")),
        };
        Ok(Self { token: Token(body.u64(verified::TOKEN)), equal })
    }
}

const _: () = assert!(digest::RANGE + RANGE_BYTES <= digest::DIGEST.start);

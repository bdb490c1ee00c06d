//! A frame that reached one node and is answered by the other.

use super::WireError;
use super::view::{Body, Bytes, BytesMut, View};
use crate::limits::HANDED_BYTES_MAX;
use crate::message::Handed;

mod field {
    use std::ops::Range;

    pub(super) const PORT: usize = 0;
    pub(super) const TO_RECEIVER: usize = 1;
    pub(super) const BYTES: Range<usize> = 4..8;
    pub(super) const RENEWAL: Range<usize> = 8..16;
    pub(super) const AFTER: Range<usize> = 16..24;
    pub(super) const END: usize = 24;
}

impl Body for Handed {
    fn emit(&self, body: &mut [u8]) -> usize {
        body[..field::END].fill(0);
        body[field::PORT] = self.port;
        body[field::TO_RECEIVER] = u8::from(self.to_receiver);
        body.put_u32(field::BYTES, self.bytes);
        body.put_u64(field::RENEWAL, self.renewal);
        body.put(field::AFTER, &self.after.to_le_bytes());
        field::END
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        let body = view.of_length(field::END)?;
        let bytes = body.u32(field::BYTES);
        if bytes == 0 || bytes > HANDED_BYTES_MAX {
            return Err(view.value_error("length of a frame"));
        }
        Ok(Self {
            port: body[field::PORT],
            to_receiver: view.flag(body[field::TO_RECEIVER], "whose address it was sent to")?,
            bytes,
            renewal: body.u64(field::RENEWAL),
            after: i64::from_le_bytes(body.array(field::AFTER)),
        })
    }
}

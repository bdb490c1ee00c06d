//! The bytes between the nodes as messages, by the codec that real nodes use.

use std::ops::Range;

use replication::message::{Message, VolumeMessage};
use replication::version::{Version, VersionRange};
use replication::wire::{
    self, DATA_BYTES_MAX, Data, Decoder, HEADER_BYTES, MESSAGE_BYTES_MAX, Need, WireError,
};

use crate::peer_link::Connection;

/// The data of a message that came in: a part of these bytes, or nothing.
#[derive(Debug, Default)]
pub struct Received {
    /// All of them.
    pub bytes: Vec<u8>,
    /// The part.
    pub data: Range<usize>,
}

/// One end of a connection: what came and was not read yet.
#[derive(Debug)]
pub struct Stream {
    /// Which connection.
    pub connection: Connection,
    decoder: Decoder,
    incoming: Vec<u8>,
    /// How much of it was read.
    read: usize,
}

impl Stream {
    /// At the beginning of a connection to a node that speaks these versions.
    #[must_use]
    pub const fn new(connection: Connection, versions: VersionRange) -> Self {
        let decoder = Decoder::new(DATA_BYTES_MAX, versions);
        Self { connection, decoder, incoming: Vec::new(), read: 0 }
    }

    /// More has come.
    pub fn push(&mut self, bytes: Vec<u8>) {
        if self.read == self.incoming.len() {
            self.incoming = bytes;
        } else {
            self.incoming.drain(..self.read);
            self.incoming.extend_from_slice(&bytes);
        }
        self.read = 0;
    }

    /// The next whole message, if it is there, and its data: where in which bytes.
    ///
    /// # Errors
    /// If the stream is of no more use.
    pub fn take_message(&mut self) -> Result<Option<(Message, Received)>, WireError> {
        let mut data = 0..0;
        loop {
            let rest = &self.incoming[self.read..];
            let length = match self.decoder.need() {
                Need::Head => HEADER_BYTES,
                Need::Body(length) | Need::Data(length) => length,
            };
            let Some(piece) = rest.get(..length) else { return Ok(None) };
            let message = match self.decoder.need() {
                Need::Head => self.decoder.head(piece.try_into().expect("as long as a head"))?,
                Need::Body(_) => self.decoder.body(piece)?,
                Need::Data(_) => {
                    data = self.read..self.read + length;
                    self.decoder.data(piece)?
                }
            };
            self.read += length;
            if let Some(message) = message {
                return Ok(Some((message, self.received(data))));
            }
        }
    }

    /// The data of a message, without a copy if it is the last thing that came.
    fn received(&mut self, data: Range<usize>) -> Received {
        if data.is_empty() {
            return Received::default();
        }
        if data.end == self.incoming.len() {
            self.read = 0;
            return Received { bytes: std::mem::take(&mut self.incoming), data };
        }
        Received { bytes: self.incoming[data.clone()].to_vec(), data: 0..data.len() }
    }
}

impl Stream {
    /// A message with its data as the bytes that it is in this session.
    #[must_use]
    pub fn bytes(&self, message: &Message, data: Option<&[u8]>) -> Vec<u8> {
        let version = self.decoder.version().unwrap_or(Version::OLDEST);
        if is_long(message) {
            with_room::<MESSAGE_BYTES_MAX>(version, message, data)
        } else {
            with_room::<256>(version, message, data)
        }
    }
}

fn with_room<const ROOM: usize>(version: Version, message: &Message, data: Option<&[u8]>) -> Vec<u8> {
    let data = data.unwrap_or_default();
    let mut head = [0; ROOM];
    let described = if data.is_empty() { Data::NONE } else { Data::checked(data) };
    let length = wire::emit(version, message, described, &mut head);
    let mut bytes = Vec::with_capacity(length + data.len());
    bytes.extend_from_slice(&head[..length]);
    bytes.extend_from_slice(data);
    bytes
}

/// Only messages with lists are long.
const fn is_long(message: &Message) -> bool {
    matches!(
        message,
        Message::Volume(
            _,
            VolumeMessage::OutOfSync(_)
                | VolumeMessage::Doubtful(_)
                | VolumeMessage::Numbers(_)
                | VolumeMessage::SmallState(_),
        ) | Message::Goodbye(_)
    )
}

//! The bytes between the nodes as messages, by the codec that real nodes use.

use replication::message::{Message, VolumeMessage};
use replication::wire::{
    self, DATA_BYTES_MAX, Data, Decoder, HEADER_BYTES, MESSAGE_BYTES_MAX, Need, WireError,
};

use crate::peer_link::Connection;

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
    /// At the beginning of a connection.
    #[must_use]
    pub const fn new(connection: Connection) -> Self {
        Self { connection, decoder: Decoder::new(DATA_BYTES_MAX), incoming: Vec::new(), read: 0 }
    }

    /// More has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.incoming.drain(..self.read);
        self.read = 0;
        self.incoming.extend_from_slice(bytes);
    }

    /// The next whole message with its data, if it is there.
    ///
    /// # Errors
    /// If the stream is of no more use.
    pub fn take_message(&mut self) -> Result<Option<(Message, Vec<u8>)>, WireError> {
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
                return Ok(Some((message, self.incoming[data].to_vec())));
            }
        }
    }
}

/// A message with its data as bytes.
#[must_use]
pub fn bytes(message: &Message, data: Option<&[u8]>) -> Vec<u8> {
    let data = data.unwrap_or_default();
    let mut bytes = vec![0; room(message)];
    let described = if data.is_empty() { Data::NONE } else { Data::checked(data) };
    let length = wire::emit(message, described, &mut bytes);
    bytes.truncate(length);
    bytes.extend_from_slice(data);
    bytes
}

/// Bytes that a message has at most: only those with lists are long.
const fn room(message: &Message) -> usize {
    const SHORT: usize = 256;
    match message {
        Message::Volume(
            _,
            VolumeMessage::OutOfSync(_) | VolumeMessage::Doubtful(_) | VolumeMessage::SmallState(_),
        )
        | Message::Goodbye(_) => MESSAGE_BYTES_MAX,
        _ => SHORT,
    }
}

//! Turns the peer's stream into messages, piece by piece, without reading anything itself.
//!
//! ```text
//!            head            body                 data, in pieces
//!     Head ───────▶ Body ───────────▶ Data ──────────────────────▶ Head
//!       │            └── no data follows: message ──▶ Head    (message)
//!       └── any fault: the session is over, every further call gives the same error
//! ```
//!
//! [`Decoder::need`] says what must come next. The shell puts data where it is to stay and only shows it here, to be
//! checked; nothing is copied. Lengths are compared with what their message can have before anything is made room for.

use crc32fast::Hasher;

use super::header::{Data, HEADER_BYTES, Header, Kind};
use super::{WireError, parse};
use crate::message::Message;
use crate::version::{Version, VersionRange};

/// What of the stream is to be handed in next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// [`HEADER_BYTES`], to [`Decoder::head`].
    Head,
    /// So many bytes, to [`Decoder::body`].
    Body(usize),
    /// So many bytes, which may come in pieces, to [`Decoder::data`].
    Data(usize),
}

#[derive(Clone, Debug)]
enum State {
    Head,
    Body(Header),
    Data { message: Message, left: usize, check: Option<(u32, Hasher)> },
    Failed(WireError),
}

/// One stream's reader.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    data_bytes_max: usize,
    /// What this node speaks.
    versions: VersionRange,
    /// `None` until the peer said what it speaks, and where nothing is in common.
    version: Option<Version>,
}

impl Decoder {
    /// At the beginning of a stream to a node that speaks these versions. More than `data_bytes_max` bytes of data are refused:
    /// what the shell has room for.
    #[must_use]
    pub const fn new(data_bytes_max: usize, versions: VersionRange) -> Self {
        Self { state: State::Head, data_bytes_max, versions, version: None }
    }

    /// What is spoken in this session, both ways; `None` before the peer's `Hello`, and where nothing is in common.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// What comes next.
    #[must_use]
    pub const fn need(&self) -> Need {
        match &self.state {
            State::Head | State::Failed(_) => Need::Head,
            State::Body(header) => Need::Body(header.body_bytes),
            State::Data { left, .. } => Need::Data(*left),
        }
    }

    /// Takes the head of a message. It is the whole message if it has no body.
    ///
    /// # Errors
    /// [`WireError`]: the stream is of no more use.
    ///
    /// # Panics
    /// If something else is needed.
    pub fn head(&mut self, head: &[u8; HEADER_BYTES]) -> Result<Option<Message>, WireError> {
        match &self.state {
            State::Head => {}
            State::Failed(error) => return Err(*error),
            State::Body(_) | State::Data { .. } => panic!("no head is needed now"),
        }
        let header = match Header::parse(head, self.version) {
            Ok(header) => header,
            Err(error) => return self.fail(error),
        };
        if header.body_bytes == 0 {
            return self.whole(header, &[]);
        }
        self.state = State::Body(header);
        Ok(None)
    }

    /// Takes the body. It completes the message if no data follows.
    ///
    /// # Errors
    /// [`WireError`]: the stream is of no more use.
    ///
    /// # Panics
    /// If something else is needed, or it is not as long as needed.
    pub fn body(&mut self, body: &[u8]) -> Result<Option<Message>, WireError> {
        let header = match &self.state {
            State::Body(header) => *header,
            State::Failed(error) => return Err(*error),
            State::Head | State::Data { .. } => panic!("no body is needed now"),
        };
        assert!(body.len() == header.body_bytes, "the whole body and nothing else");
        self.whole(header, body)
    }

    /// Takes a piece of the data, which the shell has put where it is to stay. The last one completes the message.
    ///
    /// # Errors
    /// [`WireError`]: the stream is of no more use.
    ///
    /// # Panics
    /// If something else is needed, or less than this.
    pub fn data(&mut self, piece: &[u8]) -> Result<Option<Message>, WireError> {
        let (left, check) = match &mut self.state {
            State::Data { left, check, .. } => (left, check),
            State::Failed(error) => return Err(*error),
            State::Head | State::Body(_) => panic!("no data is needed now"),
        };
        *left = left.checked_sub(piece.len()).expect("no more than the data");
        if let Some((_, hasher)) = check {
            hasher.update(piece);
        }
        if *left > 0 {
            return Ok(None);
        }
        let State::Data { message, check, .. } = std::mem::replace(&mut self.state, State::Head) else {
            unreachable!("matched above");
        };
        if let Some((found, hasher)) = check {
            let computed = hasher.finalize();
            if found != computed {
                return self.fail(WireError::DataChecksum { found, computed });
            }
        }
        Ok(Some(message))
    }

    /// Head and body are there.
    fn whole(&mut self, header: Header, body: &[u8]) -> Result<Option<Message>, WireError> {
        let message = match self.read(header, body) {
            Ok(message) => message,
            Err(error) => return self.fail(error),
        };
        let Data { crc, .. } = header.data;
        self.state = match data_bytes(header.data) {
            0 => {
                self.state = State::Head;
                return Ok(Some(message));
            }
            left => State::Data { message, left, check: crc.map(|crc| (crc, Hasher::new())) },
        };
        Ok(None)
    }

    fn read(&mut self, header: Header, body: &[u8]) -> Result<Message, WireError> {
        header.check(body)?;
        // Without a version only what is of all of them has come as far as this.
        let version = self.version.unwrap_or(Version::OLDEST);
        let message = parse(version, header.kind, header.volume, body)?;
        check_data(header.kind, &message, data_bytes(header.data), self.data_bytes_max)?;
        if let Message::Hello(hello) = &message {
            self.version = self.versions.in_common(hello.versions);
        }
        Ok(message)
    }

    fn fail<T>(&mut self, error: WireError) -> Result<T, WireError> {
        self.state = State::Failed(error);
        Err(error)
    }
}

fn data_bytes(data: Data) -> usize {
    usize::try_from(data.bytes).unwrap_or(usize::MAX)
}

/// Data must be what its message says, and no more than there is room for.
fn check_data(kind: Kind, message: &Message, found: usize, max: usize) -> Result<(), WireError> {
    if !super::DataRule::of(message).allows(found) {
        return Err(WireError::DataLength { kind, found });
    }
    if found > max {
        return Err(WireError::DataTooLong { kind, found, max });
    }
    Ok(())
}

//! AoE frames: what the bytes mean, and the bytes for a meaning. Decides nothing about what to answer.
//!
//! One file per argument, all of one shape: where the fields are (`field`, offsets from the start of the frame as
//! in AoEr11), a checked [`View`](ata::View) over received bytes, the meaning with `parse` and `emit`. Reading and
//! writing have different types: a [`Frame`] is received and immutable; `emit` writes a piece of a frame into
//! `&mut [u8]`, each at its own offset, and returns where the frame ends after it:
//!
//! ```
//! # use aoe::wire::{self, Head, ethernet, header, config};
//! # use aoe::{AddressPattern, MacAddress, Tag};
//! let mut bytes = [0; 128];
//! let head = Head {
//!     ethernet: ethernet::Repr { destination: MacAddress::BROADCAST, source: MacAddress([2, 0, 0, 0, 0, 1]) },
//!     header: header::Repr::request(AddressPattern::EVERY, header::Command::QueryConfig, Tag(1)),
//! };
//! head.emit(&mut bytes);
//! let length = config::Request::Read.emit(&mut bytes);
//! let length = wire::pad(&mut bytes, length);
//! assert_eq!(wire::Frame::new(&bytes[..length]).map(|frame| frame.head()), Ok(head));
//! ```
//!
//! Emission cannot fail: a buffer that is too small is our own fault and panics. Reserved bits and bytes are emitted
//! as zero and ignored when read.

pub mod ata;
pub mod config;
pub mod ethernet;
pub mod header;
pub mod mac_mask;
pub mod pretty;
pub mod reserve;
pub mod sequenced;

use std::ops::Range;

use thiserror::Error;

use crate::address::Address;
use crate::limits::{ARGUMENT_OFFSET, FRAME_BYTES_MIN};
use crate::mac::MacAddress;
use header::AoeError;

/// A part of a frame, for errors.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Field {
    /// Addresses and type.
    #[error("Ethernet header")]
    Ethernet,
    /// Version to tag.
    #[error("AoE header")]
    Header,
    /// The twelve bytes of registers.
    #[error("ATA argument")]
    Ata,
    /// The eight bytes before a config string.
    #[error("Query Config argument")]
    Config,
    /// The config string.
    #[error("config string")]
    ConfigString,
    /// The four bytes before the directives.
    #[error("MAC mask argument")]
    MacMask,
    /// Directives of a MAC mask list.
    #[error("MAC mask directives")]
    MacMaskDirectives,
    /// The two bytes before the addresses.
    #[error("reserve argument")]
    Reserve,
    /// Addresses of a reservation.
    #[error("reserve addresses")]
    ReserveAddresses,
    /// The 36 bytes before the data of a sequenced write.
    #[error("sequenced argument")]
    Sequenced,
}

/// What is wrong with a received frame: which field, and what stood there.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum WireError {
    /// The frame is shorter than its own fields say.
    #[error("frame of {length} bytes ends inside its {field}, which needs {needed}")]
    Truncated {
        /// What is cut.
        field: Field,
        /// Length of the frame if it were whole.
        needed: usize,
        /// Length of the frame.
        length: usize,
    },
    /// Not AoE at all.
    #[error("EtherType {value:#06x} is not AoE (0x88a2)")]
    EtherType {
        /// What stood there.
        value: u16,
    },
    /// The frame has another command than the one it was read as.
    #[error("the frame's command is {value}, not {expected}")]
    Command {
        /// What it was read as.
        expected: header::Command,
        /// What stood there.
        value: header::Command,
    },
    /// No such CCmd.
    #[error("config command {value} does not exist; 0 to 4 do")]
    ConfigCommand {
        /// What stood there.
        value: u8,
    },
    /// A config string of more than 1024 bytes.
    #[error("config string of {value} bytes; at most 1024 are allowed")]
    ConfigStringLength {
        /// What stood there.
        value: u16,
    },
    /// No such MCmd.
    #[error("MAC mask command {value} does not exist; 0 and 1 do")]
    MacMaskCommand {
        /// What stood there.
        value: u8,
    },
    /// No such RCmd.
    #[error("reserve command {value} does not exist; 0 to 2 do")]
    ReserveCommand {
        /// What stood there.
        value: u8,
    },
    /// No such operation of the sequenced command.
    #[error("sequenced operation {value} does not exist; 0 and 1 do")]
    SequencedOperation {
        /// What stood there.
        value: u8,
    },
}

impl WireError {
    /// What a target answers to a request with this mistake, or `None` where it keeps silent: frames that are not
    /// AoE, and those cut inside a fixed part, which no sender makes and which name no tag to answer.
    #[must_use]
    pub const fn answer(self) -> Option<AoeError> {
        match self {
            Self::EtherType { .. } | Self::Command { .. } => None,
            Self::Truncated { field: Field::Ethernet | Field::Header, .. } => None,
            Self::Truncated { .. }
            | Self::ConfigCommand { .. }
            | Self::ConfigStringLength { .. }
            | Self::MacMaskCommand { .. }
            | Self::ReserveCommand { .. }
            | Self::SequencedOperation { .. } => Some(AoeError::BadArgument),
        }
    }
}

/// A received frame that has a whole AoE header. What follows is checked when it is read.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks length and EtherType; the version is left to the reader, who may want to answer with an error.
    ///
    /// # Errors
    /// [`WireError::Truncated`] in either header, or [`WireError::EtherType`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        ethernet::View::new(bytes)?.check_ether_type()?;
        check_length(bytes, Field::Header, ARGUMENT_OFFSET)?;
        Ok(Self { bytes })
    }

    /// All of it, padding included.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Source and destination.
    #[must_use]
    pub fn ethernet(self) -> ethernet::Repr {
        ethernet::Repr::parse(ethernet::View::checked(self.bytes))
    }

    /// Version to tag.
    #[must_use]
    pub fn header(self) -> header::Repr {
        header::Repr::parse(self)
    }

    /// Both.
    #[must_use]
    pub fn head(self) -> Head {
        Head { ethernet: self.ethernet(), header: self.header() }
    }

    /// What follows the header, padding included.
    #[must_use]
    pub fn argument(self) -> &'a [u8] {
        &self.bytes[ARGUMENT_OFFSET..]
    }

    fn truncated(self, field: Field, needed: usize) -> WireError {
        WireError::Truncated { field, needed, length: self.bytes.len() }
    }

    /// The bytes of a field, if the frame reaches that far.
    fn field(self, field: Field, range: Range<usize>) -> Result<&'a [u8], WireError> {
        let needed = range.end;
        self.bytes.get(range).ok_or_else(|| self.truncated(field, needed))
    }

    fn expect_command(self, expected: header::Command) -> Result<(), WireError> {
        let value = header::command(self);
        if value == expected { Ok(()) } else { Err(WireError::Command { expected, value }) }
    }
}

/// The first 24 bytes, which all frames share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Source and destination.
    pub ethernet: ethernet::Repr,
    /// Version to tag.
    pub header: header::Repr,
}

impl Head {
    /// The head of an answer to this request: sent back to where it came from, tag copied, with the answerer's own
    /// addresses (an initiator that broadcasts knows the target by nothing else).
    #[must_use]
    pub const fn reply(self, source: MacAddress, address: Address) -> Self {
        Self {
            ethernet: ethernet::Repr { destination: self.ethernet.source, source },
            header: self.header.reply(address),
        }
    }

    /// Writes the first 24 bytes.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        self.ethernet.emit(frame);
        self.header.emit(frame)
    }
}

/// Pads a frame of `length` bytes with zeros to the Ethernet minimum and returns its new length.
///
/// # Panics
/// If `frame` is shorter than that.
pub fn pad(frame: &mut [u8], length: usize) -> usize {
    if length >= FRAME_BYTES_MIN {
        return length;
    }
    frame[length..FRAME_BYTES_MIN].fill(0);
    FRAME_BYTES_MIN
}

const fn check_length(bytes: &[u8], field: Field, needed: usize) -> Result<(), WireError> {
    if bytes.len() < needed {
        return Err(WireError::Truncated { field, needed, length: bytes.len() });
    }
    Ok(())
}

fn read_u16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::address::{AddressPattern, Shelf, Slot};
    use header::{Command, Tag};

    pub(crate) const INITIATOR: MacAddress = MacAddress([0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52]);
    pub(crate) const TARGET: MacAddress = MacAddress([0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e]);

    /// A request to e20.0 with this argument, as it would be received.
    pub(crate) fn request_frame(command: Command, argument: &[u8]) -> Vec<u8> {
        let address = AddressPattern { shelf: Shelf(20), slot: Slot(0) };
        let head = Head {
            ethernet: ethernet::Repr { destination: TARGET, source: INITIATOR },
            header: header::Repr::request(address, command, Tag(0x0002_cd63)),
        };
        let mut bytes = vec![0; ARGUMENT_OFFSET];
        head.emit(&mut bytes);
        bytes.extend_from_slice(argument);
        bytes
    }

    #[test]
    fn a_frame_that_ends_inside_its_headers_is_refused_and_not_answered() {
        let bytes = request_frame(Command::Ata, &[]);
        for length in 0..ARGUMENT_OFFSET {
            let error = Frame::new(&bytes[..length]).expect_err("cut");
            let (field, needed) =
                if length < 14 { (Field::Ethernet, 14) } else { (Field::Header, ARGUMENT_OFFSET) };
            assert_eq!(error, WireError::Truncated { field, needed, length });
            assert_eq!(error.answer(), None);
        }
        assert!(Frame::new(&bytes).is_ok());
    }

    #[test]
    fn another_protocol_is_refused_by_its_number() {
        let mut bytes = request_frame(Command::Ata, &[]);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        let error = Frame::new(&bytes).expect_err("IPv4");
        assert_eq!(error, WireError::EtherType { value: 0x0800 });
        assert_eq!(error.answer(), None);
    }

    #[test]
    fn a_reply_goes_back_to_the_sender_with_its_tag_and_our_own_address() {
        let mut bytes = request_frame(Command::QueryConfig, &[]);
        bytes[..6].fill(0xff);
        bytes[16..19].fill(0xff);
        let head = Frame::new(&bytes).expect("a frame").head();
        let address = Address::new(Shelf(7), Slot(1)).expect("valid");
        let reply = head.reply(TARGET, address);
        assert_eq!(reply.ethernet, ethernet::Repr { destination: INITIATOR, source: TARGET });
        assert_eq!(Address::try_from(reply.header.address), Ok(address));
        assert_eq!(reply.header.tag, head.header.tag);
        assert!(reply.header.response);
    }

    #[test]
    fn padding_is_zero_and_never_shortens() {
        let mut bytes = [0xaa; 80];
        assert_eq!(pad(&mut bytes, 36), FRAME_BYTES_MIN);
        assert!(bytes[36..60].iter().all(|byte| *byte == 0));
        assert_eq!((bytes[35], bytes[60]), (0xaa, 0xaa));
        assert_eq!(pad(&mut bytes, 70), 70);
        assert_eq!(bytes[60], 0xaa);
    }
}

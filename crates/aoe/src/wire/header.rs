//! The AoE header (AoEr11 §2): version, flags, error, address, command and tag, bytes 14 to 23.
//!
//! A version other than 1 is read, not refused: the target answers it with an error. Reserved flags are ignored
//! (aoeping sets one) and emitted as zero.

use std::fmt;

use super::{Frame, read_u16};
use crate::address::{Address, AddressPattern, Shelf, Slot};
use crate::limits::ARGUMENT_OFFSET;

/// The only version there is.
pub const VERSION: u8 = 1;

mod field {
    use std::ops::Range;

    pub(super) const VERSION_FLAGS: usize = 14;
    pub(super) const ERROR: usize = 15;
    pub(super) const SHELF: Range<usize> = 16..18;
    pub(super) const SLOT: usize = 18;
    pub(super) const COMMAND: usize = 19;
    pub(super) const TAG: Range<usize> = 20..24;

    /// Set in what a target sends.
    pub(super) const FLAG_RESPONSE: u8 = 0x08;
    /// The error byte counts.
    pub(super) const FLAG_ERROR: u8 = 0x04;
}

/// The initiator's label of a request; the answer carries the same.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub u32);

impl Tag {
    /// Set by user programs, so that the kernel's initiator leaves their answers alone.
    pub const USER_SPACE: u32 = 1 << 31;
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Why a target refuses a request at the level of AoE. ATA has its own registers for what goes wrong with a disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AoeError {
    /// 1: the command does not exist.
    UnrecognizedCommand,
    /// 2: the argument does not make sense.
    BadArgument,
    /// 3: no disk.
    DeviceUnavailable,
    /// 4: a config string is set already.
    ConfigStringPresent,
    /// 5: the version is not 1.
    UnsupportedVersion,
    /// 6: reserved by another host.
    Reserved,
    /// 240, ours: the number of a sequenced write is so old that nobody knows whether it was executed.
    SequenceTooOld,
    /// A number that the protocol does not give.
    Unknown(u8),
}

impl From<u8> for AoeError {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::UnrecognizedCommand,
            2 => Self::BadArgument,
            3 => Self::DeviceUnavailable,
            4 => Self::ConfigStringPresent,
            5 => Self::UnsupportedVersion,
            6 => Self::Reserved,
            240 => Self::SequenceTooOld,
            other => Self::Unknown(other),
        }
    }
}

impl AoeError {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::UnrecognizedCommand => 1,
            Self::BadArgument => 2,
            Self::DeviceUnavailable => 3,
            Self::ConfigStringPresent => 4,
            Self::UnsupportedVersion => 5,
            Self::Reserved => 6,
            Self::SequenceTooOld => 240,
            Self::Unknown(number) => number,
        }
    }
}

impl fmt::Display for AoeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnrecognizedCommand => write!(f, "unrecognized command"),
            Self::BadArgument => write!(f, "bad argument"),
            Self::DeviceUnavailable => write!(f, "device unavailable"),
            Self::ConfigStringPresent => write!(f, "config string present"),
            Self::UnsupportedVersion => write!(f, "unsupported version"),
            Self::Reserved => write!(f, "target is reserved"),
            Self::SequenceTooOld => write!(f, "sequence number too old"),
            Self::Unknown(number) => write!(f, "unknown error {number}"),
        }
    }
}

/// What a frame asks for or answers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// 0: an ATA command to the disk.
    Ata,
    /// 1: limits of the target, and its config string.
    QueryConfig,
    /// 2: which hosts the target listens to.
    MacMaskList,
    /// 3: which hosts may use the disk.
    ReserveRelease,
    /// 0xf0 to 0xff: free for vendors.
    Vendor(u8),
    /// A number that the protocol does not give.
    Unknown(u8),
}

impl From<u8> for Command {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Ata,
            1 => Self::QueryConfig,
            2 => Self::MacMaskList,
            3 => Self::ReserveRelease,
            0xf0..=0xff => Self::Vendor(number),
            other => Self::Unknown(other),
        }
    }
}

impl Command {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ata => 0,
            Self::QueryConfig => 1,
            Self::MacMaskList => 2,
            Self::ReserveRelease => 3,
            Self::Vendor(number) | Self::Unknown(number) => number,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ata => write!(f, "ATA"),
            Self::QueryConfig => write!(f, "Query Config"),
            Self::MacMaskList => write!(f, "MAC Mask List"),
            Self::ReserveRelease => write!(f, "Reserve/Release"),
            Self::Vendor(number) => write!(f, "vendor command {number:#04x}"),
            Self::Unknown(number) => write!(f, "unknown command {number:#04x}"),
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repr {
    /// Four bits; anything but [`VERSION`] is answered with [`AoeError::UnsupportedVersion`].
    pub version: u8,
    /// Sent by a target.
    pub response: bool,
    /// Why a target refused; in a request always `None`.
    pub error: Option<AoeError>,
    /// The volumes a request is for; the one volume an answer is from.
    pub address: AddressPattern,
    /// What is asked or answered.
    pub command: Command,
    /// Copied from request to answer.
    pub tag: Tag,
}

impl Repr {
    /// A request.
    #[must_use]
    pub const fn request(address: AddressPattern, command: Command, tag: Tag) -> Self {
        Self { version: VERSION, response: false, error: None, address, command, tag }
    }

    /// The header of an answer from the volume at `address`.
    #[must_use]
    pub const fn reply(self, address: Address) -> Self {
        Self {
            version: VERSION,
            response: true,
            error: None,
            address: AddressPattern { shelf: address.shelf(), slot: address.slot() },
            command: self.command,
            tag: self.tag,
        }
    }

    /// The same answer, refusing.
    #[must_use]
    pub const fn refusing(self, error: AoeError) -> Self {
        Self { error: Some(error), ..self }
    }

    /// Reads the header.
    #[must_use]
    pub fn parse(frame: Frame<'_>) -> Self {
        let bytes = frame.bytes();
        let version_flags = bytes[field::VERSION_FLAGS];
        let tag = &bytes[field::TAG];
        Self {
            version: version_flags >> 4,
            response: version_flags & field::FLAG_RESPONSE != 0,
            error: (version_flags & field::FLAG_ERROR != 0).then(|| AoeError::from(bytes[field::ERROR])),
            address: AddressPattern {
                shelf: Shelf(read_u16(&bytes[field::SHELF])),
                slot: Slot(bytes[field::SLOT]),
            },
            command: command(frame),
            tag: Tag(u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]])),
        }
    }

    /// Writes bytes 14 to 23.
    ///
    /// # Panics
    /// If `frame` is shorter, or the version has more than four bits.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        assert!(self.version <= 0x0f, "a version has four bits");
        let response = if self.response { field::FLAG_RESPONSE } else { 0 };
        let (error_flag, error) = match self.error {
            Some(error) => (field::FLAG_ERROR, error.number()),
            None => (0, 0),
        };
        frame[field::VERSION_FLAGS] = self.version << 4 | response | error_flag;
        frame[field::ERROR] = error;
        frame[field::SHELF].copy_from_slice(&self.address.shelf.0.to_be_bytes());
        frame[field::SLOT] = self.address.slot.0;
        frame[field::COMMAND] = self.command.number();
        frame[field::TAG].copy_from_slice(&self.tag.0.to_be_bytes());
        ARGUMENT_OFFSET
    }
}

pub(super) fn command(frame: Frame<'_>) -> Command {
    Command::from(frame.bytes()[field::COMMAND])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A config request to everybody, as the Linux driver sent it; its Ethernet header in front.
    const REQUEST: [u8; 24] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, 0x88, 0xa2, // Ethernet
        0x10, 0x00, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00, 0x00,
    ];

    fn parse(bytes: &[u8]) -> Repr {
        Repr::parse(Frame::new(bytes).expect("a frame"))
    }

    #[test]
    fn a_request_is_byte_for_byte_what_linux_sends() {
        let request = Repr::request(AddressPattern::EVERY, Command::QueryConfig, Tag(0));
        assert_eq!(parse(&REQUEST), request);
        let mut emitted = REQUEST;
        emitted[14..].fill(0xaa);
        assert_eq!(request.emit(&mut emitted), 24);
        assert_eq!(emitted, REQUEST);
    }

    #[test]
    fn a_refusal_has_both_flags_and_its_number() {
        let address = Address::new(Shelf(0x0102), Slot(3)).expect("valid");
        let request = Repr::request(address.into(), Command::Unknown(0x42), Tag(0x8000_0001));
        let refusal = request.reply(address).refusing(AoeError::UnrecognizedCommand);
        let mut emitted = REQUEST;
        refusal.emit(&mut emitted);
        assert_eq!(emitted[14..], [0x1c, 0x01, 0x01, 0x02, 0x03, 0x42, 0x80, 0x00, 0x00, 0x01]);
        assert_eq!(parse(&emitted), refusal);
    }

    #[test]
    fn reserved_flags_and_the_error_byte_of_no_error_are_ignored() {
        let mut bytes = REQUEST;
        bytes[14] |= 0x03;
        bytes[15] = 0x77;
        assert_eq!(parse(&bytes), parse(&REQUEST));
    }

    #[test]
    fn another_version_is_read_so_that_it_can_be_answered() {
        let mut bytes = REQUEST;
        bytes[14] = 0x20;
        assert_eq!(parse(&bytes).version, 2);
        let address = Address::new(Shelf(0), Slot(0)).expect("valid");
        assert_eq!(parse(&bytes).reply(address).version, VERSION);
    }

    #[test]
    fn every_number_comes_back_as_itself() {
        for number in 0..=u8::MAX {
            assert_eq!(Command::from(number).number(), number);
            assert_eq!(AoeError::from(number).number(), number);
        }
        assert_eq!(Command::from(0xf0), Command::Vendor(0xf0));
        assert_eq!(Command::from(0xef), Command::Unknown(0xef));
    }
}

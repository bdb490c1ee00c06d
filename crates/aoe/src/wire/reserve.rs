//! Command 3, Reserve/Release (AoEr11 §3.4): the hosts that may use a disk; an empty list means everybody, so a
//! release is a set with no address. The argument has bytes 24 and 25; addresses of six bytes follow.

use super::header::Command;
use super::{Field, Frame, WireError};
use crate::limits::RESERVATION_MAX;
use crate::mac::MacAddress;

mod field {
    pub(super) const COMMAND: usize = 24;
    pub(super) const ADDRESS_COUNT: usize = 25;
    pub(super) const END: usize = 26;
}

/// What to do with the reservation (RCmd).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReserveCommand {
    /// 0: tell it.
    Read,
    /// 1: replace it, if there is none or the sender is in it.
    Set,
    /// 2: replace it.
    ForceSet,
}

impl ReserveCommand {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Set => 1,
            Self::ForceSet => 2,
        }
    }

    const fn from_number(value: u8) -> Result<Self, WireError> {
        match value {
            0 => Ok(Self::Read),
            1 => Ok(Self::Set),
            2 => Ok(Self::ForceSet),
            _ => Err(WireError::ReserveCommand { value }),
        }
    }
}

/// The addresses of a frame, read where they lie.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Addresses<'a>(&'a [u8]);

impl<'a> Addresses<'a> {
    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len() / MacAddress::BYTES
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(self) -> impl ExactSizeIterator<Item = MacAddress> + Clone + 'a {
        self.0.chunks_exact(MacAddress::BYTES).map(MacAddress::from_slice)
    }
}

/// A frame of command 3 with a whole argument.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Frame<'a>);

impl<'a> View<'a> {
    /// Checks command and length.
    ///
    /// # Errors
    /// [`WireError::Command`], [`WireError::Truncated`].
    pub fn new(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(Command::ReserveRelease)?;
        frame.field(Field::Reserve, field::COMMAND..field::END)?;
        Ok(Self(frame))
    }

    fn command(self) -> Result<ReserveCommand, WireError> {
        ReserveCommand::from_number(self.0.bytes()[field::COMMAND])
    }

    fn addresses(self) -> Result<Addresses<'a>, WireError> {
        let count = usize::from(self.0.bytes()[field::ADDRESS_COUNT]);
        let end = field::END + count * MacAddress::BYTES;
        self.0.field(Field::ReserveAddresses, field::END..end).map(Addresses)
    }
}

/// What an initiator asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request<'a> {
    /// Tell the reservation.
    Read,
    /// Replace it, if it is ours to replace.
    Set(Addresses<'a>),
    /// Replace it.
    ForceSet(Addresses<'a>),
}

impl<'a> Request<'a> {
    /// Reads a request; of a read nothing but its command is looked at.
    ///
    /// # Errors
    /// [`WireError::ReserveCommand`], [`WireError::Truncated`].
    pub fn parse(view: View<'a>) -> Result<Self, WireError> {
        match view.command()? {
            ReserveCommand::Read => Ok(Self::Read),
            ReserveCommand::Set => view.addresses().map(Self::Set),
            ReserveCommand::ForceSet => view.addresses().map(Self::ForceSet),
        }
    }

    /// Writes bytes 24 and 25 and the addresses.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        let (command, addresses) = match *self {
            Self::Read => (ReserveCommand::Read, Addresses::default()),
            Self::Set(addresses) => (ReserveCommand::Set, addresses),
            Self::ForceSet(addresses) => (ReserveCommand::ForceSet, addresses),
        };
        emit(frame, command, addresses.iter())
    }
}

/// What a target answers: the reservation after the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply<'a> {
    /// What was asked.
    pub command: ReserveCommand,
    /// Who may use the disk; nobody in it means everybody.
    pub addresses: Addresses<'a>,
}

impl<'a> Reply<'a> {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`WireError::ReserveCommand`], [`WireError::Truncated`].
    pub fn parse(view: View<'a>) -> Result<Self, WireError> {
        Ok(Self { command: view.command()?, addresses: view.addresses()? })
    }

    /// Writes bytes 24 and 25 and the addresses.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        emit(frame, self.command, self.addresses.iter())
    }
}

/// Writes a request or a reply, from addresses that need not lie in a frame.
///
/// # Panics
/// If `frame` is too short, or there are more than 255 addresses.
pub fn emit(
    frame: &mut [u8],
    command: ReserveCommand,
    addresses: impl ExactSizeIterator<Item = MacAddress>,
) -> usize {
    assert!(addresses.len() <= RESERVATION_MAX, "a reservation was bounded when it was made");
    frame[field::COMMAND] = command.number();
    frame[field::ADDRESS_COUNT] = u8::try_from(addresses.len()).expect("at most 255");
    let mut end = field::END;
    for address in addresses {
        frame[end..end + MacAddress::BYTES].copy_from_slice(&address.0);
        end += MacAddress::BYTES;
    }
    end
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{INITIATOR, TARGET, request_frame};

    const SET: [u8; 14] = [1, 2, 0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, 0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e];

    fn view(bytes: &[u8]) -> Result<View<'_>, WireError> {
        View::new(Frame::new(bytes).expect("a frame"))
    }

    #[test]
    fn a_set_is_byte_exact() {
        let bytes = request_frame(Command::ReserveRelease, &SET);
        let request = view(&bytes).and_then(Request::parse).expect("a set");
        let Request::Set(addresses) = request else { panic!("{request:?} is not a set") };
        assert!(addresses.iter().eq([INITIATOR, TARGET]));
        assert_eq!((addresses.len(), addresses.is_empty()), (2, false));
        let mut emitted = [0xaa; 38];
        assert_eq!(request.emit(&mut emitted), 38);
        assert_eq!(emitted[24..], SET);
        let mut emitted = [0xaa; 38];
        emit(&mut emitted, ReserveCommand::Set, [INITIATOR, TARGET].into_iter());
        assert_eq!(emitted[24..], SET);
    }

    #[test]
    fn a_release_is_a_set_of_nobody() {
        let bytes = request_frame(Command::ReserveRelease, &[2, 0]);
        assert_eq!(view(&bytes).and_then(Request::parse), Ok(Request::ForceSet(Addresses::default())));
    }

    #[test]
    fn a_reply_has_the_whole_list() {
        let bytes = request_frame(Command::ReserveRelease, &SET);
        let reply = view(&bytes).and_then(Reply::parse).expect("a reply");
        assert_eq!((reply.command, reply.addresses.len()), (ReserveCommand::Set, 2));
        let mut emitted = [0xaa; 38];
        reply.emit(&mut emitted);
        assert_eq!(emitted[24..], SET);
    }

    #[test]
    fn addresses_beyond_the_frame_are_refused_and_a_read_ignores_them() {
        let mut bytes = request_frame(Command::ReserveRelease, &[1, 255, 1, 2]);
        let error = WireError::Truncated { field: Field::ReserveAddresses, needed: 26 + 255 * 6, length: 28 };
        assert_eq!(view(&bytes).and_then(Request::parse), Err(error));
        bytes[24] = 0;
        assert_eq!(view(&bytes).and_then(Request::parse), Ok(Request::Read));
        bytes[24] = 3;
        assert_eq!(view(&bytes).and_then(Request::parse), Err(WireError::ReserveCommand { value: 3 }));
        bytes.truncate(25);
        let error = WireError::Truncated { field: Field::Reserve, needed: 26, length: 25 };
        assert_eq!(view(&bytes).err(), Some(error));
    }
}

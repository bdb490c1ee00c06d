//! Command 2, MAC Mask List (AoEr11 §3.3): the hosts that a target listens to; an empty list means everybody.
//! The argument has bytes 24 to 27; directives of eight bytes follow.
//!
//! Directives are read from the frame one by one, nothing is allocated. One with an unknown number is handed on:
//! the target has to say which one it was.

use super::header::Command;
use super::{Field, Frame, WireError};
use crate::limits::MAC_MASK_MAX;
use crate::mac::MacAddress;

mod field {
    pub(super) const RESERVED: usize = 24;
    pub(super) const COMMAND: usize = 25;
    pub(super) const ERROR: usize = 26;
    pub(super) const DIRECTIVE_COUNT: usize = 27;
    pub(super) const END: usize = 28;

    pub(super) const DIRECTIVE_BYTES: usize = 8;
    /// In a directive: reserved, command, address.
    pub(super) const DIRECTIVE_COMMAND: usize = 1;
    pub(super) const DIRECTIVE_ADDRESS: usize = 2;
}

/// What to do with the list (MCmd).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MacMaskCommand {
    /// 0: tell it.
    Read,
    /// 1: carry out the directives, then tell it.
    Edit,
}

impl MacMaskCommand {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Edit => 1,
        }
    }

    const fn from_number(value: u8) -> Result<Self, WireError> {
        match value {
            0 => Ok(Self::Read),
            1 => Ok(Self::Edit),
            _ => Err(WireError::MacMaskCommand { value }),
        }
    }
}

/// Why an edit stopped (MError). The AoE error flag is not used for this.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MacMaskError {
    /// 1: no further reason.
    Unspecified,
    /// 2: a directive that does not exist.
    BadDirective,
    /// 3: no room.
    ListFull,
    /// A number that the protocol does not give; never 0.
    Unknown(u8),
}

impl MacMaskError {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 1,
            Self::BadDirective => 2,
            Self::ListFull => 3,
            Self::Unknown(number) => number,
        }
    }

    /// The error with that number; 0 is none.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::Unspecified),
            2 => Some(Self::BadDirective),
            3 => Some(Self::ListFull),
            other => Some(Self::Unknown(other)),
        }
    }
}

/// What to do with one address (DCmd).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DirectiveCommand {
    /// 0: nothing. Entries of a list that is told have this.
    None,
    /// 1: put it on the list.
    Add,
    /// 2: take it off.
    Delete,
    /// A number that the protocol does not give.
    Unknown(u8),
}

impl From<u8> for DirectiveCommand {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Add,
            2 => Self::Delete,
            other => Self::Unknown(other),
        }
    }
}

impl DirectiveCommand {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Add => 1,
            Self::Delete => 2,
            Self::Unknown(number) => number,
        }
    }
}

/// One address and what to do with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Directive {
    /// What to do.
    pub command: DirectiveCommand,
    /// With whom.
    pub address: MacAddress,
}

/// The directives of a frame, read where they lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Directives<'a>(&'a [u8]);

impl<'a> Directives<'a> {
    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len() / field::DIRECTIVE_BYTES
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Directive> + Clone + 'a {
        self.0.chunks_exact(field::DIRECTIVE_BYTES).map(|bytes| Directive {
            command: DirectiveCommand::from(bytes[field::DIRECTIVE_COMMAND]),
            address: MacAddress::from_slice(&bytes[field::DIRECTIVE_ADDRESS..]),
        })
    }
}

impl PartialEq for Directives<'_> {
    /// The reserved bytes do not count.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Directives<'_> {}

/// A frame of command 2 with a whole argument.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Frame<'a>);

impl<'a> View<'a> {
    /// Checks command and length.
    ///
    /// # Errors
    /// [`WireError::Command`], [`WireError::Truncated`].
    pub fn new(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(Command::MacMaskList)?;
        frame.field(Field::MacMask, field::RESERVED..field::END)?;
        Ok(Self(frame))
    }

    fn byte(self, offset: usize) -> u8 {
        self.0.bytes()[offset]
    }

    fn command(self) -> Result<MacMaskCommand, WireError> {
        MacMaskCommand::from_number(self.byte(field::COMMAND))
    }

    fn directives(self) -> Result<Directives<'a>, WireError> {
        let end = field::END + usize::from(self.byte(field::DIRECTIVE_COUNT)) * field::DIRECTIVE_BYTES;
        self.0.field(Field::MacMaskDirectives, field::END..end).map(Directives)
    }
}

/// What an initiator asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request<'a> {
    /// Tell the list.
    Read,
    /// Change it, then tell it.
    Edit(Directives<'a>),
}

impl<'a> Request<'a> {
    /// Reads a request; of a read nothing but its command is looked at.
    ///
    /// # Errors
    /// [`WireError::MacMaskCommand`], [`WireError::Truncated`].
    pub fn parse(view: View<'a>) -> Result<Self, WireError> {
        match view.command()? {
            MacMaskCommand::Read => Ok(Self::Read),
            MacMaskCommand::Edit => view.directives().map(Self::Edit),
        }
    }

    /// Writes bytes 24 to 27 and the directives.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        match self {
            Self::Read => emit_read(frame),
            Self::Edit(directives) => emit_edit(frame, directives.iter()),
        }
    }
}

/// What a target answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply<'a> {
    /// The whole list.
    List {
        /// What was asked.
        command: MacMaskCommand,
        /// An entry each; their commands mean nothing.
        entries: Directives<'a>,
    },
    /// An edit stopped; what came before the directive `index` was done.
    Refused {
        /// What was asked.
        command: MacMaskCommand,
        /// Why.
        error: MacMaskError,
        /// Where in the request.
        index: u8,
    },
}

impl<'a> Reply<'a> {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`WireError::MacMaskCommand`], [`WireError::Truncated`].
    pub fn parse(view: View<'a>) -> Result<Self, WireError> {
        let command = view.command()?;
        match MacMaskError::from_number(view.byte(field::ERROR)) {
            Some(error) => Ok(Self::Refused { command, error, index: view.byte(field::DIRECTIVE_COUNT) }),
            None => Ok(Self::List { command, entries: view.directives()? }),
        }
    }

    /// Writes bytes 24 to 27 and the list.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        match *self {
            Self::List { command, entries } => {
                emit_list(frame, command, entries.iter().map(|entry| entry.address))
            }
            Self::Refused { command, error, index } => emit_refused(frame, command, error, index),
        }
    }
}

/// Writes a request for the list.
///
/// # Panics
/// If `frame` is too short.
pub fn emit_read(frame: &mut [u8]) -> usize {
    emit_argument(frame, MacMaskCommand::Read, 0, 0)
}

/// Writes a request to change the list.
///
/// # Panics
/// If `frame` is too short, or there are more than 255 directives.
pub fn emit_edit(frame: &mut [u8], directives: impl ExactSizeIterator<Item = Directive>) -> usize {
    emit_directives(frame, MacMaskCommand::Edit, directives)
}

/// Writes a reply with the whole list.
///
/// # Panics
/// If `frame` is too short, or there are more than 255 addresses.
pub fn emit_list(
    frame: &mut [u8],
    command: MacMaskCommand,
    addresses: impl ExactSizeIterator<Item = MacAddress>,
) -> usize {
    let entries = addresses.map(|address| Directive { command: DirectiveCommand::None, address });
    emit_directives(frame, command, entries)
}

/// Writes a reply that says at which directive an edit stopped, and why.
///
/// # Panics
/// If `frame` is too short.
pub fn emit_refused(frame: &mut [u8], command: MacMaskCommand, error: MacMaskError, index: u8) -> usize {
    emit_argument(frame, command, error.number(), index)
}

fn emit_directives(
    frame: &mut [u8],
    command: MacMaskCommand,
    directives: impl ExactSizeIterator<Item = Directive>,
) -> usize {
    assert!(directives.len() <= MAC_MASK_MAX, "a list was bounded when it was made");
    let count = u8::try_from(directives.len()).expect("at most 255");
    let mut end = emit_argument(frame, command, 0, count);
    for directive in directives {
        let bytes = &mut frame[end..end + field::DIRECTIVE_BYTES];
        bytes[0] = 0;
        bytes[field::DIRECTIVE_COMMAND] = directive.command.number();
        bytes[field::DIRECTIVE_ADDRESS..].copy_from_slice(&directive.address.0);
        end += field::DIRECTIVE_BYTES;
    }
    end
}

fn emit_argument(frame: &mut [u8], command: MacMaskCommand, error: u8, count: u8) -> usize {
    frame[field::RESERVED..field::END].copy_from_slice(&[0, command.number(), error, count]);
    field::END
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{INITIATOR, TARGET, request_frame};

    /// Add one host, delete another, do nothing with a third.
    const EDIT: [u8; 28] = [
        0, 1, 0, 3, // argument
        0, 1, 0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, //
        0, 2, 0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e, //
        0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];

    const DIRECTIVES: [Directive; 3] = [
        Directive { command: DirectiveCommand::Add, address: INITIATOR },
        Directive { command: DirectiveCommand::Delete, address: TARGET },
        Directive { command: DirectiveCommand::None, address: MacAddress::BROADCAST },
    ];

    fn view(bytes: &[u8]) -> Result<View<'_>, WireError> {
        View::new(Frame::new(bytes).expect("a frame"))
    }

    #[test]
    fn an_edit_is_byte_exact() {
        let bytes = request_frame(Command::MacMaskList, &EDIT);
        let request = view(&bytes).and_then(Request::parse).expect("an edit");
        let Request::Edit(directives) = request else { panic!("{request:?} is not an edit") };
        assert!(directives.iter().eq(DIRECTIVES));
        assert_eq!((directives.len(), directives.is_empty()), (3, false));
        let mut emitted = [0xaa; 52];
        assert_eq!(request.emit(&mut emitted), 52);
        assert_eq!(emitted[24..], EDIT);
        let mut emitted = [0xaa; 52];
        assert_eq!(emit_edit(&mut emitted, DIRECTIVES.into_iter()), 52);
        assert_eq!(emitted[24..], EDIT);
    }

    #[test]
    fn a_list_is_byte_exact() {
        let mut bytes = request_frame(Command::MacMaskList, &[0xaa; 20]);
        let end = emit_list(&mut bytes, MacMaskCommand::Edit, [INITIATOR, TARGET].into_iter());
        let expected = [
            0, 1, 0, 2, // argument
            0, 0, 0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, //
            0, 0, 0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e,
        ];
        assert_eq!((end, &bytes[24..]), (44, &expected[..]));
        let reply = view(&bytes).and_then(Reply::parse).expect("a list");
        let Reply::List { command: MacMaskCommand::Edit, entries } = reply else { panic!("{reply:?}") };
        assert!(entries.iter().map(|entry| entry.address).eq([INITIATOR, TARGET]));
    }

    #[test]
    fn a_refusal_says_which_directive_and_carries_none() {
        let mut bytes = request_frame(Command::MacMaskList, &[0xaa; 4]);
        emit_refused(&mut bytes, MacMaskCommand::Edit, MacMaskError::ListFull, 9);
        assert_eq!(bytes[24..], [0, 1, 3, 9]);
        let refused =
            Reply::Refused { command: MacMaskCommand::Edit, error: MacMaskError::ListFull, index: 9 };
        assert_eq!(view(&bytes).and_then(Reply::parse), Ok(refused));
    }

    #[test]
    fn directives_beyond_the_frame_are_refused_and_a_read_ignores_them() {
        let mut bytes = request_frame(Command::MacMaskList, &[0, 1, 0, 255, 0, 1]);
        let error =
            WireError::Truncated { field: Field::MacMaskDirectives, needed: 28 + 255 * 8, length: 30 };
        assert_eq!(view(&bytes).and_then(Request::parse), Err(error));
        bytes[25] = 0;
        assert_eq!(view(&bytes).and_then(Request::parse), Ok(Request::Read));
        bytes[25] = 2;
        assert_eq!(view(&bytes).and_then(Request::parse), Err(WireError::MacMaskCommand { value: 2 }));
        bytes.truncate(27);
        let error = WireError::Truncated { field: Field::MacMask, needed: 28, length: 27 };
        assert_eq!(view(&bytes).err(), Some(error));
    }

    #[test]
    fn an_unknown_directive_is_handed_on() {
        let bytes = request_frame(Command::MacMaskList, &[0, 1, 0, 1, 0, 3, 1, 2, 3, 4, 5, 6]);
        let request = view(&bytes).and_then(Request::parse).expect("an edit");
        let Request::Edit(directives) = request else { panic!("{request:?} is not an edit") };
        assert_eq!(directives.iter().next().map(|first| first.command), Some(DirectiveCommand::Unknown(3)));
    }

    #[test]
    fn every_number_comes_back_as_itself() {
        for number in 0..=u8::MAX {
            assert_eq!(DirectiveCommand::from(number).number(), number);
            assert_eq!(MacMaskError::from_number(number).map_or(0, MacMaskError::number), number);
        }
    }
}

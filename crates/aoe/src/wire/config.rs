//! Command 1, Query Config (AoEr11 §3.2): what a target can take, and a string of up to 1024 bytes that initiators
//! read, test and set. The argument has bytes 24 to 31; the string follows.
//!
//! [`Repr`] is the argument as it stands, in either direction. [`Request`] is what a target makes of one, and is
//! lenient where initiators are careless: a read may be cut short (nmap sends 24 bytes) and may have anything in
//! its other fields (aoeping announces a string of 1024 bytes and sends 0xed).

use super::header::{self, Command};
use super::{Field, Frame, WireError, read_u16};
use crate::limits::{CONFIG_STRING_BYTES_MAX, SECTORS_PER_FRAME_DEFAULT};
use block::SectorCount;

mod field {
    use std::ops::Range;

    pub(super) const BUFFER_COUNT: Range<usize> = 24..26;
    pub(super) const FIRMWARE: Range<usize> = 26..28;
    pub(super) const SECTOR_COUNT: usize = 28;
    pub(super) const VERSION_COMMAND: usize = 29;
    pub(super) const STRING_LENGTH: Range<usize> = 30..32;
    pub(super) const END: usize = 32;
}

/// What to do with the config string (CCmd).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ConfigCommand {
    /// 0: tell it.
    Read,
    /// 1: answer only if it equals the one given.
    Test,
    /// 2: answer only if it begins with the one given.
    TestPrefix,
    /// 3: set it if there is none.
    Set,
    /// 4: set it.
    ForceSet,
}

impl ConfigCommand {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Test => 1,
            Self::TestPrefix => 2,
            Self::Set => 3,
            Self::ForceSet => 4,
        }
    }

    const fn from_number(value: u8) -> Result<Self, WireError> {
        match value {
            0 => Ok(Self::Read),
            1 => Ok(Self::Test),
            2 => Ok(Self::TestPrefix),
            3 => Ok(Self::Set),
            4 => Ok(Self::ForceSet),
            _ => Err(WireError::ConfigCommand { value }),
        }
    }
}

/// A frame of command 1 with a whole argument.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Frame<'a>);

impl<'a> View<'a> {
    /// Checks command and length.
    ///
    /// # Errors
    /// [`WireError::Command`], [`WireError::Truncated`].
    pub fn new(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(Command::QueryConfig)?;
        frame.field(Field::Config, field::BUFFER_COUNT.start..field::END)?;
        Ok(Self(frame))
    }

    fn u16(self, range: std::ops::Range<usize>) -> u16 {
        read_u16(&self.0.bytes()[range])
    }

    fn string(self) -> Result<&'a [u8], WireError> {
        let value = self.u16(field::STRING_LENGTH);
        let length = usize::from(value);
        if length > CONFIG_STRING_BYTES_MAX {
            return Err(WireError::ConfigStringLength { value });
        }
        self.0.field(Field::ConfigString, field::END..field::END + length)
    }
}

/// The argument as it stands: what a target says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repr<'a> {
    /// Requests that the target can hold; it may drop any more.
    pub buffer_count: u16,
    /// A number of the target's own.
    pub firmware: u16,
    /// Sectors an ATA command may carry, as on the wire: see [`Repr::sectors_per_command`].
    pub sector_count: u8,
    /// AoE version of the target, four bits.
    pub version: u8,
    /// What was asked.
    pub command: ConfigCommand,
    /// The config string, at most 1024 bytes.
    pub string: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Sectors an ATA command may carry: zero on the wire means two.
    #[must_use]
    pub const fn sectors_per_command(&self) -> SectorCount {
        match self.sector_count {
            0 => SECTORS_PER_FRAME_DEFAULT,
            count => SectorCount(count as u16),
        }
    }

    /// Reads argument and string.
    ///
    /// # Errors
    /// [`WireError::ConfigCommand`], [`WireError::ConfigStringLength`], [`WireError::Truncated`].
    pub fn parse(view: View<'a>) -> Result<Self, WireError> {
        let bytes = view.0.bytes();
        let version_command = bytes[field::VERSION_COMMAND];
        Ok(Self {
            buffer_count: view.u16(field::BUFFER_COUNT),
            firmware: view.u16(field::FIRMWARE),
            sector_count: bytes[field::SECTOR_COUNT],
            version: version_command >> 4,
            command: ConfigCommand::from_number(version_command & 0x0f)?,
            string: view.string()?,
        })
    }

    /// Writes bytes 24 to 31 and the string.
    ///
    /// # Panics
    /// If `frame` is shorter, the string longer than 1024 bytes, or the version has more than four bits.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        assert!(self.version <= 0x0f, "a version has four bits");
        assert!(self.string.len() <= CONFIG_STRING_BYTES_MAX, "the string was checked when it was set");
        let length = u16::try_from(self.string.len()).expect("at most 1024");
        frame[field::BUFFER_COUNT].copy_from_slice(&self.buffer_count.to_be_bytes());
        frame[field::FIRMWARE].copy_from_slice(&self.firmware.to_be_bytes());
        frame[field::SECTOR_COUNT] = self.sector_count;
        frame[field::VERSION_COMMAND] = self.version << 4 | self.command.number();
        frame[field::STRING_LENGTH].copy_from_slice(&length.to_be_bytes());
        let end = field::END + self.string.len();
        frame[field::END..end].copy_from_slice(self.string);
        end
    }
}

/// What an initiator asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request<'a> {
    /// Tell the string.
    Read,
    /// Answer only if this is the string.
    Test(&'a [u8]),
    /// Answer only if the string begins so.
    TestPrefix(&'a [u8]),
    /// Make this the string if there is none.
    Set(&'a [u8]),
    /// Make this the string.
    ForceSet(&'a [u8]),
}

impl<'a> Request<'a> {
    /// Reads a request. One too short for a CCmd is a read, and of a read nothing else is looked at.
    ///
    /// # Errors
    /// [`WireError::Command`], and what [`Repr::parse`] refuses in any request but a read.
    pub fn parse(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(Command::QueryConfig)?;
        let version_command = frame.bytes().get(field::VERSION_COMMAND).copied().unwrap_or(0);
        let command = ConfigCommand::from_number(version_command & 0x0f)?;
        if command == ConfigCommand::Read {
            return Ok(Self::Read);
        }
        let string = View::new(frame)?.string()?;
        Ok(match command {
            ConfigCommand::Read => Self::Read,
            ConfigCommand::Test => Self::Test(string),
            ConfigCommand::TestPrefix => Self::TestPrefix(string),
            ConfigCommand::Set => Self::Set(string),
            ConfigCommand::ForceSet => Self::ForceSet(string),
        })
    }

    /// The CCmd.
    #[must_use]
    pub const fn command(&self) -> ConfigCommand {
        match self {
            Self::Read => ConfigCommand::Read,
            Self::Test(_) => ConfigCommand::Test,
            Self::TestPrefix(_) => ConfigCommand::TestPrefix,
            Self::Set(_) => ConfigCommand::Set,
            Self::ForceSet(_) => ConfigCommand::ForceSet,
        }
    }

    /// Writes bytes 24 to 31 and the string.
    ///
    /// # Panics
    /// As [`Repr::emit`].
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        let string = match *self {
            Self::Read => &[],
            Self::Test(string) | Self::TestPrefix(string) | Self::Set(string) | Self::ForceSet(string) => {
                string
            }
        };
        let command = self.command();
        Repr { buffer_count: 0, firmware: 0, sector_count: 0, version: header::VERSION, command, string }
            .emit(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::request_frame;

    /// What a vblade of firmware 0x4015 says of itself.
    const VBLADE: [u8; 8] = [0x00, 0x10, 0x40, 0x15, 0x02, 0x10, 0x00, 0x00];

    fn request(bytes: &[u8]) -> Result<Request<'_>, WireError> {
        Request::parse(Frame::new(bytes).expect("a frame"))
    }

    fn repr(bytes: &[u8]) -> Result<Repr<'_>, WireError> {
        Repr::parse(View::new(Frame::new(bytes).expect("a frame"))?)
    }

    #[test]
    fn a_target_describes_itself_byte_for_byte_as_vblade_does() {
        let vblade = Repr {
            buffer_count: 16,
            firmware: 0x4015,
            sector_count: 2,
            version: 1,
            command: ConfigCommand::Read,
            string: b"",
        };
        assert_eq!(repr(&request_frame(Command::QueryConfig, &VBLADE)), Ok(vblade));
        let mut emitted = [0xaa; 32];
        assert_eq!(vblade.emit(&mut emitted), 32);
        assert_eq!(emitted[24..], VBLADE);
    }

    #[test]
    fn a_sector_count_of_zero_means_two() {
        let mut argument = VBLADE;
        argument[4] = 0;
        let bytes = request_frame(Command::QueryConfig, &argument);
        assert_eq!(repr(&bytes).map(|repr| repr.sectors_per_command()), Ok(SectorCount(2)));
        argument[4] = 16;
        let bytes = request_frame(Command::QueryConfig, &argument);
        assert_eq!(repr(&bytes).map(|repr| repr.sectors_per_command()), Ok(SectorCount(16)));
    }

    #[test]
    fn every_request_with_a_string_is_byte_exact() {
        type Make = fn(&'static [u8]) -> Request<'static>;
        let table: [(u8, Make); 4] =
            [(1, Request::Test), (2, Request::TestPrefix), (3, Request::Set), (4, Request::ForceSet)];
        for (number, make) in table {
            let argument = [0, 0, 0, 0, 0, 0x10 | number, 0, 3, b'f', b'o', b'o'];
            let bytes = request_frame(Command::QueryConfig, &argument);
            assert_eq!(request(&bytes), Ok(make(b"foo")));
            let mut emitted = [0xaa; 35];
            assert_eq!(make(b"foo").emit(&mut emitted), 35);
            assert_eq!(emitted[24..], argument);
        }
    }

    #[test]
    fn a_read_may_be_cut_anywhere_and_announce_what_it_does_not_send() {
        // nmap: no argument at all, and its padding.
        assert_eq!(request(&request_frame(Command::QueryConfig, &[])), Ok(Request::Read));
        assert_eq!(request(&request_frame(Command::QueryConfig, &[0; 36])), Ok(Request::Read));
        // aoeping: a string of 1024 bytes that is filler; here also cut.
        let aoeping = [0, 0, 0, 0, 0, 0x00, 0x04, 0x00, 0xed, 0xed];
        for length in 0..=aoeping.len() {
            let bytes = request_frame(Command::QueryConfig, &aoeping[..length]);
            assert_eq!(request(&bytes), Ok(Request::Read), "argument of {length} bytes");
        }
        let absurd = [0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff];
        assert_eq!(request(&request_frame(Command::QueryConfig, &absurd)), Ok(Request::Read));
    }

    #[test]
    fn a_string_that_is_cut_or_too_long_is_refused_where_it_counts() {
        let cut = request_frame(Command::QueryConfig, &[0, 0, 0, 0, 0, 0x13, 0, 3, b'f', b'o']);
        let error = WireError::Truncated { field: Field::ConfigString, needed: 35, length: 34 };
        assert_eq!(request(&cut), Err(error));
        assert_eq!(error.answer(), Some(crate::AoeError::BadArgument));

        let mut long = request_frame(Command::QueryConfig, &[0, 0, 0, 0, 0, 0x14, 0x04, 0x01]);
        long.resize(2000, b'x');
        assert_eq!(request(&long), Err(WireError::ConfigStringLength { value: 1025 }));
        long[31] = 0;
        assert!(matches!(request(&long), Ok(Request::ForceSet(string)) if string.len() == 1024));

        let headless = request_frame(Command::QueryConfig, &[0, 0, 0, 0, 0, 0x13, 0]);
        assert_eq!(
            request(&headless),
            Err(WireError::Truncated { field: Field::Config, needed: 32, length: 31 })
        );
    }

    #[test]
    fn a_command_that_does_not_exist_is_a_bad_argument() {
        let bytes = request_frame(Command::QueryConfig, &[0, 0, 0, 0, 0, 0x15, 0, 0]);
        let error = request(&bytes).expect_err("CCmd 5");
        assert_eq!(error, WireError::ConfigCommand { value: 5 });
        assert_eq!(error.answer(), Some(crate::AoeError::BadArgument));
    }
}

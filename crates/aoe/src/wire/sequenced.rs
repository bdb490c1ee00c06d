//! Vendor command 0xf0, ours: writes that are executed once, whichever node they reach how often (rule D6).
//!
//! An argument of 24 bytes, then the registers of an ATA write, then its data from byte 60 on. A reply is 60 bytes: the
//! same with the epoch in the place of the number. Integers are big-endian, the registers as in command 0. A *query*
//! asks whether a target knows the command; stock targets answer it with an error or not at all.
//! `docs/sequenced-writes.md` has the drawing and what both sides promise.

use block::SectorCount;

use super::ata::{self, Registers};
use super::header::Command;
use super::{Field, Frame, WireError};

/// The command's number.
pub const COMMAND: Command = Command::Vendor(0xf0);

/// Where the data begins.
pub const PAYLOAD_OFFSET: usize = field::END;

mod field {
    use std::ops::Range;

    pub(super) const OPERATION: usize = 24;
    pub(super) const RESERVED: Range<usize> = 25..28;
    /// Of a query's reply: how many numbers are remembered.
    pub(super) const CHECKSUM: Range<usize> = 28..32;
    pub(super) const INITIATOR: Range<usize> = 32..40;
    /// Of a reply: the epoch.
    pub(super) const SEQUENCE: Range<usize> = 40..48;
    pub(super) const REGISTERS: Range<usize> = 48..60;
    pub(super) const END: usize = 60;
}

const QUERY: u8 = 0;
const WRITE: u8 = 1;

/// A frame of the command with a whole argument.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Frame<'a>);

impl<'a> View<'a> {
    /// Checks command and length.
    ///
    /// # Errors
    /// [`WireError::Command`], [`WireError::Truncated`].
    pub fn new(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(COMMAND)?;
        frame.field(Field::Sequenced, field::OPERATION..field::END)?;
        Ok(Self(frame))
    }

    /// As many sectors of what follows as `count` says, if the frame has them.
    #[must_use]
    pub fn sectors(self, count: SectorCount) -> Option<&'a [u8]> {
        self.0.bytes()[PAYLOAD_OFFSET..].get(..count.bytes())
    }

    fn operation(self) -> u8 {
        self.0.bytes()[field::OPERATION]
    }

    fn checksum(self) -> u32 {
        u32::from_be_bytes(self.array(field::CHECKSUM))
    }

    fn number(self, range: std::ops::Range<usize>) -> u64 {
        u64::from_be_bytes(self.array(range))
    }

    fn registers(self) -> Registers {
        self.array(field::REGISTERS)
    }

    fn array<const N: usize>(self, range: std::ops::Range<usize>) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0.bytes()[range]);
        array
    }
}

/// What an initiator asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// Whether writes may be sent this way.
    Query {
        /// Who asks.
        initiator: u64,
    },
    /// Execute this write once.
    Write {
        /// CRC-32 (as in Ethernet) of the data.
        checksum: u32,
        /// Whose; drawn at random when the initiator started.
        initiator: u64,
        /// Its writes to this volume, counted from 1.
        sequence: u64,
        /// What to write where; the opcode is one of the two that write.
        registers: ata::Request,
    },
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`WireError::SequencedOperation`].
    pub fn parse(view: View<'_>) -> Result<Self, WireError> {
        let initiator = view.number(field::INITIATOR);
        match view.operation() {
            QUERY => Ok(Self::Query { initiator }),
            WRITE => Ok(Self::Write {
                checksum: view.checksum(),
                initiator,
                sequence: view.number(field::SEQUENCE),
                registers: ata::Request::from_registers(view.registers()),
            }),
            value => Err(WireError::SequencedOperation { value }),
        }
    }

    /// Writes bytes 24 to 59; the data follows.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        match *self {
            Self::Query { initiator } => emit(frame, QUERY, 0, [initiator, 0], [0; 12]),
            Self::Write { checksum, initiator, sequence, registers } => {
                emit(frame, WRITE, checksum, [initiator, sequence], registers.to_registers())
            }
        }
    }
}

/// What a target answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// To a query.
    Query {
        /// So many numbers below its latest an initiator may have unanswered; 0: none, there are too many initiators.
        window: u32,
        /// Who asked.
        initiator: u64,
        /// The membership's; an answer with an earlier one than seen before is void. 0 where there is one node.
        epoch: u64,
    },
    /// To a write.
    Write {
        /// Whose.
        initiator: u64,
        /// As above.
        epoch: u64,
        /// How it went.
        registers: ata::Reply,
    },
}

impl Reply {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`WireError::SequencedOperation`].
    pub fn parse(view: View<'_>) -> Result<Self, WireError> {
        let (initiator, epoch) = (view.number(field::INITIATOR), view.number(field::SEQUENCE));
        match view.operation() {
            QUERY => Ok(Self::Query { window: view.checksum(), initiator, epoch }),
            WRITE => {
                let registers = ata::Reply::from_registers(view.registers());
                Ok(Self::Write { initiator, epoch, registers })
            }
            value => Err(WireError::SequencedOperation { value }),
        }
    }

    /// Writes bytes 24 to 59, with which the frame is whole.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        match *self {
            Self::Query { window, initiator, epoch } => {
                emit(frame, QUERY, window, [initiator, epoch], [0; 12])
            }
            Self::Write { initiator, epoch, registers } => {
                emit(frame, WRITE, 0, [initiator, epoch], registers.to_registers())
            }
        }
    }
}

/// The checksum of a write's data.
#[must_use]
pub fn checksum(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

fn emit(frame: &mut [u8], operation: u8, checksum: u32, numbers: [u64; 2], registers: Registers) -> usize {
    frame[field::OPERATION] = operation;
    frame[field::RESERVED].fill(0);
    frame[field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    frame[field::INITIATOR].copy_from_slice(&numbers[0].to_be_bytes());
    frame[field::SEQUENCE].copy_from_slice(&numbers[1].to_be_bytes());
    frame[field::REGISTERS].copy_from_slice(&registers);
    field::END
}

const _: () =
    assert!(field::END == crate::limits::FRAME_BYTES_MIN, "a reply is a whole frame without padding");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ata::{AtaCommand, ErrorRegister, Status};
    use crate::wire::ata::{AtaFlags, LbaRegisters};
    use crate::wire::tests::request_frame;
    use block::Lba;

    /// Write 0x1234 of initiator 0x0102030405060708: one sector of 0x5a at 0xabcdef.
    const BYTES: [u8; 36] = [
        0x01, 0x00, 0x00, 0x00, 0xc6, 0xd7, 0x65, 0xf6, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x12, 0x34, 0x41, 0x00, 0x01, 0x34, 0xef, 0xcd, 0xab, 0x00, 0x00, 0x00,
        0x00, 0x00,
    ];

    fn registers() -> ata::Request {
        ata::Request {
            flags: AtaFlags::EXTENDED | AtaFlags::WRITE,
            feature: 0,
            sector_count: 1,
            command: AtaCommand::WriteSectorsExt,
            lba: LbaRegisters::from_lba48(Lba(0xab_cdef)),
        }
    }

    fn write() -> Request {
        let checksum = checksum(&[0x5a; 512]);
        Request::Write {
            checksum,
            initiator: 0x0102_0304_0506_0708,
            sequence: 0x1234,
            registers: registers(),
        }
    }

    #[test]
    fn a_write_is_byte_for_byte_as_documented_and_its_data_follows() {
        let mut bytes = request_frame(COMMAND, &BYTES);
        bytes.extend([0x5a; 512]);
        let mut emitted = bytes.clone();
        emitted[24..60].fill(0xee);
        assert_eq!(write().emit(&mut emitted), 60);
        assert_eq!(emitted, bytes);
        let view = View::new(Frame::new(&bytes).expect("a frame")).expect("an argument");
        assert_eq!(Request::parse(view), Ok(write()));
        assert_eq!(view.sectors(SectorCount(1)), Some(&[0x5a; 512][..]));
        assert_eq!(view.sectors(SectorCount(2)), None);
    }

    #[test]
    fn a_reply_has_the_epoch_in_the_place_of_the_number() {
        let mut registers = ata::Reply::success(&registers());
        registers.status = Status::READY_FAULT;
        registers.error = ErrorRegister::ABRT;
        let reply = Reply::Write { initiator: 7, epoch: 0x0506, registers };
        let mut bytes = request_frame(COMMAND, &[0xee; 36]);
        assert_eq!(reply.emit(&mut bytes), 60);
        assert_eq!(bytes[24..28], [1, 0, 0, 0]);
        assert_eq!(bytes[40..52], [0, 0, 0, 0, 0, 0, 5, 6, 0x41, 4, 0, 0x61]);
        let view = View::new(Frame::new(&bytes).expect("a frame")).expect("an argument");
        assert_eq!(Reply::parse(view), Ok(reply));
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let short = request_frame(COMMAND, &BYTES[..35]);
        let cut = View::new(Frame::new(&short[..59]).expect("a frame")).expect_err("cut");
        assert_eq!(cut, WireError::Truncated { field: Field::Sequenced, needed: 60, length: 59 });
        let mut other = request_frame(COMMAND, &BYTES);
        other[24] = 2;
        let view = View::new(Frame::new(&other).expect("a frame")).expect("an argument");
        assert_eq!(Request::parse(view), Err(WireError::SequencedOperation { value: 2 }));
    }
}

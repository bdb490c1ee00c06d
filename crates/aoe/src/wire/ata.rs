//! Command 0 (AoEr11 §3.1): the registers of an ATA command, bytes 24 to 35; its data follows.
//!
//! Requests and replies have the same layout and different meanings: feature and command, error and status. The
//! extended flag is read but decides nothing: the opcode says whether an address has 28 or 48 bits (WinAoE sets the
//! flag even on IDENTIFY). Data behind a command that takes none is ignored, as aoe-sancheck and the Linux driver's
//! probe need.

use std::fmt;
use std::ops::BitOr;

use block::{Lba, SectorCount};

use super::header::Command;
use super::{Field, Frame, Head, WireError, pad};
use crate::ata::{AtaCommand, ErrorRegister, Status};
use crate::limits::{FRAME_BYTES_MIN, PAYLOAD_OFFSET};

mod field {
    use std::ops::Range;

    pub(super) const FLAGS: usize = 24;
    pub(super) const END: usize = 36;
    pub(super) const REGISTERS: Range<usize> = FLAGS..END;
}

/// The flags of an ATA argument.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct AtaFlags(u8);

impl AtaFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// W: data goes to the device.
    pub const WRITE: Self = Self(0x01);
    /// A: the target may answer a write before it is done.
    pub const ASYNCHRONOUS: Self = Self(0x02);
    /// D: the device/head register's bit of that name.
    pub const DEVICE_HEAD: Self = Self(0x10);
    /// E: the address has 48 bits.
    pub const EXTENDED: Self = Self(0x40);

    const KNOWN: u8 = 0x53;

    /// The flags in a byte; reserved bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::KNOWN)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `flags` is set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for AtaFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for AtaFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            [(Self::EXTENDED, 'E'), (Self::DEVICE_HEAD, 'D'), (Self::ASYNCHRONOUS, 'A'), (Self::WRITE, 'W')];
        for (flag, name) in names {
            write!(f, "{}", if self.contains(flag) { name } else { '-' })?;
        }
        Ok(())
    }
}

/// The six address registers, lowest first. What they mean depends on the command.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LbaRegisters(pub [u8; 6]);

impl LbaRegisters {
    /// In the fourth register of a 28-bit command: LBA mode, as the Linux driver sends it.
    pub const DEVICE_LBA: u8 = 0xe0;

    /// The low 28 bits; what the device register's upper half says is masked.
    #[must_use]
    pub const fn lba28(self) -> Lba {
        let [a, b, c, d, ..] = self.0;
        Lba(u32::from_le_bytes([a, b, c, d & 0x0f]) as u64)
    }

    /// All 48 bits.
    #[must_use]
    pub const fn lba48(self) -> Lba {
        let [a, b, c, d, e, f] = self.0;
        Lba(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Registers of a 28-bit command.
    ///
    /// # Panics
    /// If `lba` has more bits.
    #[must_use]
    pub const fn from_lba28(lba: Lba) -> Self {
        assert!(lba.0 < 1 << 28, "more than 28 bits");
        let [a, b, c, d, ..] = lba.0.to_le_bytes();
        Self([a, b, c, d | Self::DEVICE_LBA, 0, 0])
    }

    /// Registers of a 48-bit command.
    ///
    /// # Panics
    /// If `lba` has more bits.
    #[must_use]
    pub const fn from_lba48(lba: Lba) -> Self {
        assert!(lba.0 < 1 << 48, "more than 48 bits");
        let [a, b, c, d, e, f, ..] = lba.0.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// LBA mid and high: where SMART has its signature.
    #[must_use]
    pub const fn mid_high(self) -> [u8; 2] {
        [self.0[1], self.0[2]]
    }
}

/// A frame of command 0 with all its registers.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Frame<'a>);

impl<'a> View<'a> {
    /// Checks command and length.
    ///
    /// # Errors
    /// [`WireError::Command`], [`WireError::Truncated`].
    pub fn new(frame: Frame<'a>) -> Result<Self, WireError> {
        frame.expect_command(Command::Ata)?;
        frame.field(Field::Ata, field::REGISTERS)?;
        Ok(Self(frame))
    }

    /// What follows the registers: data, trailing data, padding. The command and the sector count say how much
    /// of it counts.
    #[must_use]
    pub fn payload(self) -> &'a [u8] {
        &self.0.bytes()[PAYLOAD_OFFSET..]
    }

    /// As many sectors of the payload as `count` says, if the frame has them.
    #[must_use]
    pub fn sectors(self, count: SectorCount) -> Option<&'a [u8]> {
        self.payload().get(..count.bytes())
    }

    fn registers(self) -> Registers {
        let mut registers = [0; field::END - field::FLAGS];
        registers.copy_from_slice(&self.0.bytes()[field::REGISTERS]);
        registers
    }
}

/// The registers of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// See [`AtaFlags`].
    pub flags: AtaFlags,
    /// The feature register: the sub-command of SMART and SET FEATURES.
    pub feature: u8,
    /// Sectors to carry. Its upper byte does not exist on the wire: at most 255, and 0 is 0.
    pub sector_count: u8,
    /// What to do.
    pub command: AtaCommand,
    /// Where.
    pub lba: LbaRegisters,
}

impl Request {
    /// Reads the registers.
    #[must_use]
    pub fn parse(view: View<'_>) -> Self {
        Self::from_registers(view.registers())
    }

    /// Reads the registers, wherever they stand.
    pub(super) fn from_registers(registers: Registers) -> Self {
        let ([flags, feature, sector_count, opcode], lba) = split(registers);
        Self {
            flags: AtaFlags::from_bits(flags),
            feature,
            sector_count,
            command: AtaCommand::from(opcode),
            lba,
        }
    }

    /// The registers as bytes.
    pub(super) fn to_registers(self) -> Registers {
        join([self.flags.bits(), self.feature, self.sector_count, self.command.opcode()], self.lba)
    }

    /// Where the command points: 28 or 48 bits by its opcode.
    #[must_use]
    pub const fn lba(&self) -> Lba {
        if self.command.is_extended() { self.lba.lba48() } else { self.lba.lba28() }
    }

    /// The sector count as a type of its own.
    #[must_use]
    pub const fn sectors(&self) -> SectorCount {
        SectorCount(self.sector_count as u16)
    }

    /// Writes bytes 24 to 35.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        frame[field::REGISTERS].copy_from_slice(&self.to_registers());
        field::END
    }
}

/// The registers of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Those of the request.
    pub flags: AtaFlags,
    /// What went wrong, where the status says that something did.
    pub error: ErrorRegister,
    /// Sectors not carried; the value asked for by commands that ask for one.
    pub sector_count: u8,
    /// How it went.
    pub status: Status,
    /// Those of the request, or an answer (SMART RETURN STATUS).
    pub lba: LbaRegisters,
}

impl Reply {
    /// What succeeded: ready, nothing left over.
    #[must_use]
    pub const fn success(request: &Request) -> Self {
        Self {
            flags: request.flags,
            error: ErrorRegister::NONE,
            sector_count: 0,
            status: Status::READY,
            lba: request.lba,
        }
    }

    /// What failed with that error.
    #[must_use]
    pub const fn failure(request: &Request, error: ErrorRegister) -> Self {
        Self {
            flags: request.flags,
            error,
            sector_count: request.sector_count,
            status: Status::READY_ERROR,
            lba: request.lba,
        }
    }

    /// Reads the registers.
    #[must_use]
    pub fn parse(view: View<'_>) -> Self {
        Self::from_registers(view.registers())
    }

    /// Reads the registers, wherever they stand.
    pub(super) fn from_registers(registers: Registers) -> Self {
        let ([flags, error, sector_count, status], lba) = split(registers);
        Self {
            flags: AtaFlags::from_bits(flags),
            error: ErrorRegister(error),
            sector_count,
            status: Status(status),
            lba,
        }
    }

    /// The registers as bytes.
    pub(super) fn to_registers(self) -> Registers {
        join([self.flags.bits(), self.error.0, self.sector_count, self.status.0], self.lba)
    }

    /// Writes bytes 24 to 35.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        frame[field::REGISTERS].copy_from_slice(&self.to_registers());
        field::END
    }
}

/// Flags, error or feature, sector count, status or command; then the address and two reserved bytes.
pub(super) type Registers = [u8; field::END - field::FLAGS];

fn split(
    [flags, error_feature, sector_count, command_status, lba @ .., _, _]: Registers,
) -> ([u8; 4], LbaRegisters) {
    ([flags, error_feature, sector_count, command_status], LbaRegisters(lba))
}

const fn join([flags, error_feature, sector_count, command_status]: [u8; 4], lba: LbaRegisters) -> Registers {
    let LbaRegisters([a, b, c, d, e, f]) = lba;
    [flags, error_feature, sector_count, command_status, a, b, c, d, e, f, 0, 0]
}

/// The bytes of a reply before its payload, or of a whole reply that has none: nothing is allocated, and the payload
/// is sent from where it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyHead {
    bytes: [u8; FRAME_BYTES_MIN],
    length: u8,
}

impl ReplyHead {
    /// 36 bytes where sectors follow, 60 padded ones where none do.
    #[must_use]
    pub fn new(head: &Head, reply: &Reply, payload: SectorCount) -> Self {
        let mut bytes = [0; FRAME_BYTES_MIN];
        head.emit(&mut bytes);
        let mut length = reply.emit(&mut bytes);
        if payload.0 == 0 {
            length = pad(&mut bytes, length);
        }
        Self { bytes, length: u8::try_from(length).expect("at most 60") }
    }

    /// A whole reply to a sequenced command.
    #[must_use]
    pub fn sequenced(head: &Head, reply: &super::sequenced::Reply) -> Self {
        let mut bytes = [0; FRAME_BYTES_MIN];
        head.emit(&mut bytes);
        let length = reply.emit(&mut bytes);
        Self { bytes, length: u8::try_from(length).expect("exactly 60") }
    }

    /// What to send before the payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Shelf, Slot};
    use crate::wire::tests::{TARGET, request_frame};

    /// READ SECTORS EXT of two sectors at 0x1234, as the Linux driver sends it.
    const READ: [u8; 12] = [0x40, 0x00, 0x02, 0x24, 0x34, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00];

    fn request(argument: &[u8]) -> Request {
        let bytes = request_frame(Command::Ata, argument);
        Request::parse(View::new(Frame::new(&bytes).expect("a frame")).expect("12 bytes"))
    }

    #[test]
    fn a_read_is_byte_for_byte_what_linux_sends() {
        let read = Request {
            flags: AtaFlags::EXTENDED,
            feature: 0,
            sector_count: 2,
            command: AtaCommand::ReadSectorsExt,
            lba: LbaRegisters::from_lba48(Lba(0x1234)),
        };
        assert_eq!(request(&READ), read);
        assert_eq!((read.lba(), read.sectors()), (Lba(0x1234), SectorCount(2)));
        let mut emitted = [0xaa; 36];
        assert_eq!(read.emit(&mut emitted), 36);
        assert_eq!(emitted[24..], READ);
    }

    #[test]
    fn twenty_eight_bits_are_masked_whatever_the_flags_say() {
        let argument = [0x51, 0, 1, 0x30, 0xff, 0xff, 0xff, 0xef, 0x55, 0x55, 0, 0];
        let write = request(&argument);
        assert_eq!(write.lba(), Lba(0x0fff_ffff));
        assert!(write.flags.contains(AtaFlags::WRITE | AtaFlags::EXTENDED));
        assert_eq!(LbaRegisters::from_lba28(Lba(0x0fff_ffff)).0, [0xff, 0xff, 0xff, 0xef, 0, 0]);
    }

    #[test]
    fn forty_eight_bits_come_from_the_opcode_alone() {
        let argument = [0x00, 0, 1, 0x34, 1, 2, 3, 4, 5, 6, 0, 0];
        assert_eq!(request(&argument).lba(), Lba(0x0605_0403_0201));
    }

    #[test]
    fn reserved_flags_and_bytes_are_ignored() {
        let mut argument = READ;
        argument[0] |= 0xac;
        argument[10..].fill(0xed);
        assert_eq!(request(&argument), request(&READ));
    }

    #[test]
    fn a_cut_argument_is_refused_and_trailing_data_is_not() {
        let short = request_frame(Command::Ata, &READ[..11]);
        let error = View::new(Frame::new(&short).expect("a frame")).expect_err("cut");
        assert_eq!(error, WireError::Truncated { field: Field::Ata, needed: 36, length: 35 });
        assert_eq!(error.answer(), Some(crate::AoeError::BadArgument));

        let mut long = request_frame(Command::Ata, &READ);
        long.resize(36 + 1024 + 7, 0xed);
        let view = View::new(Frame::new(&long).expect("a frame")).expect("whole");
        assert_eq!(view.payload().len(), 1031);
        assert_eq!(view.sectors(SectorCount(2)).map(<[u8]>::len), Some(1024));
        assert_eq!(view.sectors(SectorCount(3)), None);
    }

    #[test]
    fn another_command_is_not_read_as_ata() {
        let bytes = request_frame(Command::QueryConfig, &READ);
        let error = View::new(Frame::new(&bytes).expect("a frame")).expect_err("not ATA");
        assert_eq!(error, WireError::Command { expected: Command::Ata, value: Command::QueryConfig });
    }

    fn reply_head(reply: impl Fn(&Request) -> Reply, payload: SectorCount) -> ReplyHead {
        let bytes = request_frame(Command::Ata, &READ);
        let frame = Frame::new(&bytes).expect("a frame");
        let head = frame.head().reply(TARGET, Address::new(Shelf(20), Slot(0)).expect("valid"));
        let request = Request::parse(View::new(frame).expect("whole"));
        ReplyHead::new(&head, &reply(&request), payload)
    }

    #[test]
    fn a_reply_with_data_is_36_bytes_before_it() {
        let head = reply_head(Reply::success, SectorCount(2));
        let expected = [
            0x20, 0xcf, 0x30, 0x02, 0xb0, 0x52, 0x68, 0xa3, 0xc4, 0xf4, 0x84, 0x1e, 0x88,
            0xa2, // Ethernet
            0x18, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x02, 0xcd, 0x63, // AoE
            0x40, 0x00, 0x00, 0x40, 0x34, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // ATA
        ];
        assert_eq!(head.bytes(), expected);
    }

    #[test]
    fn a_reply_without_data_is_padded_with_zeros() {
        let head = reply_head(|request| Reply::failure(request, ErrorRegister::IDNF), SectorCount(0));
        assert_eq!(head.bytes().len(), 60);
        assert_eq!(head.bytes()[24..28], [0x40, 0x10, 0x02, 0x41]);
        assert!(head.bytes()[34..].iter().all(|byte| *byte == 0));
        let view = View::new(Frame::new(head.bytes()).expect("a frame")).expect("whole");
        assert!(Reply::parse(view).status.is_failure());
    }
}

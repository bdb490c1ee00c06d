//! The bytes of a request before its payload. Built from a few fields; nothing is allocated.

use block::{LbaRange, SectorCount};

use crate::address::AddressPattern;
use crate::ata::AtaCommand;
use crate::limits::FRAME_BYTES_MIN;
use crate::mac::MacAddress;
use crate::wire::ata::{self, AtaFlags, LbaRegisters};
use crate::wire::config;
use crate::wire::header::{self, Command, Tag};
use crate::wire::{Frame, Head, ethernet, pad, sequenced};

/// What to send before the payload, or a whole padded frame where there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestHead {
    bytes: [u8; FRAME_BYTES_MIN],
    length: u8,
}

/// From whom to whom, and about which volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    pub(crate) source: MacAddress,
    pub(crate) destination: MacAddress,
    pub(crate) address: AddressPattern,
}

impl RequestHead {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The tag in it.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag(u32::from_be_bytes([self.bytes[20], self.bytes[21], self.bytes[22], self.bytes[23]]))
    }

    /// Whether it begins a sequenced write, which is not to be sent before [`Self::seal`].
    #[must_use]
    pub fn is_sequenced_write(&self) -> bool {
        let frame = Frame::new(self.bytes()).and_then(sequenced::View::new);
        frame
            .is_ok_and(|view| matches!(sequenced::Request::parse(view), Ok(sequenced::Request::Write { .. })))
    }

    /// Puts the checksum of `payload`, which follows, into the head of a sequenced write. Others stay as they are.
    pub fn seal(&mut self, payload: &[u8]) {
        let parsed =
            Frame::new(self.bytes()).and_then(sequenced::View::new).and_then(sequenced::Request::parse);
        if let Ok(sequenced::Request::Write { initiator, sequence, registers, .. }) = parsed {
            let checksum = sequenced::checksum(payload);
            sequenced::Request::Write { checksum, initiator, sequence, registers }.emit(&mut self.bytes);
        }
    }

    /// Whether a target knows sequenced writes.
    pub(crate) fn query_sequenced(route: Route, tag: Tag, initiator: u64) -> Self {
        let mut bytes = route.emit(sequenced::COMMAND, tag);
        let length = sequenced::Request::Query { initiator }.emit(&mut bytes);
        Self { bytes, length: short(length) }
    }

    /// The sectors follow as payload; their checksum is still missing.
    pub(crate) fn sequenced_write(
        route: Route,
        tag: Tag,
        range: LbaRange,
        [initiator, sequence]: [u64; 2],
    ) -> Self {
        let registers = ata::Request {
            flags: AtaFlags::EXTENDED | AtaFlags::WRITE,
            feature: 0,
            sector_count: short(usize::from(range.count().0)),
            command: AtaCommand::WriteSectorsExt,
            lba: LbaRegisters::from_lba48(range.start()),
        };
        let mut bytes = route.emit(sequenced::COMMAND, tag);
        let write = sequenced::Request::Write { checksum: 0, initiator, sequence, registers };
        let length = write.emit(&mut bytes);
        Self { bytes, length: short(length) }
    }

    pub(crate) fn query_config(route: Route, tag: Tag) -> Self {
        let mut bytes = route.emit(Command::QueryConfig, tag);
        let length = config::Request::Read.emit(&mut bytes);
        Self::padded(bytes, length)
    }

    pub(crate) fn identify(route: Route, tag: Tag) -> Self {
        Self::command(route, tag, AtaCommand::IdentifyDevice, SectorCount(1))
    }

    /// FLUSH CACHE and not its EXT form: that is the one which targets know.
    pub(crate) fn flush(route: Route, tag: Tag) -> Self {
        Self::command(route, tag, AtaCommand::FlushCache, SectorCount(0))
    }

    /// Always the 48-bit command, which every target knows and no volume is too large for.
    pub(crate) fn read(route: Route, tag: Tag, range: LbaRange) -> Self {
        let (bytes, length) = transfer(route, tag, AtaCommand::ReadSectorsExt, AtaFlags::EXTENDED, range);
        Self::padded(bytes, length)
    }

    /// The sectors follow as payload.
    pub(crate) fn write(route: Route, tag: Tag, range: LbaRange) -> Self {
        let flags = AtaFlags::EXTENDED | AtaFlags::WRITE;
        let (bytes, length) = transfer(route, tag, AtaCommand::WriteSectorsExt, flags, range);
        Self { bytes, length: short(length) }
    }

    fn command(route: Route, tag: Tag, command: AtaCommand, sectors: SectorCount) -> Self {
        let mut bytes = route.emit(Command::Ata, tag);
        // The device register as the Linux driver has it in commands without an address.
        let lba = LbaRegisters([0, 0, 0, 0xa0, 0, 0]);
        let sector_count = short(usize::from(sectors.0));
        let request = ata::Request { flags: AtaFlags::NONE, feature: 0, sector_count, command, lba };
        let length = request.emit(&mut bytes);
        Self::padded(bytes, length)
    }

    fn padded(mut bytes: [u8; FRAME_BYTES_MIN], length: usize) -> Self {
        let length = short(pad(&mut bytes, length));
        Self { bytes, length }
    }
}

impl Route {
    fn emit(&self, command: Command, tag: Tag) -> [u8; FRAME_BYTES_MIN] {
        let mut bytes = [0; FRAME_BYTES_MIN];
        let ethernet = ethernet::Repr { destination: self.destination, source: self.source };
        Head { ethernet, header: header::Repr::request(self.address, command, tag) }.emit(&mut bytes);
        bytes
    }
}

fn transfer(
    route: Route,
    tag: Tag,
    command: AtaCommand,
    flags: AtaFlags,
    range: LbaRange,
) -> ([u8; FRAME_BYTES_MIN], usize) {
    let mut bytes = route.emit(Command::Ata, tag);
    let sector_count = short(usize::from(range.count().0));
    let lba = LbaRegisters::from_lba48(range.start());
    let length = ata::Request { flags, feature: 0, sector_count, command, lba }.emit(&mut bytes);
    (bytes, length)
}

fn short(number: usize) -> u8 {
    u8::try_from(number).expect("a frame carries at most 128 sectors behind at most 60 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Lba;

    const ROUTE: Route = Route {
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        destination: MacAddress([2, 0, 0, 0, 0, 2]),
        address: AddressPattern::EVERY,
    };

    #[test]
    fn a_read_is_a_whole_frame_and_a_write_ends_where_its_payload_begins() {
        let range = LbaRange::new(Lba(0x1234_5678_9abc), SectorCount(16)).expect("a range");
        let read = RequestHead::read(ROUTE, Tag(7), range);
        assert_eq!((read.bytes().len(), read.tag()), (60, Tag(7)));
        let write = RequestHead::write(ROUTE, Tag(8), range);
        assert_eq!(write.bytes().len(), 36);
        let frame = Frame::new(write.bytes()).expect("a frame");
        let request = ata::Request::parse(ata::View::new(frame).expect("an ATA frame"));
        assert_eq!((request.lba(), request.sectors()), (range.start(), range.count()));
        assert!(request.flags.contains(AtaFlags::WRITE));
    }

    #[test]
    fn questions_are_padded() {
        assert_eq!(RequestHead::query_config(ROUTE, Tag(1)).bytes().len(), 60);
        assert_eq!(RequestHead::identify(ROUTE, Tag(1)).bytes().len(), 60);
        assert_eq!(RequestHead::flush(ROUTE, Tag(1)).bytes().len(), 60);
    }
}

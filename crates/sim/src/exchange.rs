//! What a frame asks of a volume's sectors, or answers: in an ATA command, or in a write with a number.

use aoe::Command;
use aoe::wire::{Frame, ata, sequenced};
use block::SectorCount;

/// Whose write it is, and its number there.
pub(crate) type Numbers = (u64, u64);

/// What follows the header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    Ata(ata::View<'a>),
    Sequenced(sequenced::View<'a>),
}

impl<'a> Body<'a> {
    /// Nothing, if it is about something else.
    pub(crate) fn new(frame: Frame<'a>) -> Option<Self> {
        match frame.header().command {
            Command::Ata => ata::View::new(frame).ok().map(Self::Ata),
            sequenced::COMMAND => sequenced::View::new(frame).ok().map(Self::Sequenced),
            _ => None,
        }
    }

    /// What a request asks for.
    pub(crate) fn request(self) -> Option<(ata::Request, Option<Numbers>)> {
        match self {
            Self::Ata(view) => Some((ata::Request::parse(view), None)),
            Self::Sequenced(view) => match sequenced::Request::parse(view).ok()? {
                sequenced::Request::Write { initiator, sequence, registers, .. } => {
                    Some((registers, Some((initiator, sequence))))
                }
                sequenced::Request::Query { .. } => None,
            },
        }
    }

    /// What an answer says.
    pub(crate) fn reply(self) -> Option<ata::Reply> {
        match self {
            Self::Ata(view) => Some(ata::Reply::parse(view)),
            Self::Sequenced(view) => match sequenced::Reply::parse(view).ok()? {
                sequenced::Reply::Write { registers, .. } => Some(registers),
                sequenced::Reply::Query { .. } => None,
            },
        }
    }

    /// Whether it is no question about numbers.
    pub(crate) fn is_of_sectors(self) -> bool {
        self.reply().is_some()
    }

    /// The data of an answer.
    pub(crate) fn sectors(self, count: SectorCount) -> Option<&'a [u8]> {
        match self {
            Self::Ata(view) => view.sectors(count),
            Self::Sequenced(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aoe::ata::AtaCommand;
    use aoe::wire::ata::{AtaFlags, LbaRegisters};
    use aoe::wire::{Head, ethernet, header};
    use aoe::{Address, MacAddress, Shelf, Slot, Tag};
    use block::Lba;

    use super::*;

    pub(crate) const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    pub(crate) const NODE: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);

    fn head(destination: MacAddress) -> Head {
        let address = Address::new(Shelf(7), Slot(0)).expect("valid");
        let ethernet = ethernet::Repr { destination, source: HOST };
        Head { ethernet, header: header::Repr::request(address.into(), sequenced::COMMAND, Tag(9)) }
    }

    fn registers() -> ata::Request {
        let lba = LbaRegisters::from_lba48(Lba(4));
        let command = AtaCommand::WriteSectorsExt;
        ata::Request {
            flags: AtaFlags::EXTENDED | AtaFlags::WRITE,
            feature: 0,
            sector_count: 1,
            command,
            lba,
        }
    }

    /// A write of one sector to that node, with that number.
    pub(crate) fn numbered_write(destination: MacAddress, sequence: u64) -> Vec<u8> {
        let data = [7; 512];
        let mut bytes = vec![0; sequenced::PAYLOAD_OFFSET];
        head(destination).emit(&mut bytes);
        let checksum = sequenced::checksum(&data);
        let (initiator, registers) = (1, registers());
        sequenced::Request::Write { checksum, initiator, sequence, registers }.emit(&mut bytes);
        [&bytes[..], &data].concat()
    }

    /// It is done.
    pub(crate) fn numbered_answer() -> Vec<u8> {
        let address = Address::new(Shelf(7), Slot(0)).expect("valid");
        let mut bytes = vec![0; sequenced::PAYLOAD_OFFSET];
        head(NODE).reply(NODE, address).emit(&mut bytes);
        let registers = ata::Reply::success(&registers());
        sequenced::Reply::Write { initiator: 1, epoch: 1, registers }.emit(&mut bytes);
        bytes
    }
}

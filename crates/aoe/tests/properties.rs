//! What is emitted is read back as it was meant, for every meaning; and a padded frame means the same.

use aoe::ata::{AtaCommand, AtaString, ErrorRegister, Identify, Status, identify};
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::config::ConfigCommand;
use aoe::wire::mac_mask::{Directive, DirectiveCommand, MacMaskCommand, MacMaskError};
use aoe::wire::reserve::ReserveCommand;
use aoe::wire::{ata, config, ethernet, header, mac_mask, pad, reserve, sequenced};
use aoe::{Address, AddressPattern, AoeError, Command, Frame, Head, MacAddress, Shelf, Slot, Tag};
use block::{Lba, LogicalSectorSize, SECTOR_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;

/// More than any control frame.
const BUFFER_BYTES: usize = 2100;

fn mac() -> impl Strategy<Value = MacAddress> {
    any::<[u8; 6]>().prop_map(MacAddress)
}

fn head(command: impl Strategy<Value = Command>) -> impl Strategy<Value = Head> {
    let ethernet = (mac(), mac()).prop_map(|(destination, source)| ethernet::Repr { destination, source });
    let error = prop::option::of(any::<u8>().prop_map(AoeError::from));
    let parts = (ethernet, 0u8..16, any::<bool>(), error, any::<(u16, u8, u32)>(), command);
    parts.prop_map(|(ethernet, version, response, error, (shelf, slot, tag), command)| {
        let address = AddressPattern { shelf: Shelf(shelf), slot: Slot(slot) };
        Head { ethernet, header: header::Repr { version, response, error, address, command, tag: Tag(tag) } }
    })
}

/// The padded frame of `head` and what `emit` writes behind it, in a buffer full of old bytes.
fn frame(head: &Head, emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; BUFFER_BYTES];
    head.emit(&mut bytes);
    let length = emit(&mut bytes);
    let length = pad(&mut bytes, length);
    bytes.truncate(length);
    bytes
}

fn directive() -> impl Strategy<Value = Directive> {
    (any::<u8>().prop_map(DirectiveCommand::from), mac())
        .prop_map(|(command, address)| Directive { command, address })
}

fn text<const N: usize>() -> impl Strategy<Value = AtaString<N>> {
    "\\PC{0,50}".prop_map(|text: String| AtaString::new(&text))
}

fn identify_page() -> impl Strategy<Value = Identify> {
    let sectors = prop_oneof![
        (0..=identify::SECTORS_LBA28_MAX).prop_map(|sectors| (sectors, false)),
        (0..=1u64 << 48).prop_map(|sectors| (sectors, true)),
    ];
    let size = prop_oneof![Just(LogicalSectorSize::B512), Just(LogicalSectorSize::B4096)];
    (sectors, text(), text(), text(), size, any::<(bool, bool)>()).prop_map(
        |((sectors, lba48), serial, firmware, model, physical_sector_size, (write_cache, smart))| Identify {
            sectors,
            lba48,
            serial,
            firmware,
            model,
            physical_sector_size,
            write_cache,
            smart,
        },
    )
}

proptest! {
    #[test]
    fn heads_come_back(head in head(any::<u8>().prop_map(Command::from))) {
        let bytes = frame(&head, |_| 24);
        prop_assert_eq!(Frame::new(&bytes).map(Frame::head), Ok(head));
    }

    #[test]
    fn ata_requests_come_back(
        head in head(Just(Command::Ata)),
        registers in any::<(u8, u8, u8, u8)>(),
        lba in any::<[u8; 6]>(),
    ) {
        let (flags, feature, sector_count, opcode) = registers;
        let request = ata::Request {
            flags: AtaFlags::from_bits(flags),
            feature,
            sector_count,
            command: AtaCommand::from(opcode),
            lba: LbaRegisters(lba),
        };
        let bytes = frame(&head, |bytes| request.emit(bytes));
        let view = Frame::new(&bytes).and_then(ata::View::new);
        prop_assert_eq!(view.map(ata::Request::parse), Ok(request));
    }

    #[test]
    fn ata_replies_come_back(
        head in head(Just(Command::Ata)),
        registers in any::<(u8, u8, u8, u8)>(),
        lba in any::<[u8; 6]>(),
    ) {
        let (flags, error, sector_count, status) = registers;
        let reply = ata::Reply {
            flags: AtaFlags::from_bits(flags),
            error: ErrorRegister(error),
            sector_count,
            status: Status(status),
            lba: LbaRegisters(lba),
        };
        let bytes = frame(&head, |bytes| reply.emit(bytes));
        let view = Frame::new(&bytes).and_then(ata::View::new);
        prop_assert_eq!(view.map(ata::Reply::parse), Ok(reply));
    }

    #[test]
    fn addresses_of_sectors_come_back(lba in 0..1u64 << 48) {
        prop_assert_eq!(LbaRegisters::from_lba48(Lba(lba)).lba48(), Lba(lba));
        let low = Lba(lba & 0x0fff_ffff);
        prop_assert_eq!(LbaRegisters::from_lba28(low).lba28(), low);
    }

    #[test]
    fn config_arguments_come_back(
        head in head(Just(Command::QueryConfig)),
        numbers in any::<(u16, u16, u8)>(),
        version in 0u8..16,
        command in 0usize..5,
        string in vec(any::<u8>(), 0..=1024),
    ) {
        use ConfigCommand::{ForceSet, Read, Set, Test, TestPrefix};
        let (buffer_count, firmware, sector_count) = numbers;
        let command = [Read, Test, TestPrefix, Set, ForceSet][command];
        let string = string.as_slice();
        let repr = config::Repr { buffer_count, firmware, sector_count, version, command, string };
        let bytes = frame(&head, |bytes| repr.emit(bytes));
        let received = Frame::new(&bytes).expect("a frame");
        let view = config::View::new(received).expect("an argument");
        prop_assert_eq!(config::Repr::parse(view), Ok(repr));
        let request = match command {
            Read => config::Request::Read,
            Test => config::Request::Test(string),
            TestPrefix => config::Request::TestPrefix(string),
            Set => config::Request::Set(string),
            ForceSet => config::Request::ForceSet(string),
        };
        prop_assert_eq!(config::Request::parse(received), Ok(request));
        let bytes = frame(&head, |bytes| request.emit(bytes));
        prop_assert_eq!(Frame::new(&bytes).and_then(config::Request::parse), Ok(request));
    }

    #[test]
    fn mac_mask_lists_come_back(
        head in head(Just(Command::MacMaskList)),
        directives in vec(directive(), 0..=255),
        index in any::<u8>(),
        error in 1u8..,
    ) {
        let bytes = frame(&head, |bytes| mac_mask::emit_edit(bytes, directives.iter().copied()));
        let view = Frame::new(&bytes).and_then(mac_mask::View::new).expect("an argument");
        let request = mac_mask::Request::parse(view).expect("an edit");
        prop_assert!(matches!(request, mac_mask::Request::Edit(found)
            if found.iter().eq(directives.iter().copied())), "{:?}", request);
        let again = frame(&head, |bytes| request.emit(bytes));
        prop_assert_eq!(&again, &bytes);

        let addresses = directives.iter().map(|directive| directive.address);
        let command = MacMaskCommand::Read;
        let bytes = frame(&head, |bytes| mac_mask::emit_list(bytes, command, addresses.clone()));
        let view = Frame::new(&bytes).and_then(mac_mask::View::new).expect("an argument");
        let reply = mac_mask::Reply::parse(view).expect("a list");
        prop_assert!(matches!(reply, mac_mask::Reply::List { entries, .. }
            if entries.iter().map(|entry| entry.address).eq(addresses)), "{:?}", reply);

        let error = MacMaskError::from_number(error).expect("not zero");
        let refused = mac_mask::Reply::Refused { command: MacMaskCommand::Edit, error, index };
        let bytes = frame(&head, |bytes| refused.emit(bytes));
        let view = Frame::new(&bytes).and_then(mac_mask::View::new).expect("an argument");
        prop_assert_eq!(mac_mask::Reply::parse(view), Ok(refused));
    }

    #[test]
    fn reservations_come_back(
        head in head(Just(Command::ReserveRelease)),
        command in 0usize..3,
        addresses in vec(mac(), 0..=255),
    ) {
        let command = [ReserveCommand::Read, ReserveCommand::Set, ReserveCommand::ForceSet][command];
        let bytes = frame(&head, |bytes| reserve::emit(bytes, command, addresses.iter().copied()));
        let view = Frame::new(&bytes).and_then(reserve::View::new).expect("an argument");
        let reply = reserve::Reply::parse(view).expect("addresses");
        prop_assert_eq!(reply.command, command);
        prop_assert!(reply.addresses.iter().eq(addresses.iter().copied()));
        prop_assert_eq!(&frame(&head, |bytes| reply.emit(bytes)), &bytes);
        let request = reserve::Request::parse(view).expect("a request");
        if command != ReserveCommand::Read {
            prop_assert_eq!(&frame(&head, |bytes| request.emit(bytes)), &bytes);
        }
    }

    #[test]
    fn sequenced_arguments_come_back(
        head in head(Just(sequenced::COMMAND)),
        checksum: u32,
        numbers in any::<(u64, u64)>(),
        registers in any::<(u8, u8, u8, u8)>(),
        lba in any::<[u8; 6]>(),
    ) {
        let ((flags, feature, sector_count, opcode), lba) = (registers, LbaRegisters(lba));
        let (initiator, sequence) = numbers;
        let flags = AtaFlags::from_bits(flags);
        let command = AtaCommand::from(opcode);
        let registers = ata::Request { flags, feature, sector_count, command, lba };
        let write = sequenced::Request::Write { checksum, initiator, sequence, registers };
        for request in [write, sequenced::Request::Query { initiator }] {
            let bytes = frame(&head, |bytes| request.emit(bytes));
            let view = Frame::new(&bytes).and_then(sequenced::View::new).expect("an argument");
            prop_assert_eq!(sequenced::Request::parse(view), Ok(request));
        }
        let (error, status) = (ErrorRegister(feature), Status(opcode));
        let registers = ata::Reply { flags, error, sector_count, status, lba };
        let write = sequenced::Reply::Write { initiator, epoch: sequence, registers };
        for reply in [write, sequenced::Reply::Query { window: checksum, initiator, epoch: sequence }] {
            let bytes = frame(&head, |bytes| reply.emit(bytes));
            let view = Frame::new(&bytes).and_then(sequenced::View::new).expect("an argument");
            prop_assert_eq!(sequenced::Reply::parse(view), Ok(reply));
        }
    }

    #[test]
    fn identify_pages_come_back(written in identify_page()) {
        let mut page = [0xaa; SECTOR_BYTES];
        written.emit(&mut page);
        prop_assert_eq!(Identify::parse(&page), Ok(written));
    }

    #[test]
    fn addresses_and_macs_come_back_from_their_text(shelf: u16, slot: u8, mac in mac()) {
        if let Ok(address) = Address::new(Shelf(shelf), Slot(slot)) {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn no_text_makes_an_address_that_prints_otherwise(text in "e?[0-9]{0,6}\\.?[0-9]{0,4}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}

//! What operators ask of the nodes by frames: config strings, reservations and MAC mask lists, at one node or at both at the same time.
//!
//! They reserve for everybody who is there, and put everybody on the list, so that nobody is shut out; what they are told they do not remember. What counts
//! is that in the end both nodes hold the same.

use aoe::ata::AtaCommand;
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::mac_mask::{Directive, DirectiveCommand};
use aoe::wire::reserve::ReserveCommand;
use aoe::wire::{Head, ata, config, ethernet, header, mac_mask, pad, reserve};
use aoe::{Address, Command, MacAddress, Tag};

use crate::random::Random;

/// Where operators sit.
pub(crate) const MAC: MacAddress = MacAddress([2, 0, 0, 2, 0, 0]);

/// A frame that asks for a flush of a volume.
pub(crate) fn flush(random: &mut Random, address: Address, destination: MacAddress) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    let ethernet = ethernet::Repr { destination, source: MAC };
    let header = header::Repr::request(address.into(), Command::Ata, Tag(random.small(0, 999_999)));
    Head { ethernet, header }.emit(&mut bytes);
    let request = ata::Request {
        flags: AtaFlags::EXTENDED,
        feature: 0,
        sector_count: 0,
        command: AtaCommand::FlushCacheExt,
        lba: LbaRegisters::default(),
    };
    request.emit(&mut bytes);
    bytes
}

/// A frame that sets something of a volume.
pub(crate) fn set(
    random: &mut Random,
    address: Address,
    destination: MacAddress,
    hosts: &[MacAddress],
) -> Vec<u8> {
    let number = random.small(0, 999_999);
    let string = format!("string {number}");
    let command = match random.below(3) {
        0 if number.is_multiple_of(2) => Command::ReserveRelease,
        0 => Command::MacMaskList,
        _ => Command::QueryConfig,
    };
    let mut bytes = vec![0; 1000];
    let ethernet = ethernet::Repr { destination, source: MAC };
    let header = header::Repr::request(address.into(), command, Tag(number));
    Head { ethernet, header }.emit(&mut bytes);
    let length = if command == Command::QueryConfig {
        config::Request::ForceSet(string.as_bytes()).emit(&mut bytes)
    } else {
        // In another order each time, and sometimes for nobody: that is for everybody.
        let first = random.index(hosts.len());
        let is_for_some = random.coin();
        let all = hosts[first..].iter().chain(&hosts[..first]).copied().chain([MAC]);
        let all: Vec<MacAddress> = all.collect();
        if command == Command::ReserveRelease {
            let count = if is_for_some { all.len() } else { 0 };
            reserve::emit(&mut bytes, ReserveCommand::ForceSet, all.into_iter().take(count))
        } else {
            let command = if is_for_some { DirectiveCommand::Add } else { DirectiveCommand::Delete };
            let directives = all.into_iter().map(|address| Directive { command, address });
            mac_mask::emit_edit(&mut bytes, directives)
        }
    };
    let length = pad(&mut bytes, length);
    bytes.truncate(length);
    bytes
}

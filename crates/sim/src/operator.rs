//! What operators ask of the nodes by frames: config strings and reservations, at one node or at both at the same time.
//!
//! They reserve for everybody who is there, so that nobody is shut out; what they are told they do not remember. What counts
//! is that in the end both nodes hold the same.

use aoe::ata::AtaCommand;
use aoe::wire::ata::{AtaFlags, LbaRegisters};
use aoe::wire::reserve::ReserveCommand;
use aoe::wire::{Head, ata, config, ethernet, header, pad, reserve};
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
    let is_string = random.below(3) > 0;
    let command = if is_string { Command::QueryConfig } else { Command::ReserveRelease };
    let mut bytes = vec![0; 1000];
    let ethernet = ethernet::Repr { destination, source: MAC };
    let header = header::Repr::request(address.into(), command, Tag(number));
    Head { ethernet, header }.emit(&mut bytes);
    let length = if is_string {
        config::Request::ForceSet(string.as_bytes()).emit(&mut bytes)
    } else {
        // In another order each time, and sometimes for nobody: that is for everybody.
        let first = random.index(hosts.len());
        let count = if random.coin() { hosts.len() } else { 0 };
        let all = hosts[first..].iter().chain(&hosts[..first]).copied().take(count);
        let all: Vec<MacAddress> = all.chain((count > 0).then_some(MAC)).collect();
        reserve::emit(&mut bytes, ReserveCommand::ForceSet, all.into_iter())
    };
    let length = pad(&mut bytes, length);
    bytes.truncate(length);
    bytes
}

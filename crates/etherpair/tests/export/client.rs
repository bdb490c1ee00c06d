//! A client for tests: one request at a time, and nothing that would hide a lost or a wrong answer.

use std::time::{Duration, Instant};

use aoe::ata::{AtaCommand, ErrorRegister, Identify, Status};
use aoe::wire::{self, Frame, Head, ata, config, ethernet, header, mac_mask, reserve};
use aoe::{Address, AddressPattern, Command, MacAddress, Tag};
use block::{Lba, SECTOR_BYTES, SectorCount};
use lab::Namespace;
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, TransmitFrame};

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Shorter than that, for answers that must not come, and for nothing else.
const SILENCE: Duration = Duration::from_millis(400);

/// Speaks on one interface.
pub(crate) struct Client {
    port: FramePort,
    mac: MacAddress,
    tag: u32,
}

/// The end of an ATA command.
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) error: ErrorRegister,
    pub(crate) data: Vec<u8>,
}

/// What a Query Config answer says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Config {
    pub(crate) target: MacAddress,
    pub(crate) buffer_count: u16,
    pub(crate) sectors: u8,
    pub(crate) string: Vec<u8>,
}

impl Client {
    pub(crate) fn new(namespace: &Namespace, interface: &str) -> Self {
        let options =
            PortOptions { kind: PortKind::Plain, ..PortOptions::new(interface, FrameFilter::Responses) };
        let port =
            namespace.enter(|| FramePort::open(&options).map_err(std::io::Error::other)).expect("a port");
        let mac = MacAddress(port.interface().mac);
        Self { port, mac, tag: 1 }
    }

    /// As whom it speaks.
    pub(crate) const fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Does an ATA command; `None` if nobody answers.
    pub(crate) fn ata(
        &mut self,
        address: &str,
        command: AtaCommand,
        lba: u64,
        sectors: u8,
        data: &[u8],
    ) -> Option<Answer> {
        let request = ata::Request {
            flags: if data.is_empty() {
                ata::AtaFlags::EXTENDED
            } else {
                ata::AtaFlags::EXTENDED | ata::AtaFlags::WRITE
            },
            feature: 0,
            sector_count: sectors,
            command,
            lba: ata::LbaRegisters::from_lba48(Lba(lba)),
        };
        let reply = self.ask(address, Command::Ata, data, |frame| request.emit(frame), PATIENCE)?;
        let view = ata::View::new(Frame::new(&reply).expect("a frame")).expect("an ATA answer");
        let registers = ata::Reply::parse(view);
        Some(Answer { status: registers.status, error: registers.error, data: view.payload().to_vec() })
    }

    pub(crate) fn identify(&mut self, address: &str) -> Identify {
        let answer = self.ata(address, AtaCommand::IdentifyDevice, 0, 1, &[]).expect("an answer");
        assert!(!answer.status.is_failure(), "IDENTIFY failed");
        Identify::parse(&answer.data[..SECTOR_BYTES]).expect("an IDENTIFY page")
    }

    pub(crate) fn read(&mut self, address: &str, lba: u64, sectors: u8) -> Vec<u8> {
        let answer = self.ata(address, AtaCommand::ReadSectorsExt, lba, sectors, &[]).expect("an answer");
        assert!(!answer.status.is_failure(), "reading {sectors} sectors at {lba} failed");
        let length = SectorCount(u16::from(sectors)).bytes();
        answer.data[..length].to_vec()
    }

    pub(crate) fn write(&mut self, address: &str, lba: u64, data: &[u8]) {
        let answer = self.try_write(address, lba, data).expect("an answer");
        assert!(!answer.status.is_failure(), "writing {} bytes at {lba} failed", data.len());
    }

    pub(crate) fn try_write(&mut self, address: &str, lba: u64, data: &[u8]) -> Option<Answer> {
        let sectors = u8::try_from(data.len() / SECTOR_BYTES).expect("few sectors");
        self.ata(address, AtaCommand::WriteSectorsExt, lba, sectors, data)
    }

    /// The config query that every initiator begins with; `None` if nobody answers.
    pub(crate) fn config(&mut self, address: &str) -> Option<Config> {
        self.config_within(address, PATIENCE)
    }

    /// Makes sure that nobody answers.
    pub(crate) fn expect_silence(&mut self, address: &str) {
        assert_eq!(self.config_within(address, SILENCE), None);
    }

    fn config_within(&mut self, address: &str, patience: Duration) -> Option<Config> {
        let request = config::Request::Read;
        self.ask(address, Command::QueryConfig, &[], |frame| request.emit(frame), patience)
            .and_then(|reply| config_of(&reply))
    }

    /// Sets the config string by force; what that is answered.
    pub(crate) fn set_config(&mut self, address: &str, string: &[u8]) -> Config {
        self.set_config_within(address, string, PATIENCE).expect("confirmed")
    }

    /// Makes sure that a config string is not confirmed.
    pub(crate) fn expect_not_set(&mut self, address: &str, string: &[u8]) {
        assert_eq!(self.set_config_within(address, string, SILENCE), None);
    }

    fn set_config_within(&mut self, address: &str, string: &[u8], patience: Duration) -> Option<Config> {
        let request = config::Request::ForceSet(string);
        self.ask(address, Command::QueryConfig, &[], |frame| request.emit(frame), patience)
            .and_then(|reply| config_of(&reply))
    }

    /// Adds `allowed` to the MAC mask list.
    pub(crate) fn allow(&mut self, address: &str, allowed: MacAddress) {
        let directive = mac_mask::Directive { command: mac_mask::DirectiveCommand::Add, address: allowed };
        let emit = |frame: &mut [u8]| mac_mask::emit_edit(frame, std::iter::once(directive));
        self.ask(address, Command::MacMaskList, &[], emit, PATIENCE).expect("an answer");
    }

    /// Reserves the disk for `holder`.
    pub(crate) fn reserve(&mut self, address: &str, holder: MacAddress) {
        let emit = |frame: &mut [u8]| {
            reserve::emit(frame, reserve::ReserveCommand::ForceSet, std::iter::once(holder))
        };
        self.ask(address, Command::ReserveRelease, &[], emit, PATIENCE).expect("an answer");
    }

    /// Who has reserved the disk.
    pub(crate) fn reservation(&mut self, address: &str) -> Vec<MacAddress> {
        let emit = |frame: &mut [u8]| reserve::Request::Read.emit(frame);
        let reply = self.ask(address, Command::ReserveRelease, &[], emit, PATIENCE).expect("an answer");
        let view = reserve::View::new(Frame::new(&reply).expect("a frame")).expect("a reserve answer");
        reserve::Reply::parse(view).expect("a reserve answer").addresses.iter().collect()
    }

    /// Waits for a config answer that nobody asked for.
    pub(crate) fn advertisement(&mut self, address: &str) -> Config {
        let wanted = Tag(0);
        let frame = self.receive(address, wanted, PATIENCE).expect("an advertisement");
        config_of(&frame).expect("no error")
    }

    /// Forgets what came in so far.
    pub(crate) fn forget_received(&mut self) {
        while let Some(received) = self.port.receive() {
            self.port.release(received.slot);
        }
    }

    fn ask(
        &mut self,
        address: &str,
        command: Command,
        data: &[u8],
        argument: impl FnOnce(&mut [u8]) -> usize,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        self.tag += 1;
        let tag = Tag(Tag::USER_SPACE | self.tag);
        let target: Address = address.parse().expect("an address");
        let head = Head {
            ethernet: ethernet::Repr { destination: MacAddress::BROADCAST, source: self.mac },
            header: header::Repr::request(AddressPattern::from(target), command, tag),
        };
        let mut frame = [0; 2048];
        head.emit(&mut frame);
        let mut length = argument(&mut frame);
        if data.is_empty() {
            length = wire::pad(&mut frame, length);
        } else if let Some(known) = self.unicast(address) {
            frame[..6].copy_from_slice(&known.0);
        }
        let payload = (!data.is_empty()).then(|| Payload::of(data));
        self.port.queue(TransmitFrame { head: &frame[..length], payload }).expect("room for a frame");
        self.port.flush().expect("sent");
        self.receive(address, tag, patience)
    }

    /// A write names one target, so who that is has to be found out first.
    fn unicast(&mut self, address: &str) -> Option<MacAddress> {
        self.config(address).map(|config| config.target)
    }

    fn receive(&mut self, address: &str, tag: Tag, patience: Duration) -> Option<Vec<u8>> {
        let wanted: AddressPattern = address.parse::<Address>().expect("an address").into();
        let deadline = Instant::now() + patience;
        loop {
            while let Some(received) = self.port.receive() {
                let bytes = self.port.frame(received.slot).to_vec();
                self.port.release(received.slot);
                let header = Frame::new(&bytes).expect("only AoE comes in").header();
                if header.tag == tag && header.address == wanted {
                    return Some(bytes);
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            self.port.wait(Some(left));
        }
    }
}

/// `None` if it is an error and no answer.
fn config_of(bytes: &[u8]) -> Option<Config> {
    let frame = Frame::new(bytes).expect("a frame");
    if frame.header().error.is_some() {
        return None;
    }
    let repr =
        config::Repr::parse(config::View::new(frame).expect("a config answer")).expect("a config answer");
    Some(Config {
        target: frame.ethernet().source,
        buffer_count: repr.buffer_count,
        sectors: repr.sector_count,
        string: repr.string.to_vec(),
    })
}

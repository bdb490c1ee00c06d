//! A volume gets another size while the initiator uses it, and what two targets say of it comes in the wrong order.

use aoe::ata::{AtaString, Identify};
use aoe::initiator::{Initiator, Input, Options, Output};
use aoe::target::{PortId, PortLink};
use aoe::wire::{Frame, Head, ata, config};
use aoe::{Address, MacAddress, Shelf, Slot};
use block::{BufferName, Instant, LogicalSectorSize};

const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const ONE: MacAddress = MacAddress([2, 0, 0, 0, 0, 8]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const PORT: PortId = PortId(0);

struct Bench {
    initiator: Initiator,
    now: Instant,
    /// The last question to everybody, the last ones to identify, and sizes that were told.
    query: Vec<u8>,
    identifies: Vec<Vec<u8>>,
    sizes: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_nanos(1_000_000);
        let options = Options::new(address(), 77);
        let mut initiator = Initiator::new(now, options, &[(PORT, PortLink { mac: OURS, mtu: 9000 })]);
        initiator.handle_input(now, Input::Timeout).expect("nothing to refuse");
        let mut bench = Self { initiator, now, query: Vec::new(), identifies: Vec::new(), sizes: Vec::new() };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { head, .. } => {
                    let bytes = head.bytes().to_vec();
                    let head = Frame::new(&bytes).expect("a frame").head();
                    if head.ethernet.destination.is_multicast() {
                        self.query = bytes;
                    } else {
                        self.identifies.push(bytes);
                    }
                }
                Output::Sized { sectors } => self.sizes.push(sectors),
                other => panic!("{other:?}"),
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.now = Instant::from_nanos(self.now.as_nanos() + 1_000_000);
        let input = Input::Frame { port: PORT, frame: bytes, buffer: BufferName(7) };
        self.initiator.handle_input(self.now, input).expect("an answer");
        self.drain();
    }

    /// A target tells its limits, of its own accord or when it was asked; the question that follows.
    fn config(&mut self, from: MacAddress, unasked: bool) -> Vec<u8> {
        let mut bytes = reply(&self.query, from, |bytes| {
            config::Repr {
                buffer_count: 64,
                firmware: 3,
                sector_count: 16,
                version: 1,
                command: config::ConfigCommand::Read,
                string: b"",
            }
            .emit(bytes)
        });
        if unasked {
            bytes[20..24].fill(0);
        }
        self.hear(&bytes);
        self.identifies.pop().expect("it is asked to identify itself")
    }

    fn identify(&mut self, question: &[u8], sectors: u64) {
        let from = Frame::new(question).expect("a frame").head().ethernet.destination;
        let answer = reply(question, from, |bytes| {
            let view = ata::View::new(Frame::new(question).expect("a frame")).expect("an ATA frame");
            ata::Reply::success(&ata::Request::parse(view)).emit(bytes);
            let page: &mut [u8; 512] = (&mut bytes[36..548]).try_into().expect("512 bytes");
            Identify {
                sectors,
                lba48: true,
                serial: AtaString::new("s"),
                firmware: AtaString::new("f"),
                model: AtaString::new("m"),
                physical_sector_size: LogicalSectorSize::B512,
                write_cache: false,
                smart: false,
            }
            .emit(page);
            548
        });
        self.hear(&answer);
    }
}

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("an address")
}

fn reply(question: &[u8], from: MacAddress, fill: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let head: Head = Frame::new(question).expect("a frame").head();
    head.reply(from, address()).emit(&mut bytes);
    let length = fill(&mut bytes);
    bytes.truncate(length.max(60));
    bytes
}

#[test]
fn a_late_word_about_a_smaller_volume_does_not_count_and_a_new_one_does() {
    let mut bench = Bench::new();
    let one = bench.config(ONE, false);
    bench.identify(&one, 1000);
    let other = bench.config(OTHER, false);
    bench.identify(&other, 1000);
    assert_eq!(bench.sizes, [1000]);
    // Both announce something; what is asked of the first one takes long.
    let late = bench.config(ONE, true);
    let other = bench.config(OTHER, true);
    bench.identify(&other, 2000);
    assert_eq!(bench.sizes, [1000, 2000]);
    bench.identify(&late, 1000);
    assert_eq!(bench.sizes, [1000, 2000]);
    assert_eq!(bench.initiator.volume().map(|volume| volume.sectors), Some(2000));
    // A file that somebody has cut short.
    let one = bench.config(ONE, true);
    bench.identify(&one, 1500);
    assert_eq!(bench.sizes, [1000, 2000, 1500]);
}

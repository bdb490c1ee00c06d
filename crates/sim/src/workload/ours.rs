//! Our own initiator, as it is, with memory around it. Three in four number their writes; which do is a matter of the seed.

use std::collections::{BTreeMap, VecDeque};

use aoe::Address;
use aoe::initiator::{self, Initiator, Input, Options, Output, PortId, PortLink};
use aoe::limits::PAYLOAD_OFFSET;
use block::{
    BufferName, BufferSlice, Duration, Instant, Lba, LbaRange, RequestId, SECTOR_BYTES, SectorCount,
};

use super::driver::{DriverOutput, Interface, RequestName};
use super::plan::Ask;
use crate::content::Value;
use crate::host::HostFrame;

/// How it is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OursOptions {
    /// The volume.
    pub address: Address,
    /// A request fails after so long.
    pub answer_timeout: Duration,
    /// A number that no other initiator has, nor this one had before.
    pub seed: u32,
}

/// See the module's text.
#[derive(Debug)]
pub struct Ours {
    initiator: Initiator,
    sequenced: bool,
    open: BTreeMap<RequestName, Ask>,
    outputs: VecDeque<DriverOutput>,
}

/// The name of the frame that is looked at; others are those of writes.
const FRAME: BufferName = BufferName(u64::MAX);

impl Ours {
    /// An initiator that begins to look for its volume.
    #[must_use]
    pub fn new(now: Instant, options: OursOptions, interfaces: &[Interface]) -> Self {
        let ports: Vec<(PortId, PortLink)> = interfaces
            .iter()
            .map(|interface| (PortId(interface.port), PortLink { mac: interface.mac, mtu: interface.mtu }))
            .collect();
        let answer_timeout = options.answer_timeout;
        let sequenced = name(options.seed);
        let options = Options { answer_timeout, sequenced, ..Options::new(options.address, options.seed) };
        let initiator = Initiator::new(now, options, &ports);
        let sequenced = sequenced.is_some();
        let mut ours = Self { initiator, sequenced, open: BTreeMap::new(), outputs: VecDeque::new() };
        ours.drain(&[]);
        ours
    }

    /// Whether the volume was found.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.initiator.volume().is_some()
    }

    /// Sectors of the volume as far as it knows.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.initiator.volume().map_or(0, |volume| volume.sectors)
    }

    /// Whether its writes carry numbers of their own.
    #[must_use]
    pub const fn is_sequenced(&self) -> bool {
        self.sequenced
    }

    /// Takes a request in.
    ///
    /// # Panics
    /// If the volume was not found, or the initiator refuses a good request.
    pub fn submit(&mut self, now: Instant, name: RequestName, ask: Ask) {
        let Ask { range, value } = ask;
        let ask_it = match value {
            Some(_) => {
                let length = u32::try_from(range.bytes()).expect("a short request");
                let data = BufferSlice { buffer: BufferName(name.0.into()), offset: 0, length };
                initiator::Ask::Write { range, data }
            }
            None if ask.is_flush() => initiator::Ask::Flush,
            None => initiator::Ask::Read(range),
        };
        self.open.insert(name, ask);
        let input = Input::Submit { id: RequestId(name.0), ask: ask_it };
        self.initiator.handle_input(now, input).expect("a good request to a volume that was found");
        self.drain(&[]);
    }

    /// Takes a frame in.
    pub fn handle_frame(&mut self, now: Instant, port: u8, frame: &[u8]) {
        // What it does not take, it has counted.
        let input = Input::Frame { port: PortId(port), frame, buffer: FRAME };
        let _refused = self.initiator.handle_input(now, input);
        self.drain(frame);
    }

    /// The time that [`Ours::poll_timeout`] named has come.
    ///
    /// # Panics
    /// Never: there is nothing in a timeout to refuse.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.initiator.handle_input(now, Input::Timeout).expect("nothing to refuse");
        self.drain(&[]);
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<DriverOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Ours::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.initiator.poll_timeout()
    }

    fn drain(&mut self, frame: &[u8]) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { port, mut head, payload } => {
                    let payload = payload.map(|slice| self.content(slice)).unwrap_or_default();
                    head.seal(&payload);
                    let bytes = [head.bytes(), &payload].concat();
                    self.outputs.push_back(DriverOutput::Send(HostFrame { port: port.0, bytes }));
                }
                Output::Data { id, offset, data } => self.data(RequestName(id.0), offset, data, frame),
                Output::Completed { id, result } => self.completed(RequestName(id.0), result.is_ok()),
                Output::Sized { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    /// The bytes of a part of a write.
    fn content(&self, slice: BufferSlice) -> Vec<u8> {
        let name = RequestName(u32::try_from(slice.buffer.0).expect("the name of a request"));
        let Ask { range, value } = self.open[&name];
        let start = Lba(range.start().0 + sectors(slice.offset));
        let mut bytes = vec![0; slice.length as usize];
        value.expect("only writes have bytes").fill(start, &mut bytes);
        bytes
    }

    fn data(&mut self, request: RequestName, offset: u32, data: BufferSlice, frame: &[u8]) {
        assert!(data.buffer == FRAME && data.offset as usize >= PAYLOAD_OFFSET, "data lie in the last frame");
        let start = Lba(self.open[&request].range.start().0 + sectors(offset));
        let count = SectorCount::from_bytes(data.length as usize).expect("whole sectors");
        let part = LbaRange::new(start, count).expect("a part of a request");
        let bytes = &frame[data.offset as usize..][..data.length as usize];
        let values = Some(Value::of_all(start, bytes).collect());
        self.outputs.push_back(DriverOutput::Answered { request, part, values });
    }

    fn completed(&mut self, request: RequestName, done: bool) {
        let ask = self.open.remove(&request).expect("a request ends once");
        if !done {
            self.outputs.push_back(DriverOutput::Failed { request });
        } else if ask.value.is_some() || ask.is_flush() {
            self.outputs.push_back(DriverOutput::Answered { request, part: ask.range, values: None });
        }
    }
}

/// The name under which an initiator of that seed numbers its writes, if it does.
fn name(seed: u32) -> Option<u64> {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    (!seed.is_multiple_of(4)).then(|| u64::from(seed).wrapping_mul(ODD))
}

fn sectors(bytes: u32) -> u64 {
    u64::from(bytes) / SECTOR_BYTES as u64
}

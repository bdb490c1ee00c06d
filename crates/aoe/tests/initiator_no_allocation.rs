//! Proof that an initiator in steady state allocates nothing, also when frames are lost: an allocator that counts for the
//! test's own thread. Unsafe because an allocator is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use aoe::ata::{AtaString, Identify};
use aoe::initiator::{Ask, Initiator, Input, Options, Output, PortId, PortLink};
use aoe::wire::{ata, config};
use aoe::{Address, Command, Frame, MacAddress, Shelf, Slot};
use block::{
    BufferName, BufferSlice, Duration, Instant, Lba, LbaRange, LogicalSectorSize, RequestId, SectorCount,
};

struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

thread_local! {
    // Made without allocation and never dropped, so that the allocator may look at it at any time.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of the same method.
        unsafe { System.dealloc(address, layout) }
    }
}

const DEPTH: u32 = 32;
const TARGET: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// One frame of so many is lost.
const LOST: u32 = 97;

/// A target in arrays: answers what is under way, one frame a turn.
struct World {
    now: Instant,
    initiator: Initiator,
    queue: [[u8; 60]; 4096],
    first: usize,
    last: usize,
    sent: u32,
    ended: u64,
}

impl World {
    fn new() -> Self {
        let now = Instant::from_nanos(1 << 40);
        let link = PortLink { mac: MacAddress([2, 0, 0, 0, 0, 1]), mtu: 9000 };
        let initiator = Initiator::new(now, Options::new(address(), 3), &[(PortId(0), link)]);
        Self { now, initiator, queue: [[0; 60]; 4096], first: 0, last: 0, sent: 0, ended: 0 }
    }

    /// Takes what the initiator gives out; each request that ends is submitted again.
    fn drain(&mut self) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { head, .. } => {
                    self.sent += 1;
                    if !self.sent.is_multiple_of(LOST) {
                        self.queue[self.last % 4096][..head.bytes().len()].copy_from_slice(head.bytes());
                        self.last += 1;
                    }
                }
                Output::Completed { id, result } => {
                    assert_eq!(result, Ok(()));
                    self.ended += 1;
                    self.submit(id);
                }
                Output::Data { .. } | Output::Sized { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    fn submit(&mut self, id: RequestId) {
        let range = LbaRange::new(Lba(u64::from(id.0) * 64), SectorCount(40)).expect("a range");
        let length = u32::try_from(range.bytes()).expect("short");
        let data = BufferSlice { buffer: BufferName(u64::from(id.0)), offset: 0, length };
        let ask = if id.0.is_multiple_of(2) { Ask::Read(range) } else { Ask::Write { range, data } };
        self.initiator.handle_input(self.now, Input::Submit { id, ask }).expect("room");
    }

    /// Answers the next frame, or lets time pass until something is due.
    fn turn(&mut self) {
        if self.first == self.last {
            self.now = self.initiator.poll_timeout().max(self.now);
            self.initiator.handle_input(self.now, Input::Timeout).expect("a timeout");
        } else {
            self.now = self.now.after(Duration::from_micros(3));
            let mut reply = [0; 9000];
            let length = answer(&self.queue[self.first % 4096], &mut reply);
            self.first += 1;
            let input = Input::Frame { port: PortId(0), frame: &reply[..length], buffer: BufferName(0) };
            self.initiator.handle_input(self.now, input).expect("a good answer");
        }
        self.drain();
    }
}

fn address() -> Address {
    Address::new(Shelf(7), Slot(1)).expect("valid")
}

fn answer(question: &[u8; 60], reply: &mut [u8]) -> usize {
    let frame = Frame::new(question).expect("a frame");
    let head = frame.head();
    head.reply(TARGET, address()).emit(reply);
    if head.header.command == Command::QueryConfig {
        let command = config::ConfigCommand::Read;
        config::Repr { buffer_count: 64, firmware: 1, sector_count: 16, version: 1, command, string: b"" }
            .emit(reply);
        return 60;
    }
    let request = ata::Request::parse(ata::View::new(frame).expect("an ATA frame"));
    ata::Reply::success(&request).emit(reply);
    if request.command.is_read() {
        return 36 + request.sectors().bytes();
    }
    if request.command.is_write() {
        return 60;
    }
    let identify = Identify {
        sectors: 1 << 20,
        lba48: true,
        serial: AtaString::new("s"),
        firmware: AtaString::new("f"),
        model: AtaString::new("m"),
        physical_sector_size: LogicalSectorSize::B512,
        write_cache: false,
        smart: false,
    };
    identify.emit((&mut reply[36..548]).try_into().expect("512 bytes"));
    548
}

#[test]
fn an_initiator_in_steady_state_allocates_nothing_even_when_frames_are_lost() {
    let mut world = Box::new(World::new());
    world.drain();
    while world.initiator.volume().is_none() {
        world.turn();
    }
    (0..DEPTH).for_each(|id| world.submit(RequestId(id)));
    world.drain();
    while world.ended < 1000 {
        world.turn();
    }
    let (allocations, retransmissions) = (ALLOCATIONS.get(), world.initiator.statistics().retransmissions);
    while world.ended < 50_000 {
        world.turn();
    }
    assert_eq!(ALLOCATIONS.get() - allocations, 0);
    assert!(world.initiator.statistics().retransmissions - retransmissions > 1000);
}

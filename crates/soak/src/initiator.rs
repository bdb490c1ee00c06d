//! An initiator of ours on a host of its own: a thread that asks, answers nothing but orders, and writes everything down.
//!
//! It never looks at what it reads: whether that is right is judged elsewhere, from the notes of all (`verdict`). Requests overlap as they
//! like, its own as well as those of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use aoe::Address;
use aoe::initiator::{Ask, Initiator, Input, Options, Output, RequestError, TimeoutBounds};
use block::{
    BufferName, BufferSlice, Duration, Instant, Lba, LbaRange, RequestId, SECTOR_BYTES, SectorCount,
};
use lab::Namespace;
use os::clock;
use os::frame_port::PortKind;
use os::initiator_ports::{Arrival, InitiatorPorts};
use sim::content::Value;

use crate::record::{Entry, Event, RequestNumber};
use crate::requests::{Requests, Wish};

/// Requests under way at a time.
const DEPTH: u32 = 8;
/// The largest request, in bytes.
const ROOM: usize = 64 << 10;
const RING_BYTES: usize = 4 << 20;
/// A node may be away, and its peer without a witness; then nobody answers until they are back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(100);
/// Longer pauses between two copies would only hide how soon a node answers again.
const RETRANSMIT: TimeoutBounds =
    TimeoutBounds { min: Duration::from_millis(20), max: Duration::from_millis(500) };
/// How long it waits for frames before it looks for orders.
const LOOK: Duration = Duration::from_millis(5);
/// Answers taken before anything else.
const BATCH: u32 = 32;
/// No frame of its requests has this name.
const FRAME: BufferName = BufferName(u64::MAX);

/// What it is like.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// From 1.
    pub(crate) number: u16,
    pub(crate) interfaces: Vec<String>,
    pub(crate) address: Address,
    pub(crate) sectors: u64,
    /// Whether it numbers its writes.
    pub(crate) sequenced: bool,
    pub(crate) seed: u64,
    pub(crate) requests_per_second: u32,
}

enum Order {
    Work,
    /// Ask nothing more, wait for what is under way, and hand over the notes.
    Rest,
    /// Hand over the notes as they are.
    End,
}

/// What others see of it.
#[derive(Debug, Default)]
struct Signs {
    ready: AtomicBool,
    completed: AtomicU64,
}

/// Its end of the line. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: Sender<Order>,
    notes: Receiver<Vec<Entry>>,
    signs: Arc<Signs>,
}

impl Worker {
    /// Starts one on `host`, resting.
    pub(crate) fn start(host: Namespace, habits: Habits) -> Self {
        let ((orders, incoming), (outgoing, notes)) = (channel(), channel());
        let signs = Arc::new(Signs::default());
        let theirs = Arc::clone(&signs);
        thread::spawn(move || {
            let worked = host.enter(move || {
                let mut hand = Hand::open(habits, theirs).map_err(std::io::Error::other)?;
                hand.run(&incoming, &outgoing);
                Ok(())
            });
            // The other end is told by the channel that has ended.
            worked.unwrap_or_else(|error| eprintln!("soak: an initiator: {error}"));
        });
        Self { orders, notes, signs }
    }

    /// Whether it has found both targets.
    pub(crate) fn is_ready(&self) -> bool {
        self.signs.ready.load(Ordering::Relaxed)
    }

    /// How many of its requests have been answered.
    pub(crate) fn completed(&self) -> u64 {
        self.signs.completed.load(Ordering::Relaxed)
    }

    /// Has it work.
    pub(crate) fn work(&self) {
        self.order(Order::Work);
    }

    /// Has it rest; its notes come later by [`Worker::notes`].
    pub(crate) fn rest(&self) {
        self.order(Order::Rest);
    }

    /// Has it stop where it is; its notes come by [`Worker::notes`].
    pub(crate) fn end(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order) {
        // One that has ended has said why.
        let _ = self.orders.send(order);
    }

    /// What it has written down since the last time; none if it does not come to rest in time.
    pub(crate) fn notes(&self, patience: Duration) -> Option<Vec<Entry>> {
        self.notes.recv_timeout(patience).ok()
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: RequestNumber,
    range: LbaRange,
    is_write: bool,
}

/// The thread's side.
struct Hand {
    habits: Habits,
    signs: Arc<Signs>,
    ports: InitiatorPorts,
    initiator: Initiator,
    requests: Requests,
    next: Wish,
    due: Instant,
    number: RequestNumber,
    open: Vec<Option<Open>>,
    /// The bytes of the writes, a place for each.
    data: Vec<u8>,
    notes: Vec<Entry>,
}

impl Hand {
    fn open(habits: Habits, signs: Arc<Signs>) -> Result<Self, os::frame_port::PortError> {
        let ports = InitiatorPorts::open(&habits.interfaces, PortKind::Ring, RING_BYTES)?;
        let now = clock::now();
        let name = now.as_nanos() ^ u64::from(habits.number) << 48;
        let options = Options {
            requests_max: DEPTH as usize,
            retransmit_timeout: RETRANSMIT,
            answer_timeout: ANSWER_TIMEOUT,
            sequenced: habits.sequenced.then_some(name),
            ..Options::new(habits.address, u32::from(habits.number) << 16)
        };
        let initiator = Initiator::new(now, options, &ports.links());
        let mut requests =
            Requests::new(habits.seed, habits.number, habits.sectors, habits.requests_per_second);
        let next = requests.next();
        Ok(Self {
            signs,
            ports,
            initiator,
            requests,
            next,
            due: now,
            number: 0,
            open: vec![None; DEPTH as usize],
            data: vec![0; ROOM * DEPTH as usize],
            notes: Vec::new(),
            habits,
        })
    }

    /// Works and rests as it is told, until nobody tells it any more.
    fn run(&mut self, orders: &Receiver<Order>, notes: &Sender<Vec<Entry>>) {
        let (mut working, mut asked_for_notes) = (false, false);
        loop {
            match orders.try_recv() {
                Ok(Order::Work) => (working, self.due) = (true, clock::now()),
                Ok(Order::Rest) => (working, asked_for_notes) = (false, true),
                Ok(Order::End) => {
                    let _ = notes.send(std::mem::take(&mut self.notes));
                    return;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            self.turn(working);
            if asked_for_notes && self.open.iter().all(Option::is_none) {
                asked_for_notes = false;
                let _ = notes.send(std::mem::take(&mut self.notes));
            }
            if self.initiator.targets().count() >= 2 {
                self.signs.ready.store(true, Ordering::Relaxed);
            }
        }
    }

    fn turn(&mut self, working: bool) {
        for _ in 0..BATCH {
            let Some(arrival) = self.ports.receive() else { break };
            // The clock is read after the frame has come: see `record`.
            let now = clock::now();
            let frame = self.ports.frame(arrival);
            // What it does not take, it has counted.
            let _refused =
                self.initiator.handle_input(now, Input::Frame { port: arrival.port, frame, buffer: FRAME });
            self.drain(now, Some(arrival));
            self.ports.release(arrival);
        }
        // A copy of a write may be queued whose first answer has freed its place: the place is taken again when it has left.
        self.ports.flush();
        let now = clock::now();
        if working && !self.ports.is_queued() {
            self.submit(now);
        }
        if now >= self.initiator.poll_timeout() {
            self.initiator.handle_input(now, Input::Timeout).expect("there is nothing in it to refuse");
        }
        self.drain(now, None);
        self.ports.flush();
        let mut until = self.initiator.poll_timeout().min(now.after(LOOK));
        if working && self.open.iter().any(Option::is_none) {
            until = until.min(self.due);
        }
        if until > now {
            self.ports.wait(until.since(now));
        }
    }

    /// Asks what is due, if there is room.
    fn submit(&mut self, now: Instant) {
        while self.due <= now {
            let Some(place) = self.open.iter().position(Option::is_none) else { return };
            let Wish { range, is_write, after } = self.next;
            self.next = self.requests.next();
            // What could not be asked for a long time is not made up for.
            self.due = self.due.after(after).max(now.before(LOOK));
            self.number += 1;
            self.open[place] = Some(Open { number: self.number, range, is_write });
            let index = u32::try_from(place).expect("few requests");
            let ask = if is_write {
                self.note(now, self.number, Event::CalledWrite(range, self.habits.sequenced));
                let bytes = &mut self.data[place * ROOM..][..range.bytes()];
                Value::new(self.habits.number, self.number).fill(range.start(), bytes);
                let length = u32::try_from(range.bytes()).expect("at most 64 KiB");
                Ask::Write {
                    range,
                    data: BufferSlice { buffer: BufferName(index.into()), offset: 0, length },
                }
            } else {
                self.note(now, self.number, Event::CalledRead(range));
                Ask::Read(range)
            };
            let input = Input::Submit { id: RequestId(index), ask };
            self.initiator.handle_input(now, input).expect("the volume was found and the requests fit it");
        }
    }

    fn drain(&mut self, now: Instant, arrival: Option<Arrival>) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { port, mut head, payload } => {
                    let Some(slice) = payload else {
                        self.ports.send(port, &head, None);
                        continue;
                    };
                    let place = usize::try_from(slice.buffer.0).expect("a place");
                    let open = self.open[place].expect("only what is under way is sent");
                    let part = part_of(open.range, slice.offset, slice.length);
                    self.note(now, open.number, Event::Sent(part, head.is_sequenced_write()));
                    let bytes = &self.data[place * ROOM + slice.offset as usize..][..slice.length as usize];
                    head.seal(bytes);
                    self.ports.send(port, &head, Some(bytes));
                }
                Output::Data { id, offset, data } => {
                    let open = self.open[id.0 as usize].expect("only what is under way is answered");
                    let arrival = arrival.expect("data come with a frame");
                    let bytes = &self.ports.frame(arrival)[data.offset as usize..][..data.length as usize];
                    let part = part_of(open.range, offset, data.length);
                    let values = Value::of_all(part.start(), bytes).collect();
                    self.note(now, open.number, Event::Read(part, values));
                }
                Output::Completed { id, result } => self.completed(now, id, result),
                Output::Sized { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    fn completed(&mut self, now: Instant, id: RequestId, result: Result<(), RequestError>) {
        let open = self.open[id.0 as usize].take().expect("a request ends once");
        self.signs.completed.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) if open.is_write => self.note(now, open.number, Event::Written),
            // Its parts were written down as they came.
            Ok(()) => {}
            Err(error) => self.note(now, open.number, Event::Failed(error.to_string())),
        }
    }

    fn note(&mut self, at: Instant, request: RequestNumber, event: Event) {
        self.notes.push(Entry { at, initiator: self.habits.number, request, event });
    }
}

/// The sectors of a part of a request, by its place in the request's bytes.
fn part_of(range: LbaRange, offset: u32, length: u32) -> LbaRange {
    let start = Lba(range.start().0 + u64::from(offset) / SECTOR_BYTES as u64);
    let count = SectorCount::from_bytes(length as usize).expect("whole sectors");
    LbaRange::new(start, count).expect("a part of a range")
}

//! One shard: a thread that owns everything its requests touch.
//!
//! Its frame ports, its disks with their engine, its buffers and its node. The loop takes frames in receive order,
//! carries out what the node says, hands disk operations and replies to the kernel in batches, and sleeps when there
//! is nothing to do. Nothing is shared with other shards, nothing is allocated for a read or a write.

mod commands;
mod disks;
mod group_commit;
mod handle;
mod held_commits;
mod merge;
mod metadata;
mod operations;
mod peer;
mod place;
mod ports;
mod sleep;
mod statistics;
mod transmit;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use aoe::MacAddress;
use aoe::target::{PortId, PortLink};
use block::{BufferName, BufferSlice, Completion, Duration, Instant, Operation};
use node::{Input, Node, Output, PairConfig};

use self::disks::Disks;
pub use self::handle::{
    Command, Event, MirroredExport, MirroredExportError, ShardError, ShardHandle, ShardOptions,
};
use self::peer::{Peer, Taken};
use self::place::Place;
pub use self::ports::MTU_GROWTH_MAX;
use self::ports::Ports;
pub use self::statistics::{ExportStatistics, ShardStatistics};
use self::transmit::{Flushed, Transmitter};
use crate::buffer_pool::{BufferPool, Room};
use crate::clock;
use crate::disk::Disk;
use crate::disk_engine::DiskEngine;
use crate::frame_port::Received;
use crate::sys::file::EventFd;
use crate::sys::memory::IoSlice;

/// Frames taken from the ports before their replies leave and disk operations start.
const FRAMES_A_TURN: usize = 64;
/// Of the disk operations under way, one part in so many is completed before its replies leave. A disk may complete all
/// that it has at once; while we answered all of it, it would have nothing to do, although the first initiators' next
/// requests are there already ("What a request costs" in docs/measurements.md).
const COMPLETIONS_PART: usize = 8;
/// But at least so many, or the system calls outweigh it.
const COMPLETIONS_A_TURN_MIN: usize = 4;
/// Where a copied frame begins in its buffer, so that an ATA payload (byte 36) is aligned to a sector.
const FRAME_OFFSET: usize = 512 - aoe::limits::PAYLOAD_OFFSET;
/// A frame that is no longer has no sectors: a read, IDENTIFY, most of what is asked of the config string.
const SHORT_BYTES: usize = 512;

struct Shard {
    node: Node,
    ports: Ports,
    transmitter: Transmitter,
    disks: Disks,
    pool: BufferPool,
    /// Buffers that only disk requests may take, so that copied frames cannot starve what must finish.
    pool_reserve: usize,
    /// For short frames, so that they find room where writes have taken all else: one for each request that may be held, and one
    /// to be looked at. A target that is under load is still found, and reads still come to the disk.
    short: BufferPool,
    peer: Option<Box<Peer>>,
    pair: Option<PairConfig>,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    notify: Box<dyn Fn(Event) + Send>,
    sleepers: Vec<RawFd>,
    busy_poll: Duration,
    has_cores_to_spare: bool,
    /// When something last happened.
    active_at: Instant,
    /// Since when it is about to end.
    stopping_since: Option<Instant>,
    statistics: ShardStatistics,
}

impl Shard {
    fn new(
        options: ShardOptions,
        commands: Receiver<Command>,
        wake: Arc<EventFd>,
        notify: Box<dyn Fn(Event) + Send>,
    ) -> Result<Self, ShardError> {
        let has_cores_to_spare =
            thread::available_parallelism().is_ok_and(|cores| cores.get() >= sleep::CORES_TO_SPARE);
        if let Some(cpu) = options.cpu {
            crate::cpu::pin_to_core(cpu)?;
        }
        let ports = Ports::open(options.ports, options.pair.as_ref())?;
        let outstanding_max = options.limits.outstanding_max;
        let own = Room { count: outstanding_max + outstanding_max / 4, bytes: buffer_bytes(ports.mtu_max()) };
        let (pool, peer) = match &options.pair {
            None => (BufferPool::new(own)?, None),
            Some(pair) => (peer::buffers(own, pair)?, Some(Box::new(Peer::new(pair)?))),
        };
        let engine = DiskEngine::new(options.engine, pool.region()).map_err(ShardError::Engine)?;
        let now = clock::now();
        let mut shard = Self {
            node: match options.pair {
                Some(pair) => Node::with_peer(now, options.limits, pair),
                None => Node::new(options.limits),
            },
            transmitter: Transmitter::new(ports.len(), ports.send_batch(), options.pcap),
            disks: Disks::new(engine, outstanding_max),
            pool,
            pool_reserve: outstanding_max / 4,
            short: BufferPool::new(Room { count: outstanding_max + 1, bytes: SHORT_BYTES })?,
            ports,
            peer,
            pair: options.pair,
            commands,
            wake,
            notify,
            sleepers: Vec::new(),
            busy_poll: options.busy_poll,
            has_cores_to_spare,
            active_at: now,
            stopping_since: None,
            statistics: ShardStatistics::default(),
        };
        shard.look_up_sleepers();
        for index in 0..shard.ports.len() {
            shard.tell_of_port(now, index);
        }
        Ok(shard)
    }

    /// The node hears of a port that was opened.
    fn tell_of_port(&mut self, now: Instant, index: usize) {
        let interface = self.ports[index].interface();
        let mac = self.ports.mac(index, MacAddress(interface.mac));
        let link = PortLink { mac, mtu: interface.mtu };
        let port = port_id(index);
        if let Some(mac) = self.ports.peer_mac(index) {
            self.feed(now, Input::PeerAddress { port, mac });
        }
        self.feed(now, Input::PortChanged { port, link: Some(link) });
    }

    fn run(&mut self) {
        while !self.has_stopped() {
            if let Err(error) = self.turn() {
                (self.notify)(Event::Failed(error));
                return;
            }
        }
    }

    fn has_stopped(&self) -> bool {
        self.stopping_since.is_some() && !self.is_linked() && self.disks.in_flight() == 0
    }

    /// One round of the loop.
    fn turn(&mut self) -> io::Result<()> {
        let mut now = clock::now();
        let commands = self.take_commands(now);
        if commands > 0 {
            // To open a port may take long, and what has come meanwhile is answered now.
            now = clock::now();
        }
        self.part_if_stopping(now);
        let mut messages = Taken { now, count: 0, is_all: true };
        if self.peer.is_some() {
            messages = self.take_messages(now);
            now = messages.now;
        }
        let frames = self.take_frames(now);
        let taken = commands + messages.count + frames;
        let is_all = commands == 0 && messages.is_all;
        if is_all && self.may_sleep(now) {
            // The disk is asked with the call that sleeps.
            if taken > 0 {
                self.active_at = now;
            }
            return self.sleep(now);
        }
        // Reads served from memory leave before the disk is asked for the others.
        self.transmit(now);
        self.disks.submit()?;
        // To hand a busy disk its work may take long, and what it has done meanwhile is answered now. But what the peer has sent
        // meanwhile is looked at before anybody is given up for lost.
        let (due, now) = (now, clock::now());
        let mut completions = self.take_completions(now);
        if self.peer.is_some() {
            completions += self.take_written_metadata(now);
        }
        if self.is_timeout_due(due) {
            self.transmit(now);
            self.feed(now, Input::Timeout);
        }
        if taken + completions == 0 {
            self.transmit(now);
            return self.idle(now);
        }
        self.active_at = now;
        if is_all && self.may_sleep(now) {
            return self.sleep(now);
        }
        self.transmit(now);
        Ok(())
    }

    /// Takes frames, the oldest of all ports first, up to a turn's worth.
    fn take_frames(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while count < FRAMES_A_TURN {
            let Some(port) = self.ports.oldest() else { break };
            self.take_frame(now, port);
            count += 1;
        }
        count
    }

    fn take_frame(&mut self, now: Instant, index: usize) {
        let Some(received) = self.ports[index].receive() else { return };
        self.statistics.frames_received += 1;
        self.transmitter.record(received.received, self.ports[index].frame(received.slot));
        let port = port_id(index);
        if !self.ports[index].releases_in_any_order() {
            // A slot held until a slow disk is done would stop the whole ring, so the bytes leave it at once: those of a
            // read, too, which may have to wait for a write. The target looks at them next, so the copy costs little
            // more than that look would have.
            self.take_copied(now, port, received);
            return;
        }
        let name = self.ports.place(index, received.slot).name().expect("slots have names");
        let frame = self.ports[index].frame(received.slot);
        let input = Input::Frame { port, received: received.received, frame, buffer: name };
        // A refused frame is counted by the target, which knows why.
        let _ = self.node.handle_input(now, input);
        self.carry_out(now);
    }

    fn take_copied(&mut self, now: Instant, port: PortId, received: Received) {
        let index = port.0 as usize;
        let Some(place) = self.take_place(received.length as usize) else {
            self.statistics.frames_without_buffer += 1;
            self.ports[index].release(received.slot);
            return;
        };
        let name = place.name().expect("pool buffers have names");
        let copy = self.memory(BufferSlice { buffer: name, offset: 0, length: received.length });
        copy.copy_from(self.ports[index].frame(received.slot));
        self.ports[index].release(received.slot);
        let input = Input::Frame { port, received: received.received, frame: copy.look(), buffer: name };
        let _ = self.node.handle_input(now, input);
        self.carry_out(now);
    }

    /// Room for a frame of so many bytes, if there is any.
    fn take_place(&mut self, length: usize) -> Option<Place> {
        if length <= SHORT_BYTES
            && let Some(buffer) = self.short.take()
        {
            return Some(Place::Short(buffer));
        }
        let has_room =
            length <= self.pool.buffer_bytes() - FRAME_OFFSET && self.pool.free() > self.pool_reserve;
        if has_room { self.pool.take().map(Place::Frame) } else { None }
    }

    fn take_completions(&mut self, now: Instant) -> usize {
        let turn = (self.disks.in_flight() / COMPLETIONS_PART).max(COMPLETIONS_A_TURN_MIN);
        let mut count = 0;
        // The requests of one operation have ended together, and what follows them may again be one if they leave together.
        while (count < turn || self.disks.is_completing())
            && let Some(completion) = self.disks.completed(now, &mut self.pool)
        {
            self.feed(now, Input::Completed(completion));
            count += usize::from(!self.disks.is_completing());
        }
        count
    }

    fn feed(&mut self, now: Instant, input: Input<'_>) {
        let _ = self.node.handle_input(now, input);
        self.carry_out(now);
    }

    /// Carries out everything the node wants. A read found in memory completes at once, which makes more outputs.
    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Disk(request) => {
                    let data = match request.operation {
                        // A write's bytes begin where the slice says, inside a frame.
                        Operation::Write { data, .. } => Some(self.memory(data)),
                        Operation::Read { .. } | Operation::Flush => None,
                    };
                    if let Some(completion) = self.disks.start(now, request, data, &mut self.pool) {
                        self.complete_now(now, completion);
                    }
                }
                Output::Copy { from, to } => self.memory(to).copy_from_slice(self.memory(from)),
                Output::Send(transmit) => {
                    let payload = transmit.payload.map(|slice| (slice.buffer, self.memory(slice)));
                    self.queue_frame(now, transmit.port, transmit.head.bytes(), payload);
                }
                Output::SendControl { port, frame } => self.queue_frame(now, port, &frame, None),
                Output::Release(name) => self.release(name),
                Output::StoreState { export, state } => (self.notify)(Event::StoreState { export, state }),
                output @ (Output::Arrived { .. }
                | Output::PeerSend { .. }
                | Output::PeerDisconnect { .. }
                | Output::MetadataWrite { .. }
                | Output::Digest { .. }
                | Output::Ask { .. }
                | Output::Slow(_)
                | Output::PeerLinksDown(_)
                | Output::Event { .. }) => self.carry_out_for_peer(now, output),
            }
        }
    }

    fn complete_now(&mut self, now: Instant, completion: Completion) {
        let _ = self.node.handle_input(now, Input::Completed(completion));
    }

    fn queue_frame(
        &mut self,
        now: Instant,
        port: PortId,
        head: &[u8],
        payload: Option<(BufferName, IoSlice)>,
    ) {
        let index = port.0 as usize;
        if index >= self.ports.len() {
            // Closed since it was asked: the initiator asks again elsewhere.
            return payload.into_iter().for_each(|(name, _)| self.release(name));
        }
        if self.peer.is_some() {
            self.note_lease(index);
        }
        let flushed = self.transmitter.queue(now, index, &mut self.ports[index], head, payload);
        self.account(flushed);
    }

    /// Sends what is queued and frees the buffers of what was sent. Data for the peer goes first: its disk waits for that.
    /// What only tells the peer of something done goes last.
    fn transmit(&mut self, now: Instant) {
        let Some(peer) = &self.peer else { return self.transmit_frames() };
        let is_urgent = peer.has_data_queued();
        if is_urgent {
            self.transmit_to_peer(now);
        }
        self.transmit_frames();
        if !is_urgent {
            self.transmit_to_peer(now);
        }
    }

    /// The same, what goes to the peer by the call that starts what waits for the disk: says whether it is to be told of that call.
    fn transmit_with_disk(&mut self, now: Instant) -> bool {
        let is_urgent = self.peer.as_ref().is_some_and(|peer| peer.has_data_queued());
        if is_urgent && self.transmitter.has_queued() {
            self.transmit(now);
            return false;
        }
        self.transmit_frames();
        self.hand_over_to_peer(now)
    }

    fn transmit_frames(&mut self) {
        if self.peer.is_some() {
            self.drop_answers_too_late();
        }
        for index in 0..self.ports.len() {
            if self.ports[index].queued() > 0 {
                let flushed = self.transmitter.flush(clock::now(), index, &mut self.ports[index]);
                self.account(flushed);
            }
        }
        if self.peer.is_some() {
            self.forget_lease();
        }
    }

    fn account(&mut self, flushed: Flushed) {
        self.statistics.frames_sent += flushed.sent as u64;
        self.statistics.frames_unsent += flushed.dropped as u64;
        while let Some(name) = self.transmitter.take_done() {
            self.release(name);
        }
        while let Some(name) = self.transmitter.take_unreadable() {
            self.forget(name);
        }
    }

    /// A page that was believed to be in memory could not be read from there: the initiator will ask again, and then
    /// the engine reads it and reports what is wrong.
    fn forget(&mut self, name: BufferName) {
        self.statistics.pages_lost += 1;
        if let Place::Cached { export, file_sector } = Place::of(name)
            && let Some(cache) = self.disks.disk_mut(export).and_then(Disk::cache)
        {
            cache.forget(file_sector * block::SECTOR_BYTES as u64);
        } else {
            self.release(name);
        }
    }

    fn release(&mut self, name: BufferName) {
        if self.peer.as_mut().is_some_and(|peer| peer.holds(name)) {
            return;
        }
        match Place::of(name) {
            Place::Pool(buffer) | Place::Frame(buffer) => self.pool.give(buffer),
            Place::Short(buffer) => self.short.give(buffer),
            Place::Slot { port, generation, slot } => self.ports.release(port, generation, slot),
            Place::Cached { .. } => {}
        }
    }

    /// The memory that a slice names.
    fn memory(&mut self, slice: BufferSlice) -> IoSlice {
        let (offset, length) = (slice.offset as usize, slice.length as usize);
        match Place::of(slice.buffer) {
            Place::Pool(buffer) => self.pool.slice(buffer, offset, length),
            Place::Frame(buffer) => self.pool.slice(buffer, FRAME_OFFSET + offset, length),
            Place::Short(buffer) => self.short.slice(buffer, offset, length),
            Place::Slot { port, generation, slot } => {
                IoSlice::received(self.ports.holder(port, generation).frame(slot)).part(offset, length)
            }
            Place::Cached { export, file_sector } => {
                let cache =
                    self.disks.disk_mut(export).and_then(Disk::cache).expect("a cached place has a cache");
                cache.slice(file_sector * block::SECTOR_BYTES as u64 + offset as u64, length)
            }
        }
    }
}

fn port_id(index: usize) -> PortId {
    PortId(u8::try_from(index).expect("a shard has few ports"))
}

/// Room for a whole frame with its payload aligned, and for a request widened to 4096-byte sectors on both sides.
fn buffer_bytes(mtu: u32) -> usize {
    const ETHERNET_HEADER_BYTES: usize = 14;
    let frame = FRAME_OFFSET + ETHERNET_HEADER_BYTES + mtu as usize;
    let widened = aoe::limits::sectors_per_frame_raw(mtu as usize).bytes() + 2 * 4096;
    frame.max(widened).next_multiple_of(4096)
}

#[cfg(test)]
mod tests;

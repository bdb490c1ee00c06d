//! The loop: answers in, measured, checked; the next requests out. One thread, no sleep (unless asked for), no
//! allocation once it runs, one look at the clock for a batch of answers.

use aoe::initiator::{Ask, Initiator, Input, Options, Output, RequestError, Statistics, TimeoutBounds};
use block::{
    BufferName, BufferSlice, Duration, Instant, Lba, LbaRange, RequestId, SECTOR_BYTES, SectorCount,
};
use os::clock;

use super::generator::{Direction, Generator};
use super::meter::Meter;
use super::progress::Progress;
use super::report::{Report, TargetReport};
use super::stamp::Stamp;
use super::verifier::Verifier;
use super::{BenchError, Plan};
use crate::interrupt::{self, Interrupt};
use os::initiator_ports::{Arrival, InitiatorPorts};

/// Answers taken before the next requests go out.
const BATCH: u32 = 32;
/// Answers for one look at the clock.
const ANSWERS_PER_CLOCK: u32 = 8;
/// After the first target was found others, and other interfaces, are waited for until so long after the beginning.
const DISCOVERY: Duration = Duration::from_millis(150);
/// Sectors that `--verify` can remember: 2 GiB of memory.
const VERIFY_SECTORS_MAX: u64 = 1 << 29;
/// So many failures end the load.
const FAILURES_MAX: u64 = 1000;
/// A ring goes through the cache as a whole: a larger one makes every frame dearer.
const RECEIVE_BYTES_MIN: usize = 4 << 20;
/// Memory for a frame at MTU 9000.
const RECEIVE_SLOT_BYTES: usize = 9728;
/// Tried for a block that no write is under way to, before the loop goes round.
const PICKS: u32 = 8;
/// How long a load that was interrupted waits for what is under way.
const INTERRUPTED_PATIENCE: Duration = Duration::from_secs(1);

/// A load on a volume that was found.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    plan: &'a Plan,
    ports: InitiatorPorts,
    initiator: Initiator,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    /// The bytes of each slot's request, one after the other.
    data: Box<[u8]>,
    generator: Generator,
    generation: u32,
    verifier: Option<Verifier>,
    meter: Meter,
    measuring: bool,
    /// When the next request of an open loop is due.
    due: Instant,
    submitted: u64,
    failed: u64,
    first_failure: Option<RequestError>,
    interrupt: Interrupt,
}

/// Room for one request.
#[derive(Clone, Copy, Debug)]
struct Slot {
    busy: bool,
    direction: Direction,
    block: u64,
    generation: u32,
    begun: Instant,
}

impl<'a> Load<'a> {
    /// Opens the ports and finds the volume.
    pub(crate) fn open(plan: &'a Plan, interrupt: Interrupt) -> Result<Self, BenchError> {
        let bytes = plan.block.bytes() * plan.depth as usize;
        // A slot has room for the largest frame; small requests waste most of theirs.
        let memory = (bytes * 2).max(plan.depth as usize * RECEIVE_SLOT_BYTES * 2).max(RECEIVE_BYTES_MIN);
        let mut ports = InitiatorPorts::open(&plan.interfaces, plan.port, memory)?;
        let now = clock::now();
        let mut initiator = Initiator::new(now, options(plan, now), &ports.links());
        find(plan, now, &mut ports, &mut initiator, &interrupt)?;
        let blocks = blocks(plan, &initiator)?;
        let verifier = plan
            .verify
            .then(|| Verifier::new(plan.seed, plan.offset_sectors, blocks, plan.block, plan.depth));
        let slot = Slot {
            busy: false,
            direction: Direction::Read,
            block: 0,
            generation: 0,
            begun: Instant::default(),
        };
        Ok(Self {
            plan,
            ports,
            initiator,
            slots: vec![slot; plan.depth as usize].into_boxed_slice(),
            free: (0..plan.depth).rev().collect(),
            data: filler(bytes, plan.seed),
            generator: Generator::new(plan, blocks),
            generation: 0,
            verifier,
            meter: Meter::new(),
            measuring: false,
            due: now,
            submitted: 0,
            failed: 0,
            first_failure: None,
            interrupt,
        })
    }

    /// Loads, measures, and waits for what is still under way.
    pub(crate) fn run(&mut self) -> Result<Report, BenchError> {
        let begin = clock::now();
        self.due = begin;
        let measured_from = begin.after(self.plan.warm_up);
        let end = measured_from.after(self.plan.duration);
        let mut progress = Progress::new(begin, self.plan.warm_up + self.plan.duration, self.plan.json);
        let mut now = begin;
        let mut baseline = None;
        while now < end && !self.is_enough() {
            if baseline.is_none() && now >= measured_from {
                self.measuring = true;
                baseline = Some(Baseline::take(now, &self.initiator));
            }
            now = self.turn(end);
            progress.look(now, self.meter.requests());
        }
        let interrupted = now < end && !self.is_done();
        let baseline = baseline.unwrap_or_else(|| Baseline::take(now, &self.initiator));
        self.finish(now);
        let processor_time = os::cpu::thread_time() - baseline.processor_time;
        // A load that was to do so many requests is measured until the last of them has ended.
        let ended = if self.plan.requests.is_some() { clock::now() } else { now };
        self.measuring = false;
        progress.finish();
        let report = self.report(&baseline, ended.since(baseline.begin), processor_time);
        Ok(Report { interrupted, ..report })
    }

    fn is_enough(&self) -> bool {
        self.interrupt.is_asked() || self.is_done()
    }

    fn is_done(&self) -> bool {
        self.failed >= FAILURES_MAX || self.plan.requests.is_some_and(|requests| self.submitted >= requests)
    }

    /// Waits for what is under way.
    fn finish(&mut self, now: Instant) {
        // Without a number of requests only what ends within the time counts.
        self.measuring &= self.plan.requests.is_some();
        let patience = self.plan.answer_timeout + Duration::from_secs(2);
        let patience = if self.interrupt.is_asked() { INTERRUPTED_PATIENCE } else { patience };
        let limit = now.after(patience);
        let mut now = now;
        while self.free.len() < self.slots.len() && now < limit {
            now = self.take_answers();
            self.drain(now, None);
            self.ports.flush();
            self.handle_timeouts(now);
            if self.plan.sleep {
                self.ports.wait(self.initiator.poll_timeout().since(now).min(Duration::from_millis(10)));
            }
        }
    }

    /// Once round; the time.
    fn turn(&mut self, end: Instant) -> Instant {
        let now = self.take_answers();
        // A copy of a write may be queued whose first answer has just freed its slot: until it has left, nothing may be
        // put into that slot, or the copy would carry other data to its sectors.
        self.ports.flush();
        if now < end && !self.ports.is_queued() {
            self.submit(now);
        }
        self.drain(now, None);
        self.ports.flush();
        self.handle_timeouts(now);
        if self.plan.sleep {
            self.sleep(now, end);
        }
        now
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if now >= self.initiator.poll_timeout() {
            self.initiator.handle_input(now, Input::Timeout).expect("a timeout is always taken");
            self.drain(now, None);
            self.ports.flush();
        }
    }

    fn sleep(&mut self, now: Instant, end: Instant) {
        let mut until = end.min(self.initiator.poll_timeout()).min(now.after(interrupt::LOOK));
        if self.plan.interval.is_some() && !self.free.is_empty() {
            until = until.min(self.due);
        }
        if until > now {
            self.ports.wait(until.since(now));
        }
    }

    /// Takes a batch of answers; the time after the last look at the clock.
    fn take_answers(&mut self) -> Instant {
        let mut now = Instant::default();
        for count in 0..BATCH {
            let Some(arrival) = self.ports.receive() else {
                break;
            };
            if count % ANSWERS_PER_CLOCK == 0 {
                now = clock::now();
            }
            let frame = self.ports.frame(arrival);
            let input = Input::Frame { port: arrival.port, frame, buffer: BufferName(u64::MAX) };
            // What cannot be read is counted by the initiator.
            let _ = self.initiator.handle_input(now, input);
            self.drain(now, Some(arrival));
            self.ports.release(arrival);
        }
        if now == Instant::default() { clock::now() } else { now }
    }

    fn drain(&mut self, now: Instant, arrival: Option<Arrival>) {
        while let Some(output) = self.initiator.poll_output() {
            match output {
                Output::Send { port, head, payload } => {
                    let payload = payload.map(|slice| bytes_of(&self.data, self.plan.block, slice));
                    self.ports.send(port, &head, payload);
                }
                Output::Data { id, offset, data } => {
                    if self.verifier.is_some() {
                        let arrival = arrival.expect("data comes with a frame");
                        let read = &self.ports.frame(arrival)[data.offset as usize..][..data.length as usize];
                        let start = id.0 as usize * self.plan.block.bytes() + offset as usize;
                        self.data[start..start + read.len()].copy_from_slice(read);
                    }
                }
                Output::Completed { id, result } => self.ended(now, id.0, result),
                Output::Sized { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    fn ended(&mut self, now: Instant, index: u32, result: Result<(), RequestError>) {
        let slot = &mut self.slots[index as usize];
        assert!(slot.busy, "a request ends once");
        slot.busy = false;
        self.free.push(index);
        let Slot { direction, block, generation, begun, .. } = *slot;
        if let Err(error) = result {
            self.failed += 1;
            self.first_failure.get_or_insert(error);
            return;
        }
        if self.measuring {
            self.meter.record(direction, begun, now);
        }
        if let Some(verifier) = &mut self.verifier {
            match direction {
                Direction::Write => verifier.written(block, generation),
                Direction::Read => {
                    let bytes = self.plan.block.bytes();
                    let start = index as usize * bytes;
                    verifier.check(index, block, &self.data[start..start + bytes]);
                }
            }
        }
    }

    /// Begins requests while there is room and they are due.
    fn submit(&mut self, now: Instant) {
        while let Some(&index) = self.free.last() {
            let begun = match self.plan.interval {
                None => now,
                Some(_) if self.due <= now => self.due,
                Some(_) => return,
            };
            if self.is_enough() {
                return;
            }
            let Some((direction, block)) = self.pick() else {
                return;
            };
            self.free.pop();
            self.due = self.due.after(self.plan.interval.unwrap_or_default());
            self.submitted += 1;
            self.generation = self.generation.wrapping_add(1).max(1);
            self.slots[index as usize] =
                Slot { busy: true, direction, block, generation: self.generation, begun };
            let ask = self.ask(index, direction, block);
            let input = Input::Submit { id: RequestId(index), ask };
            self.initiator
                .handle_input(now, input)
                .expect("the window fits the volume and the depth its room");
        }
    }

    /// The next request. With `--verify` no two writes to a block are under way at a time: nobody could say which of
    /// them is the last.
    fn pick(&mut self) -> Option<(Direction, u64)> {
        if self.verifier.is_none() {
            return Some(self.generator.next());
        }
        for _ in 0..PICKS {
            let (direction, block) = self.generator.next();
            let written =
                |slot: &Slot| slot.busy && slot.direction == Direction::Write && slot.block == block;
            if direction == Direction::Read || !self.slots.iter().any(written) {
                return Some((direction, block));
            }
        }
        None
    }

    fn ask(&mut self, index: u32, direction: Direction, block: u64) -> Ask {
        let count = self.plan.block;
        let first = self.plan.offset_sectors + block * u64::from(count.0);
        let range = LbaRange::new(Lba(first), count).expect("the window was checked");
        match direction {
            Direction::Read => {
                if let Some(verifier) = &mut self.verifier {
                    verifier.reading(index, block);
                }
                Ask::Read(range)
            }
            Direction::Write => {
                self.stamp(index, first);
                let length = u32::try_from(count.bytes()).expect("at most 16 MiB");
                Ask::Write {
                    range,
                    data: BufferSlice { buffer: BufferName(u64::from(index)), offset: 0, length },
                }
            }
        }
    }

    /// Makes the data of a write differ from that of every other.
    fn stamp(&mut self, index: u32, first: u64) {
        let bytes = self.plan.block.bytes();
        let generation = self.slots[index as usize].generation;
        let start = index as usize * bytes;
        let sectors = self.data[start..start + bytes].chunks_exact_mut(SECTOR_BYTES);
        for (sector, bytes) in (first..).zip(sectors) {
            let stamp = Stamp { sector, generation, run: self.plan.seed };
            if self.verifier.is_some() { stamp.seal(bytes) } else { stamp.mark(bytes) }
        }
    }

    fn report(&mut self, baseline: &Baseline, elapsed: Duration, processor_time: Duration) -> Report {
        let Plan { address, block, depth, workload, .. } = *self.plan;
        let summary = |direction| self.meter.summary(direction, elapsed, block.bytes());
        let targets = self.initiator.targets().map(|status| {
            let mut responders = self.initiator.responders();
            let responder = responders.find(|responder| responder.mac == status.mac);
            TargetReport::new(&status, responder.map_or(0, |responder| responder.buffer_count))
        });
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let requests = self.meter.requests().max(1) as f64;
        let mut report = Report {
            address: address.to_string(),
            volume_bytes: self.initiator.volume().map_or(0, |volume| volume.sectors * SECTOR_BYTES as u64),
            targets: targets.collect(),
            sectors_per_frame: self.initiator.sectors_per_frame().0,
            workload: format!("{workload:?}").to_lowercase(),
            block_bytes: block.bytes(),
            depth,
            seconds: elapsed.as_secs_f64(),
            read: summary(Direction::Read),
            write: summary(Direction::Write),
            requests_in_all: self.submitted,
            failed: self.failed,
            frames_sent: 0,
            retransmissions: 0,
            late_answers: 0,
            refusals: 0,
            malformed_answers: 0,
            window_reductions: 0,
            answers_lost_here: self.ports.lost(),
            client_microseconds_per_request: processor_time.as_secs_f64() * 1e6 / requests,
            verified: self.verifier.as_ref().map(Verifier::findings),
            interrupted: false,
            first_failure: self.first_failure,
        };
        report.count(baseline.statistics, self.initiator.statistics());
        report
    }
}

/// How it stood when measuring began.
#[derive(Debug)]
struct Baseline {
    begin: Instant,
    statistics: Statistics,
    processor_time: Duration,
}

impl Baseline {
    fn take(now: Instant, initiator: &Initiator) -> Self {
        Self { begin: now, statistics: initiator.statistics(), processor_time: os::cpu::thread_time() }
    }
}

fn options(plan: &Plan, now: Instant) -> Options {
    // The smallest frames have two sectors; more frames than this at a time gain nothing on any network.
    let frames = plan.depth as usize * usize::from(plan.block.0).div_ceil(2);
    let seed = u32::try_from((now.as_nanos() ^ u64::from(std::process::id()) << 16) & 0xffff_ffff);
    Options {
        frames_max: frames.min(4096),
        requests_max: plan.depth as usize,
        retransmit_timeout: TimeoutBounds { min: plan.retransmit_after, max: Duration::from_secs(5) },
        answer_timeout: plan.answer_timeout,
        ..Options::new(plan.address, seed.expect("masked"))
    }
}

/// Runs the initiator until it has found its volume.
fn find(
    plan: &Plan,
    begin: Instant,
    ports: &mut InitiatorPorts,
    initiator: &mut Initiator,
    interrupt: &Interrupt,
) -> Result<(), BenchError> {
    while !interrupt.is_asked() {
        while let Some(output) = initiator.poll_output() {
            if let Output::Send { port, head, payload: None } = output {
                ports.send(port, &head, None);
            }
        }
        ports.flush();
        let now = clock::now();
        let passed = now.since(begin);
        if initiator.volume().is_some() && passed >= DISCOVERY {
            return Ok(());
        }
        if passed >= plan.answer_timeout {
            let interfaces = plan.interfaces.join(", ");
            return Err(BenchError::NoAnswer {
                address: plan.address,
                interfaces,
                first: plan.interfaces[0].clone(),
            });
        }
        ports.wait(initiator.poll_timeout().since(now).min(DISCOVERY / 10));
        let now = clock::now();
        while let Some(arrival) = ports.receive() {
            let frame = ports.frame(arrival);
            let input = Input::Frame { port: arrival.port, frame, buffer: BufferName(u64::MAX) };
            // A frame that cannot be read is nothing found.
            let _ = initiator.handle_input(now, input);
            ports.release(arrival);
        }
        initiator.handle_input(now, Input::Timeout).expect("a timeout is always taken");
    }
    Err(BenchError::Interrupted { seconds: 0.0 })
}

/// Blocks in the window.
fn blocks(plan: &Plan, initiator: &Initiator) -> Result<u64, BenchError> {
    let volume = initiator.volume().map_or(0, |volume| volume.sectors);
    let after_offset = volume.saturating_sub(plan.offset_sectors);
    let sectors = plan.sectors.unwrap_or(after_offset);
    let blocks = sectors / u64::from(plan.block.0);
    if blocks == 0 || sectors > after_offset {
        return Err(BenchError::VolumeTooSmall {
            address: plan.address,
            volume_bytes: volume * SECTOR_BYTES as u64,
            block_bytes: plan.block.bytes() as u64,
        });
    }
    if plan.verify && sectors > VERIFY_SECTORS_MAX {
        return Err(BenchError::TooLargeToVerify(sectors * SECTOR_BYTES as u64));
    }
    Ok(blocks)
}

/// Bytes that do not compress.
fn filler(bytes: usize, seed: u64) -> Box<[u8]> {
    let mut state = seed | 1;
    let mut data = vec![0; bytes].into_boxed_slice();
    for word in data.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    data
}

fn bytes_of(data: &[u8], block: SectorCount, slice: BufferSlice) -> &[u8] {
    let slot = usize::try_from(slice.buffer.0).expect("a slot");
    let start = slot * block.bytes() + slice.offset as usize;
    &data[start..start + slice.length as usize]
}

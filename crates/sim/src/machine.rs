//! A machine: a clock and disks, and on it a process with the real code, that lives until it is killed.
//!
//! It hands in what happens, also to a process that stands still for a while, and asks the disks what the process wants.

use std::collections::VecDeque;

use aoe::target::{ExportConfig, PortId, PortLink, TargetLimits};
use aoe::{Digest, MacAddress};
use block::{Completion, Duration, Instant};
use node::{Input, Node, Output, PairConfig};
use replication::identity::FormatIdentity;
use replication::meta;
use replication::meta::layout::{HOT_EXTENTS_MIN, Layout};
use replication::resize::Capacity;
use replication::start::VolumeConfig;
use replication::version::{Version, VersionRange};
use replication::volume::VolumeStatus;

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::disk::{Ask, Disk, Loss, Ticket};
use crate::fault::{Fault, FaultCounts};
use crate::host::SEGMENTS_MAX;
use crate::mark::{Mark, Marks};
use crate::mistake::Mistake;
use crate::peer_link::{Connection, Delivery};
use crate::process::{Asked, Effect, Happening, Process};
use crate::random::Random;
use crate::stream::Stream;

/// The digests that nodes tell each other are made under this number.
const DIGEST_SEED: u64 = 0x5eed;

/// How a machine is made.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Its clock.
    pub clock: Clock,
    /// Its ports.
    pub links: Vec<PortLink>,
    /// The addresses of the other machine's ports.
    pub peer_addresses: Vec<MacAddress>,
    /// What it exports, by volume.
    pub exports: Vec<ExportConfig>,
    /// How much its node holds.
    pub limits: TargetLimits,
    /// The pair it belongs to; each process has another incarnation.
    pub pair: PairConfig,
    /// So many of its processes are of a program that speaks only the oldest version of the peer protocol; then it is upgraded.
    pub older_boots: u32,
    /// What its node does wrong on purpose.
    pub mistake: Mistake,
    /// How large each volume could be made.
    pub capacities: Vec<Capacity>,
    /// What holds for each volume.
    pub volume_configs: Vec<VolumeConfig>,
    /// What the metadata of its volumes was made of.
    pub formats: Vec<Fresh>,
}

impl MachineConfig {
    /// What its process of that boot speaks.
    const fn versions(&self, boot: u32) -> VersionRange {
        if boot <= self.older_boots {
            VersionRange::of(Version::OLDEST, Version::OLDEST)
        } else {
            self.pair.versions
        }
    }
}

/// Requests that take longer tell where their time went.
const SLOW: Duration = Duration::from_millis(20);

/// What fresh metadata of a volume says.
pub type Fresh = meta::Format;

/// The disks of a volume.
#[derive(Debug)]
pub struct Disks {
    /// Its sectors.
    pub data: Disk,
    /// Its metadata.
    pub metadata: Disk,
}

impl Disks {
    /// Makes metadata on a disk of zeros.
    pub fn format(&mut self, fresh: Fresh) {
        let fresh = meta::format(fresh);
        for (place, record) in fresh.bitmap_records().chain(fresh.superblock_records()) {
            self.metadata.store_mut().write(place.0, &record);
        }
    }
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    /// By volume.
    pub disks: Vec<Disks>,
    process: Option<Process>,
    /// By port.
    links_down: [bool; SEGMENTS_MAX],
    boot: u32,
    paused_until: Option<Instant>,
    /// What happened while it stood still.
    inbox: VecDeque<(Instant, Happening)>,
    timer_missed: bool,
}

impl Machine {
    /// A machine without power.
    #[must_use]
    pub const fn new(config: MachineConfig, disks: Vec<Disks>) -> Self {
        Self {
            config,
            disks,
            process: None,
            links_down: [false; SEGMENTS_MAX],
            boot: 0,
            paused_until: None,
            inbox: VecDeque::new(),
            timer_missed: false,
        }
    }

    /// Starts the process; says how many of its volumes had as many hot extents as the log holds.
    ///
    /// # Errors
    /// If the metadata of a volume is lost: then an operator would have to decide.
    ///
    /// # Panics
    /// If one runs already.
    pub fn start(
        &mut self,
        now: Instant,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) -> Result<usize, String> {
        assert!(self.process.is_none(), "one process at a time");
        self.boot += 1;
        let shown = self.config.clock.show(now);
        let (incarnation, versions) = (u64::from(self.boot), self.config.versions(self.boot));
        let pair = PairConfig { incarnation, versions, ..self.config.pair };
        let mut node = Node::with_peer(shown, self.config.limits, pair);
        self.config.mistake.plant(&mut node);
        let mut exports = Vec::new();
        let mut full_logs = 0;
        let configs = self.config.exports.iter().zip(&self.config.volume_configs);
        for ((config, volume_config), disks) in configs.zip(&mut self.disks) {
            // What the process before had under way may stand only in a cache: a shell flushes before it opens.
            disks.data.flush_now();
            disks.metadata.flush_now();
            let opened = meta::open(|place, bytes| disks.metadata.read_now(place.0, bytes));
            let opened = opened.map_err(|error| format!("{} does not start: {error}", pair.node))?;
            if opened.superblock.disk_lost && self.boot.is_multiple_of(2) {
                // Somebody has put an empty one in the place of the one that has failed.
                disks.data.replace();
                counts.add(Fault::DiskReplaced);
            }
            full_logs +=
                usize::from(opened.log.as_ref().is_ok_and(|log| log.slots.iter().all(Option::is_some)));
            let config =
                ExportConfig { sectors: opened.superblock.layout.volume_sectors(), ..config.clone() };
            let added = node.add_mirrored_export(shown, config, opened, *volume_config);
            exports.push(added.map_err(|error| error.to_string())?);
        }
        let buffers = Buffers::default();
        let with_room: Vec<_> = exports.iter().copied().zip(self.config.capacities.clone()).collect();
        self.process = Some(Process { node, buffers, exports, stream: None, asked: Vec::new() });
        for (volume, capacity) in with_room {
            self.input(now, Input::Capacity { volume, capacity }, counts, effects);
        }
        self.input(now, Input::SlowAfter(Some(SLOW)), counts, effects);
        for port in 0..self.ports() {
            self.tell_of_port(now, port, self.links_down[usize::from(port)], counts, effects);
        }
        for (port, mac) in (0..).map(PortId).zip(self.config.peer_addresses.clone()) {
            self.input(now, Input::PeerAddress { port, mac }, counts, effects);
        }
        Ok(full_logs)
    }

    /// Ends the process. What its disks had under way is treated as `loss` says. Tells the connection it had.
    pub fn stop(&mut self, loss: Loss) -> Option<Connection> {
        let process = self.process.take();
        self.paused_until = None;
        self.inbox.clear();
        self.timer_missed = false;
        for Disks { data, metadata } in &mut self.disks {
            // Records of the metadata tell for themselves when they are torn.
            let torn = if loss == Loss::ProcessOnly { loss } else { Loss::Tear };
            data.crash(loss);
            metadata.crash(torn);
        }
        process?.stream.map(|stream| stream.connection)
    }

    /// Its ports carry frames of that MTU from now on.
    pub fn set_mtu(&mut self, now: Instant, mtu: u32, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        for link in &mut self.config.links {
            link.mtu = mtu;
        }
        for port in 0..self.ports() {
            self.tell_of_port(now, port, self.links_down[usize::from(port)], counts, effects);
        }
    }

    /// These ports have no link from now on. Tells for which of them that is news.
    pub fn set_links_down(&mut self, down: [bool; SEGMENTS_MAX]) -> Vec<u8> {
        let before = std::mem::replace(&mut self.links_down, down);
        (0..self.ports()).filter(|port| before[usize::from(*port)] != down[usize::from(*port)]).collect()
    }

    fn ports(&self) -> u8 {
        u8::try_from(self.config.links.len()).expect("one or two")
    }

    fn tell_of_port(
        &mut self,
        now: Instant,
        port: u8,
        down: bool,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        let link = (!down).then_some(self.config.links[usize::from(port)]);
        self.input(now, Input::PortChanged { port: PortId(port), link }, counts, effects);
    }

    /// Its disks are empty ones now, with fresh metadata that says so, and else what the other node says.
    ///
    /// # Panics
    /// If a process runs.
    pub fn replace_disks(&mut self, random: &mut Random, told: &[VolumeStatus]) {
        assert!(self.process.is_none(), "disks are replaced while nobody uses them");
        for ((disks, fresh), told) in self.disks.iter_mut().zip(&self.config.formats).zip(told) {
            disks.data.replace();
            disks.metadata.replace();
            let format = FormatIdentity(random.identity());
            let layout = Layout::new(told.sectors, HOT_EXTENTS_MIN).expect("a small volume");
            let membership = told.membership;
            disks.format(Fresh { format, layout, membership, good: false, ..*fresh });
        }
    }

    /// It stands still until that moment.
    pub const fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// It goes on, if the moment has come, with what happened meanwhile.
    pub fn resume(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        if self.paused_until.is_none_or(|until| until > now) {
            return;
        }
        self.paused_until = None;
        while let Some((at, happening)) = self.inbox.pop_front() {
            self.take(now, at, happening, counts, effects);
        }
        if std::mem::take(&mut self.timer_missed) {
            self.timeout(now, counts, effects);
        }
    }

    /// Something happens to the process of that boot, if it still lives.
    pub fn happen(
        &mut self,
        now: Instant,
        boot: u32,
        happening: Happening,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        if self.process.is_none() || boot != self.boot {
            return;
        }
        if self.paused_until.is_some() {
            self.inbox.push_back((now, happening));
        } else {
            self.take(now, now, happening, counts, effects);
        }
    }

    /// The node's time has come.
    pub fn timeout(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        if self.paused_until.is_some() {
            self.timer_missed = true;
        } else if self.poll_timeout().is_some_and(|due| due <= now) {
            self.input(now, Input::Timeout, counts, effects);
        }
    }

    /// When [`Machine::timeout`] is to be called, in the world's time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.paused_until.is_some() {
            return None;
        }
        let due = self.process.as_ref()?.node.poll_timeout()?;
        Some(self.config.clock.when(due))
    }

    /// Which life of the process this is.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    /// Whether the process lives.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// The connection to the peer, as far as the process knows.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        self.process.as_ref()?.stream.as_ref().map(|stream| stream.connection)
    }

    /// How a volume stands here, while the process lives.
    #[must_use]
    pub fn status(&self, volume: usize) -> Option<VolumeStatus> {
        let process = self.process.as_ref()?;
        process.node.volume_status(process.exports[volume])
    }

    /// Sectors of a volume that hosts can use here, while the process lives.
    #[must_use]
    pub fn sectors_told(&self, volume: usize) -> Option<u64> {
        let process = self.process.as_ref()?;
        process.node.export(process.exports[volume]).map(|export| export.config().sectors)
    }

    /// Adds what its process has counted in its life.
    pub fn count(&self, marks: &mut Marks) {
        let Some(process) = &self.process else { return };
        for export in &process.exports {
            let status = process.node.volume_status(*export);
            marks.add_many(Mark::CopyYielded, status.map_or(0, |status| status.counters.copies_yielded));
            let statistics =
                process.node.export(*export).map(|export| *export.statistics()).unwrap_or_default();
            let duplicates = statistics.duplicates_joined + statistics.duplicates_answered;
            marks.add_many(Mark::DuplicateAnswered, duplicates);
        }
    }

    /// Whether no request is under way in its process.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.node.outstanding() == 0)
    }

    /// Buffers that its process uses.
    #[must_use]
    pub fn buffers_in_use(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.buffers.in_use())
    }

    /// What a disk of a volume answers now, unless a crash came in between.
    pub fn disk_done(
        &mut self,
        volume: usize,
        ticket: Ticket,
        of: Asked,
        counts: &mut FaultCounts,
    ) -> Option<Happening> {
        let Disks { data, metadata } = &mut self.disks[volume];
        Some(match of {
            Asked::Data(id) => Happening::Disk { id, answer: data.finish(ticket, counts)? },
            Asked::Metadata(id) => Happening::Metadata { id, answer: metadata.finish(ticket, counts)? },
        })
    }

    fn take(
        &mut self,
        now: Instant,
        at: Instant,
        happening: Happening,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        let Some(process) = &mut self.process else { return };
        let input = match happening {
            Happening::Frame { port, bytes } => {
                let (shown, received) = (self.config.clock.show(now), self.config.clock.show(at));
                process.take_frame(shown, received, PortId(port), bytes);
                return self.drain(now, counts, effects);
            }
            Happening::Link { port, down } => return self.tell_of_port(now, port, down, counts, effects),
            Happening::Disk { id, answer } => {
                let result = answer.map(|bytes| bytes.map(|bytes| process.store(bytes)));
                Input::Completed(Completion { id, result })
            }
            Happening::Metadata { id, answer } => Input::MetadataWritten { id, result: answer.map(drop) },
            Happening::Peer(delivery) => return self.take_delivery(now, delivery, counts, effects),
            Happening::Arbiter { volume, number, answer } => {
                let Some(place) = process.asked.iter().position(|asked| *asked == (volume, number)) else {
                    return;
                };
                process.asked.swap_remove(place);
                Input::ArbiterAnswered { volume: process.exports[volume], question: number, answer }
            }
            Happening::Control(control) => {
                for volume in process.exports.clone() {
                    self.input(now, Input::Control { volume, control }, counts, effects);
                }
                return;
            }
            Happening::ControlOf(volume, control) => {
                Input::Control { volume: process.exports[volume], control }
            }
        };
        self.input(now, input, counts, effects);
    }

    fn take_delivery(
        &mut self,
        now: Instant,
        delivery: Delivery,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        let Some(process) = &mut self.process else { return };
        let current = process.stream.as_ref().map(|stream| stream.connection);
        match delivery {
            Delivery::Connected(connection) => {
                process.stream = Some(Stream::new(connection, self.config.versions(self.boot)));
                if current.is_some() {
                    self.input(now, Input::PeerDisconnected, counts, effects);
                }
                self.input(now, Input::PeerConnected, counts, effects);
            }
            Delivery::Closed(connection) if current == Some(connection) => {
                process.stream = None;
                self.input(now, Input::PeerDisconnected, counts, effects);
            }
            Delivery::Bytes(connection, bytes) if current == Some(connection) => {
                process.stream.as_mut().expect("it has this connection").push(bytes);
                self.take_messages(now, connection, counts, effects);
            }
            Delivery::Closed(_) | Delivery::Bytes(..) => {}
        }
    }

    fn take_messages(
        &mut self,
        now: Instant,
        connection: Connection,
        counts: &mut FaultCounts,
        effects: &mut Vec<Effect>,
    ) {
        loop {
            let Some(process) = &mut self.process else { return };
            // The node may have ended the connection.
            let Some(stream) = process.stream.as_mut().filter(|stream| stream.connection == connection)
            else {
                return;
            };
            match stream.take_message() {
                Ok(None) => return,
                Ok(Some((message, received))) => {
                    let data = process.receive(received);
                    self.input(now, Input::PeerMessage { message, data }, counts, effects);
                }
                Err(_) => {
                    process.stream = None;
                    effects.push(Effect::PeerClose(connection));
                    return self.input(now, Input::PeerDisconnected, counts, effects);
                }
            }
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_>, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        let shown = self.config.clock.show(now);
        let Some(process) = &mut self.process else { return };
        // Whatever is refused is counted by the node.
        let _ = process.node.handle_input(shown, input);
        self.drain(now, counts, effects);
    }

    fn drain(&mut self, now: Instant, counts: &mut FaultCounts, effects: &mut Vec<Effect>) {
        let shown = self.config.clock.show(now);
        let Some(process) = &mut self.process else { return };
        while let Some(output) = process.node.poll_output() {
            match output {
                Output::Disk(request) => {
                    let (volume, ask) = (process.volume(request.export), process.ask(&request));
                    let (ticket, at) = self.disks[volume].data.start(now, ask, counts);
                    effects.push(Effect::DiskDone { at, volume, ticket, of: Asked::Data(request.id) });
                }
                Output::MetadataWrite { id, volume, place } => {
                    let volume = process.volume(volume);
                    let bytes = process.node.metadata_record(id).to_vec();
                    let ask = Ask::Write { offset: place.0, bytes, durable: true };
                    let (ticket, at) = self.disks[volume].metadata.start(now, ask, counts);
                    effects.push(Effect::DiskDone { at, volume, ticket, of: Asked::Metadata(id) });
                }
                Output::Arrived { port, received, frame } => {
                    // The rest of the message stands before it in that buffer.
                    let bytes = process.buffers.slice(frame).to_vec();
                    process.buffers.release(frame.buffer);
                    let buffer = process.buffers.insert(bytes.clone());
                    let input = Input::Handed { port, received, frame: &bytes, buffer };
                    let _ = process.node.handle_input(shown, input);
                    effects.push(Effect::Arrived { bytes });
                }
                Output::Digest { of, data } => {
                    let Digest(digest) = Digest::of(DIGEST_SEED, process.buffers.slice(data));
                    let _ = process.node.handle_input(shown, Input::Digest { of, digest });
                }
                other => process.carry_out(other, effects),
            }
        }
    }
}

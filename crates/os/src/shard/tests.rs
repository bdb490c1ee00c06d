//! A shard whose turns are taken one by one, at one end of a wire; a client is at the other.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};

use aoe::ata::AtaCommand;
use aoe::limits::ANSWER_AGE_MAX;
use aoe::target::{ExportConfig, Identity, SmallState, TargetLimits};
use aoe::wire::{Frame, Head, ata, ethernet, header};
use aoe::{Address, AddressPattern, Tag};
use block::Lba;
use lab::{Namespace, network};
use replication::identity::PairIdentity;
use replication::limits::Limits;
use replication::membership::NodeNumber;
use replication::version::VersionRange;

use super::peer::PARTING_MAX;
use super::*;
use crate::EngineKind;
use crate::disk::DiskOptions;
use crate::frame_port::{FrameFilter, FramePort, PortKind, PortOptions, TransmitFrame};
use crate::interface::Interface;

const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    shard: Shard,
    commands: Sender<Command>,
    client: FramePort,
    tags: u32,
}

impl Bench {
    /// Does `work` with a shard that serves an empty disk.
    fn run(work: impl FnOnce(&mut Self) + Send) {
        Self::run_with(None, work);
    }

    /// The same with a shard of a pair. Its disk is its own.
    fn run_of_pair(work: impl FnOnce(&mut Self) + Send) {
        let pair = PairConfig {
            node: NodeNumber::Zero,
            pair: PairIdentity(5),
            incarnation: 1,
            lease: Duration::from_secs(1),
            limits: Limits { requests: 64, followed: 64, volumes: 1, ..Limits::DEFAULT },
            versions: VersionRange::ALL,
        };
        Self::run_with(Some(pair), work);
    }

    fn run_with(pair: Option<PairConfig>, work: impl FnOnce(&mut Self) + Send) {
        let namespace = Namespace::new().expect("these tests make network namespaces: run them as root");
        network::wire((&namespace, "near"), (&namespace, "far"), 9000).expect("a wire");
        let inside = namespace.enter(|| {
            for end in ["near", "far"] {
                let look = || Ok::<_, lab::Error>(Interface::named(end).ok().filter(|end| end.has_carrier));
                lab::wait_until("the wire", PATIENCE, look).expect("a wire");
            }
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(&[0; 64 << 10])?;
            let mut bench = Self::new(pair);
            bench.serve(file.path());
            work(&mut bench);
            Ok(())
        });
        inside.expect("a namespace");
    }

    fn new(pair: Option<PairConfig>) -> Self {
        let requests = FrameFilter::Requests { addresses: vec![(7, 1)] };
        let options = ShardOptions {
            name: "shard".to_owned(),
            ports: vec![PortOptions {
                kind: PortKind::Ring,
                ring_bytes: 4 << 20,
                ..PortOptions::new("near", requests)
            }],
            limits: TargetLimits { outstanding_max: 64, write_history_max: 64, ..TargetLimits::new(1) },
            engine: EngineKind::Threads,
            busy_poll: Duration::ZERO,
            cpu: None,
            pcap: None,
            pair,
        };
        let (commands, receiver) = channel();
        let wake = Arc::new(EventFd::new().expect("an event"));
        let shard = Shard::new(options, receiver, wake, Box::new(|_| ())).expect("a shard");
        let client = FramePort::open(&PortOptions {
            kind: PortKind::Plain,
            ..PortOptions::new("far", FrameFilter::Responses)
        });
        Self { shard, commands, client: client.expect("a port"), tags: 0 }
    }

    fn serve(&mut self, path: &std::path::Path) {
        let disk = Disk::open(&DiskOptions { path: path.to_owned(), ..DiskOptions::default() });
        let disk = disk.expect("a disk");
        let config = ExportConfig {
            address: address(),
            sectors: disk.geometry().sectors(),
            logical_sector_size: disk.geometry().logical_sector_size(),
            identity: Identity::new("serial", "model", "1"),
            read_only: false,
            write_cache: false,
            buffer_count: 16,
            state: SmallState::default(),
            mirror: None,
        };
        let (reply, added) = channel();
        self.obey(Command::AddExport { disk: Box::new(disk), config: Box::new(config), reply });
        added.recv().expect("an answer").expect("an export");
    }

    fn obey(&mut self, command: Command) {
        self.commands.send(command).expect("the shard is there");
        assert_eq!(self.shard.take_commands(clock::now()), 1);
    }

    /// Sends a request for the first sector.
    fn send(&mut self, command: AtaCommand) {
        self.tags += 1;
        let target = self.shard.ports.mac(0, MacAddress(self.shard.ports[0].interface().mac));
        let source = MacAddress(self.client.interface().mac);
        let header =
            header::Repr::request(AddressPattern::from(address()), aoe::Command::Ata, Tag(self.tags));
        let mut frame = [7; 36 + 512];
        Head { ethernet: ethernet::Repr { destination: target, source }, header }.emit(&mut frame);
        let flags = if command.is_write() { ata::AtaFlags::WRITE } else { ata::AtaFlags::NONE };
        let lba = ata::LbaRegisters::from_lba48(Lba(0));
        ata::Request { flags, feature: 0, sector_count: 1, command, lba }.emit(&mut frame);
        let length = if command.is_write() { frame.len() } else { 60 };
        let frame = TransmitFrame { head: &frame[..length], payload: None };
        self.client.queue(frame).expect("room in the queue");
        self.client.flush().expect("sent");
    }

    /// Has the shard take so many frames, and ask no disk for anything.
    fn take(&mut self, frames: u64) {
        let look = || {
            self.shard.take_frames(clock::now());
            Ok::<_, lab::Error>((self.shard.statistics.frames_received >= frames).then_some(()))
        };
        lab::wait_until("frames", PATIENCE, look).expect("frames");
    }

    /// The next answer's tag.
    fn answered(&mut self) -> u32 {
        loop {
            assert!(self.client.wait(Some(Duration::from_secs(10))), "no answer");
            let received = self.client.receive().expect("a frame");
            let Tag(tag) = Frame::new(self.client.frame(received.slot)).expect("a frame").header().tag;
            self.client.release(received.slot);
            // Else the export is advertised.
            if tag != 0 {
                return tag;
            }
        }
    }
}

fn address() -> Address {
    "7.1".parse().expect("an address")
}

#[test]
fn a_read_that_waits_for_a_write_holds_no_slot_of_a_ring() {
    Bench::run(|bench| {
        bench.send(AtaCommand::WriteSectorsExt);
        bench.send(AtaCommand::ReadSectorsExt);
        bench.take(2);
        assert_eq!((bench.shard.node.outstanding(), bench.shard.ports[0].slots_held()), (2, 0));
        while bench.shard.node.outstanding() > 0 {
            bench.shard.turn().expect("a turn");
        }
        assert_eq!((bench.answered(), bench.answered()), (1, 2));
    });
}

#[test]
fn a_shard_that_stops_answers_what_it_has_begun_and_begins_nothing_more() {
    Bench::run(|bench| {
        bench.send(AtaCommand::WriteSectorsExt);
        bench.take(1);
        bench.obey(Command::Stop);
        bench.send(AtaCommand::ReadSectorsExt);
        bench.shard.run();
        assert_eq!((bench.answered(), bench.shard.statistics.frames_received), (1, 1));
    });
}

#[test]
fn answers_of_a_lease_that_lasts_are_not_dropped_with_those_of_one_that_has_ended() {
    Bench::run_of_pair(|bench| {
        bench.shard.peer.as_mut().expect("a peer").lease_end = Some(clock::now());
        bench.shard.empty_port(0);
        bench.send(AtaCommand::IdentifyDevice);
        bench.take(1);
        bench.shard.transmit_frames();
        assert_eq!(bench.answered(), 1);
    });
}

#[test]
fn a_command_that_comes_while_answers_are_queued_is_obeyed_once_they_have_left() {
    Bench::run(|bench| {
        bench.send(AtaCommand::IdentifyDevice);
        bench.take(1);
        bench.commands.send(Command::Stop).expect("the shard is there");
        bench.shard.wake.signal();
        bench.shard.sleep(clock::now()).expect("no sleep");
        assert_eq!(bench.answered(), 1);
        assert!(bench.shard.stopping_since.is_none(), "the next turn's");
        bench.shard.run();
    });
}

#[test]
fn what_is_queued_leaves_before_the_disks_are_looked_at_anew() {
    Bench::run(|bench| {
        bench.send(AtaCommand::IdentifyDevice);
        bench.take(1);
        bench.obey(Command::RefreshDisks);
        assert!(!bench.shard.transmitter.has_queued());
        assert_eq!(bench.answered(), 1);
    });
}

#[test]
fn what_a_shard_without_a_peer_has_answered_before_it_stood_still_is_not_sent() {
    Bench::run(|bench| {
        bench.shard.transmit_frames();
        let before = bench.shard.statistics.frames_unsent;
        bench.send(AtaCommand::WriteSectorsExt);
        bench.take(1);
        bench.shard.disks.submit().expect("a disk");
        let is_done = |bench: &mut Bench| {
            let now = clock::now();
            bench.shard.take_completions(now);
            Ok::<_, lab::Error>((bench.shard.node.outstanding() == 0).then_some(now))
        };
        let made = lab::wait_until("the disk", PATIENCE, || is_done(bench)).expect("an answer");
        let is_late = || Ok::<_, lab::Error>((clock::now().since(made) >= ANSWER_AGE_MAX).then_some(()));
        lab::wait_until("a while", PATIENCE, is_late).expect("time passes");
        bench.shard.transmit_frames();
        assert_eq!(bench.shard.statistics.frames_unsent, before + 1);
        bench.send(AtaCommand::IdentifyDevice);
        bench.take(2);
        bench.shard.transmit_frames();
        assert_eq!(bench.answered(), 2);
    });
}

#[test]
fn a_shard_that_stops_has_its_peer_until_it_has_answered_and_then_takes_nothing_more_from_it() {
    Bench::run_of_pair(|bench| {
        let (near, _far) = UnixStream::pair().expect("a connection");
        bench.obey(Command::PeerConnected(near.try_into().expect("a stream")));
        bench.send(AtaCommand::WriteSectorsExt);
        let look = || Ok::<_, lab::Error>(bench.shard.ports.oldest());
        lab::wait_until("the frame", PATIENCE, look).expect("a frame");
        bench.obey(Command::Stop);
        bench.shard.part_if_stopping(clock::now());
        assert!(bench.shard.is_linked(), "a frame is there");
        bench.take(1);
        bench.shard.part_if_stopping(clock::now());
        assert!(bench.shard.is_linked(), "it is being answered");
        bench.shard.run();
        assert!(!bench.shard.is_linked());
        assert_eq!(bench.answered(), 1);
        // Nor does another connection keep it.
        let (near, _far) = UnixStream::pair().expect("a connection");
        bench.obey(Command::PeerConnected(near.try_into().expect("a stream")));
        assert!(!bench.shard.is_linked());
    });
}

#[test]
fn a_shard_that_stops_does_not_wait_for_its_peer_for_long() {
    Bench::run_of_pair(|bench| {
        let (near, _far) = UnixStream::pair().expect("a connection");
        bench.obey(Command::PeerConnected(near.try_into().expect("a stream")));
        bench.send(AtaCommand::WriteSectorsExt);
        bench.take(1);
        bench.obey(Command::Stop);
        bench.shard.part_if_stopping(clock::now().after(PARTING_MAX));
        assert!(!bench.shard.is_linked() && bench.shard.node.outstanding() == 1);
    });
}

#[test]
fn a_shard_whose_buffers_are_all_taken_is_still_found_and_keeps_reads_for_later() {
    Bench::run(|bench| {
        let taken: Vec<u32> = std::iter::from_fn(|| bench.shard.pool.take()).collect();
        bench.send(AtaCommand::WriteSectorsExt);
        bench.send(AtaCommand::IdentifyDevice);
        bench.send(AtaCommand::ReadSectorsExt);
        bench.take(3);
        bench.shard.transmit_frames();
        assert_eq!((bench.answered(), bench.shard.statistics.frames_without_buffer), (2, 1));
        assert_eq!((bench.shard.node.outstanding(), bench.shard.short.taken()), (1, 0));
        taken.into_iter().for_each(|buffer| bench.shard.pool.give(buffer));
        while bench.shard.node.outstanding() > 0 {
            bench.shard.turn().expect("a turn");
        }
        assert_eq!(bench.answered(), 3);
    });
}

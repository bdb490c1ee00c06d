//! What the control plane asks: exports that come, links and disks that change, the peer.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::TryRecvError;

use aoe::target::{PortId, PortLink};
use block::{ExportId, Instant, Lba};
use node::Input;
use replication::resize::Capacity;
use replication::start::VolumeConfig;

use super::Shard;
use super::handle::{Command, Event, MirroredExport, MirroredExportError};
use crate::clock;
use crate::disk::Disk;
use crate::frame_port::{PortError, PortOptions};
use crate::metadata_file::MetadataFile;
use crate::peer_link::PeerFailure;

impl Shard {
    pub(super) fn take_commands(&mut self, now: Instant) -> usize {
        let mut count = 0;
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(now, command),
                Err(TryRecvError::Empty) => return count,
                Err(TryRecvError::Disconnected) => {
                    self.stop(now);
                    return count;
                }
            }
            count += 1;
        }
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddExport { disk, config, reply } => {
                let added = self.node.add_export(now, *config);
                if let Ok(export) = added {
                    self.disks.add(export, *disk);
                }
                // A control plane that is gone stops us by its closed channel.
                let _ = reply.send(added);
                self.carry_out(now);
            }
            Command::AddMirroredExport { export, reply } => {
                let added = self.add_mirrored(now, *export);
                let _ = reply.send(added);
                self.carry_out(now);
            }
            Command::PeerConnected(stream) => self.connect_peer(now, stream),
            Command::PeerDisconnect => self.lose_peer(now, PeerFailure::Asked),
            Command::ArbiterAnswered { volume, question, answer } => {
                self.feed(now, Input::ArbiterAnswered { volume, question, answer });
            }
            Command::Control { volume, control } => {
                if self.node.volume_status(volume).is_some() {
                    self.feed(now, Input::Control { volume, control });
                }
            }
            Command::OperatorMask { export, mask } => self.feed(now, Input::OperatorMask { export, mask }),
            Command::SlowAfter(after) => self.feed(now, Input::SlowAfter(Some(after))),
            Command::VolumeStatus { volume, reply } => {
                let _ = reply.send(self.node.volume_status(volume));
            }
            Command::StateStored { export, result } => self.feed(now, Input::StateStored { export, result }),
            // Of a port that was closed meanwhile there is nothing to tell.
            Command::PortChanged { port, .. } if usize::from(port.0) >= self.ports.len() => {}
            Command::PortChanged { port, link } => {
                let link = link.map(|link| self.make_room(port, link));
                self.feed(now, Input::PortChanged { port, link });
            }
            Command::OpenPort { options, reply } => {
                let opened = self.open_port(now, *options);
                let _ = reply.send(opened);
            }
            Command::ClosePort => self.close_port(now),
            Command::RefreshDisks => self.refresh_disks(now),
            Command::Statistics(reply) => {
                let (node, disks) = (&self.node, &self.disks);
                let buffers = self.pool.taken() + self.short.taken();
                let peer = self.peer.as_ref().map(|peer| peer.statistics());
                let _ =
                    reply.send(self.statistics.snapshot(now, node, disks, buffers, &mut self.ports, peer));
            }
            Command::Stop => self.stop(now),
        }
    }

    /// Receives nothing more, or under load there would be no end. What is under way is still done and answered, for which the
    /// peer may be needed a little longer.
    fn stop(&mut self, now: Instant) {
        if self.stopping_since.is_some() {
            return;
        }
        self.stopping_since = Some(now);
        for index in 0..self.ports.len() {
            self.ignore_frames(index);
        }
    }

    fn add_mirrored(
        &mut self,
        now: Instant,
        export: MirroredExport,
    ) -> Result<ExportId, MirroredExportError> {
        let MirroredExport { mut disk, metadata, opened, config, volume } = export;
        let (found, needed) = (disk.geometry().sectors(), opened.superblock.layout.volume_sectors());
        if disk.cache().is_some() {
            return Err(MirroredExportError::PageCache(disk.path().to_owned()));
        }
        if disk.read_only() {
            return Err(MirroredExportError::ReadOnly(disk.path().to_owned()));
        }
        if found < needed {
            return Err(MirroredExportError::TooSmall { path: disk.path().to_owned(), found, needed });
        }
        let volume = VolumeConfig { capacity: capacity(&disk, &metadata, needed), ..volume };
        let id = self.node.add_mirrored_export(now, config, opened, volume)?;
        self.disks.add(id, disk);
        let peer = self.peer.as_mut().expect("a node that takes a mirrored export has a peer");
        peer.metadata.add(id, metadata);
        Ok(id)
    }

    /// Opens a port anew if its interface has longer frames now than it has room for. What it then has room for.
    fn make_room(&mut self, port: PortId, link: PortLink) -> PortLink {
        let index = usize::from(port.0);
        let mtu = link.mtu.min(self.ports.mtu_max());
        let interface = self.ports[index].interface();
        if mtu > interface.mtu {
            let (name, before) = (interface.name.clone(), interface.mtu);
            if let Err(error) = self.reopen(index) {
                tracing::error!("{name}: frames stay at MTU {before}: {error}");
            }
        }
        let mac = self.ports.mac(index, link.mac);
        PortLink { mac, mtu: mtu.min(self.ports[index].interface().mtu) }
    }

    fn open_port(&mut self, now: Instant, options: PortOptions) -> Result<(), PortError> {
        let batch = options.send_batch;
        let index = self.ports.open_next(options, self.pair.as_ref())?;
        self.transmitter.open_next(batch);
        self.look_up_sleepers();
        self.tell_of_port(now, index);
        Ok(())
    }

    /// The last port: what has come by it is taken, what is to leave there leaves or is given up.
    fn close_port(&mut self, now: Instant) {
        let Some(index) = self.ports.len().checked_sub(1).filter(|index| *index > 0) else { return };
        self.ignore_frames(index);
        while self.ports[index].peek_received().is_some() {
            self.take_frame(now, index);
        }
        self.feed(now, Input::PortChanged { port: super::port_id(index), link: None });
        self.empty_port(index);
        self.transmitter.close_last();
        self.ports.close_last();
        self.look_up_sleepers();
    }

    fn reopen(&mut self, index: usize) -> Result<(), PortError> {
        let anew = self.ports.open_anew(index)?;
        // What is answered now is not as old as the opening.
        let now = clock::now();
        // No frame is lost. A few come by both ports: copies are what initiators send all the time (design, D1 and D2).
        self.ports[index].ignore_frames()?;
        while self.ports[index].peek_received().is_some() {
            let oldest = self.ports.oldest().expect("this one has a frame");
            self.take_frame(now, oldest);
        }
        self.empty_port(index);
        self.ports.replace(index, anew);
        self.look_up_sleepers();
        Ok(())
    }

    fn ignore_frames(&mut self, index: usize) {
        if let Err(error) = self.ports[index].ignore_frames() {
            tracing::warn!("{}: frames may be lost: {error}", self.ports[index].interface().name);
        }
    }

    /// Sends what is queued at a port that is about to be closed, as far as it may still leave and there is room.
    pub(super) fn empty_port(&mut self, index: usize) {
        self.drop_answers_too_late();
        self.empty_queue(index);
        self.disks.disarm(self.ports[index].as_fd().as_raw_fd());
    }

    fn empty_queue(&mut self, index: usize) {
        let flushed = self.transmitter.empty(index, &mut self.ports[index]);
        self.account(flushed);
    }

    fn refresh_disks(&mut self, now: Instant) {
        self.drop_answers_too_late();
        for index in 0..self.ports.len() {
            // What a full port has left may lie in a mapping that is about to end.
            self.empty_queue(index);
        }
        let mut resized = Vec::new();
        for (export, disk) in self.disks.iter_mut() {
            match disk.refresh() {
                Ok(Some(geometry)) => resized.push((export, geometry.sectors())),
                Ok(None) => {}
                Err(error) => (self.notify)(Event::RefreshFailed { export, error }),
            }
        }
        for (export, sectors) in resized {
            if self.node.volume_status(export).is_some() {
                // Its size is agreed upon by both nodes; this one only says how much it has room for.
                continue;
            }
            self.feed(now, Input::Resized { export, sectors });
            (self.notify)(Event::Resized { export, sectors });
        }
        self.look_at_capacities(now);
    }

    /// The metadata may have grown as well, so all mirrored exports are looked at.
    fn look_at_capacities(&mut self, now: Instant) {
        let exports: Vec<ExportId> = self.node.exports().map(|(export, _)| export).collect();
        for volume in exports {
            let Some(metadata) = self.peer.as_ref().and_then(|peer| peer.metadata.file(volume)) else {
                continue;
            };
            let sectors = self.node.export(volume).map_or(0, |export| export.config().sectors);
            let disk = self.disks.disk_mut(volume).expect("an export has a disk");
            let capacity = capacity(disk, metadata, sectors);
            self.feed(now, Input::Capacity { volume, capacity });
        }
    }
}

/// How large a volume of so many sectors could become here.
fn capacity(disk: &Disk, metadata: &MetadataFile, sectors: u64) -> Capacity {
    let room = disk.geometry().sectors().min(metadata.capacity());
    Capacity { sectors: room, zeros: disk.is_zero_from(Lba(sectors)) }
}

//! A volume gets larger: both nodes agree, both note it, and only then anybody is told.
//!
//! ```text
//!   asked ── peer agrees ──▶ Wanted ── frozen, or alone ──▶ Doubts ── durable ──▶ Superblock ── durable ──▶ announced
//!               (of a pair)    │ session ends                 bits of what is new
//! ```
//!
//! A pair grows between two sessions: the nodes agree, part, each notes the new size, and they meet with it. So everything
//! that holds for a meeting holds for the new sectors: what may differ in them is in the bitmap of one before either serves
//! them. A node that finds its peer larger follows it, since the peer has grown by agreement, or while it served alone. Nothing gets
//! smaller. Whether the disks have room is the shell's to say ([`Capacity`]).

use block::ExportId;
use thiserror::Error;

use crate::bitmap::Ticket;
use crate::engine::Engine;
use crate::membership::Members;
use crate::message::{Announce, Refusal, VolumeMessage};
use crate::meta::layout::{Layout, LayoutError};
use crate::output::Event;
use crate::volume::{Phase, Volume};

/// How large a volume could be made at this node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capacity {
    /// Sectors for which the data disk and the metadata both have room; 0 if nobody has looked.
    pub sectors: u64,
    /// Whether what lies beyond the volume's present end is known to read as zeros. Otherwise the new part is copied from
    /// one node to the other.
    pub zeros: bool,
}

/// Why a volume keeps its size.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ResizeError {
    /// It has that size, or a larger one.
    #[error("the volume has {sectors} sectors already; a volume only grows")]
    NotLarger {
        /// What it has.
        sectors: u64,
    },
    /// The metadata has no room for it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The disk is smaller.
    #[error(
        "the disk and the metadata of this node have room for {sectors} sectors only; make them larger first"
    )]
    Disk {
        /// What they have room for.
        sectors: u64,
    },
    /// The peer will not.
    #[error(
        "the peer cannot make it as large now; see that its disk is large enough and the volume in sync there"
    )]
    Peer,
    /// Something else has to end first.
    #[error("the volume is not served by two nodes in sync nor by one alone; resize it when it is")]
    NotNow,
}

/// A size that this node is on its way to.
#[derive(Debug)]
pub(crate) struct Growth {
    layout: Layout,
    stage: Stage,
    /// What the peer has announced meanwhile; heard when this is over.
    announced: Option<Announce>,
}

#[derive(Debug)]
enum Stage {
    Wanted,
    /// The bits of what is new are on their way to the disk.
    Doubts(Vec<Ticket>),
    Superblock,
}

impl Engine {
    /// The shell has looked how large the disks are.
    pub(crate) fn handle_capacity(&mut self, export: ExportId, capacity: Capacity) {
        self.volume_mut(export).capacity = capacity;
    }

    /// An operator wants the volume to have so many sectors.
    pub(crate) fn resize(&mut self, export: ExportId, sectors: u64) {
        let layout = match self.may_resize(export, sectors) {
            Ok(layout) => layout,
            Err(error) => return self.event(export, Event::ResizeRefused(error)),
        };
        let volume = self.volume_mut(export);
        if volume.phase == Phase::Paired {
            volume.meeting.resize_asked = Some(sectors);
            self.say(export, VolumeMessage::Resize { sectors }, None);
        } else {
            volume.growth = Some(Growth { layout, stage: Stage::Wanted, announced: None });
            // The peer, if it is there, may know the old size.
            self.refuse(Refusal::Resized);
        }
    }

    /// The peer's operator wants that. It grows when the session ends, which the peer brings about.
    pub(crate) fn handle_resize(&mut self, export: ExportId, sectors: u64) {
        let is_met = self.volume(export).phase == Phase::Paired;
        let layout = self.may_resize(export, sectors).ok().filter(|_| is_met);
        let volume = self.volume_mut(export);
        if let Some(layout) = layout {
            volume.growth = Some(Growth { layout, stage: Stage::Wanted, announced: None });
        }
        self.say(export, VolumeMessage::ResizeAnswered { sectors, agreed: layout.is_some() }, None);
    }

    pub(crate) fn handle_resize_answered(&mut self, export: ExportId, sectors: u64, agreed: bool) {
        let asked = &mut self.volume_mut(export).meeting.resize_asked;
        if *asked != Some(sectors) {
            return;
        }
        *asked = None;
        if !agreed {
            return self.event(export, Event::ResizeRefused(ResizeError::Peer));
        }
        match self.may_resize(export, sectors) {
            Ok(layout) => {
                let growth = Growth { layout, stage: Stage::Wanted, announced: None };
                self.volume_mut(export).growth = Some(growth);
                self.refuse(Refusal::Resized);
            }
            // The peer grows nevertheless, and this node follows it when they meet anew.
            Err(error) => {
                self.event(export, Event::ResizeRefused(error));
                self.refuse(Refusal::Resized);
            }
        }
    }

    /// The peer has another size, or this node is about to: a larger one has grown, and this node follows it if it can.
    pub(crate) fn handle_other_size(&mut self, export: ExportId, announce: Announce) {
        let volume = self.volume_mut(export);
        if let Some(growth) = &mut volume.growth {
            growth.announced = Some(announce);
            return;
        }
        let here = volume.layout().volume_sectors();
        if announce.sectors < here {
            return;
        }
        let has_room = volume.has_disk && announce.sectors <= volume.capacity.sectors;
        let layout = Layout::new(announce.sectors, volume.layout().hot_extents()).ok().filter(|_| has_room);
        match layout {
            // What was said in this session is about blocks of a smaller one.
            Some(_) if volume.meeting.peer_export.is_some() => self.refuse(Refusal::Resized),
            Some(layout) => {
                volume.growth = Some(Growth { layout, stage: Stage::Wanted, announced: Some(announce) });
                self.attend(export);
            }
            None => self.event(export, Event::PeerIsLarger { here, peer: announce.sectors }),
        }
    }

    fn may_resize(&self, export: ExportId, sectors: u64) -> Result<Layout, ResizeError> {
        let volume = self.volume(export);
        let present = volume.layout();
        if sectors <= present.volume_sectors() {
            return Err(ResizeError::NotLarger { sectors: present.volume_sectors() });
        }
        let layout = Layout::new(sectors, present.hot_extents())?;
        if sectors > volume.capacity.sectors {
            return Err(ResizeError::Disk { sectors: volume.capacity.sectors });
        }
        let is_free = volume.growth.is_none() && volume.has_disk && !volume.leaving;
        if is_free && volume.may_part() { Ok(layout) } else { Err(ResizeError::NotNow) }
    }

    /// Goes on with a growth as far as it can. Without metadata that can be written nothing is waited for: such a node
    /// never serves from its own disk.
    pub(crate) fn advance_resize(&mut self, export: ExportId) {
        let volume = self.volume_mut(export);
        let Some(growth) = &mut volume.growth else { return };
        let disk = &mut volume.disk;
        if matches!(growth.stage, Stage::Wanted) {
            if !matches!(volume.phase, Phase::Frozen | Phase::Alone) {
                return;
            }
            if !volume.has_disk {
                return self.end_growth(export);
            }
            let tickets = disk.bitmap.grow(growth.layout, !volume.capacity.zeros);
            volume.lacks.grow(growth.layout);
            // What the peer has told of before is of the smaller size.
            let told = volume.meeting.offer.iter_mut().filter_map(|(_, told)| told.as_mut());
            told.chain(volume.meeting.told.as_mut()).for_each(|told| told.grow(growth.layout));
            disk.log.grow(growth.layout);
            growth.stage = Stage::Doubts(tickets);
        }
        if let Stage::Doubts(tickets) = &growth.stage
            && (disk.bitmap.are_durable(tickets) || !disk.is_writable)
        {
            disk.superblock.layout = growth.layout;
            growth.stage = Stage::Superblock;
        }
        let is_noted = disk.superblock_durable.layout == growth.layout || !disk.is_writable;
        if matches!(growth.stage, Stage::Superblock) && is_noted {
            let sectors = growth.layout.volume_sectors();
            self.event(export, Event::Resized { sectors });
            self.end_growth(export);
        }
    }

    /// From here on the size is what it is, and the peer may hear of the volume.
    fn end_growth(&mut self, export: ExportId) {
        let growth = self.volume_mut(export).growth.take().expect("the one that is over");
        if self.session.is_up() {
            self.announce(export);
            if let Some(announce) = growth.announced {
                self.take_announce(announce);
            }
        }
        self.attend(export);
    }
}

impl Volume {
    /// Whether the session may end for the sake of a new size, or there is none in which the volume takes part.
    fn may_part(&self) -> bool {
        match self.phase {
            Phase::Paired => {
                self.membership().members == Members::Both
                    && self.lacks.out_of_sync() == 0
                    && self.disk.bitmap.out_of_sync() == 0
                    && !self.meeting.peer_left
                    && self.meeting.resize_asked.is_none()
            }
            Phase::Alone => true,
            Phase::Frozen | Phase::Left | Phase::Passing => false,
        }
    }

    /// Whether the peer is not to hear of this volume yet, since it will have another size.
    pub(crate) const fn is_growing(&self) -> bool {
        self.growth.is_some()
    }

    /// Whether a loss of power would leave it the size that it has: also one that is to be larger still.
    pub(crate) fn is_of_settled_size(&self) -> bool {
        self.growth.as_ref().is_none_or(|growth| !matches!(growth.stage, Stage::Superblock))
    }

    /// The session is over, and with it what was announced in it.
    pub(crate) fn forget_announced(&mut self) {
        if let Some(growth) = &mut self.growth {
            growth.announced = None;
        }
    }
}

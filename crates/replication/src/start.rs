//! How a volume begins: from what its metadata said when it was opened.

use block::{ExportId, Instant};

use crate::activity_log::ActivityLog;
use crate::bitmap::Bits;
use crate::durability::{Durability, Unflushed};
use crate::engine::{Engine, index};
use crate::limits::QUESTION_LIFE;
use crate::membership::Epoch;
use crate::meta::Opened;
use crate::meta::small_state::SmallState;
use crate::meta::twin::Turns;
use crate::mutation::Mutation;
use crate::resize::Capacity;
use crate::resync::{Resync, ResyncRate};
use crate::volume::{Counters, Meeting, OnDisk, Phase, Volume};

/// What an operator chooses for a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeConfig {
    /// What an answer to a write means; the same on both nodes.
    pub durability: Durability,
    /// How fast a resync copies.
    pub resync_rate: ResyncRate,
    /// Whether a resync sends checksums first, and data only where they differ: for a slow link and a copy that is mostly
    /// equal.
    pub resync_checksums: bool,
    /// How large the volume could be made at this node.
    pub capacity: Capacity,
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Stable,
            resync_rate: ResyncRate::Yielding,
            resync_checksums: false,
            capacity: Capacity::default(),
        }
    }
}

impl Engine {
    /// Begins with a volume as its metadata was found. It serves nothing before it has met its peer or the arbiter allows.
    ///
    /// # Panics
    /// If there is a volume of that number, or the metadata is another node's: whoever opened it has looked.
    pub fn add_volume(&mut self, now: Instant, export: ExportId, opened: Opened, config: VolumeConfig) {
        assert!(opened.superblock.node == self.config.node, "metadata of this node");
        self.now = self.now.max(now);
        let at = index(export);
        if self.volumes.len() <= at {
            self.volumes.resize_with(at + 1, || None);
        }
        assert!(self.volumes[at].is_none(), "a volume is added once");
        let peer_stops_at = self.lease.granted_until();
        let mut volume = Volume::begin(now, export, opened, config, peer_stops_at);
        if self.mutated(Mutation::LogNotReplayed) {
            volume.disk.bitmap.clear_all();
        }
        self.volumes[at] = Some(volume);
        self.announce_added(export);
        self.attend(export);
        self.wake_at(now);
    }
}

impl Volume {
    fn begin(
        now: Instant,
        export: ExportId,
        opened: Opened,
        config: VolumeConfig,
        peer_stops_at: Instant,
    ) -> Self {
        let Opened {
            format,
            superblock,
            superblock_sequence,
            small_state,
            small_state_sequence,
            log,
            bitmap,
            torn,
            ..
        } = opened;
        let layout = superblock.layout;
        let small_state = small_state.unwrap_or_else(|| SmallState::new(superblock.volume));
        let mut bitmap = bitmap;
        let (log, log_blanks) = match log {
            Ok(replay) => {
                if !superblock.clean {
                    for extent in replay.extents() {
                        bitmap.set_extent(extent);
                    }
                }
                (ActivityLog::resume(layout, format, &replay), None)
            }
            Err(_) => {
                bitmap.set_all();
                (ActivityLog::new(layout, format), Some(1))
            }
        };
        let disk = OnDisk {
            format,
            superblock,
            superblock_durable: superblock,
            superblock_writing: None,
            superblock_turns: Turns::after(superblock_sequence),
            small_state_durable: small_state.revision,
            small_state,
            small_state_writing: None,
            small_state_turns: Turns::after(small_state_sequence),
            small_state_waits_for_peer: false,
            small_state_is_told: true,
            log,
            log_blanks,
            blanks_under_way: 0,
            torn,
            scrambles_under_way: 0,
            is_writable: true,
            bitmap,
            bitmap_writes: 0,
        };
        Self {
            export,
            phase: Phase::Frozen,
            disk,
            lacks: Bits::new(layout),
            has_disk: true,
            awaits_other_disk: false,
            stands_in: false,
            hands_over: false,
            was_only_good: false,
            has_all_answered: false,
            serving: false,
            leaving: false,
            removing: false,
            began: now,
            quiet_until: Instant::from_nanos(0),
            peer_quiet_until: Instant::from_nanos(0),
            forgetful: true,
            began_unclean: !superblock.clean,
            lost_memory: config.durability == Durability::Memory && !superblock.clean,
            confirmed: false,
            peer_stops_at,
            question: None,
            ask_at: Instant::from_nanos(0),
            look_at: Instant::from_nanos(0),
            // What the process before this one has asked may still be carried out, too.
            stray_until: Some(now.after(QUESTION_LIFE)),
            shut_out: false,
            held: Epoch(0),
            forced_to: None,
            forced: false,
            meeting: Meeting::default(),
            capacity: config.capacity,
            growth: None,
            sectors_told: layout.volume_sectors(),
            waiting: std::collections::VecDeque::new(),
            waiting_for_log: std::collections::VecDeque::new(),
            promised: Vec::new(),
            local_extents: 0,
            locals: 0,
            requests: 0,
            at_disk: 0,
            doubtful: Vec::new(),
            durability: config.durability,
            unflushed: Unflushed::default(),
            flush_at: None,
            is_flushing: false,
            lag_bytes: 0,
            writes_ahead: 0,
            unanswered: std::collections::VecDeque::new(),
            healing: crate::heal::Places::default(),
            resync: Resync::new(config.resync_rate, config.resync_checksums),
            counters: Counters::default(),
        }
    }
}

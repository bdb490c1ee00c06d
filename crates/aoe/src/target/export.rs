//! One export: what the operator said of it, what clients have set, what was counted.

use block::{ExportId, Geometry, Instant, LogicalSectorSize};

use super::advertise::Advertisement;
use super::change::Change;
use super::latency::Latency;
use super::refusal::RefusalCounters;
use super::slow::SlowRequests;
use crate::address::Address;
use crate::ata::AtaString;
use crate::limits;
use crate::mac::MacAddress;

/// How an export names itself in IDENTIFY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Serial number.
    pub serial: AtaString<20>,
    /// Model.
    pub model: AtaString<40>,
    /// Firmware revision.
    pub firmware: AtaString<8>,
}

impl Identity {
    /// As much of each text as ATA has room for.
    #[must_use]
    pub fn new(serial: &str, model: &str, firmware: &str) -> Self {
        Self {
            serial: AtaString::new(serial),
            model: AtaString::new(model),
            firmware: AtaString::new(firmware),
        }
    }
}

/// What the operator says of an export.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportConfig {
    /// Shelf and slot.
    pub address: Address,
    /// Size in 512-byte sectors.
    pub sectors: u64,
    /// Unit of the disk beneath: writes are ordered by it.
    pub logical_sector_size: LogicalSectorSize,
    /// Its names.
    pub identity: Identity,
    /// Writes are aborted.
    pub read_only: bool,
    /// Writes may be answered before they are durable. It begins so; initiators may switch it off and on again.
    pub write_cache: bool,
    /// Requests that an initiator may have outstanding, as it is told; at least 2.
    pub buffer_count: u16,
    /// What clients had set before.
    pub state: SmallState,
    /// Set if another node holds the same disk. Such an export does not serve until it is told to.
    pub mirror: Option<Mirror>,
}

/// What both nodes of a mirrored export have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// A random number that nobody else on the network knows: the nodes tell each other digests of writes.
    pub digest_seed: u64,
}

/// What AoE clients may set, and what survives a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SmallState {
    /// At most [`limits::CONFIG_STRING_BYTES_MAX`] bytes; empty is "not set".
    pub config_string: Vec<u8>,
    /// Who is listened to; empty is everybody.
    pub mac_mask: Vec<MacAddress>,
    /// Who may use the disk; empty is everybody.
    pub reservation: Vec<MacAddress>,
}

impl SmallState {
    /// Whether every part is within what the protocol can carry.
    #[must_use]
    pub const fn is_within_limits(&self) -> bool {
        self.config_string.len() <= limits::CONFIG_STRING_BYTES_MAX
            && self.mac_mask.len() <= limits::MAC_MASK_MAX
            && self.reservation.len() <= limits::RESERVATION_MAX
    }

    /// Whether frames of `initiator` are looked at.
    pub(crate) fn admits(&self, initiator: MacAddress) -> bool {
        self.mac_mask.is_empty() || self.mac_mask.contains(&initiator)
    }

    /// Whether `initiator` may use the disk.
    pub(crate) fn is_reserved_against(&self, initiator: MacAddress) -> bool {
        !self.reservation.is_empty() && !self.reservation.contains(&initiator)
    }
}

/// What was counted since the export was added.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Reads admitted.
    pub reads: u64,
    /// Sectors of those.
    pub sectors_read: u64,
    /// Writes admitted; duplicates of writes are not.
    pub writes: u64,
    /// Sectors of those.
    pub sectors_written: u64,
    /// Flushes admitted.
    pub flushes: u64,
    /// Requests that had to wait for an earlier write.
    pub waited: u64,
    /// Duplicates of a write in flight (rule D1) or of a read that waits, answered with it.
    pub duplicates_joined: u64,
    /// Duplicates of a completed write, answered at once (rule D2).
    pub duplicates_answered: u64,
    /// Writes that waited until they were too old (rule D3).
    pub stale_dropped: u64,
    /// Requests not answered because the node may not serve the export any more; the other node may have got those that waited.
    pub dropped: u64,
    /// Requests that took longer than the operator thinks good.
    pub slow: u64,
    /// Writes that came by the other node.
    pub followed: u64,
    /// Reads that the disk failed.
    pub read_errors: u64,
    /// Writes and flushes that the disk failed.
    pub write_errors: u64,
    /// ATA commands answered with an error though no disk failed.
    pub aborted: u64,
    /// Requests answered with an AoE error.
    pub aoe_errors: u64,
    /// Query Config, MAC Mask and Reserve commands answered.
    pub control_replies: u64,
    /// Frames ignored, by reason.
    pub refusals: RefusalCounters,
}

/// An export while it is served.
#[derive(Debug)]
pub struct Export {
    pub(super) config: ExportConfig,
    pub(super) statistics: Statistics,
    pub(super) latency_of_reads: Latency,
    pub(super) latency_of_writes: Latency,
    /// What is being stored and who waits for it.
    pub(super) change: Option<Change>,
    pub(super) write_cache_enabled: bool,
    pub(super) smart_enabled: bool,
    pub(super) advertisement: Advertisement,
    /// Requests are taken, if in frames received at this moment or later.
    pub(super) serving_since: Option<Instant>,
    /// Of the membership under which it is served; 0 while that is not known.
    pub(super) epoch: u64,
    /// Requests to the other node's address are taken as well.
    pub(super) stands_in: bool,
    pub(super) slow: SlowRequests,
    /// Who is to be listened to, if the operator says so.
    pub(super) operator_mask: Option<Vec<MacAddress>>,
    /// It was not set since he said it.
    pub(super) operator_mask_is_due: bool,
}

impl Export {
    pub(super) fn new(config: ExportConfig) -> Self {
        Self {
            write_cache_enabled: config.write_cache,
            serving_since: config.mirror.is_none().then_some(Instant::default()),
            config,
            statistics: Statistics::default(),
            latency_of_reads: Latency::default(),
            latency_of_writes: Latency::default(),
            change: None,
            epoch: 0,
            stands_in: false,
            slow: SlowRequests::default(),
            operator_mask: None,
            operator_mask_is_due: false,
            smart_enabled: true,
            advertisement: Advertisement::default(),
        }
    }

    /// Shelf and slot.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.config.address
    }

    /// What the operator said, with the size and the state of now.
    #[must_use]
    pub const fn config(&self) -> &ExportConfig {
        &self.config
    }

    /// What clients have set.
    #[must_use]
    pub const fn state(&self) -> &SmallState {
        &self.config.state
    }

    /// Who is to be listened to, if the operator has said so; the list that holds may be another one for a while, or be the
    /// other node's.
    #[must_use]
    pub fn operator_mask(&self) -> Option<&[MacAddress]> {
        self.operator_mask.as_deref()
    }

    /// Whether the operator's list was not set since he said it.
    #[must_use]
    pub const fn operator_mask_is_due(&self) -> bool {
        self.operator_mask_is_due
    }

    /// What was counted.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How long reads took.
    #[must_use]
    pub const fn latency_of_reads(&self) -> &Latency {
        &self.latency_of_reads
    }

    /// How long writes and flushes took.
    #[must_use]
    pub const fn latency_of_writes(&self) -> &Latency {
        &self.latency_of_writes
    }

    /// Whether requests are taken. Always, unless another node holds the disk as well.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        self.serving_since.is_some()
    }

    /// Whether writes are answered before they are durable just now.
    #[must_use]
    pub const fn write_cache_enabled(&self) -> bool {
        self.write_cache_enabled
    }
}

/// All exports of a shard by their names, which are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    exports: Vec<Option<Box<Export>>>,
    len: usize,
}

impl Exports {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// One more than the largest number given out.
    pub(crate) fn names(&self) -> impl Iterator<Item = ExportId> + use<> {
        (0..u32::try_from(self.exports.len()).expect("fewer than 2^32 exports")).map(ExportId)
    }

    pub(crate) fn insert(&mut self, export: Export) -> ExportId {
        let id = ExportId(u32::try_from(self.exports.len()).expect("fewer than 2^32 exports"));
        self.exports.push(Some(Box::new(export)));
        self.len += 1;
        id
    }

    pub(crate) fn remove(&mut self, id: ExportId) -> Option<Box<Export>> {
        let export = self.exports.get_mut(id.0 as usize)?.take()?;
        self.len -= 1;
        Some(export)
    }

    pub(crate) fn find(&self, id: ExportId) -> Option<&Export> {
        self.exports.get(id.0 as usize)?.as_deref()
    }

    pub(crate) fn find_mut(&mut self, id: ExportId) -> Option<&mut Export> {
        self.exports.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Export> {
        self.exports.iter_mut().filter_map(Option::as_deref_mut)
    }
}

/// Whether a volume can have that many sectors.
pub(crate) const fn is_possible_size(sectors: u64) -> bool {
    sectors > 0 && sectors <= Geometry::SECTORS_MAX
}

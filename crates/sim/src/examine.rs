//! What the disks hold, looked at from outside while the world stands still: is what was promised there, is every difference
//! known, is what clients have set the same?
//!
//! A disk is looked at as a loss of power at this moment might leave it, with all or nothing of what is not durable: which of
//! the two is a matter of chance for each disk. Nothing here changes anything.

use block::{Lba, LbaRange, SECTOR_BYTES, SectorCount};
use replication::message::CopyState;
use replication::meta::activity_log::Extent;
use replication::meta::layout::EXTENT_SECTORS;
use replication::meta::{self, Opened};
use replication::volume::VolumeStatus;

use crate::disk::Disk;
use crate::finding::{Finding, Property};
use crate::history::{History, Moment};
use crate::machine::Machine;
use crate::property::difference_covered::Differences;
use crate::property::{Replica, durable, replicas_equal, small_state_equal};
use crate::random::Random;
use crate::store::Store;

const SECTORS_PER_PAGE: u16 = 8;

impl Replica for Store {
    fn read(&self, sector: Lba, bytes: &mut [u8; SECTOR_BYTES]) {
        Self::read(self, sector.byte_offset(), bytes);
    }
}

/// A disk after a loss of power.
struct Survivor<'a> {
    disk: &'a Disk,
    /// Whether what is not durable is lost.
    loses: bool,
}

impl Replica for Survivor<'_> {
    fn read(&self, sector: Lba, bytes: &mut [u8; SECTOR_BYTES]) {
        match self.disk.before(sector.0).filter(|_| self.loses) {
            Some(before) => *bytes = *before,
            None => self.disk.store().read(sector.byte_offset(), bytes),
        }
    }
}

impl<'a> Survivor<'a> {
    fn of(disk: &'a Disk, random: &mut Random) -> Self {
        Self { disk, loses: random.coin() }
    }

    /// What a node would find at its start.
    fn open(&self) -> Option<Opened> {
        let read = |place: meta::layout::Place, bytes: &mut [u8]| {
            self.disk.read_now(place.0, bytes)?;
            if self.loses && self.disk.has_unsynced() {
                let first = place.0 / SECTOR_BYTES as u64;
                for (sector, bytes) in (first..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
                    if let Some(before) = self.disk.before(sector) {
                        bytes.copy_from_slice(before);
                    }
                }
            }
            Ok(())
        };
        meta::open(read).ok()
    }
}

/// Where the copies of a volume differ, some metadata says so.
///
/// # Errors
/// A sector of which nobody would know.
pub(crate) fn differences_are_covered(
    machines: &[Machine; 2],
    volume: usize,
    random: &mut Random,
) -> Result<(), Finding> {
    let disks = machines.each_ref().map(|machine| &machine.disks[volume]);
    let data = disks.map(|disks| Survivor::of(&disks.data, random));
    let replicas: [&dyn Replica; 2] = [&data[0], &data[1]];
    let mut differences = Differences::default();
    let stores = disks.map(|disks| disks.data.store());
    let pages = stores[0].differences(stores[1]).map(|offset| offset / SECTOR_BYTES as u64);
    let unsynced = disks.map(|disks| disks.data.unsynced_sectors());
    for first in pages {
        differences.changed(replicas, sectors(first, SECTORS_PER_PAGE));
    }
    for sector in unsynced.into_iter().flatten() {
        differences.changed(replicas, sectors(sector, 1));
    }
    if differences.sectors().is_empty() {
        return Ok(());
    }
    // Whatever damages metadata in the world, it can be repaired.
    let opened = disks.map(|disks| Survivor::of(&disks.metadata, random).open());
    let [Some(zero), Some(one)] = opened else {
        let lost = opened.iter().position(Option::is_none).unwrap_or_default();
        let text = format!("node {lost} could not open its metadata after a loss of power");
        return Err(Finding::new(Property::Metadata, text));
    };
    let covered = |sector| covers(&zero, sector) || covers(&one, sector);
    differences
        .check(replicas, covered)
        .map_err(|uncovered| Finding::new(Property::DifferenceCovered, uncovered))
}

/// Whether this metadata has the sector compared or copied when its node meets the other.
fn covers(opened: &Opened, sector: Lba) -> bool {
    if sector.0 >= opened.superblock.layout.volume_sectors() {
        // It grows when it meets the other one, and by that one's bits.
        return false;
    }
    let extent = Extent(u32::try_from(sector.0 / EXTENT_SECTORS).expect("a small volume"));
    let is_hot = match &opened.log {
        Ok(replay) => !opened.superblock.clean && replay.extents().any(|hot| hot == extent),
        Err(_) => true,
    };
    is_hot || opened.bitmap.touches(sectors(sector.0, 1))
}

/// Whether a node serves a volume and lacks nothing of it. One that stands still does not know.
#[must_use]
pub(crate) fn has_good_copy(machine: &Machine, volume: usize) -> bool {
    !machine.is_paused()
        && machine
            .status(volume)
            .is_some_and(|status| status.serving && status.copy == CopyState::Good && status.lacking == 0)
}

/// Whether the metadata of a node's volume would say after a loss of power that its membership and size are what the node says.
#[must_use]
pub(crate) fn has_noted(machine: &Machine, volume: usize, status: &VolumeStatus) -> bool {
    let survivor = Survivor { disk: &machine.disks[volume].metadata, loses: true };
    survivor.open().is_some_and(|Opened { superblock, .. }| {
        superblock.membership == status.membership && superblock.layout.volume_sectors() == status.sectors
    })
}

/// Everything that hosts were told or have read is on this disk, or what was there at some time `since` then.
///
/// # Errors
/// A sector in which it holds what a host must not read any more.
pub(crate) fn disk_is_right(
    history: &History,
    node: usize,
    disk: &Disk,
    loses: bool,
    since: Moment,
) -> Result<(), Finding> {
    let replica = Survivor { disk, loses };
    durable::check(history, node, &replica, since, |_| true)
        .map_err(|lost| Finding::new(Property::Durable, lost))
}

/// Both copies of every volume are equal.
///
/// # Errors
/// The first sector that differs.
pub(crate) fn replicas_are_equal(machines: &[Machine; 2]) -> Result<(), Finding> {
    let [zero, one] = machines;
    for (zero, one) in zero.disks.iter().zip(&one.disks) {
        let (zero, one) = (zero.data.store(), one.data.store());
        let firsts = zero.differences(one).map(|offset| offset / SECTOR_BYTES as u64);
        let sectors = firsts.flat_map(|first| (first..first + u64::from(SECTORS_PER_PAGE)).map(Lba));
        replicas_equal::check([zero, one], sectors)
            .map_err(|unequal| Finding::new(Property::ReplicasEqual, unequal))?;
    }
    Ok(())
}

/// Both nodes hold the same small state of every volume on disk.
///
/// # Errors
/// What differs.
pub(crate) fn small_states_are_equal(machines: &[Machine; 2]) -> Result<(), Finding> {
    let [zero, one] = machines;
    for (zero, one) in zero.disks.iter().zip(&one.disks) {
        let found = [zero, one].map(|disks| Survivor { disk: &disks.metadata, loses: false }.open());
        let states = found.each_ref().map(|opened| opened.as_ref().and_then(|it| it.small_state.as_ref()));
        small_state_equal::check(states)
            .map_err(|unequal| Finding::new(Property::SmallStateEqual, unequal))?;
    }
    Ok(())
}

fn sectors(first: u64, count: u16) -> LbaRange {
    LbaRange::new(Lba(first), SectorCount(count)).expect("sectors of a small volume")
}

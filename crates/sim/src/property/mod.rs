//! What must hold, one property a file. Each says what it has to be told; the world tells it. None looks at a node itself.
//!
//! - [`linearizable`]: what the hosts saw could have come from one correct disk. At the end.
//! - [`durable`]: what was acknowledged or read is on each member's disk. At any moment, for what would survive it.
//! - [`lag`]: a follower lacks no more than was promised. Whenever the node ends that answers ahead of it.
//! - [`replicas_equal`]: after healing both disks hold the same.
//! - [`difference_covered`]: sectors in which the copies differ are known to differ. When the bad times end, at every fourth loss of a node,
//!   and whenever a verify finds something.
//! - [`one_history`]: at most one node serves alone, and an epoch has one owner. After every step.
//! - [`lease`]: a node answers nothing while the other serves alone. For every answer.
//! - [`answered_once`]: no request, numbered or not, is answered more often than it came, nor twice with different data. For every frame.
//! - [`liveness`]: after healing every request ends. At the end.
//! - [`metadata`]: whoever opens metadata that was damaged, as far as that is repairable, finds what was there. After each damage, and at each start.
//! - [`size`]: no node serves fewer sectors than one has served before, after every step; both have the same number. At the end.
//! - [`small_state_equal`]: both nodes hold the same config string, MAC mask and reservation. At the end.
//! - [`whole`]: after healing both nodes are members that lack nothing.
//! - [`repeatable`]: the same seed takes the same way. For seeds that are run twice.

pub mod answered_once;
pub mod difference_covered;
pub mod durable;
pub mod lag;
pub mod lease;
pub mod linearizable;
pub mod liveness;
pub mod metadata;
pub mod one_history;
pub mod repeatable;
pub mod replicas_equal;
pub mod size;
pub mod small_state_equal;
pub mod whole;

use block::{Lba, SECTOR_BYTES};

/// One node's copy of a volume.
pub trait Replica {
    /// What stands in a sector.
    fn read(&self, sector: Lba, bytes: &mut [u8; SECTOR_BYTES]);
}

/// Its sectors one after the other.
#[cfg(test)]
pub(crate) struct Sectors(pub(crate) Vec<[u8; SECTOR_BYTES]>);

#[cfg(test)]
impl Replica for Sectors {
    fn read(&self, sector: Lba, bytes: &mut [u8; SECTOR_BYTES]) {
        *bytes = self.0[usize::try_from(sector.0).expect("few sectors")];
    }
}

//! A disk with a cache: a write becomes visible sector by sector, then durable, and completes when it is durable.
//!
//! Writes that do not overlap proceed in any order. The order of overlapping writes that are outstanding together is up to
//! chance, as on a real disk: the protocol must never ask for that. The disk knows nothing of requests or of the peer.

use crate::words::{Image, Sectors, Value, WriteId};

/// A write that the disk has been given and has not finished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskWrite {
    /// The write whose data it carries.
    pub write: WriteId,
    /// The sectors that already show the data.
    pub visible: Sectors,
    /// The sectors that do not show it yet.
    pub left: Sectors,
}

/// One node's copy of the volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// What a read of the disk returns.
    pub visible: Image,
    /// What is certainly there after a power loss.
    pub durable: Image,
    /// Writes given and not finished, ordered by name so that equal states look equal.
    pub outstanding: Vec<DiskWrite>,
}

impl Disk {
    /// A disk with this content, idle.
    #[must_use]
    pub fn new(content: Image) -> Self {
        Self { visible: content, durable: content, outstanding: Vec::new() }
    }

    /// Gives the disk a write of these sectors.
    pub fn start(&mut self, write: WriteId, sectors: Sectors) {
        self.outstanding.push(DiskWrite { write, visible: Sectors::NONE, left: sectors });
        self.outstanding.sort_unstable();
    }

    /// One sector of an outstanding write becomes visible. Whether it was the last one.
    pub fn show(&mut self, write: WriteId, sector: usize) -> bool {
        let entry =
            self.outstanding.iter_mut().find(|entry| entry.write == write && entry.left.contains(sector));
        let entry = entry.expect("only an outstanding write becomes visible");
        entry.left = entry.left.without(Sectors::one(sector));
        entry.visible = entry.visible.or(Sectors::one(sector));
        self.visible[sector] = Value::of(write.request);
        let last = entry.left.is_empty();
        self.outstanding.sort_unstable();
        last
    }

    /// A write that is visible everywhere becomes durable: it is finished. Says which sectors it covered.
    pub fn finish(&mut self, write: WriteId) -> Sectors {
        let place = self.outstanding.iter().position(|entry| entry.write == write && entry.left.is_empty());
        let entry = self.outstanding.remove(place.expect("only a visible write is finished"));
        for sector in entry.visible.iter() {
            self.durable[sector] = self.visible[sector];
        }
        entry.visible
    }

    /// Whether everything given to the disk is finished.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether two outstanding writes overlap, so that chance decides which one stays.
    #[must_use]
    pub fn is_left_to_chance(&self) -> bool {
        let covered = |entry: &DiskWrite| entry.left.or(entry.visible);
        self.outstanding
            .iter()
            .enumerate()
            .any(|(i, a)| self.outstanding[i + 1..].iter().any(|b| covered(a).overlaps(covered(b))))
    }

    /// Writes a sector at once and durably, as if nothing could come in between.
    pub fn overwrite(&mut self, sector: usize, value: Value) {
        (self.visible[sector], self.durable[sector]) = (value, value);
    }

    /// The sectors whose content a power loss may or may not take back.
    #[must_use]
    pub fn undecided(&self) -> Sectors {
        let undecided =
            (0..self.visible.len()).filter(|&sector| self.visible[sector] != self.durable[sector]);
        undecided.fold(Sectors::NONE, |set, sector| set.or(Sectors::one(sector)))
    }

    /// Power is lost. Of what is visible and not durable, these sectors had been written through.
    pub fn lose_power(&mut self, kept: Sectors) {
        self.outstanding.clear();
        kept.iter().for_each(|sector| self.durable[sector] = self.visible[sector]);
        self.visible = self.durable;
    }

    /// What a sector may hold after a power loss now: what is durable, or what the cache had already written through.
    #[must_use]
    pub fn survivors(&self, sector: usize) -> [Value; 2] {
        [self.durable[sector], self.visible[sector]]
    }
}

//! Hosts on which both nodes are started with what a loss of power has left of them.

use crate::story::{DISKS, Moment, Story};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::{Pair, Random, Survival, recorded_writes};

pub(crate) struct Afterwards {
    pair: Pair,
}

impl Afterwards {
    /// Hosts furnished as those of the story.
    pub(crate) fn new(label: &str, story: &Story) -> Self {
        let this = Self { pair: Pair::new(label, true).expect("hosts and wires") };
        for node in 0..2 {
            let entry = |pair: &Pair| pair.image(node).with_extension("volume.toml");
            let mut text = fs::read_to_string(entry(&story.pair)).expect("an entry");
            for disk in 0..DISKS.len() {
                let quoted = |path: &Path| format!("\"{}\"", path.display());
                text = text.replace(&quoted(story.rack.device(disk)), &quoted(&this.file(disk)));
            }
            fs::write(entry(&this.pair), text).expect("write an entry");
        }
        this
    }

    /// Where a disk of the rack is here.
    fn file(&self, disk: usize) -> PathBuf {
        let image = self.pair.image(disk / 2);
        if disk.is_multiple_of(2) { image } else { image.with_extension("meta") }
    }

    /// Starts nodes with what a loss of power at this moment has left, and looks at both copies: what is wrong with them.
    pub(crate) fn fault(&self, moment: &Moment, survival: Survival, random: &mut Random) -> Option<String> {
        let witness = self.pair.scratch.join("witness");
        // None of the first loss.
        let _ = fs::remove_dir_all(&witness);
        fs::create_dir(&witness).expect("make");
        for (name, bytes) in &moment.witness {
            fs::write(witness.join(name), bytes).expect("write");
        }
        for (number, disk) in moment.disks.iter().enumerate() {
            let bytes = disk.after_loss(survival, random);
            fs::write(self.file(number), bytes).expect("write a disk");
        }
        let _witness = self.pair.start_witness().expect("witness");
        let first = usize::from(random.below(2) == 0);
        let _nodes = [first, 1 - first].map(|node| self.pair.start_node(node).expect("node"));
        self.pair.wait_until_in_sync();
        let fault = if self.pair.copies_are_equal() {
            let image = fs::read(self.pair.image(0)).expect("read a copy");
            recorded_writes::fault(&image, &moment.acknowledged, &moment.sent)?
        } else {
            "the copies differ".to_owned()
        };
        Some(format!("{}, {survival:?} survived: {fault}\n{}", moment.phase, self.pair.logs()))
    }
}

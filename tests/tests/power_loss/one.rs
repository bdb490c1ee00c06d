//! The power of one node goes, and when it is back and whole again, that of the other one.
//!
//! ```text
//!   first   ▬▬▬▬╳          ┄┄┄resync┄┄┄▬▬▬▬▬ alone ▬▬▬▬▬▬▬▬╳   ▬▬▬▬▬▬▬▬
//!   other   ▬▬▬▬▬▬ alone ▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬╳       ┄┄┄resync┄┄┄┄┄┄┄┄▬▬▬▬
//! ```
//!
//! Writes go on all the time, and at each of these losses the copy that counts must hold by itself what was acknowledged: of the first
//! node that is also what was written while it was away and while it was brought up to date. What is written before the first loss lies in
//! one extent, and what is written then in another one, of which the first node knows nothing by itself. The last loss comes in the middle
//! of a resync, and takes the only copy that is whole.
//!
//! `ROUNDS=n` asks for more of them, with the nodes in turn, `SEED=n` for other chances.

use crate::story::{Moment, Story, data_of, number};
use lab::{
    pair::{PATIENCE, is_whole},
    wait_until,
};
use std::ops::Range;
use tests::{Survival, recorded_writes::BLOCKS};

const ROUNDS: u64 = 1;
/// A quarter of the volume for each of these times, so that nothing later covers up what was lost. The first and the last two are an extent
/// each.
const BOTH_SERVE: Range<usize> = 0..BLOCKS / 4;
const AFTERWARDS: Range<usize> = BLOCKS / 4..BLOCKS / 2;
const ALONE: Range<usize> = BLOCKS / 2..BLOCKS / 4 * 3;
const BESIDE_A_RESYNC: Range<usize> = BLOCKS / 4 * 3..BLOCKS;
/// So slowly that writes come while a node is brought up to date: half a minute for an extent.
const SLOWLY: &str = "128k";
/// Of the node that is brought up to date.
const RESYNC: &str = "SyncTarget";
const FAST: &str = "100M";

/// What was seen.
#[derive(Default)]
struct Tally {
    losses: u32,
    at_risk: usize,
    /// Writes acknowledged while a node was brought up to date.
    beside_resyncs: u32,
}

impl Tally {
    /// Takes a node's power; its copy must do alone.
    fn cut(&mut self, story: &mut Story, node: usize, phase: &'static str) {
        let moment = story.cut(node, phase);
        self.losses += 1;
        self.at_risk += moment.disks[data_of(node)].sectors_at_risk();
        must_hold(&moment, story, &[node]);
    }

    /// Both serve; the first loses power, misses writes, and becomes whole again.
    fn lose_the_first(&mut self, story: &mut Story, first: usize) {
        let other = 1 - first;
        story.record.write_only(BOTH_SERVE);
        story.go_on("both serve");
        let moment = story.whole_moment("both serve");
        must_hold(&moment, story, &[first, other]);
        self.cut(story, first, "the first is lost");
        story.pair.wait_until_alone(other);
        story.record.write_only(ALONE);
        story.go_on("the other is alone");
        must_hold(&story.moment("the other is alone"), story, &[other]);
        story.record.write_only(BESIDE_A_RESYNC);
        story.set_resync_rate(other, SLOWLY);
        restore(story, first);
        self.resync(story, first);
        let moment = story.whole_moment("the first is back");
        must_hold(&moment, story, &[first, other]);
    }

    /// The other one loses power as well; then the first again, before the other one is up to date.
    fn lose_the_other(&mut self, story: &mut Story, other: usize) {
        let first = 1 - other;
        self.cut(story, other, "the other is lost");
        must_hold(&story.moment("the other is lost"), story, &[first]);
        story.pair.wait_until_alone(first);
        story.record.write_only(AFTERWARDS);
        story.go_on("the first is alone");
        must_hold(&story.moment("the first is alone"), story, &[first]);
        story.set_resync_rate(first, SLOWLY);
        restore(story, other);
        wait_for_resync(story, other);
        self.cut(story, first, "the first is lost while it brings the other up to date");
        restore(story, first);
        self.resync(story, other);
        story.go_on("both are back");
        let moment = story.whole_moment("both are back");
        must_hold(&moment, story, &[first, other]);
    }

    /// Lets the writes go on while a node is brought up to date, until it is.
    fn resync(&mut self, story: &mut Story, node: usize) {
        wait_for_resync(story, node);
        let before = story.record.count();
        story.go_on("one is brought up to date");
        let beside = story.record.count() - before;
        if story.pair.volume(node).expect("a volume")["replication"] == RESYNC {
            self.beside_resyncs += beside;
        }
        story.set_resync_rate(1 - node, FAST);
        story.pair.wait_until_in_sync();
    }
}

fn restore(story: &mut Story, node: usize) {
    let chance = usize::try_from(story.random.below(3)).expect("a small number");
    story.restore(node, Survival::ALL[chance]);
}

/// Waits until a node is brought up to date, or is already.
fn wait_for_resync(story: &Story, node: usize) {
    story.pair.wait_for(node, "in a resync", |volume| volume["replication"] == RESYNC || is_whole(volume));
}

fn must_hold(moment: &Moment, story: &mut Story, nodes: &[usize]) {
    for node in nodes {
        if let Some(fault) = moment.fault(*node, &mut story.random) {
            panic!("{fault}\n{}", story.pair.logs());
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_one_node_loses_power_and_later_the_other() {
    let (mut story, mut tally) = (Story::new("power-one"), Tally::default());
    story.record.write_only(BOTH_SERVE);
    story.begin_writing();
    for round in 0..number("ROUNDS", ROUNDS) {
        let first = usize::from(round % 2 == 0);
        tally.lose_the_first(&mut story, first);
        tally.lose_the_other(&mut story, 1 - first);
    }
    story.end_writing();
    let are_equal = || {
        let disks = story.rack.moment();
        Ok((disks[data_of(0)].content() == disks[data_of(1)].content()).then_some(()))
    };
    wait_until("equal copies", PATIENCE, are_equal).expect("copies that become equal");
    let Tally { losses, at_risk, beside_resyncs } = tally;
    let written = story.record.count();
    println!(
        "{losses} losses of power, {written} writes acknowledged, {beside_resyncs} of them beside resyncs, \
         {at_risk} sectors were at risk"
    );
    assert!(beside_resyncs > 0, "nothing was written beside a resync");
}

//! The power of both nodes goes at the same moment, again and again.
//!
//! While writes go on through both nodes, one is killed, the other goes on alone, the first is back and resynced, all disks are looked at
//! many times; each time makes disks as they may be after a loss of power at that moment: what was made durable is there, of the rest what
//! chance leaves, torn between any two sectors. Then, for each of these moments, two nodes are started with what was left.
//!
//! `MOMENTS=n` asks for more of them in each phase, `SEED=n` for other chances.

use crate::{
    afterwards::Afterwards,
    story::{Moment, Story, number},
};
use std::thread;
use tests::{Random, Survival};

/// Moments in the test command, for each phase of the story.
const MOMENTS: u64 = 2;
/// Restarts beside each other: most of their time they wait until what initiators may have sent before is too old.
const SIDE_BY_SIDE: usize = 4;
const SURVIVALS: [Survival; 4] = [Survival::Chance, Survival::Nothing, Survival::Chance, Survival::All];

/// Has it all happen while writes go on, and looks at everything some times in each phase.
fn moments_of(story: &mut Story) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut look = |story: &mut Story, phase| {
        for _ in 0..number("MOMENTS", MOMENTS) {
            story.go_on(phase);
            moments.push(story.moment(phase));
        }
    };
    story.begin_writing();
    look(story, "both serve");
    for victim in [1, 0] {
        story.nodes[victim].kill().expect("it can be killed");
        look(story, "one is lost, the other alone");
        story.nodes[victim] = story.pair.start_node(victim).expect("node");
        look(story, "one is back");
        story.pair.wait_until_in_sync();
        look(story, "both serve again");
    }
    story.end_writing();
    story.nodes.iter_mut().for_each(|node| node.kill().expect("it can be killed"));
    moments
}

#[test]
fn no_acknowledged_write_is_lost_when_both_nodes_lose_power_at_any_moment() {
    let mut story = Story::new("power");
    let moments = moments_of(&mut story);
    let at_risk: usize = moments.iter().map(Moment::sectors_at_risk).sum();
    thread::scope(|scope| {
        for first in 0..SIDE_BY_SIDE {
            let (story, moments) = (&story, &moments);
            scope.spawn(move || {
                let afterwards = Afterwards::new(&format!("power{first}"), story);
                for (index, moment) in moments.iter().enumerate().skip(first).step_by(SIDE_BY_SIDE) {
                    let mut random = Random::new(number("SEED", 1) * 1000 + index as u64);
                    let survival = SURVIVALS[index % SURVIVALS.len()];
                    if let Some(fault) = afterwards.fault(moment, survival, &mut random) {
                        panic!("{fault}");
                    }
                }
            });
        }
    });
    let (count, written) = (moments.len(), story.record.count());
    println!("{count} losses of power, {written} writes acknowledged, {at_risk} sectors were at risk");
    assert!(at_risk > 0, "nothing was ever at risk");
}

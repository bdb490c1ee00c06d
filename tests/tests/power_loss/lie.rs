//! Disks that answer flushes and do nothing, so that what is acknowledged is not on stable storage: each of the ways in which the other
//! tests judge must say that it is lost. The disks of the metadata tell the truth, or the nodes would find that broken and not serve.

use crate::{
    afterwards::Afterwards,
    story::{Story, data_of},
};
use std::thread;
use tests::{Random, Survival, recorded_writes};

/// It must be an old version, of a block that was acknowledged.
fn must_be_a_loss(fault: Option<String>) {
    let fault = fault.expect("disks that lie, and nobody has noticed");
    assert!(fault.contains("version 0 of block"), "{fault}");
}

/// Of two nodes the second loses power, the first goes on alone and loses it too: what it serves when it is back is not what was
/// acknowledged.
fn lose_one_after_the_other(story: &mut Story, random: &mut Random) {
    must_be_a_loss(story.cut(1, "one of two is lost").fault(1, random));
    story.pair.wait_until_alone(0);
    story.go_on("the other is alone");
    story.end_writing();
    let moment = story.cut(0, "the other is lost as well");
    must_be_a_loss(moment.fault(0, random));
    story.restore(0, Survival::Nothing);
    story.pair.wait_until_alone(0);
    let served = &story.rack.moment()[data_of(0)];
    must_be_a_loss(recorded_writes::fault(&served.content(), &moment.acknowledged, &moment.sent));
}

#[test]
fn disks_that_lie_about_flushes_are_found_out() {
    let (mut story, mut random) = (Story::new("power-lie"), Random::new(1));
    for node in 0..2 {
        story.rack.have_lie(data_of(node));
    }
    story.begin_writing();
    story.go_on("both serve");
    let moment = story.whole_moment("both serve");
    for node in 0..2 {
        must_be_a_loss(moment.fault(node, &mut random));
    }
    let afterwards = Afterwards::new("power-lie-both", &story);
    thread::scope(|scope| {
        scope.spawn(move || must_be_a_loss(afterwards.fault(&moment, Survival::Nothing, &mut random)));
        lose_one_after_the_other(&mut story, &mut Random::new(3));
    });
}

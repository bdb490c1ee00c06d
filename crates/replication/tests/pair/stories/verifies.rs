//! Stories of online verifies: what differs is found, told and fixed, and nothing that does not differ.

use block::{Lba, LbaRange, SectorCount};
use replication::input::Control;
use replication::message::VolumeMessage;
use replication::output::Event;

use super::{FOR_GOOD, SMALL, Story, Told};
use crate::world::{Plan, Stage, World};

/// Sectors that are compared at a time.
const AT_A_TIME: u64 = 256;

/// The last piece is a smaller one.
const PLAN: Plan = Plan { sectors: 8 * AT_A_TIME - 48, ..SMALL };

pub(super) const STORIES: &[Story] = &[
    ("fixed from both sides", PLAN, both_nodes_are_told_to_fix_the_same),
    ("silent damage", PLAN, silent_damage_is_found_and_fixed),
    ("verified twice", PLAN, a_verify_is_begun_while_one_is_under_way),
    ("parted while verifying", PLAN, the_nodes_part_while_one_verifies),
    ("verified over a bad sector", PLAN, what_cannot_be_read_is_fixed_from_the_peer),
    ("parted while fixing", PLAN, the_nodes_part_before_what_differs_is_fixed),
];

/// From either node: what its peer's disk holds is wrong.
fn silent_damage_is_found_and_fixed(world: &mut World) -> Told {
    both_are_whole(world)?;
    world.ask(0, true, 510, 8);
    world.ask(1, true, 1999, 1);
    world.until("the writes are over", |world| world.are_all_answered() && world.is_a_whole_pair())?;
    for index in 0..2 {
        for sector in [512, 700, 1999] {
            world.spoil_silently(1 - index, sector);
        }
        let differing = vec![
            Event::Differs(piece(2, AT_A_TIME)),
            Event::Differs(piece(7, AT_A_TIME - 48)),
            Event::VerifyDone { different: 2 * AT_A_TIME - 48 },
        ];
        verify(world, index, false)?;
        says(world, index, &differing)?;
        if world.check_equal().is_ok() {
            return Err("verify: what was only to be compared was changed".into());
        }
        let right = world.nodes[index].sectors.clone();
        verify(world, index, true)?;
        says(world, index, &differing)?;
        both_are_whole(world)?;
        world.check_equal().map_err(|error| format!("verify: not fixed: {error}"))?;
        if let Some(sector) = right.difference(&world.nodes[index].sectors, PLAN.sectors) {
            return Err(format!("verify: node {index} was told to fix sector {sector}, and has it changed"));
        }
        verify(world, 1 - index, false)?;
        says(world, 1 - index, &[Event::VerifyDone { different: 0 }])?;
    }
    Ok(())
}

/// The second one begins anew: what the first one's last comparison tells is not for it.
fn a_verify_is_begun_while_one_is_under_way(world: &mut World) -> Told {
    both_are_whole(world)?;
    let most = 6 * AT_A_TIME;
    world.control(0, Control::Verify { fix: false });
    world.until("most is compared", |world| compared(world) == Some(most))?;
    world.stall(Stage::Link, 1, FOR_GOOD);
    world.until("the next is to be compared", |world| {
        world.is_under_way(1, |message| matches!(message, VolumeMessage::Verify { .. }))
    })?;
    world.spoil_silently(1, 4 * AT_A_TIME);
    verify(world, 0, false)?;
    let given_up = Event::VerifyAborted { compared: most, different: 0 };
    let found = [Event::Differs(piece(4, AT_A_TIME)), Event::VerifyDone { different: AT_A_TIME }];
    says(world, 0, &[&[given_up][..], &found].concat())?;
    verify(world, 0, true)?;
    says(world, 0, &found)?;
    both_are_whole(world)
}

fn the_nodes_part_while_one_verifies(world: &mut World) -> Told {
    both_are_whole(world)?;
    world.control(1, Control::Verify { fix: true });
    world.stall(Stage::Link, 0, FOR_GOOD);
    world.run(20);
    let given_up = |compared| Event::VerifyAborted { compared, different: 0 };
    world.cut();
    says(world, 1, &[given_up(0)])?;
    world.control(1, Control::Verify { fix: true });
    says(world, 1, &[given_up(0)])?;
    world.go_on(Stage::Link, 0);
    world.uncut();
    both_are_whole(world)?;
    verify(world, 1, true)?;
    says(world, 1, &[Event::VerifyDone { different: 0 }])
}

/// What was found to differ counts as the node has it that was told to fix it, or as it was: never the other way round. And it is not
/// said to be fixed before it is.
fn the_nodes_part_before_what_differs_is_fixed(world: &mut World) -> Told {
    for index in 0..2 {
        both_are_whole(world)?;
        world.ask(index, true, 512, 8);
        world.until("the write is over", |world| world.are_all_answered() && world.is_a_whole_pair())?;
        let right = world.nodes[index].sectors.clone();
        world.spoil_silently(1 - index, 513);
        world.stall(Stage::Write, 1 - index, FOR_GOOD);
        world.control(index, Control::Verify { fix: true });
        world.until("a copy has come", |world| world.writes_at(1 - index) > 0)?;
        world.run(2000);
        world.cut();
        world.go_on(Stage::Write, 1 - index);
        let aborted = Event::VerifyAborted { compared: PLAN.sectors, different: AT_A_TIME };
        says(world, index, &[Event::Differs(piece(2, AT_A_TIME)), aborted])?;
        world.uncut();
        both_are_whole(world)?;
        if let Some(sector) = right.difference(&world.nodes[index].sectors, PLAN.sectors) {
            return Err(format!("verify: node {index} was told to fix sector {sector}, and has it changed"));
        }
        verify(world, index, true)?;
        both_are_whole(world)?;
        world.verified[index].clear();
        world.check_equal().map_err(|error| format!("verify: not fixed: {error}"))?;
    }
    Ok(())
}

/// The node that is told to fix what differs cannot read all of it itself.
fn what_cannot_be_read_is_fixed_from_the_peer(world: &mut World) -> Told {
    for index in 0..2 {
        both_are_whole(world)?;
        world.ask(index, true, 260, 8);
        world.ask(index, true, 300, 1);
        world.until("the writes are over", |world| world.are_all_answered() && world.is_a_whole_pair())?;
        world.nodes[index].sectors.unreadable.extend(256..272);
        world.spoil_silently(1 - index, 300);
        verify(world, index, true)?;
        both_are_whole(world)?;
        if !world.nodes[index].sectors.unreadable.is_empty() {
            return Err("verify: what could not be read is not mended".into());
        }
        world.check_equal().map_err(|error| format!("verify: not fixed: {error}"))?;
        let block = |number: u64| {
            let range = LbaRange::new(Lba(256 + 8 * number), SectorCount(8));
            Event::Differs(range.expect("a block"))
        };
        says(world, index, &[block(0), block(1), block(5), Event::VerifyDone { different: 24 }])?;
    }
    Ok(())
}

fn both_are_whole(world: &mut World) -> Told {
    world.until("both are whole", |world| world.serves(0) && world.serves(1) && world.is_a_whole_pair())
}

/// Tells a node to compare, and waits until it has.
fn verify(world: &mut World, index: usize, fix: bool) -> Told {
    world.control(index, Control::Verify { fix });
    world.go_on(Stage::Link, 1 - index);
    world.until("all is compared", |world| {
        world.verified[index].iter().any(|event| matches!(event, Event::VerifyDone { .. }))
    })
}

/// What a node has said of its verifies since this was asked last.
fn says(world: &mut World, index: usize, expected: &[Event]) -> Told {
    let said = std::mem::take(&mut world.verified[index]);
    if said == expected {
        Ok(())
    } else {
        Err(format!("verify: node {index} says {said:?}, not {expected:?}"))
    }
}

/// How far node 0 has come.
fn compared(world: &World) -> Option<u64> {
    world.status(0).and_then(|status| status.verify).map(|verify| verify.sectors)
}

/// One of the pieces that are compared at a time.
fn piece(number: u64, count: u64) -> LbaRange {
    let count = SectorCount(u16::try_from(count).expect("small"));
    LbaRange::new(Lba(number * AT_A_TIME), count).expect("a piece of the volume")
}

/// Whoever finds a difference second finds that it is being mended.
fn both_nodes_are_told_to_fix_the_same(world: &mut World) -> Told {
    // Which of them finds what, and whose copy sets out first, is chance.
    for round in 0..12 {
        both_are_whole(world)?;
        for sector in [3, 700, 1100, 1700] {
            world.spoil_silently(1, sector + round);
        }
        (0..2).for_each(|index| world.control(index, Control::Verify { fix: true }));
        let is_over =
            |world: &World, index| world.status(index).is_some_and(|status| status.verify.is_none());
        world.until("both have compared", |world| is_over(world, 0) && is_over(world, 1))?;
        both_are_whole(world)?;
        world.check_equal().map_err(|error| format!("verify: not fixed: {error}"))?;
    }
    Ok(())
}

//! The scripts.

use block::Duration;
use replication::durability::Durability;
use replication::input::Control;
use replication::membership::{Epoch, Members};
use replication::resync::ResyncRate;
use replication::start::VolumeConfig;
use replication::version::{Version, VersionRange};
use replication::volume::Phase;

use crate::compare::compare;
use crate::world::World;

const PLAIN: VolumeConfig = VolumeConfig {
    durability: Durability::Stable,
    resync_rate: ResyncRate::Yielding,
    resync_checksums: false,
    capacity: replication::resize::Capacity { sectors: 0, zeros: false },
};

#[test]
fn a_write() {
    let mut world = World::new("A write, and another one to the same extent", PLAIN);
    world.why(
        "The first write to an extent of 4 MiB: the activity log of both nodes names the extent before the write leaves
         or is applied, so that after a loss of power everything that may differ is known.",
    );
    world.write(0, 0, 8, 'A');
    world.run();
    world.why(
        "The extent is hot now: the next write goes to the peer and to the disk at once. It is answered when the Ack has
         come and the local disk has it; Commit tells the follower that reads need not wait any more (R5).",
    );
    world.write(0, 8, 8, 'B');
    world.run();
    world.tell();
    compare("write", &world.into_text());
}

/// A world whose only extent is hot at both nodes.
fn hot(title: &str) -> World {
    let mut world = World::new(title, PLAIN);
    world.warm();
    world
}

#[test]
fn a_conflict() {
    let mut world = hot("Both nodes write the same sectors at once");
    world.why(
        "Neither has heard of the other's write when it takes its own. R2: node 0's is ordered first, node 1's last, on
         both nodes, without a word about it.",
    );
    world.write(0, 0, 8, 'A');
    world.write(1, 4, 8, 'B');
    world.why(
        "Node 0 finds a remote write over one of its own that is not acknowledged: it applies the remote one after its own.
         Node 1 does not apply the sectors 4 to 7 of node 0's write: they are superseded. R4: it acknowledges that write only
         when its own, which supersedes, is on its disk.",
    );
    world.run();
    world.tell();
    compare("conflict", &world.into_text());
}

#[test]
fn a_superseded_write() {
    let mut world = hot("A write that is superseded as a whole, and its superseder's disk is slow");
    world.latency.disk[1] = 900;
    world.why("R2 orders node 0's write A first, though it came as late as B.");
    world.write(1, 0, 8, 'B');
    world.write(0, 0, 8, 'A');
    world.why(
        "Node 1 has nothing to apply of A, but R4 has it wait with the Ack until B is on its disk: if both lost power
         before, A would be acknowledged and neither A nor B be there.",
    );
    world.run();
    world.tell();
    compare("superseded_write", &world.into_text());
}

#[test]
fn a_write_after_another() {
    let mut world =
        hot("Writes to the same sectors one after the other, from both sides, and a read between");
    world.latency.disk = [400, 100];
    world.why("Node 0's disk is slow.");
    world.write(0, 0, 8, 'A');
    world.run_for(150);
    world.why(
        "Node 1 has acknowledged A, so its own write comes after it and need not wait (R1). A read at node 1 finds A on
         the disk, but waits for the Commit: nobody knows yet that node 0 has it (R5). B is in flight, too, when the disk
         gives the value, which may be of B; so it is waited for as well.",
    );
    world.read(1, 0, 8);
    world.write(1, 0, 8, 'B');
    world.why(
        "At node 0 the Ack for A has come before B: B is ordered after A, and waits until A is on the disk (R3).",
    );
    world.run();
    world.tell();
    compare("write_after_write", &world.into_text());
}

#[test]
fn the_peer_is_lost_and_comes_back() {
    let mut world = hot("The peer loses power, and comes back");
    world.leases = true;
    world.why(
        "Four times while a lease lasts, each node asks the other to lengthen it. The holder counts from when it asked, the
         granter from when it granted, and a twentieth longer: the holder stops first.",
    );
    world.run_for(400_000);
    world.why("Node 1 loses power with node 0's write on its way to its disk. Nobody tells node 0.");
    world.write(0, 0, 8, 'A');
    world.run_for(50);
    world.lose_power(1);
    world.why(
        "A second after it asked for the last lease that it was granted, node 0 freezes: it serves nothing, and
         drops the write in silence; nobody knows whether node 1 has it, so its block counts as out of sync.
         Then it waits until the lease that it has granted has run out, too: node 1 may be alive.",
    );
    world.run_until(|world| world.status(0).phase == Phase::Frozen);
    world.run_until(|world| world.status(0).serving);
    world.why(
        "Only when the arbiter has made it the sole member, and the superblock says so durably, node 0 serves alone.
         What it writes alone is answered when the disk has it and the bitmap says durably that the peer lacks it.",
    );
    world.write(0, 16, 8, 'B');
    world.run();
    world.tell();
    world.leases = false;
    world.why(
        "Node 1 is back. It has lost its memory, and its hot extents are in doubt: all of this small volume.",
    );
    world.start(1);
    world.run_for(10);
    world.connect();
    world.why(
        "They tell each other what is out of sync. Node 0 serves alone in a later epoch: its copy counts, it is the source.
         From Proceed on both take part in every write. Node 1 notes durably that it lacks blocks before anything newer is
         put among its older ones. When the last block is in sync the arbiter makes both members again.",
    );
    world.run_until(|world| world.status(1).phase == Phase::Paired);
    world.run();
    world.why(
        "Node 1 has not heard which writes node 0 answered meanwhile. It serves 3 s after they met, when no frame that asks
         for one of them again can still come.",
    );
    world.run_until(|world| world.status(1).serving);
    world.run();
    world.tell();
    compare("peer_lost_and_back", &world.into_text());
}

#[test]
fn a_node_leaves() {
    let mut world = hot("A node leaves on purpose, and joins again");
    world.why("Node 1 is in the middle of a write when it is told to leave.");
    world.write(1, 0, 8, 'A');
    world.why(
        "Node 1 takes no more requests, finishes what it took, and says so; node 0 goes on alone without waiting for any
         lease, and does not stall: a write that it takes meanwhile is answered.",
    );
    world.control(1, Control::Leave);
    world.run_for(130);
    world.write(0, 8, 8, 'B');
    world.run();
    world.why("What node 0 writes from now on it writes alone.");
    world.write(0, 16, 8, 'C');
    world.run();
    world.tell();
    world.why(
        "It joins again: only the block that it has missed is copied. It serves 3 s later: it has not heard which writes
         node 0 has answered.",
    );
    world.control(1, Control::Join);
    world.run();
    world.run_for(3_500_000);
    world.tell();
    compare("planned_leave", &world.into_text());
}

#[test]
fn both_lose_power() {
    let mut world = hot("Both nodes lose power while both write");
    world.latency.disk = [100, 400];
    world.why("Node 1's disk is slow.");
    world.write(0, 0, 8, 'A');
    world.write(1, 8, 8, 'B');
    world.run_for(150);
    world.why("A and B are on node 0's disk only; neither was answered. Power is lost at both.");
    world.lose_power(0);
    world.lose_power(1);
    world.tell();
    world.why(
        "Both come back as members of the same epoch, each with an extent in doubt by its activity log. No arbiter is
         needed: node 0's copy counts for these extents, and node 1 gets it. Both have forgotten which writes they
         answered, so they serve only after 2 s, when no frame sent before can still come.",
    );
    world.start(0);
    world.start(1);
    world.connect();
    world.run();
    world.run_until(|world| (0..2).all(|node| world.status(node).serving));
    world.tell();
    compare("both_lost_power", &world.into_text());
}

#[test]
fn a_resync_beside_foreground_writes() {
    let slow = VolumeConfig { resync_rate: ResyncRate::BytesPerSecond(1000), ..PLAIN };
    let mut world = World::new("A resync while both nodes serve, at 1,000 bytes a second", slow);
    world.quietly(|world| {
        world.control(1, Control::Leave);
        world.run();
        for (start, letter) in [(0, 'A'), (16, 'B'), (32, 'C'), (48, 'D')] {
            world.write(0, start, 8, letter);
        }
        world.run();
        world.control(1, Control::Join);
        world.run_until(|world| world.status(1).serving);
    });
    world.latency.disk = [100, 300];
    world.tell();
    world.why("Node 1 has joined again and lacks three blocks still. What it lacks it reads from the peer.");
    world.read(1, 48, 8);
    world.run_for(500);
    world.why("A write that it takes goes to both as ever, and then the block is not lacking any more.");
    world.write(1, 32, 8, 'E');
    world.run_for(900);
    world.tell();
    world.why(
        "Node 0 reads the next block to be copied. A write to half of it reaches node 1 before the copy does: the copy yields
         as a whole, and its turn comes again later. Written in part, a read could see what was there before both.",
    );
    world.run_until_told("disk: read 16+8");
    world.run_for(85);
    world.write(1, 16, 4, 'F');
    world.run_for(10_000);
    world.why("The rest follows, and both are members again.");
    world.run_until(|world| (0..2).all(|node| world.status(node).membership.members == Members::Both));
    world.run();
    world.tell();
    compare("resync_beside_writes", &world.into_text());
}

#[test]
fn a_read_error_is_healed() {
    let mut world = hot("Sectors that a disk cannot read any more");
    world.quietly(|world| {
        world.write(0, 0, 8, 'A');
        world.run();
    });
    world.why("A sector of node 0's disk has gone bad.");
    world.spoil(0, 3);
    world.why(
        "The peer's copy is as good: the client gets it. From then on the block counts as one that node 0 lacks, and the
         ordinary copy from the peer writes it again.",
    );
    world.read(0, 0, 8);
    world.run();
    world.why("It can be read again.");
    world.read(0, 0, 8);
    world.run();
    world.tell();
    compare("read_error_healed", &world.into_text());
}

#[test]
fn a_flush_in_memory_mode() {
    let config = VolumeConfig { durability: Durability::Memory, ..PLAIN };
    let mut world = World::new("A write that is answered from memory, and a flush", config);
    world.why("In this mode a write is answered when both disks have taken it, perhaps into a cache.");
    world.write(0, 0, 8, 'A');
    world.run();
    world.why("A flush reaches both disks before it is answered. Until then the extent stays in the logs.");
    world.flush(0);
    world.run();
    world.why("Without one, the node flushes by itself a second after the write.");
    world.write(1, 8, 8, 'B');
    world.run_for(1_300_000);
    world.tell();
    compare("flush_in_memory_mode", &world.into_text());
}

#[test]
fn a_node_is_forced() {
    let mut world = hot("An operator forces a node that may not serve");
    world.quietly(|world| {
        world.lose_power(1);
        world.run_until(|world| world.status(0).serving && world.status(0).phase == Phase::Alone);
        world.write(0, 0, 8, 'A');
        world.run();
        world.lose_power(0);
        world.start(1);
        world.run_for(2_000_000);
    });
    world.tell();
    world.why(
        "Node 0 served alone and is gone for good. Node 1 is shut out by the arbiter: it lacks what node 0 has answered. The
         operator accepts the loss. It serves 3 s after it started: it has forgotten which writes it answered before.",
    );
    world.control(1, Control::Force { held: Epoch(2) });
    world.run();
    world.run_until(|world| world.status(1).serving);
    world.tell();
    compare("forced", &world.into_text());
}

#[test]
fn a_pair_is_upgraded_one_node_at_a_time() {
    let older = VersionRange::of(Version::V1, Version::V1);
    let newer = VersionRange::of(Version::NEWEST, Version::NEWEST);
    let mut world = hot("A pair is upgraded, one node after the other, and then one of them too far");
    let restart = |world: &mut World, node: usize, versions| {
        world.quietly(|world| {
            world.control(node, Control::Leave);
            world.run_until(|world| world.status(1 - node).phase == Phase::Alone);
            world.run();
            world.lose_power(node);
            world.versions[node] = versions;
            world.run_for(13_000_000);
            world.start(node);
        });
    };
    restart(&mut world, 1, older);
    world.why(
        "Node 1 has been replaced by one whose program speaks only version 1. Each says in its Hello what it speaks; the session
         is in the newest version that both do, 1. Writes, leases and resync are the same in both.",
    );
    world.connect();
    world.run_until(|world| world.status(1).serving);
    world.run();
    world.tell();
    restart(&mut world, 1, VersionRange::ALL);
    world.why(
        "Node 1 was upgraded: it speaks 1 to 5 now, as node 0 does, and so the session is in version 5.",
    );
    world.connect();
    world.run_until(|world| world.status(1).serving);
    world.run();
    world.tell();
    restart(&mut world, 1, newer);
    world.quietly(|world| {
        world.lose_power(0);
        world.versions[0] = older;
        world.start(0);
        world.run_until(|world| world.status(0).serving);
        world.run();
    });
    world.why(
        "A later program of node 1 does not speak version 1 any more, and node 0 was restarted with one that speaks nothing else:
         they have no version in common. Each refuses the other and tells both ranges. Node 0, the sole member, goes on serving.",
    );
    world.connect();
    world.run_for(3_000_000);
    world.tell();
    assert!(world.status(0).serving && !world.status(1).serving);
    compare("upgrade", &world.into_text());
}

#[test]
fn a_slow_write_tells_where_its_time_went() {
    let mut world = World::new("A request that takes long", PLAIN);
    world.tell_of_slow(Duration::from_millis(20));
    world.latency.disk = [3_000, 40_000];
    world.why(
        "Writes to a cold extent wait for the activity log first. The Ack says how long the write was at the follower, whose disk is
         slow: what is left of the peer's part is the link's. A quarter of what the operator thinks slow is told already, because the
         request may have waited before it came here.",
    );
    world.write(0, 0, 8, 'A');
    world.run();
    world.why(
        "A read waits for the write in flight below it (R5), and one that waits for nothing is not told of.",
    );
    world.write(0, 0, 8, 'B');
    world.run_for(10_000);
    world.read(0, 0, 8);
    world.read(0, 32, 8);
    world.run();
    world.tell();
    compare("slow_request", &world.into_text());
}

#[test]
fn a_verify() {
    let mut world = hot("The copies are compared, and one sector differs");
    let seen = |world: &World| [0, 1].map(|node| world.status(node).verify.map(|verify| verify.is_source));
    world.rot(1, 20);
    world.why(
        "Nobody knows that a sector of node 1's copy is not what was written. Node 0 is asked to compare: it holds the sectors, so
         that no write is on one of the disks only, and tells node 1 their digest.",
    );
    world.control(0, Control::Verify { fix: false });
    assert_eq!(seen(&world), [Some(true), None]);
    world.run_until(|world| world.status(1).verify.is_some());
    assert_eq!(seen(&world), [Some(true), Some(false)]);
    assert_eq!(world.status(0).verify.map(|verify| verify.sectors), Some(0));
    world.run();
    world.tell();
    assert_eq!(seen(&world), [None, None]);
    compare("verify", &world.into_text());
}

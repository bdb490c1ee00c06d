//! What a replicated write costs beside a plain one. Run on a quiet machine:
//! `cargo test --release -p os --test pair -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use aoe::Tag;
use aoe::wire::Frame;

use os::shard::Command;
use replication::volume::Phase;

use crate::world::{Client, DISK_BYTES, Kind, ORDINARY, World};

const BLOCKS: u64 = DISK_BYTES / 4096;
const RUN: Duration = Duration::from_secs(2);

/// How long each request took, sorted, how many there were in a second, and the shards' processor time for all of them.
struct Measured {
    times: Vec<Duration>,
    a_second: u64,
    processor: Duration,
}

impl Measured {
    fn new(mut times: Vec<Duration>, elapsed: Duration, processor: Duration) -> Self {
        times.sort_unstable();
        let a_second = times.len() as u128 * 1_000_000 / elapsed.as_micros().max(1);
        Self { times, a_second: u64::try_from(a_second).expect("not so many"), processor }
    }

    fn print(&self, what: &str) {
        let at = |part: usize| self.times[(self.times.len() - 1) * part / 100].as_micros();
        let each = self.processor.as_nanos() / self.times.len() as u128;
        println!(
            "{what:40} {:>7}/s  p50 {:>5} us  p99 {:>5} us  processor {}.{:02} us",
            self.a_second,
            at(50),
            at(99),
            each / 1000,
            each % 1000 / 10
        );
    }
}

/// The same bytes to a file, by one thread for each file.
fn plain(files: usize) -> Measured {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let threads: Vec<_> = (0..files)
        .map(|index| {
            let path = directory.path().join(index.to_string());
            std::fs::write(&path, vec![0; usize::try_from(DISK_BYTES).expect("small")]).expect("a file");
            std::fs::File::open(&path).expect("a file").sync_all().expect("written");
            std::thread::spawn(move || {
                let flags = libc::O_DIRECT | libc::O_DSYNC;
                let file = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path);
                let file = file.expect("a file");
                let memory = vec![1u8; 8192];
                let aligned = memory.as_ptr().align_offset(4096);
                let (mut times, start) = (Vec::new(), Instant::now());
                while start.elapsed() < RUN {
                    let begun = Instant::now();
                    let block = place(times.len() as u64);
                    file.write_all_at(&memory[aligned..aligned + 4096], block * 4096).expect("written");
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let times = threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect();
    Measured::new(times, RUN, Duration::ZERO)
}

/// Everything is written while a node is away; how long the copying takes once it is back.
fn resync(world: &World, client: &mut Client) {
    world.nodes[0].send(Command::PeerDisconnect);
    let alone = |node: &&usize| world.nodes[**node].status().phase == Phase::Alone;
    let winner = lab::wait_until("one to go on", Duration::from_secs(10), || Ok([0, 1].iter().find(alone)));
    let winner = *winner.expect("one goes on");
    for block in 0..BLOCKS {
        client.send(winner, block, Some(9));
        let is_last = block % 32 == 31;
        while is_last && world.nodes[winner].statistics().disk_operations > 0 {}
    }
    let dirty =
        world.nodes[winner].wait_for("all to be dirty", |status| status.out_of_sync > BLOCKS * 9 / 10);
    world.connect_by_tcp();
    world.nodes[winner].wait_for("copying", |status| status.out_of_sync < dirty.out_of_sync);
    let begun = Instant::now();
    world.nodes[winner].wait_for("all to be equal", |status| status.out_of_sync == 0);
    let (blocks, took) = (dirty.out_of_sync, begun.elapsed());
    println!(
        "resync of {blocks} blocks: {} MB/s",
        blocks * 4096 / u64::try_from(took.as_micros()).expect("short")
    );
}

/// What the threads of the shards have used so far.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this process has threads");
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let is_shard = name.starts_with("node") || name.starts_with("single");
        let used = is_shard.then(|| std::fs::read_to_string(path.join("schedstat")).ok()).flatten()?;
        used.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(of_thread).sum()
}

fn fill(number: u64) -> u8 {
    u8::try_from(1 + number % 250).expect("a byte")
}

fn in_turns(number: u64) -> usize {
    usize::from(number % 2 == 1)
}

const fn place(number: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % BLOCKS
}

fn load(client: &mut Client, depth: usize, is_write: bool, node_of: fn(u64) -> usize) -> Measured {
    let (mut times, mut under_way, mut number) = (Vec::new(), BTreeMap::new(), 0);
    let (start, before) = (Instant::now(), processor_time());
    loop {
        let is_over = start.elapsed() >= RUN;
        while !is_over && under_way.len() < depth {
            let tag = client.send(node_of(number), place(number), is_write.then_some(fill(number)));
            under_way.insert(tag.0, Instant::now());
            number += 1;
        }
        client.port.flush().expect("sent");
        if under_way.is_empty() {
            return Measured::new(times, start.elapsed(), processor_time() - before);
        }
        assert!(client.port.wait(Some(Duration::from_secs(5))), "no answer");
        while let Some(received) = client.port.receive() {
            let Tag(tag) = Frame::new(client.port.frame(received.slot)).expect("a frame").header().tag;
            client.port.release(received.slot);
            if let Some(begun) = under_way.remove(&tag) {
                times.push(begun.elapsed());
            }
        }
    }
}

#[test]
#[ignore = "a measurement, for a quiet machine"]
fn what_a_replicated_write_costs() {
    plain(1).print("a file, O_DIRECT|O_DSYNC");
    plain(2).print("two files at once, both together");
    let world = World::paired(Kind { lease: Duration::from_secs(2), ..ORDINARY });
    let mut client = world.client();
    let (single, mut plain_client) = world.single(ORDINARY);
    load(&mut plain_client, 32, true, |_| 0);
    load(&mut plain_client, 1, true, |_| 0).print("write without a peer, depth 1");
    load(&mut plain_client, 32, true, |_| 0).print("write without a peer, depth 32");
    load(&mut plain_client, 1, false, |_| 0).print("read without a peer, depth 1");
    load(&mut plain_client, 32, false, |_| 0).print("read without a peer, depth 32");
    single.stop();
    // The extents become hot.
    load(&mut client, 32, true, |_| 0);
    load(&mut client, 1, true, |_| 0).print("replicated write, depth 1, one node");
    load(&mut client, 32, true, |_| 0).print("replicated write, depth 32, one node");
    load(&mut client, 32, true, in_turns).print("replicated write, depth 32, both");
    load(&mut client, 1, false, |_| 0).print("read, depth 1, one node");
    load(&mut client, 32, false, |_| 0).print("read, depth 32, one node");
    load(&mut client, 32, false, in_turns).print("read, depth 32, both");
    resync(&world, &mut client);
    let statistics = world.nodes.each_ref().map(|node| node.statistics().peer);
    println!("{statistics:?}");
}

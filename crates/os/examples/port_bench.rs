//! What a frame costs in processor time, for each kind of port: the numbers in `docs/measurements.md`.
//!
//! `cargo run --release -p os --example port_bench`, as root. One thread pinned to one core does all of the first part,
//! over a virtual wire in a namespace of its own: on such a wire a frame is received, up to the socket, within the call
//! that sends it, so the cost of receiving is what sending costs more when somebody listens, plus taking the frame out.
//! The second part plays target and initiator on two cores.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::Namespace;
use lab::network;
use os::frame_port::{FrameFilter, FramePort, Payload, PortKind, PortOptions, TransmitFrame};
use os::{clock, cpu};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

const KINDS: [PortKind; 3] = [PortKind::Ring, PortKind::Uring, PortKind::Plain];
const FRAME_BYTES: [usize; 4] = [60, 1060, 4132, 8228];
/// Slots of these kinds are used again while still in the cache, so their memory's size matters to the ring only.
const RECEIVERS: [(PortKind, usize); 6] = [
    (PortKind::Ring, 1),
    (PortKind::Ring, 4),
    (PortKind::Ring, 8),
    (PortKind::Ring, 16),
    (PortKind::Uring, 16),
    (PortKind::Plain, 16),
];
const FRAMES_PER_ROUND: u32 = 64;
const ROUNDS: usize = 4000;
const MTU: u32 = 9000;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let namespace = Namespace::new()?;
    network::wire((&namespace, "near"), (&namespace, "far"), MTU)?;
    for (name, mac) in ["near", "far"].iter().zip(["02:00:00:00:00:01", "02:00:00:00:00:02"]) {
        namespace.program("ip").args(["link", "set", name, "address", mac]).run()?;
    }
    let cores = cpu::allowed_cores(); // before this thread is pinned to one of them
    namespace.enter(|| {
        cost_of_frames(cores[0]);
        cost_with_pnet();
        round_trips(cores[0], cores[cores.len() - 1]);
        Ok(())
    })?;
    Ok(())
}

fn open(
    interface: &str,
    kind: PortKind,
    filter: FrameFilter,
    change: impl FnOnce(&mut PortOptions),
) -> FramePort {
    let mut options = PortOptions { kind, ..PortOptions::new(interface, filter) };
    change(&mut options);
    FramePort::open(&options).unwrap_or_else(|error| panic!("{error}"))
}

fn frame(from: usize, flags: u8, bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; bytes];
    frame[..6].copy_from_slice(&MACS[1 - from]);
    frame[6..12].copy_from_slice(&MACS[from]);
    frame[12..20].copy_from_slice(&[0x88, 0xa2, 0x10 | flags, 0, 0, 7, 1, 0]);
    frame
}

fn queue(port: &mut FramePort, frame: &[u8]) {
    let head = &frame[..frame.len().min(60)];
    let payload = (frame.len() > 60).then(|| Payload::of(&frame[60..]));
    port.queue(TransmitFrame { head, payload }).unwrap_or_else(|error| panic!("{error}"));
}

fn cost_of_frames(core: usize) {
    cpu::pin_to_core(core).unwrap_or_else(|error| panic!("{error}"));
    println!("ns a frame, second percentile of {ROUNDS} rounds of {FRAMES_PER_ROUND}, MTU {MTU}\n");
    println!("sending, nobody listens");
    println!("{:>36} {:>8} {:>8} {:>8} {:>8}", "", "60 B", "1060 B", "4132 B", "8228 B");
    for (name, kind, batch, bypass_queue) in [
        ("sendmmsg of 64, queue bypassed", PortKind::Plain, 64, true),
        ("sendmmsg of 64, through the queue", PortKind::Plain, 64, false),
        ("one by one, queue bypassed", PortKind::Plain, 1, true),
        ("AF_XDP up to 1536 bytes, of 64", PortKind::Xdp, 64, true),
        ("AF_XDP up to 1536 bytes, one by one", PortKind::Xdp, 1, true),
    ] {
        let costs = FRAME_BYTES.map(|bytes| {
            let mut sender = open("near", kind, FrameFilter::Responses, |options| {
                options.send_batch = batch;
                options.bypass_queue = bypass_queue;
            });
            quiet_rounds(|| send_round(&mut sender, &frame(0, 0, bytes), batch))
        });
        row(name, costs);
    }
    println!("\nreceiving: in the kernel + taking out (+ copying the payload out)");
    for (kind, mib) in RECEIVERS {
        let costs = FRAME_BYTES.map(|bytes| receive_cost(kind, mib, bytes));
        row(&format!("{kind} of {mib} MiB: kernel"), costs.map(|cost| cost.kernel));
        row("taking out", costs.map(|cost| cost.taking));
        row("together", costs.map(|cost| cost.kernel + cost.taking));
        row("together, and a copy", costs.map(|cost| cost.kernel + cost.copying));
    }
}

/// The portable library's own data path, from the same core, over the same wire.
fn cost_with_pnet() {
    // Its socket has room for the kernel's default only, so a round is short.
    const FRAMES: u32 = 8;
    let (mut sender, _) = pnet("near");
    let sending = FRAME_BYTES.map(|bytes| {
        let frame = frame(0, 0, bytes);
        quiet_rounds(|| pnet_round(FRAMES, || drop(black_box(sender.send_to(&frame, None)))))
    });
    let receiving = FRAME_BYTES.map(|bytes| {
        let frame = frame(0, 0, bytes);
        let (_, mut receiver) = pnet("far");
        let (mut heard, mut taking) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            heard.push(pnet_round(FRAMES, || drop(black_box(sender.send_to(&frame, None)))));
            taking.push(pnet_round(FRAMES, || {
                let frame = receiver.next().unwrap_or_else(|error| panic!("{error}"));
                assert!(frame.len() == bytes, "a frame of {} bytes", frame.len());
            }));
        }
        (quiet(heard), quiet(taking))
    });
    row("pnet_datalink: sending", sending);
    let kernel = [0, 1, 2, 3].map(|index| receiving[index].0 - sending[index]);
    row("pnet_datalink: kernel", kernel);
    row("taking out", receiving.map(|(_, taking)| taking));
    row("together", [0, 1, 2, 3].map(|index| kernel[index] + receiving[index].1));
}

fn pnet(name: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let all = pnet_datalink::interfaces();
    let Some(interface) = all.iter().find(|interface| interface.name == name) else { panic!("no {name}") };
    let config = Config {
        read_buffer_size: 16 << 10,
        write_buffer_size: 16 << 10,
        promiscuous: false,
        ..Config::default()
    };
    match pnet_datalink::channel(interface, config) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        _ => panic!("no channel on {name}"),
    }
}

fn pnet_round(frames: u32, mut each: impl FnMut()) -> f64 {
    let start = clock::now();
    (0..frames).for_each(|_| each());
    clock::now().since(start).as_secs_f64() * 1e9 / f64::from(frames)
}

#[derive(Clone, Copy)]
struct ReceiveCost {
    kernel: f64,
    taking: f64,
    copying: f64,
}

fn receive_cost(kind: PortKind, mib: usize, bytes: usize) -> ReceiveCost {
    let mut sender = open("near", PortKind::Plain, FrameFilter::Responses, |_| ());
    let sent = frame(0, 0, bytes);
    let (wanted, unwanted) = ((7, 1), (9, 9));
    let filter = |address| FrameFilter::Requests { addresses: vec![address] };
    let mut receiver = open("far", kind, filter(wanted), |options| options.ring_bytes = mib << 20);
    let mut copy = vec![0u8; 1 << 20];
    let (mut alone, mut heard, mut taking, mut copying) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        receiver.set_filter(&filter(unwanted)).unwrap_or_else(|error| panic!("{error}"));
        alone.push(send_round(&mut sender, &sent, 64));
        receiver.set_filter(&filter(wanted)).unwrap_or_else(|error| panic!("{error}"));
        heard.push(send_round(&mut sender, &sent, 64));
        if round % 2 == 0 {
            copying.push(take_round(&mut receiver, Some(&mut copy)));
        } else {
            taking.push(take_round(&mut receiver, None));
        }
    }
    let statistics = receiver.statistics();
    assert!(statistics.lost == 0, "{kind}, {bytes} bytes: {statistics:?}");
    ReceiveCost { kernel: quiet(heard) - quiet(alone), taking: quiet(taking), copying: quiet(copying) }
}

fn send_round(sender: &mut FramePort, frame: &[u8], batch: usize) -> f64 {
    let start = clock::now();
    for count in 1..=FRAMES_PER_ROUND as usize {
        queue(sender, frame);
        if count % batch == 0 {
            sender.flush().unwrap_or_else(|error| panic!("{error}"));
        }
    }
    nanos_per_frame(clock::now().since(start))
}

fn take_round(receiver: &mut FramePort, mut copy: Option<&mut [u8]>) -> f64 {
    let start = clock::now();
    let mut remaining = FRAMES_PER_ROUND;
    let mut at = 0;
    while remaining > 0 {
        let Some(received) = receiver.receive() else { continue };
        let frame = receiver.frame(received.slot);
        black_box(frame[14..36].iter().map(|&byte| u32::from(byte)).sum::<u32>());
        if let Some(copy) = copy.as_deref_mut() {
            copy[at..at + frame.len() - 36].copy_from_slice(&frame[36..]);
            at += 16 << 10;
        }
        receiver.release(received.slot);
        remaining -= 1;
    }
    nanos_per_frame(clock::now().since(start))
}

fn quiet_rounds(mut round: impl FnMut() -> f64) -> f64 {
    quiet((0..ROUNDS).map(|_| round()).collect())
}

/// The second percentile: what a round costs when nothing else runs on this core or on the one that shares its units,
/// without trusting the luckiest one.
fn quiet(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 50]
}

fn nanos_per_frame(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(FRAMES_PER_ROUND)
}

fn row(name: &str, costs: [f64; 4]) {
    println!("{name:>36} {:8.0} {:8.0} {:8.0} {:8.0}", costs[0], costs[1], costs[2], costs[3]);
}

/// Requests and replies of these lengths: nothing, a read and a write of 4 KiB, a read of 8 KiB.
const EXCHANGES: [(&str, usize, usize); 4] =
    [("60 B, 60 B", 60, 60), ("read 4 KiB", 60, 4132), ("write 4 KiB", 4132, 60), ("read 8 KiB", 60, 8228)];

fn round_trips(near: usize, far: usize) {
    println!("\nround trips a second, and µs of processor time each (target, initiator)");
    for waiting in [Waiting::Spin, Waiting::Sleep] {
        for depth in [1, 32] {
            for (name, request, reply) in EXCHANGES {
                print!("{:>28}", format!("{waiting:?}, depth {depth}, {name}"));
                for kind in KINDS {
                    let result = exchange((near, far), kind, depth, request, reply, waiting);
                    print!(" | {kind:>8} {:7.0} {:5.2} {:5.2}", result.rate, result.target, result.initiator);
                }
                println!();
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    Spin,
    Sleep,
}

struct Exchange {
    rate: f64,
    target: f64,
    initiator: f64,
}

fn exchange(
    cores: (usize, usize),
    kind: PortKind,
    depth: usize,
    request: usize,
    reply: usize,
    waiting: Waiting,
) -> Exchange {
    let mut target = open("far", kind, FrameFilter::Requests { addresses: vec![(7, 1)] }, |_| ());
    let mut initiator = open("near", kind, FrameFilter::Responses, |options| options.send_batch = 128);
    let done = AtomicBool::new(false);
    let (request, reply) = (frame(0, 0, request), frame(1, 8, reply));
    std::thread::scope(|scope| {
        let target = scope.spawn(|| {
            cpu::pin_to_core(cores.1).unwrap_or_else(|error| panic!("{error}"));
            let before = cpu::thread_time();
            while !done.load(Ordering::Relaxed) {
                answer(&mut target, &reply, waiting);
            }
            cpu::thread_time() - before
        });
        cpu::pin_to_core(cores.0).unwrap_or_else(|error| panic!("{error}"));
        let (before, start) = (cpu::thread_time(), clock::now());
        let mut round_trips = 0u32;
        (0..depth).for_each(|_| queue(&mut initiator, &request));
        flush(&mut initiator);
        while clock::now().since(start) < Duration::from_millis(250) {
            round_trips += answer(&mut initiator, &request, waiting);
        }
        let time = clock::now().since(start);
        let initiator = cpu::thread_time() - before;
        done.store(true, Ordering::Relaxed);
        let target = target.join().unwrap_or_default();
        let each = |time: Duration| time.as_secs_f64() / f64::from(round_trips.max(1)) * 1e6;
        Exchange {
            rate: f64::from(round_trips) / time.as_secs_f64(),
            target: each(target),
            initiator: each(initiator),
        }
    })
}

/// Sends `answer` for every frame that has come; how many that were.
fn answer(port: &mut FramePort, answer: &[u8], waiting: Waiting) -> u32 {
    if matches!(waiting, Waiting::Sleep) && !port.wait(Some(Duration::from_millis(10))) {
        return 0;
    }
    let mut answered = 0;
    while answered < 64 {
        let Some(received) = port.receive() else { break };
        black_box(port.frame(received.slot)[14]);
        port.release(received.slot);
        queue(port, answer);
        answered += 1;
    }
    flush(port);
    answered
}

fn flush(port: &mut FramePort) {
    port.flush().unwrap_or_else(|error| panic!("{error}"));
}

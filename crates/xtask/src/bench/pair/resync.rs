//! How fast a node that was away is brought up to date, and what initiators notice of it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lab::{Error, Program, wait_until};

use super::super::Arguments;
use super::super::stage::IMAGE_BYTES;
use super::super::table::median;
use super::load::{self, Sample};
use super::stage::{COPY_LIMIT, PairStage};

const OF_DD_WANTED: f64 = 0.7;
const P99_WANTED: f64 = 2.0;
const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;

/// What is written while node 1 is away.
#[derive(Clone, Copy, Debug)]
enum Dirty {
    All,
    /// A hundredth, one block here and one there.
    Scattered,
    /// A hundredth, from the beginning on.
    Together,
}

impl Dirty {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "resync of 1 GiB, all dirty",
            Self::Scattered => "1 % dirty, 4 KiB here and there",
            Self::Together => "1 % dirty, in one piece",
        }
    }

    /// As `etherpair bench` takes it.
    fn load(self) -> String {
        let part = IMAGE_BYTES / 100;
        match self {
            Self::All => format!("--rw write --block-size 1m --depth 8 --requests {}", IMAGE_BYTES / MIB),
            Self::Scattered => format!("--rw randwrite --depth 32 --requests {}", part / BLOCK),
            Self::Together => format!("--rw write --block-size 1m --depth 8 --requests {}", part / MIB),
        }
    }
}

/// What came out of it.
#[derive(Clone, Copy, Debug)]
struct Copied {
    bytes: u64,
    seconds: f64,
}

impl Copied {
    fn megabytes(self) -> f64 {
        megabytes(self.bytes)
    }

    fn megabytes_per_second(self) -> f64 {
        self.megabytes() / self.seconds
    }
}

/// The tables.
pub(super) fn measure(name: &str, stage: &PairStage<'_>, arguments: &Arguments) -> Result<String, Error> {
    let kinds = [Dirty::All, Dirty::Scattered, Dirty::Together];
    let (mut plain, mut copied) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    let (mut calm, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}: {name}", arguments.rounds);
        plain.push(dd(stage)?);
        for (kind, copied) in kinds.into_iter().zip(&mut copied) {
            copied.push(once(stage, kind)?);
        }
        calm.push(foreground(stage)?);
        beside.push(foreground_beside(stage)?);
    }
    let mut text = format!("\n**{name}**\n\n| | MB | seconds | MB/s |\n|---|---|---|---|\n");
    row(&mut text, "dd of the file, direct, with fsync", &plain);
    for (kind, copied) in kinds.into_iter().zip(&copied) {
        row(&mut text, kind.name(), copied);
    }
    let rounds = copied[0].iter().zip(&plain);
    let ratio = rounds.map(|(ours, dd)| ours.megabytes_per_second() / dd.megabytes_per_second()).collect();
    let ratio = median(ratio).unwrap_or(0.0);
    let _ = writeln!(text, "\n{}{ratio:.2} × dd (wanted {OF_DD_WANTED}).", missed(ratio >= OF_DD_WANTED));
    text += &foreground_table(&calm, &beside);
    Ok(text)
}

/// dd of the file onto another one that is there already, as a resync's target is.
fn dd(stage: &PairStage<'_>) -> Result<Copied, Error> {
    let from = format!("if={}", stage.bench.image.display());
    let to = format!("of={}", stage.second_image.display());
    let options = ["bs=1M", "iflag=direct", "oflag=direct", "conv=notrunc,fsync", "status=none"];
    let begun = Instant::now();
    Program::new("dd").args([from, to]).args(options).run()?;
    Ok(Copied { bytes: IMAGE_BYTES, seconds: begun.elapsed().as_secs_f64() })
}

/// Node 1 leaves, something is written, it comes back: from the moment when the nodes have met until all is in sync.
fn once(stage: &PairStage<'_>, dirty: Dirty) -> Result<Copied, Error> {
    make_dirty(stage, dirty)?;
    stage.pair.command(1, "join")?;
    stage.pair.wait_until_in_sync_within(COPY_LIMIT)?;
    let seconds = stage.told_at(0, "in-sync") - stage.told_at(0, "paired");
    let blocks = stage.told(0, "paired")["details"]["peer_lacks_blocks"].as_u64().unwrap_or(0);
    Ok(Copied { bytes: blocks * BLOCK, seconds })
}

fn make_dirty(stage: &PairStage<'_>, dirty: Dirty) -> Result<(), Error> {
    stage.leave(1)?;
    let arguments = format!("7.1 {} --allow-writes", dirty.load());
    load::aoe(&stage.bench.command, &stage.client, &arguments, &[]).map(|_| ())
}

/// Reads and writes that do not load the pair fully.
fn foreground(stage: &PairStage<'_>) -> Result<Sample, Error> {
    let load = load::arguments("7.1", "randrw", 16, stage.bench.seconds);
    load::aoe(&stage.bench.command, &stage.client, &format!("{load} --rate 2000"), &[])
}

/// The same beside a resync of everything; and how much of it was still to do in the end.
fn foreground_beside(stage: &PairStage<'_>) -> Result<(Sample, u64), Error> {
    make_dirty(stage, Dirty::All)?;
    stage.pair.command(1, "join")?;
    wait_until("a resync", COPY_LIMIT, || {
        let volume = stage.pair.volume(0)?;
        Ok((volume["replication"] == "SyncSource").then_some(()))
    })?;
    let sample = foreground(stage)?;
    let left = stage.pair.volume(0)?["out_of_sync_bytes"].as_u64().unwrap_or(0);
    stage.pair.wait_until_in_sync_within(COPY_LIMIT)?;
    // What is behind it rests before the next.
    std::thread::sleep(Duration::from_millis(200));
    Ok((sample, left))
}

fn row(text: &mut String, name: &str, copied: &[Copied]) {
    let of = |value: fn(Copied) -> f64| median(copied.iter().copied().map(value).collect()).unwrap_or(0.0);
    let (amount, rate) = (of(Copied::megabytes), of(Copied::megabytes_per_second));
    let seconds = of(|copied| copied.seconds);
    let _ = writeln!(text, "| {name} | {amount:.0} | {seconds:.3} | {rate:.0} |");
}

fn foreground_table(calm: &[Sample], beside: &[(Sample, u64)]) -> String {
    let mut text =
        "\n| 4 KiB read and written, 2,000 a second | requests/s | p50 µs | p99 µs | slowest ms |\n\
                    |---|---|---|---|---|\n"
            .to_owned();
    let loaded: Vec<Sample> = beside.iter().map(|(sample, _)| *sample).collect();
    for (name, samples) in [("nothing to copy", calm), ("beside a resync of everything", &loaded)] {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect()).unwrap_or(0.0);
        let (rate, p50) = (of(|sample| sample.requests_per_second), of(|sample| sample.p50));
        let (p99, max) = (of(|sample| sample.p99), of(|sample| sample.max / 1e3));
        let _ = writeln!(text, "| {name} | {rate:.0} | {p50:.0} | {p99:.0} | {max:.1} |");
    }
    let ratio = loaded.iter().zip(calm).map(|(loaded, calm)| loaded.p99 / calm.p99).collect();
    let ratio = median(ratio).unwrap_or(0.0);
    let left = median(beside.iter().map(|(_, left)| megabytes(*left)).collect()).unwrap_or(0.0);
    let _ = writeln!(
        text,
        "\n{}p99 {ratio:.2} × (wanted {P99_WANTED}); {left:.0} MB were still to be copied when the load ended.",
        missed(ratio <= P99_WANTED)
    );
    text
}

fn missed(is_reached: bool) -> &'static str {
    if is_reached { "" } else { "**missed:** " }
}

/// Whole megabytes of a million bytes.
fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1e3
}

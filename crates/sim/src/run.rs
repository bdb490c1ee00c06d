//! One run from its first moment to the verdict: everything goes wrong, then everything is put right.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use block::{Duration, Instant, SECTOR_BYTES};

use replication::volume::VolumeStatus;

use crate::build::build;
use crate::examine;
use crate::fault::{self, Fault, FaultCounts, Injection};
use crate::finding::{Finding, Property};
use crate::machine::Machine;
use crate::mark::Marks;
use crate::options::Options;
use crate::property::{linearizable, liveness, repeatable};
use crate::random::Random;
use crate::survivor;
use crate::world::World;

/// When the world begins: late enough that nothing is before the clock's beginning.
pub const BEGIN: Instant = Instant::from_nanos(10_000_000_000);
/// After everything was put right all that was asked is answered within this time.
pub const LIVENESS_BOUND: Duration = Duration::from_secs(60);

/// A run has 11,000 events in the mean. One with so many does not get on: a node asks for its timeout again and again, say.
const EVENTS_MAX: u64 = 2_000_000;
/// So often at most an operator has a volume made larger.
const GROWTHS_MAX: u32 = 3;
/// So often at most the nodes are waited for once more, if they parted after they were whole.
const SESSIONS_ENDED: usize = 3;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was wrong, if anything.
    pub failure: Option<Finding>,
    /// Requests asked.
    pub requests: u64,
    /// Events that happened.
    pub events: u64,
    /// The way it took.
    pub digest: u64,
    /// How often something began to go wrong by intention.
    pub injections: u64,
    /// What that did.
    pub faults: FaultCounts,
    /// What was seen.
    pub marks: Marks,
    /// The last lines of the trace.
    pub lines: Vec<String>,
}

impl Report {
    /// The same, judged also by the way that the same seed took another time.
    #[must_use]
    pub fn compared(mut self, again: u64) -> Self {
        self.failure = self.failure.or(repeatable::check(self.digest, again).err());
        self
    }
}

/// Runs a world that these options describe, without the injections of these numbers.
#[must_use]
pub fn run(options: &Options, suppressed: &[u32], lines_max: usize) -> Report {
    let mut injections = injections(options);
    injections.retain(|injection| !suppressed.contains(&injection.number));
    run_with(options, injections, lines_max)
}

/// Runs it a second time, too, if that is asked, and compares the ways it took.
#[must_use]
pub fn run_compared(options: &Options, suppressed: &[u32], lines_max: usize, twice: bool) -> Report {
    let report = run(options, suppressed, lines_max);
    if twice { report.compared(run(options, suppressed, 0).digest) } else { report }
}

/// Runs a world that these options describe, where exactly this goes wrong.
#[must_use]
pub fn run_with(options: &Options, injections: Vec<Injection>, lines_max: usize) -> Report {
    let planned = injections.len() as u64;
    let mut world = build(options, injections, lines_max);
    // An assertion of the nodes that fails is a finding like any other.
    let verdict = catch_unwind(AssertUnwindSafe(|| judge(&mut world, options)));
    let failure = match verdict {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(Finding::new(Property::Assertion, message(panic.as_ref()))),
    };
    Report {
        failure,
        requests: world.requests(),
        events: world.trace().events(),
        digest: world.trace().digest(),
        injections: planned,
        faults: world.counts().clone(),
        marks: world.marks(),
        lines: world.trace().lines().to_vec(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something else than a text")
}

/// What the options have go wrong.
#[must_use]
pub fn injections(options: &Options) -> Vec<Injection> {
    let mut random = Random::new(options.seed, "injections");
    let planned = |random: &mut Random, kinds: &[Fault], count| {
        fault::plan(random, kinds, count, BEGIN, options.period)
    };
    let (growing, others): (Vec<Fault>, Vec<Fault>) =
        options.faults.iter().partition(|fault| **fault == Fault::Grow);
    let mut plan = planned(&mut random, &others, options.injections);
    // Few of them, and the others stay as they were.
    let mut random = Random::new(options.seed, "growth");
    let count = u32::try_from(random.below(u64::from(GROWTHS_MAX) + 1)).expect("a few");
    let growths = planned(&mut random, &growing, count);
    let last = plan.len();
    plan.extend(
        growths.into_iter().map(|growth| Injection {
            number: growth.number + u32::try_from(last).expect("a few"),
            ..growth
        }),
    );
    let mut fixes = Random::new(options.seed, "verifies that fix");
    plan.iter_mut().for_each(|injection| injection.fixes = fixes.coin());
    plan
}

fn judge(world: &mut World, options: &Options) -> Result<(), Finding> {
    go(world, BEGIN.after(options.period), |_| false)?;
    world.examine(options.seed.is_multiple_of(2));
    world.heal();
    world.finish();
    let healed = world.now();
    // Only what takes longer is stuck.
    let bound = healed.after(LIVENESS_BOUND + Duration::from_millis(1));
    go(world, bound, |world| world.open() == 0 && world.is_whole())?;
    for history in world.histories() {
        liveness::check(history, healed, world.now(), LIVENESS_BOUND)
            .map_err(|stuck| Finding::new(Property::Liveness, format!("{stuck}: {:?}", statuses(world))))?;
    }
    let bound = LIVENESS_BOUND + copying(options);
    becomes_whole(world, healed, bound)?;
    comes_to_rest(world, bound)?;
    at_the_end(world)?;
    let Some(ending) = options.ending else { return Ok(()) };
    survivor::judge(world, ending)?;
    let found = world.now();
    becomes_whole(world, found, bound)?;
    comes_to_rest(world, bound)?;
    at_the_end(world)
}

/// The nodes find to each other within that time.
fn becomes_whole(world: &mut World, healed: Instant, bound: Duration) -> Result<(), Finding> {
    go(world, healed.after(bound), World::is_whole)?;
    if world.is_whole() {
        return Ok(());
    }
    let text = format!("the pair is not whole {bound:?} after the last fault: {:?}", statuses(world));
    Err(Finding::new(Property::Whole, text))
}

/// Whatever is still on its way is done.
fn comes_to_rest(world: &mut World, bound: Duration) -> Result<(), Finding> {
    // What hung when everything was put right is still at the disks.
    go(world, world.now().after(LIVENESS_BOUND), are_disks_idle)?;
    // Commits and what was learned of each other are still on their way.
    // A session that was slow when everything was put right may end only now.
    for _ in 0..SESSIONS_ENDED {
        let rest = world.now().after(Duration::from_secs(1));
        go(world, rest, |_| false)?;
        if world.is_whole() {
            break;
        }
        let bound = world.now().after(bound);
        go(world, bound, World::is_whole)?;
    }
    // A frame that was held until now may be one more write.
    go(world, world.now().after(LIVENESS_BOUND), |world| is_idle(world) && are_disks_idle(world))
}

fn is_idle(world: &World) -> bool {
    world.machines().iter().all(Machine::is_idle)
}

fn are_disks_idle(world: &World) -> bool {
    let mut disks = world.machines().iter().flat_map(|machine| &machine.disks);
    disks.all(|disks| disks.data.is_idle() && disks.metadata.is_idle())
}

/// How the nodes stand, volume by volume.
pub(crate) fn statuses(world: &World) -> Vec<Option<VolumeStatus>> {
    let volumes = 0..world.histories().len();
    volumes.flat_map(|volume| world.machines().iter().map(move |machine| machine.status(volume))).collect()
}

/// Everything was put right, answered and copied.
fn at_the_end(world: &World) -> Result<(), Finding> {
    for (volume, history) in world.histories().iter().enumerate() {
        if !world.is_judged() {
            break;
        }
        if let Err(lost) = world.is_kept(volume, 0) {
            // What hosts saw is judged by the same; it tells more.
            linearizable::check(history)
                .map_err(|violation| Finding::new(Property::Linearizable, violation))?;
            return Err(lost);
        }
    }
    world.are_sizes_equal()?;
    examine::replicas_are_equal(world.machines())?;
    examine::small_states_are_equal(world.machines())
}

/// How long it takes to copy all volumes at the rate that was chosen, and a quarter more.
fn copying(options: &Options) -> Duration {
    let Some(rate) = options.resync_rate else { return Duration::ZERO };
    let sectors = options.volumes.iter().chain(&options.room).sum::<u64>();
    let bytes = sectors * SECTOR_BYTES as u64;
    Duration::from_millis(bytes * 1250 / rate)
}

/// Lets things happen until that moment, or until it is enough.
pub(crate) fn go(world: &mut World, until: Instant, enough: impl Fn(&World) -> bool) -> Result<(), Finding> {
    while !enough(world) && world.step(until) {
        if let Some(violation) = world.violation() {
            return Err(violation.clone());
        }
        if world.trace().events() > EVENTS_MAX {
            let text = format!("no end after {EVENTS_MAX} events: {:?}", statuses(world));
            return Err(Finding::new(Property::Liveness, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use replication::durability::Durability;

    use super::*;
    use crate::fault::Fault;
    use crate::scenario::{AHEAD, STORY, Scenario, Step};

    const BOTH_LOSE_POWER: Scenario = Scenario {
        steps: &[
            Step(Fault::PowerLossBoth, 0, 14_000, 500),
            Step(Fault::PowerLossBoth, 0, 29_000, 500),
            Step(Fault::PowerLossBoth, 0, 44_000, 500),
        ],
        durability: Durability::Memory,
        ..STORY
    };

    fn verdict(story: &Scenario, options: Options, change: impl FnOnce(&mut World)) -> Result<(), Finding> {
        let mut world = build(&options, story.injections(), 0);
        change(&mut world);
        judge(&mut world, &options)
    }

    #[test]
    fn what_both_memories_lose_is_no_fault_but_would_be_of_a_stable_volume() {
        let options = || BOTH_LOSE_POWER.options(1);
        assert_eq!(verdict(&BOTH_LOSE_POWER, options(), |_| ()), Ok(()));
        let verdict = verdict(&BOTH_LOSE_POWER, options(), |world| world.promise(Durability::Stable));
        assert!(verdict.is_err(), "answered writes are lost, and nobody notices");
    }

    #[test]
    fn a_flush_that_both_disks_only_say_they_have_done_is_found() {
        let options = Options { flushes: 60, ..BOTH_LOSE_POWER.options(1) };
        let verdict = verdict(&BOTH_LOSE_POWER, options, |world| {
            world.let_disks_lie();
            world.is_slow_for_good();
        });
        assert!(verdict.is_err(), "what was flushed is lost, and nobody notices");
    }

    #[test]
    fn what_is_never_flushed_by_the_nodes_themselves_is_found() {
        let story = Scenario { steps: &[Step(Fault::PowerLossBoth, 0, 22_000, 500)], ..BOTH_LOSE_POWER };
        let options = Options { flushes: 0, ..story.options(1) };
        let verdict = verdict(&story, options, World::let_disks_lie);
        assert!(verdict.is_err(), "what was answered long ago is lost, and nobody notices");
    }

    #[test]
    fn a_follower_that_lacks_more_than_was_promised_is_found() {
        const STEPS: [[Step; 2]; 3] = [
            [Step(Fault::DiskHang, 0, 4900, 300), Step(Fault::PowerLoss, 1, 5000, 1000)],
            [Step(Fault::DiskHang, 0, 5400, 300), Step(Fault::PowerLoss, 1, 5600, 1000)],
            [Step(Fault::DiskHang, 0, 6100, 300), Step(Fault::PowerLoss, 1, 6250, 1000)],
        ];
        let Durability::Async { server, .. } = AHEAD else { unreachable!("it is ahead") };
        let none = Durability::Async { server, lag_bytes_max: 0 };
        // Not at every moment something is under way.
        let is_found = STEPS.each_ref().map(|steps| {
            let story = Scenario { steps, durability: AHEAD, ..STORY };
            assert_eq!(verdict(&story, story.options(1), |_| ()), Ok(()));
            let verdict = verdict(&story, story.options(1), |world| world.promise(none));
            verdict.is_err_and(|finding| finding.text.contains("0 at most were promised"))
        });
        assert!(is_found.contains(&true), "{is_found:?}");
    }
}

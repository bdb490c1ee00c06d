//! A world that was put right loses a node for good: the other one serves alone, also when it has been started anew.
//!
//! While everything goes wrong, a request that has to wait may wait for something that comes back. Here nothing does.

use block::{Duration, Instant};
use replication::durability::Durability;
use replication::volume::Phase;

use crate::disk::Loss;
use crate::finding::{Finding, Property};
use crate::property::liveness;
use crate::random::Random;
use crate::run::{LIVENESS_BOUND, go, statuses};
use crate::world::World;

/// What each host asks of the node that is left, and once more when that was started anew.
const REQUESTS: u32 = 4;

/// A question that was given up in bad times is carried out no later than that, and what it did to the register is put right. Who loses its
/// peer for good between the two waits for an operator (decision 0012, "What does not hold").
const UNTIL_SETTLED: Duration = Duration::from_secs(13);

/// How a world goes on once nothing is wrong any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The node that is lost.
    pub lost: usize,
    /// How it ends.
    pub loss: Loss,
    /// How the other one ends before it is started anew, if it is.
    pub restart: Option<Loss>,
}

impl Ending {
    /// What the seed says, in one world of four. Who answers ahead of the other stays: nobody else may go on alone.
    #[must_use]
    pub fn drawn(seed: u64, modes: &[Durability]) -> Option<Self> {
        let mut random = Random::new(seed, "ending");
        let mut loss = || [Loss::ProcessOnly, Loss::Tear][random.index(2)];
        let (loss, restart) = (loss(), loss());
        let restart = random.coin().then_some(restart);
        let lost = random.index(2);
        let is_server = |mode: &Durability| matches!(mode, Durability::Async { server, .. } if usize::from(server.number()) == lost);
        let is_drawn = random.below(4) == 0 && !modes.iter().any(is_server);
        is_drawn.then_some(Self { lost, loss, restart })
    }
}

/// Takes a node from a world that is whole, and gives it back in the end.
///
/// # Errors
/// What the nodes did wrong: a request that the survivor left open or ended with an error among that.
pub fn judge(world: &mut World, Ending { lost, loss, restart }: Ending) -> Result<(), Finding> {
    let until = world.now().after(UNTIL_SETTLED);
    go(world, until, |_| false)?;
    let failed = world.failed();
    world.lose_node(lost, loss);
    all_is_answered(world)?;
    let survivor = 1 - lost;
    if let Some(loss) = restart
        && goes_on_alone(world, survivor)?
    {
        world.lose_node(survivor, loss);
        world.start_node(survivor);
        all_is_answered(world)?;
    }
    if world.failed() > failed {
        let text = format!("requests failed at the node that was left: {:?}", statuses(world));
        return Err(Finding::new(Property::Survivor, text));
    }
    world.start_node(lost);
    Ok(())
}

/// What hosts ask may be answered before the survivor notices anything: if it ended then, the memories of both would be gone at once. Says
/// whether it goes on alone; not if the other one is back, for a reason of before.
fn goes_on_alone(world: &mut World, survivor: usize) -> Result<bool, Finding> {
    let statuses_of = |world: &World, node: usize| {
        (0..world.histories().len()).map(|volume| world.machines()[node].status(volume)).collect::<Vec<_>>()
    };
    let is_alone = |world: &World| {
        let mut statuses = statuses_of(world, survivor).into_iter();
        statuses.all(|status| status.is_some_and(|status| status.phase == Phase::Alone))
    };
    let is_back = |world: &World| statuses_of(world, 1 - survivor).iter().any(Option::is_some);
    let until = world.now().after(LIVENESS_BOUND);
    go(world, until, |world| is_alone(world) || is_back(world))?;
    Ok(is_alone(world))
}

fn all_is_answered(world: &mut World) -> Result<(), Finding> {
    let asked = world.now();
    world.ask_more(REQUESTS);
    // What a stock host sent while the other one was lost it sends again when it likes.
    let bound = LIVENESS_BOUND + world.resends_after();
    go(world, asked.after(bound + Duration::from_millis(1)), World::is_all_answered)?;
    is_answered(world, asked, bound).map_err(|error| {
        let text = format!("one node is left: {error}: {:?}", statuses(world));
        Finding::new(Property::Survivor, text)
    })
}

fn is_answered(world: &World, asked: Instant, bound: Duration) -> Result<(), String> {
    for history in world.histories() {
        liveness::check(history, asked, world.now(), bound).map_err(|stuck| stuck.to_string())?;
    }
    world.is_all_answered().then_some(()).ok_or_else(|| "a host could not ask any more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::build;
    use crate::fault::Fault;
    use crate::options::Options;
    use crate::run::run_with;
    use crate::scenario::{STORY, Scenario, Step};

    fn options() -> Options {
        let ending = Ending { lost: 0, loss: Loss::ProcessOnly, restart: Some(Loss::Tear) };
        Options { ending: Some(ending), ..STORY.options(1) }
    }

    #[test]
    fn the_survivor_answers_also_when_it_has_been_started_anew() {
        let report = run_with(&options(), Vec::new(), 0);
        assert_eq!(report.failure, None);
        let before = run_with(&STORY.options(1), Vec::new(), 0);
        let hosts = u64::from(REQUESTS) * 3;
        assert_eq!(report.requests, before.requests + 2 * hosts);
    }

    #[test]
    fn a_survivor_that_nobody_lets_serve_is_found() {
        let story = Scenario { steps: &[Step(Fault::ArbiterDown, 0, 3000, 1_000_000)], ..STORY };
        let mut world = build(&options(), story.injections(), 0);
        go(&mut world, Instant::from_nanos(20_000_000_000), |_| false).expect("nothing goes wrong");
        world.finish();
        let ending = options().ending.expect("as above");
        let error = judge(&mut world, ending).expect_err("it may not serve");
        assert!(error.text.starts_with("one node is left: request "), "{error}");
    }
}

//! The oracle against a search through all orders, on small histories made up at random: legal ones, and such in which
//! a read was changed. A sector that does one thing at a time makes the histories.

use block::{Duration, Instant, Lba, LbaRange, SectorCount};
use proptest::prelude::*;
use sim::content::Value;
use sim::history::{Action, History, OperationId};
use sim::oracle;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody writes; the same content as an earlier write of his that was answered, or a new one.
    Write { again: Option<u8> },
    /// Somebody reads.
    Read,
    /// Some request takes effect.
    Effect(u8),
    /// Some request that took effect is answered.
    Answer(u8),
    /// A late copy of some write arrives, and maybe takes effect.
    Copy { which: u8, effect: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::option::weighted(0.3, any::<u8>()).prop_map(|again| Step::Write { again }),
        2 => Just(Step::Read),
        3 => any::<u8>().prop_map(Step::Effect),
        3 => any::<u8>().prop_map(Step::Answer),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(which, effect)| Step::Copy { which, effect }),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Request {
    id: Option<OperationId>,
    is_write: bool,
    value: Value,
    call: u64,
    effect: bool,
    end: Option<u64>,
}

/// A sector, and what was seen of it.
struct Run {
    history: History,
    requests: Vec<Request>,
    held: Value,
    events: u64,
    values: u64,
}

fn sector() -> LbaRange {
    LbaRange::new(Lba(3), SectorCount(1)).expect("a sector")
}

impl Run {
    fn new() -> Self {
        let history = History::new(Duration::ZERO);
        Self { history, requests: Vec::new(), held: Value::INITIAL, events: 0, values: 0 }
    }

    fn now(&mut self) -> Instant {
        self.events += 1;
        Instant::from_nanos(self.events)
    }

    fn call(&mut self, is_write: bool, value: Value) {
        let now = self.now();
        let action = if is_write { Action::Write { value, sequenced: false } } else { Action::Read };
        let id = Some(self.history.call(now, 1, action, sector()));
        if is_write {
            self.history.write_arrived(now, 0, value, sector(), None);
        }
        self.requests.push(Request { id, is_write, value, call: self.events, effect: false, end: None });
    }

    fn pick(&self, which: u8, wanted: impl Fn(&Request) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.requests.len()).filter(|&index| wanted(&self.requests[index])).collect();
        (!fitting.is_empty()).then(|| fitting[usize::from(which) % fitting.len()])
    }

    fn step(&mut self, step: &Step, rewrites: bool, copies: bool) {
        match *step {
            Step::Write { again } => {
                let answered = |request: &Request| request.is_write && request.end.is_some();
                let old = again.filter(|_| rewrites).and_then(|which| self.pick(which, answered));
                // Only while no other write of the same content is open, as hosts do.
                let old = old.map(|index| self.requests[index].value).filter(|&value| {
                    let same = |request: &&Request| request.is_write && request.value == value;
                    self.requests.iter().filter(same).all(|request| request.end.is_some())
                });
                let value = old.unwrap_or_else(|| {
                    self.values += 1;
                    Value::new(1, self.values)
                });
                self.call(true, value);
            }
            Step::Read => self.call(false, Value::INITIAL),
            Step::Effect(which) => {
                let Some(index) = self.pick(which, |request| !request.effect) else { return };
                let request = &mut self.requests[index];
                request.effect = true;
                if request.is_write {
                    self.held = request.value;
                } else {
                    request.value = self.held;
                }
            }
            Step::Answer(which) => {
                let due = |request: &Request| request.effect && request.end.is_none() && request.id.is_some();
                let Some(index) = self.pick(which, due) else { return };
                self.now();
                self.requests[index].end = Some(self.events);
            }
            Step::Copy { which, effect } => {
                let Some(index) =
                    self.pick(which, |request| copies && request.is_write && request.id.is_some())
                else {
                    return;
                };
                let Request { value, .. } = self.requests[index];
                let late = self.history.late_copies().len();
                let now = self.now();
                self.history.write_arrived(now, 0, value, sector(), None);
                if self.history.late_copies().len() == late {
                    return;
                }
                if effect {
                    self.held = value;
                }
                let call = self.events;
                self.requests.push(Request { id: None, is_write: true, value, call, effect, end: None });
            }
        }
    }

    /// The history with its ends, which stand in it in the order of the events.
    fn history(&self) -> History {
        let mut history = History::new(Duration::ZERO);
        let mut names = vec![None; self.requests.len()];
        for event in 1..=self.events {
            let now = Instant::from_nanos(event);
            for (index, request) in self.requests.iter().enumerate() {
                if request.call == event {
                    names[index] = Some(self.begin(&mut history, now, request));
                } else if request.end == Some(event) {
                    let id = names[index].flatten().expect("called before");
                    if request.is_write {
                        history.written(now, id, sector());
                    } else {
                        history.read(now, id, sector(), [request.value]);
                    }
                }
            }
        }
        history
    }

    fn begin(&self, history: &mut History, now: Instant, request: &Request) -> Option<OperationId> {
        let Request { value, is_write, .. } = *request;
        if request.id.is_none() {
            history.write_arrived(now, 0, value, sector(), None);
            return None;
        }
        let action = if is_write { Action::Write { value, sequenced: false } } else { Action::Read };
        let id = history.call(now, 1, action, sector());
        if is_write {
            history.write_arrived(now, 0, value, sector(), None);
        }
        Some(id)
    }

    /// Whether some order explains every answered read.
    fn is_legal(&self) -> bool {
        let requests: Vec<Request> = self
            .requests
            .iter()
            .filter(|request| request.is_write || request.end.is_some())
            .copied()
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![(0u64, Value::INITIAL)];
        while let Some((done, held)) = open.pop() {
            let left = || requests.iter().enumerate().filter(|(index, _)| done & (1 << index) == 0);
            if left().all(|(_, request)| request.end.is_none()) {
                return true;
            }
            if !seen.insert((done, held)) {
                continue;
            }
            let first_end = left().filter_map(|(_, request)| request.end).min().expect("one is answered");
            for (index, request) in left() {
                if request.call < first_end && (request.is_write || request.value == held) {
                    open.push((done | 1 << index, request.value));
                }
            }
        }
        false
    }
}

fn run(steps: &[Step], rewrites: bool, copies: bool) -> Run {
    let mut run = Run::new();
    for step in steps {
        run.step(step, rewrites, copies);
    }
    run
}

/// Lets one answered read return what another request wrote.
fn change(run: &mut Run, which: u8, other: u8) -> bool {
    let read = run.pick(which, |request| !request.is_write && request.end.is_some());
    let write = run.pick(other, |request| request.is_write);
    let (Some(read), Some(write)) = (read, write) else { return false };
    run.requests[read].value = run.requests[write].value;
    true
}

fn agree(steps: &[Step], changes: &[(u8, u8)], rewrites: bool, copies: bool) -> Result<(), TestCaseError> {
    let mut run = run(steps, rewrites, copies);
    for (which, other) in changes {
        change(&mut run, *which, *other);
    }
    let verdict = oracle::check(&run.history());
    prop_assert_eq!(verdict.is_ok(), run.is_legal(), "{:?}\n{:?}", verdict, run.requests);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn oracle_and_search_agree_on_unique_writes(
        steps in prop::collection::vec(step(), 1..30),
        changes in prop::collection::vec((any::<u8>(), any::<u8>()), 0..3),
    ) {
        agree(&steps, &changes, false, false)?;
    }

    #[test]
    fn oracle_and_search_agree_on_the_same_content_written_again(
        steps in prop::collection::vec(step(), 1..30),
        changes in prop::collection::vec((any::<u8>(), any::<u8>()), 0..3),
    ) {
        agree(&steps, &changes, true, false)?;
    }

    #[test]
    fn oracle_and_search_agree_on_late_copies(
        steps in prop::collection::vec(step(), 1..30),
        changes in prop::collection::vec((any::<u8>(), any::<u8>()), 0..3),
    ) {
        agree(&steps, &changes, false, true)?;
    }

    #[test]
    fn what_a_sector_did_is_always_legal(steps in prop::collection::vec(step(), 1..40)) {
        let run = run(&steps, true, true);
        let verdict = oracle::check(&run.history());
        prop_assert!(verdict.is_ok(), "{:?}\n{:?}", verdict, run.requests);
    }

    #[test]
    fn what_the_search_allows_is_never_refused(
        steps in prop::collection::vec(step(), 1..30),
        changes in prop::collection::vec((any::<u8>(), any::<u8>()), 1..3),
    ) {
        let mut run = run(&steps, true, true);
        for (which, other) in changes {
            change(&mut run, which, other);
        }
        let verdict = oracle::check(&run.history());
        prop_assert!(verdict.is_ok() || !run.is_legal(), "{:?}\n{:?}", verdict, run.requests);
    }
}

#[test]
fn random_histories_are_of_both_kinds_and_most_illegal_ones_with_rewrites_are_found() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let strategy = (prop::collection::vec(step(), 10..30), any::<(u8, u8)>());
    let (mut legal, mut illegal, mut found) = (0, 0, 0);
    for _ in 0..2_000 {
        let (steps, (which, other)) = strategy.new_tree(&mut runner).expect("a history").current();
        let mut run = run(&steps, true, true);
        change(&mut run, which, other);
        let refused = oracle::check(&run.history()).is_err();
        if run.is_legal() {
            legal += 1;
        } else {
            illegal += 1;
            found += u32::from(refused);
        }
    }
    assert!(legal > 200 && illegal > 200, "{legal} legal, {illegal} illegal");
    assert!(found * 100 > illegal * 98, "{found} of {illegal} found");
}

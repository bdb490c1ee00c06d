//! Small scenes, one for each way in which a sector can be right or wrong.

use block::{Duration, Instant, SectorCount};

use super::*;

/// Two initiators and a sector, a nanosecond an event.
struct Scene {
    history: History,
    now: u64,
}

const SECTOR: Lba = Lba(5);
const OLD: Value = Value::new(1, 1);
const NEW: Value = Value::new(2, 1);

fn range() -> LbaRange {
    LbaRange::new(SECTOR, SectorCount(1)).expect("a sector")
}

impl Scene {
    fn new() -> Self {
        Self { history: History::new(Duration::from_nanos(10)), now: 0 }
    }

    fn tick(&mut self) -> Instant {
        self.now += 1;
        Instant::from_nanos(self.now)
    }

    fn write(&mut self, value: Value) -> OperationId {
        let now = self.tick();
        self.history.call(now, 1, Action::Write { value, sequenced: false }, range())
    }

    fn done(&mut self, write: OperationId) {
        let now = self.tick();
        self.history.written(now, write, range());
    }

    /// A frame of the old value's comes to a node.
    fn old_arrives(&mut self, nanos: u64) {
        self.history.write_arrived(Instant::from_nanos(nanos), 0, OLD, range(), None);
    }

    /// The new value is written, and seen.
    fn is_overwritten(&mut self) {
        let new = self.write(NEW);
        self.done(new);
        self.sees(NEW);
    }

    fn sees(&mut self, value: Value) {
        let now = self.tick();
        let read = self.history.call(now, 2, Action::Read, range());
        let now = self.tick();
        self.history.read(now, read, range(), [value]);
    }
}

#[test]
fn an_answered_write_is_read_until_the_next_one() {
    let mut scene = Scene::new();
    scene.sees(Value::INITIAL);
    let old = scene.write(OLD);
    scene.sees(Value::INITIAL);
    scene.sees(OLD);
    scene.done(old);
    let new = scene.write(NEW);
    scene.sees(OLD);
    scene.done(new);
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(OLD);
    assert!(matches!(check(&scene.history), Err(Violation::Vanished { sector: SECTOR, .. })));
}

#[test]
fn what_was_read_once_is_never_unread() {
    let mut scene = Scene::new();
    scene.write(OLD);
    scene.sees(OLD);
    scene.sees(Value::INITIAL);
    assert!(matches!(check(&scene.history), Err(Violation::Vanished { .. })));
    scene.sees(OLD);
    assert!(matches!(check(&scene.history), Err(Violation::Reappeared { .. })));
}

#[test]
fn an_unanswered_write_may_show_late_or_never_but_once() {
    let mut scene = Scene::new();
    scene.write(OLD);
    scene.is_overwritten();
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(OLD);
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(NEW);
    assert!(check(&scene.history).is_err(), "it was applied twice");
}

#[test]
fn a_copy_that_came_after_the_memory_may_take_effect_once_more() {
    let mut scene = Scene::new();
    let old = scene.write(OLD);
    scene.old_arrives(1);
    scene.sees(OLD);
    scene.old_arrives(11);
    scene.is_overwritten();
    scene.sees(OLD);
    scene.done(old);
    assert!(check(&scene.history).is_err(), "eleven less one is not more than ten");
    let mut late = scene.history;
    late.write_arrived(Instant::from_nanos(12), 0, OLD, range(), None);
    assert!(check(&late).is_err(), "the copy came after it was seen");

    let mut scene = Scene::new();
    scene.write(OLD);
    scene.old_arrives(1);
    scene.sees(OLD);
    scene.is_overwritten();
    scene.old_arrives(12);
    scene.sees(OLD);
    assert_eq!(check(&scene.history), Ok(()));
}

#[test]
fn what_is_written_again_is_remembered_from_the_first_time() {
    // The second time it may come in frames of another size.
    for in_frames_alike in [true, false] {
        let mut scene = Scene::new();
        for arrived in [1, 8] {
            let same = scene.write(OLD);
            if arrived == 1 || in_frames_alike {
                scene.old_arrives(arrived);
            }
            scene.done(same);
        }
        scene.is_overwritten();
        scene.old_arrives(12);
        scene.sees(OLD);
        let verdict = check(&scene.history);
        assert_eq!(verdict, Ok(()), "whoever remembers the first time for ten executes it once more");
    }
}

#[test]
fn what_is_written_again_is_sent_again_like_anything_else() {
    let mut scene = Scene::new();
    let first = scene.write(OLD);
    scene.old_arrives(1);
    scene.done(first);
    let new = scene.write(NEW);
    scene.done(new);
    scene.write(OLD);
    scene.old_arrives(8);
    scene.sees(OLD);
    scene.is_overwritten();
    scene.old_arrives(12);
    scene.sees(OLD);
    assert_eq!(check(&scene.history), Ok(()));
}

#[test]
fn what_is_written_again_later_is_no_late_copy() {
    let mut scene = Scene::new();
    let first = scene.write(OLD);
    scene.old_arrives(1);
    scene.done(first);
    let same = scene.write(OLD);
    scene.old_arrives(20);
    scene.done(same);
    scene.is_overwritten();
    scene.sees(OLD);
    assert!(check(&scene.history).is_err(), "its frame came once");
}

#[test]
fn a_value_from_nowhere_or_from_the_future_is_told() {
    let mut scene = Scene::new();
    scene.sees(OLD);
    assert!(matches!(check(&scene.history), Err(Violation::Unwritten { value: OLD, .. })));
    scene.write(OLD);
    let violation = check(&scene.history).expect_err("too early");
    assert!(matches!(violation, Violation::FromTheFuture { value: OLD, .. }));
    assert_eq!(
        violation.to_string(),
        "sector 5: read 0 of initiator 2 at 5+1, called 0.000000 s (#1), answered 0.000000 s (#2) returned \
         write 1:1 before write 1 of initiator 1 at 5+1, called 0.000000 s (#3), not answered was called"
    );
}

#[test]
fn the_same_content_written_again_holds_again() {
    let mut scene = Scene::new();
    for value in [OLD, NEW, OLD] {
        let write = scene.write(value);
        scene.done(write);
        scene.sees(value);
    }
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(NEW);
    assert!(check(&scene.history).is_err(), "the third write was answered and not done");
}

#[test]
fn more_ways_than_can_be_counted_are_as_good_as_many() {
    let mut scene = Scene::new();
    for number in 1..=u64::from(usize::BITS) {
        let value = Value::new(1, number);
        scene.write(value);
        scene.write(value);
        scene.sees(value);
    }
    assert_eq!(check(&scene.history), Ok(()));
}

#[test]
fn what_a_disk_holds_counts_as_a_last_read() {
    let mut scene = Scene::new();
    let old = scene.write(OLD);
    scene.done(old);
    assert_eq!(check_with(&scene.history, &[(SECTOR, OLD)], Moment::END), Ok(()));
    assert!(check_with(&scene.history, &[(SECTOR, Value::INITIAL)], Moment::END).is_err());
    scene.write(NEW);
    assert_eq!(check_with(&scene.history, &[(SECTOR, OLD)], Moment::END), Ok(()));
    assert_eq!(check_with(&scene.history, &[(SECTOR, NEW)], Moment::END), Ok(()));
}

#[test]
fn the_same_content_sequenced_again_does_not_remember_the_first_time() {
    let run = |number| {
        let mut scene = Scene::new();
        for own in [1, 2] {
            let now = scene.tick();
            let sequenced = Action::Write { value: OLD, sequenced: true };
            let write = scene.history.call(now, 1, sequenced, range());
            scene.history.write_arrived(now, 0, OLD, range(), Some(own));
            scene.done(write);
            let now = scene.tick();
            if own == 1 {
                scene.history.node_forgot(now, 0);
            }
        }
        scene.is_overwritten();
        scene.history.write_arrived(Instant::from_nanos(1_000), 0, OLD, range(), Some(number));
        scene.sees(OLD);
        check(&scene.history)
    };
    assert_eq!(run(1), Ok(()), "its node has forgotten the first one");
    assert!(run(2).is_err(), "and not the second");
}

#[test]
fn a_sequenced_write_takes_effect_once_unless_a_node_has_forgotten_it() {
    let run = |forgets: &[usize], meets: bool| {
        let mut scene = Scene::new();
        let now = scene.tick();
        scene.history.call(now, 1, Action::Write { value: OLD, sequenced: true }, range());
        scene.history.write_arrived(now, 0, OLD, range(), Some(1));
        scene.sees(OLD);
        scene.is_overwritten();
        for node in forgets {
            let now = scene.tick();
            scene.history.node_forgot(now, *node);
        }
        if meets {
            let now = scene.tick();
            scene.history.target_met(now, 0);
        }
        scene.history.write_arrived(Instant::from_nanos(1_000), 0, OLD, range(), Some(1));
        scene.sees(OLD);
        check(&scene.history)
    };
    assert!(run(&[], false).is_err());
    assert_eq!(run(&[0], false), Ok(()));
    assert!(run(&[0], true).is_err(), "the other one has told it");
    assert_eq!(run(&[0, 1], true), Ok(()));
}

/// Both nodes lose what was not safe; each has one of these left.
fn lose(scene: &mut Scene, since: Moment, left: [Value; 2]) {
    let now = scene.tick();
    scene.history.lost(now, since, left.map(|value| [(SECTOR, value)].into()));
}

#[test]
fn what_both_lose_comes_back_once_if_it_was_not_safe() {
    let mut scene = Scene::new();
    let old = scene.write(OLD);
    scene.done(old);
    let now = scene.tick();
    let flush = scene.history.call(now, 1, Action::Flush, LbaRange::default());
    let now = scene.tick();
    scene.history.written(now, flush, LbaRange::default());
    let safe = scene.history.durable_since(Instant::from_nanos(0), None);
    scene.is_overwritten();
    lose(&mut scene, safe, [OLD, OLD]);
    scene.sees(OLD);
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(NEW);
    assert!(check(&scene.history).is_err(), "what was lost is lost");
}

#[test]
fn what_was_flushed_or_never_there_does_not_come_back() {
    for (left, is_good) in [(OLD, true), (NEW, true), (Value::INITIAL, false), (Value::new(3, 1), false)] {
        let mut scene = Scene::new();
        let old = scene.write(OLD);
        scene.done(old);
        let safe = scene.history.operation(scene.history.enumerated().next().expect("one").0).call;
        let safe = Moment { order: safe.order + 2, ..safe };
        let new = scene.write(NEW);
        scene.done(new);
        lose(&mut scene, safe, [left; 2]);
        scene.sees(left);
        assert_eq!(check(&scene.history).is_ok(), is_good, "{left}");
    }
}

#[test]
fn what_one_of_the_two_disks_has_left_is_enough_but_only_one_of_them() {
    let mut scene = Scene::new();
    let new = scene.write(NEW);
    scene.done(new);
    lose(&mut scene, Moment::BEGINNING, [Value::INITIAL, NEW]);
    scene.sees(NEW);
    assert_eq!(check(&scene.history), Ok(()));
    scene.sees(Value::INITIAL);
    assert!(check(&scene.history).is_err());
}

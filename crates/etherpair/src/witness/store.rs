//! The one thread that changes registers. What is asked at the same time becomes durable at the same time, and nobody is
//! answered before.
//!
//! After a write that failed nobody knows what is on the disk; the pair's questions are then answered only when its file
//! could be written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use block::Instant;
use os::clock;
use replication::identity::PairIdentity;
use replication::membership::Membership;
use replication::witness::registers::{Change, PAIRS_MAX, REGISTERS_MAX, REGISTERS_PER_PAIR_MAX};
use replication::witness::{AnswerKind, Decision, QuestionKind, RegisterKey, Registers};
use tokio::sync::mpsc::UnboundedSender;

use super::files::Files;
use crate::seldom::Seldom;

/// Questions that become durable together at most.
const BATCH_MAX: usize = 4096;

/// A question on its way to the registers.
#[derive(Debug)]
pub(crate) struct Asked {
    /// About which register.
    pub(crate) key: RegisterKey,
    /// What.
    pub(crate) question: QuestionKind,
    /// From then on it is not carried out any more.
    pub(crate) until: Instant,
    /// Comes back with the answer.
    pub(crate) number: u64,
    /// Where the answer goes.
    pub(crate) reply: UnboundedSender<(u64, AnswerKind)>,
}

/// Starts the thread. It ends when nobody can ask any more.
///
/// # Errors
/// If the kernel refuses a thread.
pub(crate) fn start(files: Files, registers: Registers) -> io::Result<Sender<Asked>> {
    let (sender, receiver) = channel();
    let store = Store::new(files, registers);
    thread::Builder::new().name("registers".to_owned()).spawn(move || store.run(&receiver))?;
    Ok(sender)
}

struct Store {
    files: Files,
    registers: Registers,
    /// Pairs whose file may hold something else than their registers.
    unsure: BTreeSet<PairIdentity>,
    /// Of those for whom there was no room.
    refused: Seldom,
}

impl Store {
    fn new(files: Files, registers: Registers) -> Self {
        Self { files, registers, unsure: BTreeSet::new(), refused: Seldom::default() }
    }

    fn run(mut self, asked: &Receiver<Asked>) {
        while let Ok(first) = asked.recv() {
            let mut by_pair: BTreeMap<PairIdentity, Vec<Asked>> = BTreeMap::new();
            for asked in [first].into_iter().chain(asked.try_iter().take(BATCH_MAX)) {
                by_pair.entry(asked.key.pair).or_default().push(asked);
            }
            for (pair, batch) in by_pair {
                self.carry_out(pair, batch);
            }
        }
    }

    fn carry_out(&mut self, pair: PairIdentity, batch: Vec<Asked>) {
        let before: BTreeMap<RegisterKey, Option<Membership>> =
            batch.iter().map(|asked| (asked.key, self.registers.read(asked.key))).collect();
        let now = clock::now();
        let mut until: Option<Instant> = None;
        let mut answers = Vec::with_capacity(batch.len());
        for asked in &batch {
            answers.push(match self.registers.decide(asked.key, asked.question) {
                Decision::Answer(AnswerKind::Refused) => {
                    self.complain(pair);
                    AnswerKind::Refused
                }
                Decision::Answer(answer) => answer,
                Decision::Change(_) if now > asked.until => AnswerKind::Late,
                Decision::Change(change) => {
                    self.registers.apply(change);
                    until = Some(until.map_or(asked.until, |until| until.min(asked.until)));
                    AnswerKind::Done
                }
            });
        }
        if (until.is_some() || self.unsure.contains(&pair))
            && let Err(answer) = self.make_durable(pair, until)
        {
            // What was decided rests on changes that did not come about.
            before.into_iter().for_each(|(key, to)| self.registers.apply(Change { key, to }));
            answers.fill(answer);
        }
        for (asked, answer) in batch.into_iter().zip(answers) {
            // Whoever asked may have gone.
            let _ = asked.reply.send((asked.number, answer));
        }
    }

    /// There is no room for a register: a line in the log, but not for each one.
    fn complain(&mut self, pair: PairIdentity) {
        self.refused.write(std::time::Instant::now(), |more| {
            tracing::warn!(
                "pair {pair} gets no register: there are {PAIRS_MAX} pairs, {REGISTERS_PER_PAIR_MAX} registers of this one or \
                 {REGISTERS_MAX} in all; name in `pairs` those that are to be served, and remove the files of the others while \
                 the witness is stopped{more}"
            );
        });
    }

    /// Writes the pair's registers, unless that took so long that a question among them is too old.
    fn make_durable(&mut self, pair: PairIdentity, until: Option<Instant>) -> Result<(), AnswerKind> {
        let path = self.files.path(pair);
        let failed = |error: io::Error| {
            tracing::error!("{}: registers cannot be stored: {error}; nothing is granted", path.display());
            AnswerKind::Failed
        };
        let written = self.files.write(pair, &self.registers).map_err(failed)?;
        if until.is_some_and(|until| clock::now() > until) {
            return Err(AnswerKind::Late);
        }
        self.unsure.insert(pair);
        written.replace().map_err(failed)?;
        self.unsure.remove(&pair);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable_file::{Step, watch};
    use block::Duration;
    use replication::identity::VolumeIdentity;
    use replication::membership::{Epoch, Members, NodeNumber};
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;
    use tokio::sync::mpsc::unbounded_channel;

    const KEY: RegisterKey = RegisterKey { pair: PairIdentity(1), volume: VolumeIdentity(2) };
    const BOTH: Membership = Membership { epoch: Epoch(1), members: Members::Both };
    const ZERO: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) };

    fn ask(store: &Sender<Asked>, question: QuestionKind, until: Instant) -> AnswerKind {
        let (reply, mut answers) = unbounded_channel();
        store.send(Asked { key: KEY, question, until, number: 7, reply }).expect("it runs");
        let (number, answer) = answers.blocking_recv().expect("an answer");
        assert_eq!(number, 7);
        answer
    }

    #[test]
    fn what_was_answered_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let later = clock::now().after(Duration::from_secs(60));
        let (files, registers) = Files::open(directory.path()).expect("empty");
        let store = start(files, registers).expect("a thread");
        assert_eq!(ask(&store, QuestionKind::Create { first: BOTH }, later), AnswerKind::Done);
        assert_eq!(ask(&store, QuestionKind::Swap { expected: BOTH, next: ZERO }, later), AnswerKind::Done);
        let text =
            std::fs::read_to_string(directory.path().join(format!("{}.registers", KEY.pair))).expect("text");
        assert!(text.ends_with(" 2 only-0\n"), "{text}");
        let path = directory.path().join(format!("{}.registers", KEY.pair));
        assert_eq!(ask(&store, QuestionKind::Remove { expected: ZERO }, later), AnswerKind::Done);
        assert!(!path.exists(), "a pair without registers has no file");
        assert_eq!(ask(&store, QuestionKind::Create { first: BOTH }, later), AnswerKind::Done);
        assert!(path.exists());
    }

    #[test]
    fn a_question_that_comes_too_late_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let (files, registers) = Files::open(directory.path()).expect("empty");
        let store = start(files, registers).expect("a thread");
        let (earlier, later) = (clock::now(), clock::now().after(Duration::from_secs(60)));
        while clock::now() == earlier {}
        assert_eq!(ask(&store, QuestionKind::Create { first: BOTH }, earlier), AnswerKind::Late);
        assert_eq!(ask(&store, QuestionKind::Read, later), AnswerKind::NoRegister);
    }

    #[test]
    fn a_disk_that_cannot_be_written_grants_nothing_until_it_can() {
        let directory = tempfile::tempdir().expect("a directory");
        let later = clock::now().after(Duration::from_secs(60));
        let (files, registers) = Files::open(directory.path()).expect("empty");
        let blocked = directory.path().join(format!("{}.registers.new", KEY.pair));
        std::fs::create_dir(&blocked).expect("in the way");
        let store = start(files, registers).expect("a thread");
        assert_eq!(ask(&store, QuestionKind::Create { first: BOTH }, later), AnswerKind::Failed);
        assert_eq!(ask(&store, QuestionKind::Read, later), AnswerKind::NoRegister);
        std::fs::remove_dir(&blocked).expect("out of the way");
        assert_eq!(ask(&store, QuestionKind::Create { first: BOTH }, later), AnswerKind::Done);
    }
    /// A store on this thread, where its steps can be watched.
    fn store_here(directory: &Path) -> Store {
        let (files, registers) = Files::open(directory).expect("readable");
        Store::new(files, registers)
    }

    /// Asks it while `watcher` is told of each step, and whether something was answered before it.
    fn ask_here(
        store: &mut Store,
        question: QuestionKind,
        mut watcher: impl FnMut(Step, bool) -> io::Result<()> + 'static,
    ) -> AnswerKind {
        let (reply, answers) = unbounded_channel();
        let answers = Rc::new(RefCell::new(answers));
        let told = Rc::clone(&answers);
        watch::set(move |step| watcher(step, !told.borrow().is_empty()));
        let until = clock::now().after(Duration::from_secs(60));
        store.carry_out(KEY.pair, vec![Asked { key: KEY, question, until, number: 7, reply }]);
        watch::set(|_| Ok(()));
        let (_, answer) = answers.borrow_mut().try_recv().expect("an answer");
        answer
    }

    #[test]
    fn nobody_is_answered_before_everything_is_on_stable_storage() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = store_here(directory.path());
        let kept = &[Step::SyncFile, Step::Rename, Step::SyncDirectory][..];
        for (question, expected) in [
            (QuestionKind::Create { first: BOTH }, kept),
            (QuestionKind::Swap { expected: BOTH, next: ZERO }, kept),
            (QuestionKind::Remove { expected: ZERO }, &[Step::Remove, Step::SyncDirectory]),
        ] {
            let (sender, steps) = channel();
            let answer = ask_here(&mut store, question, move |step, is_answered| {
                assert!(!is_answered, "{question:?} was answered before {step:?}");
                sender.send(step).map_err(io::Error::other)
            });
            assert_eq!(answer, AnswerKind::Done);
            assert_eq!(steps.iter().collect::<Vec<_>>(), expected, "{question:?}");
        }
    }

    #[test]
    fn whatever_step_fails_nothing_is_granted_and_what_was_held_is_written_again() {
        for failing in [Step::SyncFile, Step::Rename, Step::SyncDirectory] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = store_here(directory.path());
            let create = QuestionKind::Create { first: BOTH };
            assert_eq!(ask_here(&mut store, create, |_, _| Ok(())), AnswerKind::Done);
            let fail = move |step, _| if step == failing { Err(io::Error::other("broken")) } else { Ok(()) };
            let swap = QuestionKind::Swap { expected: BOTH, next: ZERO };
            assert_eq!(ask_here(&mut store, swap, fail), AnswerKind::Failed, "{failing:?}");
            assert_eq!(ask_here(&mut store, QuestionKind::Read, |_, _| Ok(())), AnswerKind::Holds(BOTH));
            drop(store);
            let mut store = store_here(directory.path());
            assert_eq!(ask_here(&mut store, QuestionKind::Read, |_, _| Ok(())), AnswerKind::Holds(BOTH));
        }
    }
}

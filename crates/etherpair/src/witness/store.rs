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
use replication::witness::registers::Change;
use replication::witness::{AnswerKind, Decision, QuestionKind, RegisterKey, Registers};
use tokio::sync::mpsc::UnboundedSender;

use super::files::Files;

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
    let store = Store { files, registers, unsure: BTreeSet::new() };
    thread::Builder::new().name("registers".to_owned()).spawn(move || store.run(&receiver))?;
    Ok(sender)
}

struct Store {
    files: Files,
    registers: Registers,
    /// Pairs whose file may hold something else than their registers.
    unsure: BTreeSet<PairIdentity>,
}

impl Store {
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

    /// Writes the pair's registers, unless that took so long that a question among them is too old.
    fn make_durable(&mut self, pair: PairIdentity, until: Option<Instant>) -> Result<(), AnswerKind> {
        let path = self.files.path(pair);
        let failed = |error: io::Error| {
            tracing::error!("{}: registers cannot be stored: {error}; nothing is granted", path.display());
            AnswerKind::Failed
        };
        let beside = self.files.write(pair, &self.registers).map_err(failed)?;
        if until.is_some_and(|until| clock::now() > until) {
            return Err(AnswerKind::Late);
        }
        self.unsure.insert(pair);
        beside.replace().map_err(failed)?;
        self.unsure.remove(&pair);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Duration;
    use replication::identity::VolumeIdentity;
    use replication::membership::{Epoch, Members, NodeNumber};
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
}

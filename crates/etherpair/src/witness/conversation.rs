//! One connection of a witness: questions in, answers out, with bounds on everything.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use os::clock;
use replication::identity::PairIdentity;
use replication::witness::question::MOMENT_LIFE;
use replication::witness::{Answer, AnswerKind, FrameError, Moment, Question, QuestionKind, QuestionReader};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::unbounded_channel;

use super::store::Asked;
use crate::streams::Stream;

/// Questions of one connection that are not answered yet: a question a volume, and more than a pair has.
const UNDER_WAY_MAX: usize = 8192;
/// A node says something every second. Whoever is silent for so long is gone, or never was one.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Whoever does not take its answers is not listened to.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// What all connections of a witness know.
#[derive(Debug)]
pub(crate) struct Witness {
    /// Which it is.
    pub(crate) identity: u128,
    /// The pairs that it serves; none: all.
    pub(crate) pairs: Vec<PairIdentity>,
    /// The registers.
    pub(crate) store: Sender<Asked>,
}

/// Why a connection was ended by the witness.
#[derive(Debug, Error)]
pub(crate) enum ConversationEnd {
    /// It is no node, or a faulty one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message began and did not end.
    #[error("a message was cut short")]
    CutShort,
    /// Nobody spoke.
    #[error("nothing was said for {} seconds", SILENCE_MAX.as_secs())]
    Silent,
    /// Nobody listened.
    #[error("answers are not taken")]
    Deaf,
    /// The network.
    #[error("{0}")]
    Stream(#[from] io::Error),
}

/// Speaks with a node until it goes.
///
/// # Errors
/// Why the connection was ended here.
pub(crate) async fn converse(
    mut stream: impl Stream,
    connection: u64,
    witness: Arc<Witness>,
) -> Result<(), ConversationEnd> {
    let began = clock::now();
    let (reply, mut answers) = unbounded_channel();
    let mut reader = QuestionReader::default();
    let mut buffer = vec![0; 16 << 10];
    let mut under_way = 0_usize;
    loop {
        let moment = || {
            let passed = clock::now().since(began).as_millis();
            Moment { connection, milliseconds: u64::try_from(passed).expect("no connection is so old") }
        };
        let answer_to =
            |(number, kind)| Answer { number, witness: witness.identity, moment: moment(), kind }.emit();
        let mut out: Vec<u8> = Vec::new();
        tokio::select! {
            Some(answer) = answers.recv() => {
                under_way -= 1;
                out.extend(answer_to(answer));
                while let Ok(answer) = answers.try_recv() {
                    under_way -= 1;
                    out.extend(answer_to(answer));
                }
            }
            read = tokio::time::timeout(SILENCE_MAX, stream.read(&mut buffer)), if under_way < UNDER_WAY_MAX => {
                let count = read.map_err(|_| ConversationEnd::Silent)??;
                if count == 0 {
                    return if reader.is_amid_message() { Err(ConversationEnd::CutShort) } else { Ok(()) };
                }
                let mut bytes = &buffer[..count];
                loop {
                    match reader.next(&mut bytes) {
                        Ok(None) => break,
                        Ok(Some(question)) => match at_once(&witness, &question, moment()) {
                            Some(answer) => out.extend(answer_to((question.number, answer))),
                            None => {
                                under_way += 1;
                                let Question { key, kind, number, .. } = question;
                                let began = began.as_nanos() / 1_000_000 + question.moment.milliseconds;
                                let until = block::Instant::from_nanos(began * 1_000_000).after(MOMENT_LIFE);
                                let asked = Asked { key, question: kind, until, number, reply: reply.clone() };
                                assert!(witness.store.send(asked).is_ok(), "the registers live as long as the witness");
                            }
                        },
                        Err((error, number)) => {
                            if let Some(number) = number {
                                let answer = answer_to((number, AnswerKind::Version));
                                // It is told why, if it listens.
                                let _ = tokio::time::timeout(WRITE_PATIENCE, stream.write_all(&answer)).await;
                            }
                            return Err(error.into());
                        }
                    }
                }
            }
        }
        if !out.is_empty() {
            let written = tokio::time::timeout(WRITE_PATIENCE, stream.write_all(&out)).await;
            written.map_err(|_| ConversationEnd::Deaf)??;
        }
    }
}

/// What can be answered without the registers.
fn at_once(witness: &Witness, question: &Question, now: Moment) -> Option<AnswerKind> {
    if question.kind == QuestionKind::Hello {
        return Some(AnswerKind::Welcome);
    }
    if !witness.pairs.is_empty() && !witness.pairs.contains(&question.key.pair) {
        return Some(AnswerKind::Refused);
    }
    (!question.moment.is_fresh(now)).then_some(AnswerKind::Late)
}

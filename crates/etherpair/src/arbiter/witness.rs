//! The client of `etherpair witness`: one connection, kept open, to whichever of its addresses answers.
//!
//! A greeting every second keeps the moment fresh that questions must quote, and tells soon when nobody is there any more. Then
//! the next address is tried.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use replication::identity::{PairIdentity, VolumeIdentity};
use replication::witness::{
    Answer, AnswerKind, AnswerReader, FrameError, Moment, Question, QuestionKind, RegisterKey,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{ArbiterState, PATIENCE};
use crate::streams::{Stream, connect_witness};

/// How long one address is tried.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// When no address answers, all are tried again after this time.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is greeted.
const GREETING: Duration = Duration::from_millis(1000);
/// So long it may say nothing.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// How often questions that were given up are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// About no register.
const NO_KEY: RegisterKey = RegisterKey { pair: PairIdentity(0), volume: VolumeIdentity(0) };

/// A question on its way.
#[derive(Debug)]
struct Asked {
    key: RegisterKey,
    question: QuestionKind,
    reply: oneshot::Sender<AnswerKind>,
}

/// The witness, as a node sees it. Clones are the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    questions: mpsc::UnboundedSender<Asked>,
    state: watch::Receiver<ArbiterState>,
}

/// Why a connection was given up.
#[derive(Debug, Error)]
enum LinkError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Stream(#[from] io::Error),
    #[error("no answer in time")]
    Silent,
    #[error("the witness closed the connection; see its log")]
    Closed,
    #[error(
        "this is another witness ({found:032x}) than before ({expected:032x}); all addresses must lead to the same one, restart \
         this daemon if it was replaced on purpose"
    )]
    Stranger { found: u128, expected: u128 },
}

impl Witness {
    /// Begins to look for it. To be called inside of a runtime.
    pub(crate) fn start(addresses: Vec<SocketAddr>) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        let (told, state) = watch::channel(ArbiterState { kind: "witness", ..ArbiterState::default() });
        let link = Link { addresses, state: told, identity: None, asked };
        tokio::spawn(link.run());
        Self { questions, state }
    }

    /// Asks, and waits for the answer for a while; `None` if there was none. The question may still be carried out then.
    pub(super) async fn put(&self, key: RegisterKey, question: QuestionKind) -> Option<AnswerKind> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Asked { key, question, reply }).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }

    pub(super) fn state(&self) -> ArbiterState {
        self.state.borrow().clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<ArbiterState> {
        self.state.clone()
    }
}

/// The task that keeps the connection.
struct Link {
    addresses: Vec<SocketAddr>,
    state: watch::Sender<ArbiterState>,
    /// Which witness it was at first.
    identity: Option<u128>,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Link {
    /// Runs until nobody can ask any more.
    async fn run(mut self) {
        let mut turn = 0;
        while !self.asked.is_closed() {
            let address = self.addresses[turn % self.addresses.len()];
            turn += 1;
            let error = match timeout(CONNECT_PATIENCE, connect_witness(address)).await {
                Ok(Ok(stream)) => match self.talk(stream, address).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Ok(Err(error)) => error.into(),
                Err(_) => LinkError::Silent,
            };
            self.lost(address, &error);
            if turn % self.addresses.len() == 0 {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Talks with a witness; ends well when nobody can ask any more.
    async fn talk(&mut self, mut stream: impl Stream, address: SocketAddr) -> Result<(), LinkError> {
        let mut talk = Talk::default();
        let mut buffer = vec![0; 16 << 10];
        let mut greeting = interval(GREETING);
        let mut look = interval(LOOK);
        greeting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let mut out = Vec::new();
            tokio::select! {
                _ = greeting.tick() => talk.say(NO_KEY, QuestionKind::Hello, None, &mut out),
                now = look.tick() => {
                    if now.duration_since(heard) > SILENCE_MAX || talk.was_given_up() {
                        return Err(LinkError::Silent);
                    }
                }
                // No question goes out before there is a moment to quote.
                asked = self.asked.recv(), if talk.moment.is_some() => {
                    let Some(asked) = asked else { return Ok(()) };
                    talk.ask(asked, &mut out);
                    while let Ok(asked) = self.asked.try_recv() {
                        talk.ask(asked, &mut out);
                    }
                }
                read = stream.read(&mut buffer) => {
                    let count = read?;
                    if count == 0 {
                        return Err(LinkError::Closed);
                    }
                    heard = Instant::now();
                    let mut bytes = &buffer[..count];
                    while let Some(answer) = talk.reader.next(&mut bytes)? {
                        self.recognise(answer.witness, address)?;
                        talk.answered(answer, &mut out);
                    }
                }
            }
            if !out.is_empty() {
                timeout(SILENCE_MAX, stream.write_all(&out)).await.map_err(|_| LinkError::Silent)??;
            }
        }
    }

    /// Any answer comes from the witness that it always was.
    fn recognise(&mut self, found: u128, address: SocketAddr) -> Result<(), LinkError> {
        let expected = *self.identity.get_or_insert(found);
        if found != expected {
            return Err(LinkError::Stranger { found, expected });
        }
        self.state.send_if_modified(|state| {
            if state.is_reachable {
                return false;
            }
            tracing::info!("witness {found:032x} is reached at {address}");
            *state = ArbiterState {
                identity: Some(format!("{found:032x}")),
                address: Some(address.to_string()),
                is_reachable: true,
                error: None,
                ..*state
            };
            true
        });
        Ok(())
    }

    fn lost(&self, address: SocketAddr, error: &LinkError) {
        let text = format!("{address}: {error}");
        tracing::debug!("witness at {text}");
        self.state.send_modify(|state| {
            *state = ArbiterState {
                is_reachable: false,
                error: Some(text),
                identity: state.identity.take(),
                address: state.address.take(),
                ..*state
            };
        });
    }
}

/// What is under way on one connection.
#[derive(Default)]
struct Talk {
    reader: AnswerReader,
    moment: Option<Moment>,
    last: u64,
    under_way: BTreeMap<u64, Asked>,
}

impl Talk {
    fn say(&mut self, key: RegisterKey, kind: QuestionKind, asked: Option<Asked>, out: &mut Vec<u8>) {
        self.last += 1;
        let question = Question { number: self.last, key, moment: self.moment.unwrap_or_default(), kind };
        out.extend(question.emit());
        if let Some(asked) = asked {
            self.under_way.insert(self.last, asked);
        }
    }

    fn ask(&mut self, asked: Asked, out: &mut Vec<u8>) {
        // Nobody waits for it any more, so it must not be carried out.
        if !asked.reply.is_closed() {
            self.say(asked.key, asked.question, Some(asked), out);
        }
    }

    fn answered(&mut self, answer: Answer, out: &mut Vec<u8>) {
        self.moment = Some(answer.moment);
        let Some(asked) = self.under_way.remove(&answer.number) else { return };
        if answer.kind == AnswerKind::Late {
            // It was not carried out; now there is a fresh moment.
            return self.ask(asked, out);
        }
        // Whoever asked may have given up just now.
        let _ = asked.reply.send(answer.kind);
    }

    /// A question that was given up may still be carried out for as long as this connection lives.
    fn was_given_up(&self) -> bool {
        self.under_way.values().any(|asked| asked.reply.is_closed())
    }
}

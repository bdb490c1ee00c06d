//! Asking the arbiter, whoever it is: a compare-and-swap register for each volume, outside of both nodes.
//!
//! [`Arbiter`] is what the daemon knows of; [`witness`] speaks with `etherpair witness`, [`etcd`] with etcd. Nothing here is ever waited for by a
//! thread that serves: questions come from the control plane, and each is answered within [`PATIENCE`], if only with
//! "unreachable". A question that was given up is not sent any more, and a connection that may still carry one is closed.

mod etcd;
pub(crate) mod register_text;
#[cfg(test)]
mod tests;
mod witness;

use std::time::{Duration, Instant};

use replication::input::ArbiterAnswer;
use replication::limits::ARBITER_PATIENCE;
use replication::membership::Membership;
use replication::witness::{AnswerKind, QuestionKind, RegisterKey};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

pub(crate) use etcd::Etcd;
pub(crate) use witness::Witness;

use crate::config::arbiter::ArbiterConfig;

/// So long an answer is waited for: less than the engine waits.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);
/// How long an operator waits for a register: its disk may be slow.
pub(crate) const OPERATOR_PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(100);

const _: () =
    assert!(PATIENCE.as_millis() < ARBITER_PATIENCE.as_millis(), "the engine hears of every question");

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Arbiter {
    /// `etherpair witness`.
    Witness(Witness),
    /// etcd.
    Etcd(Etcd),
    /// Nobody.
    None,
}

/// Why nothing useful was answered.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum ArbiterError {
    /// Nothing was heard in time; the question may still be carried out.
    #[error("the arbiter cannot be reached; see `etherpair status`")]
    Unreachable,
    /// It has forgotten, or never knew.
    #[error(
        "the arbiter has no register for the volume; after both nodes ask the same arbiter, and while they are connected, make one with \
         `etherpair volume register`"
    )]
    NoRegister,
    /// It does not serve this pair.
    #[error(
        "the arbiter does not serve this pair, or has no room for one more register; see its log, and `pairs` in its configuration"
    )]
    Refused,
    /// It cannot store anything.
    #[error("the arbiter cannot store registers; see its log")]
    Failed,
    /// The register holds something else.
    #[error("the arbiter holds membership {0} for the volume already")]
    Holds(Membership),
    /// There is none.
    #[error("no arbiter is configured; see the section [arbiter] of node.toml")]
    Nobody,
}

/// How the arbiter can be reached, for operators.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ArbiterState {
    /// `witness`, `etcd` or `none`.
    pub(crate) kind: &'static str,
    /// Which one it is, by a name that no other has; known once it was reached.
    pub(crate) identity: Option<String>,
    /// Where it was reached last.
    pub(crate) address: Option<String>,
    /// Whether it can be reached now.
    pub(crate) is_reachable: bool,
    /// Why not.
    pub(crate) error: Option<String>,
}

impl Arbiter {
    /// The one that is configured. To be called inside of a runtime, which keeps the connection.
    pub(crate) fn start(config: &ArbiterConfig) -> Self {
        match config {
            ArbiterConfig::Witness(addresses) => Self::Witness(Witness::start(addresses.clone())),
            ArbiterConfig::Etcd { endpoints, prefix } => {
                Self::Etcd(Etcd::start(endpoints.clone(), prefix.clone()))
            }
            ArbiterConfig::None => Self::None,
        }
    }

    /// Asks it to put `next` in the place of `expected`, or, if they are equal, whether it holds that.
    ///
    /// # Errors
    /// Why there is neither yes nor no.
    pub(crate) async fn ask(
        &self,
        key: RegisterKey,
        expected: Membership,
        next: Membership,
    ) -> Result<ArbiterAnswer, ArbiterError> {
        match self.put(key, QuestionKind::Swap { expected, next }).await {
            Ok(()) => Ok(ArbiterAnswer::Swapped),
            Err(ArbiterError::Holds(held)) => Ok(ArbiterAnswer::Holds(held)),
            Err(error) => Err(error),
        }
    }

    /// Makes the register of a new volume. One that holds `first` already is good. Whoever waits for it is an operator, who would
    /// only ask again: it is asked for longer than the nodes' own questions are.
    ///
    /// # Errors
    /// Why there is none now.
    pub(crate) async fn create(&self, key: RegisterKey, first: Membership) -> Result<(), ArbiterError> {
        let until = Instant::now() + OPERATOR_PATIENCE;
        loop {
            match self.put(key, QuestionKind::Create { first }).await {
                Err(ArbiterError::Unreachable) if Instant::now() < until => sleep(ASKED_AGAIN_AFTER).await,
                result => return result,
            }
        }
    }

    /// Forgets the register of a volume that is no more.
    ///
    /// # Errors
    /// Why it may still be there.
    pub(crate) async fn remove(&self, key: RegisterKey, expected: Membership) -> Result<(), ArbiterError> {
        self.put(key, QuestionKind::Remove { expected }).await
    }

    /// How it can be reached.
    pub(crate) fn state(&self) -> ArbiterState {
        match self {
            Self::Witness(witness) => witness.state(),
            Self::Etcd(etcd) => etcd.state(),
            Self::None => ArbiterState { kind: "none", ..ArbiterState::default() },
        }
    }

    /// Every change of that, while there is an arbiter.
    pub(crate) fn states(&self) -> Option<watch::Receiver<ArbiterState>> {
        match self {
            Self::Witness(witness) => Some(witness.states()),
            Self::Etcd(etcd) => Some(etcd.states()),
            Self::None => None,
        }
    }

    async fn put(&self, key: RegisterKey, question: QuestionKind) -> Result<(), ArbiterError> {
        let answer = match self {
            Self::Witness(witness) => witness.put(key, question).await,
            Self::Etcd(etcd) => etcd.put(key, question).await,
            Self::None => return Err(ArbiterError::Nobody),
        };
        match answer.ok_or(ArbiterError::Unreachable)? {
            AnswerKind::Done => Ok(()),
            AnswerKind::Holds(held) => Err(ArbiterError::Holds(held)),
            AnswerKind::NoRegister => Err(ArbiterError::NoRegister),
            AnswerKind::Refused => Err(ArbiterError::Refused),
            AnswerKind::Failed => Err(ArbiterError::Failed),
            AnswerKind::Late | AnswerKind::Welcome | AnswerKind::Version => Err(ArbiterError::Unreachable),
        }
    }
}

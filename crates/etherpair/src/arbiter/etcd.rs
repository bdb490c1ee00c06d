//! The client of etcd: a key for each volume, changed by transactions that compare its value first.
//!
//! It speaks etcd's JSON interface, which is the gRPC interface word for word (etcd 3.4 and later; 3.3 has it under another
//! path). What it says is what a majority holds: a transaction that writes goes through etcd's consensus, and an ordinary range, in a
//! transaction or alone, is answered only when a majority has confirmed that nothing newer is there. (An empty transaction is answered by
//! each member for itself, so nothing is ever asked by one.) One connection a question: when the question is given up the connection is closed with it. Unlike a witness, etcd may carry out
//! a question long after that, if it lay in the buffer of a machine that was paused; a node may then be shut out until it meets
//! its peer, and nothing is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use replication::membership::Membership;
use replication::witness::{AnswerKind, QuestionKind, RegisterKey};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::{ArbiterState, PATIENCE, register_text};
use crate::streams::connect_etcd;

/// Questions at once.
const AT_ONCE: usize = 32;
/// How long one endpoint is tried.
const ENDPOINT_PATIENCE: Duration = Duration::from_millis(700);
/// How often an endpoint is asked whether it is there.
const LOOK: Duration = Duration::from_secs(2);
/// More than any answer has.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where transactions are asked for.
const TRANSACTION: &str = "/v3/kv/txn";
/// Where keys are read, as a majority holds them unless told otherwise.
const RANGE: &str = "/v3/kv/range";

/// etcd, as a node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Etcd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: Vec<SocketAddr>,
    prefix: String,
    /// The endpoint that answered last.
    turn: AtomicUsize,
    places: Semaphore,
    state: watch::Sender<ArbiterState>,
}

/// Why an endpoint gave no answer.
#[derive(Debug, Error)]
enum EtcdError {
    #[error("{0}")]
    Stream(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no answer in time")]
    Silent,
    #[error("etcd answers {status}: {text}")]
    Status { status: StatusCode, text: String },
    #[error("the answer is not one of etcd's: {0}")]
    Answer(String),
}

impl Etcd {
    /// Begins to look for it. To be called inside of a runtime.
    pub(crate) fn start(endpoints: Vec<SocketAddr>, prefix: String) -> Self {
        let state = ArbiterState { kind: "etcd", ..ArbiterState::default() };
        let inner = Inner {
            endpoints,
            prefix,
            turn: AtomicUsize::new(0),
            places: Semaphore::new(AT_ONCE),
            state: watch::Sender::new(state),
        };
        let etcd = Self(Arc::new(inner));
        tokio::spawn(look(Arc::downgrade(&etcd.0)));
        etcd
    }

    /// Asks, and waits for the answer for a while; `None` if there was none. The question may still be carried out then.
    pub(super) async fn put(&self, key: RegisterKey, question: QuestionKind) -> Option<AnswerKind> {
        let transaction = transaction(&self.0.key(key), question);
        timeout(PATIENCE, async {
            let _place = self.0.places.acquire().await.ok()?;
            self.0.ask(question, &transaction).await
        })
        .await
        .ok()
        .flatten()
    }

    pub(super) fn state(&self) -> ArbiterState {
        self.0.state.borrow().clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<ArbiterState> {
        self.0.state.subscribe()
    }
}

/// Keeps the state up to date while nothing is asked.
async fn look(etcd: std::sync::Weak<Inner>) {
    loop {
        let Some(inner) = etcd.upgrade() else { return };
        // Nobody's key: what is answered does not matter, but that a majority is there to answer.
        let nobodys = json!({ "key": STANDARD.encode(format!("{}/", inner.prefix)) });
        for _ in &inner.endpoints {
            if inner.call(RANGE, &nobodys).await.is_some() {
                break;
            }
        }
        drop(inner);
        tokio::time::sleep(LOOK).await;
    }
}

impl Inner {
    fn key(&self, key: RegisterKey) -> String {
        STANDARD.encode(format!("{}/{}/{}", self.prefix, key.pair, key.volume))
    }

    async fn ask(&self, question: QuestionKind, transaction: &Value) -> Option<AnswerKind> {
        for _ in &self.endpoints {
            if let Some(answer) = self.call(TRANSACTION, transaction).await {
                return meaning(question, &answer);
            }
        }
        None
    }

    /// Asks the endpoint that answered last; if it does not, the next one has its turn.
    async fn call(&self, path: &'static str, question: &Value) -> Option<Value> {
        let turn = self.turn.load(Ordering::Relaxed);
        let endpoint = self.endpoints[turn % self.endpoints.len()];
        let called = timeout(ENDPOINT_PATIENCE, call(endpoint, path, question)).await;
        let result = called.unwrap_or(Err(EtcdError::Silent));
        match result {
            Ok(answer) => {
                self.state.send_modify(|state| {
                    if !state.is_reachable {
                        tracing::info!("etcd is reached at {endpoint}");
                    }
                    *state = ArbiterState {
                        identity: identity(&answer, &self.prefix).or_else(|| state.identity.take()),
                        address: Some(endpoint.to_string()),
                        is_reachable: true,
                        error: None,
                        ..*state
                    };
                });
                Some(answer)
            }
            Err(error) => {
                let text = format!("{endpoint}: {error}");
                tracing::debug!("etcd at {text}");
                self.state.send_modify(|state| {
                    *state = ArbiterState {
                        is_reachable: false,
                        error: Some(text),
                        identity: state.identity.take(),
                        address: state.address.take(),
                        ..*state
                    };
                });
                self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
                None
            }
        }
    }
}

/// One question on one connection, which ends with this.
async fn call(endpoint: SocketAddr, path: &'static str, question: &Value) -> Result<Value, EtcdError> {
    let stream = connect_etcd(endpoint).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", endpoint.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(question.to_string())))
        .expect("all parts are well-formed");
    let talk = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| EtcdError::Answer(error.to_string()))?.to_bytes();
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
            return Err(EtcdError::Status { status, text: text.trim().to_owned() });
        }
        serde_json::from_slice(&body).map_err(|error| EtcdError::Answer(error.to_string()))
    };
    // The connection does its part here, and ends with the question, whatever becomes of it.
    tokio::pin!(connection);
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(error.into()),
        }
    }
}

/// Which registers are asked for: whoever asks the same cluster with the same prefix has the same ones. The cluster stands in every
/// answer, and is told as `etcdctl` does.
fn identity(answer: &Value, prefix: &str) -> Option<String> {
    let cluster: u64 = answer["header"]["cluster_id"].as_str()?.parse().ok()?;
    Some(format!("cluster {cluster:x}, prefix {prefix}"))
}

fn value(membership: Membership) -> String {
    STANDARD.encode(register_text::emit(membership))
}

/// What etcd is asked for a question.
fn transaction(key: &str, question: QuestionKind) -> Value {
    let read = json!([{ "requestRange": { "key": key } }]);
    let put = |membership| json!([{ "requestPut": { "key": key, "value": value(membership) } }]);
    let holds = |membership| json!([{ "key": key, "target": "VALUE", "result": "EQUAL", "value": value(membership) }]);
    match question {
        QuestionKind::Swap { expected, next } if next == expected => {
            json!({ "compare": holds(expected), "success": [], "failure": read })
        }
        QuestionKind::Swap { expected, next } => {
            json!({ "compare": holds(expected), "success": put(next), "failure": read })
        }
        QuestionKind::Create { first } => {
            let absent =
                json!([{ "key": key, "target": "CREATE", "result": "EQUAL", "createRevision": "0" }]);
            json!({ "compare": absent, "success": put(first), "failure": read })
        }
        QuestionKind::Remove { expected } => {
            let delete = json!([{ "requestDeleteRange": { "key": key } }]);
            json!({ "compare": holds(expected), "success": delete, "failure": read })
        }
        QuestionKind::Hello | QuestionKind::Read => {
            let never = json!([{ "key": key, "target": "VERSION", "result": "LESS", "version": "0" }]);
            json!({ "compare": never, "success": [], "failure": read })
        }
    }
}

/// What etcd's answer says to the question; `None` if it is not one.
fn meaning(question: QuestionKind, answer: &Value) -> Option<AnswerKind> {
    if answer["succeeded"] == true {
        return Some(AnswerKind::Done);
    }
    let range = &answer["responses"][0]["response_range"];
    let Some(held) = range["kvs"][0]["value"].as_str() else {
        let is_empty = range.is_object() && range["kvs"].is_null();
        return is_empty.then_some(match question {
            QuestionKind::Remove { .. } => AnswerKind::Done,
            _ => AnswerKind::NoRegister,
        });
    };
    let text = STANDARD.decode(held).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(held) = text.as_deref().and_then(register_text::parse) else {
        tracing::error!(
            "the key of a volume in etcd holds what is no membership; somebody else has written it"
        );
        return Some(AnswerKind::Failed);
    };
    Some(match question {
        QuestionKind::Create { first } if held == first => AnswerKind::Done,
        _ => AnswerKind::Holds(held),
    })
}

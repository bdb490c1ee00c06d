//! What the control planes of the two nodes ask of each other, on a connection for one request or a few: a line of JSON asks, a
//! line answers. What was prepared and not activated when the connection ends is undone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::create::{Plan, Prepared, activate, blocking, prepare};
use super::daemon::Daemon;
use super::peer_port::connect_control;
use super::remove::{PeerVolume, may_remove_for_peer, remove_for_peer};
use super::replace::describe;
use super::resize::make_room_for_peer;
use super::withdraw::is_configured;

/// The longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Metadata of a large volume is written before an answer comes.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the peer is asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PeerRequest {
    /// Make the files.
    Prepare(Plan),
    /// Serve it.
    Activate,
    /// Make room for a volume to grow.
    MakeRoom {
        /// Which volume, 32 hexadecimal digits.
        identity: String,
        /// How many sectors it is to have.
        sectors: u64,
    },
    /// What is there of a volume that is to be made anew here, or of all?
    Describe {
        /// Which.
        address: Option<String>,
    },
    /// Is a volume to be served there, whether it is or not?
    IsConfigured {
        /// Which.
        address: String,
    },
    /// Could a volume be removed?
    MayRemove(PeerVolume),
    /// Remove it.
    Remove(PeerVolume),
}

type PeerAnswer = Result<Value, String>;

/// Serves what the peer's control plane asks on one connection.
pub(crate) async fn serve_peer(daemon: &Arc<Daemon>, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut prepared: Option<Prepared> = None;
    loop {
        let mut line = String::new();
        let mut bounded = (&mut stream).take(LINE_BYTES_MAX);
        if !matches!(timeout(PATIENCE, bounded.read_line(&mut line)).await, Ok(Ok(count)) if count > 0) {
            return;
        }
        let answer: PeerAnswer = match serde_json::from_str(&line) {
            Err(error) => {
                Err(format!("the peer does not understand the request ({error}); upgrade the older node"))
            }
            Ok(PeerRequest::Prepare(plan)) => {
                let made = blocking(daemon, move |daemon| prepare(&daemon, &plan)).await;
                made.map(|made| prepared = Some(made)).map(nothing)
            }
            Ok(PeerRequest::Activate) => match prepared.take() {
                Some(made) => activate(daemon, made).await.map(|_| Value::Null),
                None => Err("nothing was prepared".to_owned()),
            },
            Ok(PeerRequest::MakeRoom { identity, sectors }) => {
                blocking(daemon, move |daemon| make_room_for_peer(&daemon, &identity, sectors))
                    .await
                    .map(nothing)
            }
            Ok(PeerRequest::MayRemove(volume)) => may_remove_for_peer(daemon, &volume).map(nothing),
            Ok(PeerRequest::Remove(volume)) => remove_for_peer(daemon, volume).await.map(nothing),
            Ok(PeerRequest::IsConfigured { address }) => Ok(is_configured(daemon, &address).into()),
            Ok(PeerRequest::Describe { address }) => {
                let described = describe(daemon, address.as_deref()).await;
                described.map(|described| serde_json::to_value(described).expect("texts and numbers"))
            }
        };
        let answer = answer.map_err(|error| format!("at the peer: {error}"));
        let mut text = serde_json::to_string(&answer).expect("texts");
        text.push('\n');
        if !matches!(timeout(PATIENCE, stream.write_all(text.as_bytes())).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The connection to the peer's control plane.
pub(super) struct Peer(BufReader<TcpStream>);

impl Peer {
    /// Connects to the peer's control plane.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub(super) async fn connect(daemon: &Daemon) -> Result<Self, String> {
        let stream = connect_control(daemon).await;
        let stream = stream.map_err(|error| {
            format!("the peer's daemon is needed for that and cannot be reached: {error}")
        })?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and waits until it is done.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn ask(&mut self, request: &PeerRequest) -> Result<(), String> {
        self.ask_for::<IgnoredAny>(request).await.map(drop)
    }

    /// The same for what it says.
    ///
    /// # Errors
    /// Why it says nothing that is of use.
    pub(super) async fn ask_for<T: DeserializeOwned>(&mut self, request: &PeerRequest) -> Result<T, String> {
        let mut text = serde_json::to_string(request).expect("texts and numbers");
        text.push('\n');
        let asked = timeout(PATIENCE, async {
            self.0.write_all(text.as_bytes()).await?;
            let mut line = String::new();
            (&mut self.0).take(LINE_BYTES_MAX).read_line(&mut line).await?;
            Ok::<String, io::Error>(line)
        });
        let line = asked.await.map_err(|_| "the peer does not answer".to_owned())?;
        let line = line.map_err(|error| format!("the connection to the peer has ended: {error}"))?;
        let answer: PeerAnswer = serde_json::from_str(&line)
            .map_err(|_| "the connection to the peer has ended; see its log".to_owned())?;
        serde_json::from_value(answer?).map_err(|error| {
            format!("the peer answers what this node does not understand ({error}); upgrade the older node")
        })
    }
}

/// There is nothing to say but that it is done.
const fn nothing((): ()) -> Value {
    Value::Null
}

//! What the control planes of the two nodes ask of each other ([`admin::peer`]), on a connection for one request or a few: a line of
//! JSON asks, a line answers. What was prepared and not activated when the connection ends is undone. What is no request is
//! answered with the reason, and ends the connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use admin::LINE_BYTES_MAX;
use admin::peer::{PeerAnswer, PeerRequest};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::create::{Prepared, activate, prepare};
use super::daemon::Daemon;
use super::peer_dial::connect_control;
use super::peer_port::PeerPortError;
use super::remove::{may_remove_for_peer, remove_for_peer};
use super::replace::describe;
use super::resize::make_room_for_peer;
use super::same_addresses::served;
use super::same_arbiter::asked;
use super::withdraw::is_configured;
use crate::streams::{PeerConnection, Stream};

/// Metadata of a large volume is written before an answer comes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Serves what the peer's control plane asks on one connection.
///
/// # Errors
/// What was said that is no request.
pub(super) async fn serve_peer(daemon: &Arc<Daemon>, stream: impl Stream) -> Result<(), PeerPortError> {
    let mut stream = BufReader::new(stream);
    let mut prepared: Option<Prepared> = None;
    loop {
        let Ok(line) = timeout(PATIENCE, read_line(&mut stream)).await else { return Ok(()) };
        let line = line?;
        if line.is_empty() {
            return Ok(());
        }
        let request = PeerRequest::read(&line);
        let (answer, misunderstood) = match request {
            Ok(request) => (carry_out(daemon, request, &mut prepared).await, None),
            Err(error) => (Err(error.to_string()), Some(error)),
        };
        let answer: PeerAnswer = answer.map_err(|error| format!("at the peer: {error}"));
        let mut text = serde_json::to_string(&answer).expect("texts and numbers");
        text.push('\n');
        let said = timeout(PATIENCE, stream.write_all(text.as_bytes())).await;
        if let Some(error) = misunderstood {
            return Err(error.into());
        }
        if !matches!(said, Ok(Ok(()))) {
            return Ok(());
        }
    }
}

/// As much of a line as a line may have; nothing at the end.
async fn read_line(stream: &mut BufReader<impl Stream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
    Ok(line)
}

async fn carry_out(
    daemon: &Arc<Daemon>,
    request: PeerRequest,
    prepared: &mut Option<Prepared>,
) -> PeerAnswer {
    match request {
        PeerRequest::Prepare(plan) => {
            let made = daemon.blocking(move |daemon| prepare(&daemon, &plan)).await?;
            *prepared = Some(made);
        }
        PeerRequest::Activate => {
            let made = prepared.take().ok_or("nothing was prepared")?;
            activate(daemon, made).await?;
        }
        PeerRequest::MakeRoom { identity, sectors } => {
            make_room_for_peer(daemon, identity, sectors).await?;
        }
        PeerRequest::MayRemove(volume) => may_remove_for_peer(daemon, &volume)?,
        PeerRequest::Remove(volume) => return Ok(remove_for_peer(daemon, volume).await?.into()),
        PeerRequest::IsConfigured { address } => return Ok(is_configured(daemon, &address).into()),
        PeerRequest::Describe { address, after } => {
            let described = describe(daemon, address.as_deref(), after.as_deref()).await?;
            return Ok(serde_json::to_value(described).expect("texts and numbers"));
        }
        PeerRequest::Served { after } => {
            let served = served(daemon, after.as_deref())?;
            return Ok(serde_json::to_value(served).expect("texts"));
        }
        PeerRequest::Arbiter => return Ok(serde_json::to_value(asked(daemon)).expect("texts")),
    }
    // There is nothing to say but that it is done.
    Ok(Value::Null)
}

/// The connection to the peer's control plane.
pub(super) struct Peer<S = PeerConnection>(BufReader<S>);

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
}

impl<S: Stream> Peer<S> {
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
        serde_json::from_value(self.decides(request).await??).map_err(|error| {
            format!("the peer answers what this node does not understand ({error}); upgrade the older node")
        })
    }

    /// What the peer says to something that it may have done also if nobody hears so.
    ///
    /// # Errors
    /// Why nobody knows.
    pub(super) async fn decides(&mut self, request: &PeerRequest) -> Result<PeerAnswer, String> {
        let asked = timeout(PATIENCE, async {
            self.0.write_all(request.line().as_bytes()).await?;
            read_line(&mut self.0).await
        });
        let line = asked.await.map_err(|_| "the peer does not answer".to_owned())?;
        let line = line.map_err(|error| format!("the connection to the peer has ended: {error}"))?;
        if line.len() == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            return Err(format!(
                "the peer answers more than the {LINE_BYTES_MAX} bytes that an answer may have, as an older version does that has many \
                 volumes; name one volume at a time, or upgrade etherpair on the peer"
            ));
        }
        serde_json::from_slice(&line)
            .map_err(|_| "the connection to the peer has ended; see its log".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use admin::peer::AskedArbiter;
    use replication::membership::NodeNumber;
    use replication::version::Version;
    use replication::wire::preamble::Purpose;

    use super::super::peer_port::{greet, welcome};
    use super::*;
    use crate::arbiter::Arbiter;
    use crate::streams::veil::veiled;

    #[tokio::test]
    async fn the_nodes_greet_and_ask_each_other_with_a_layer_between_as_without_one() {
        let (zero, mut one) = (Daemon::on_stage(Arbiter::None), Daemon::on_stage(Arbiter::None));
        Arc::get_mut(&mut one).expect("nobody else has it").config.node = NodeNumber::One;
        let (mut near, mut far) = veiled();
        let (greeted, welcomed) =
            tokio::join!(greet(&one, &mut near, Purpose::Control), welcome(&zero, &mut far));
        assert_eq!(greeted.expect("the peer answers").version, Version::NEWEST);
        let (shard, peer) = welcomed.expect("the peer connects");
        assert_eq!((shard, peer.version), (None, Version::NEWEST));
        tokio::spawn(async move { serve_peer(&zero, far).await });
        let mut peer = Peer(BufReader::new(near));
        let asked: AskedArbiter = peer.ask_for(&PeerRequest::Arbiter).await.expect("an answer");
        assert_eq!(asked.kind, one.arbiter.state().kind);
        let refused = peer.ask(&PeerRequest::Activate).await.expect_err("nothing was prepared");
        assert!(refused.contains("at the peer: nothing was prepared"), "{refused}");
    }
}

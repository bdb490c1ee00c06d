//! The socket for commands: a Unix socket that only its owner may use. A line of JSON asks, a line of JSON answers; to
//! `events` a line for each event, until one side goes. `docs/operating/admin-socket.md` describes it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin::{LINE_BYTES_MAX, LineError, Reply, Request, RequestError};
use aoe::Address;
use replication::input::Control;
use replication::membership::Members;
use replication::message::CopyState;
use replication::volume::{Phase, VolumeStatus};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::create::create;
use super::daemon::{Broken, Daemon};
use super::error::ServeError;
use super::register::{register, register_all};
use super::reload::reload;
use super::remove::remove;
use super::replace::replace;
use super::resize::resize;
use super::volumes::{Volume, parse_address};
use crate::streams::{Stream, accept_command};

/// Commands at once.
const CONNECTIONS_MAX: usize = 64;
/// So many of them may listen to events, which they do for as long as they like.
const LISTENERS_MAX: usize = 48;
/// How long a command may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens for commands.
///
/// # Errors
/// If another daemon is there, or the socket cannot be made.
pub(crate) fn listen(daemon: &Arc<Daemon>, config: &Path) -> Result<(), ServeError> {
    let path = daemon.config.socket.clone();
    let failed = |error| ServeError::Socket { path: path.clone(), error };
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(ServeError::SocketTaken(path));
    }
    // Nobody listens there: it is what a daemon that was killed has left.
    if fs::symlink_metadata(&path).is_ok_and(|found| is_socket(&found)) {
        fs::remove_file(&path).map_err(failed)?;
    }
    let listener = bind_private(&path).map_err(failed)?;
    tokio::spawn(accept(listener, Arc::clone(daemon), config.into()));
    Ok(())
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

/// The socket appears under its name only when nobody else may use it.
fn bind_private(path: &Path) -> std::io::Result<UnixListener> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let _ = fs::remove_file(beside);
    let listener = UnixListener::bind(beside)?;
    fs::set_permissions(beside, Permissions::from_mode(0o600))?;
    fs::rename(beside, path)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, daemon: Arc<Daemon>, config: Arc<Path>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (daemon, config, listeners) = (Arc::clone(&daemon), Arc::clone(&config), Arc::clone(&listeners));
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(PATIENCE, accept_command(stream)).await {
                // Whoever asked is gone: nobody is to be told.
                let _ = converse(&daemon, stream, &config, &listeners).await;
            }
            drop(place);
        });
    }
}

async fn converse(
    daemon: &Arc<Daemon>,
    stream: impl Stream,
    config: &Path,
    listeners: &Arc<Semaphore>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stream).take(LINE_BYTES_MAX as u64);
        let Ok(count) = timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await else { return Ok(()) };
        if count? == 0 {
            return Ok(());
        }
        let request = Request::read(&line);
        let is_cut_off = matches!(request, Err(RequestError(LineError::CutOff { .. })));
        let reply = match request {
            Ok(Request::Events) => match Arc::clone(listeners).try_acquire_owned() {
                Ok(_place) => return tell_events(daemon, stream).await,
                Err(_) => return stream.write_all(too_many_listeners().line().as_bytes()).await,
            },
            Ok(request) => carry_out(daemon, request, config).await,
            Err(error) => {
                daemon.complain_of_command(&error);
                Err(error.to_string())
            }
        };
        let reply = reply.map_or_else(Reply::Refused, Reply::Done);
        stream.write_all(reply.line().as_bytes()).await?;
        if is_cut_off {
            // Where the next request begins nobody knows.
            return Ok(());
        }
    }
}

fn too_many_listeners() -> Reply {
    Reply::Refused(format!(
        "{LISTENERS_MAX} programs listen to events already; end one of them, most likely an `etherpair events`"
    ))
}

/// Tells events until the listener has gone, which nobody would notice while nothing happens, were it not looked for.
async fn tell_events(daemon: &Daemon, mut stream: BufReader<impl Stream>) -> std::io::Result<()> {
    let mut events = daemon.events.subscribe();
    loop {
        let mut said = [0; 64];
        let event = tokio::select! {
            event = events.recv() => event,
            count = stream.read(&mut said) => match count? {
                0 => return Ok(()),
                // Nothing more is asked here.
                _ => continue,
            },
        };
        let line = match event {
            Ok(line) => line,
            Err(RecvError::Lagged(count)) => format!("{{\"missed\":{count}}}").into(),
            Err(RecvError::Closed) => return Ok(()),
        };
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\n").await?;
    }
}

async fn carry_out(daemon: &Arc<Daemon>, request: Request, config: &Path) -> Result<Value, String> {
    match request {
        Request::Status => Ok(serde_json::to_value(daemon.status().await).expect("texts and numbers")),
        Request::Events => Err("events are told on a connection of their own".to_owned()),
        Request::Leave => leave(daemon).await,
        Request::Join => {
            daemon.control(&all(daemon), Control::Join);
            Ok(Value::String("this node comes back; see `etherpair status`".to_owned()))
        }
        Request::Promote { address, inconsistent } => promote(daemon, &address, inconsistent).await,
        Request::CreateVolume(request) => create(daemon, request).await.map(Value::String),
        Request::Verify { address, fix } => verify(daemon, &address, fix).await,
        Request::Resize { address, bytes } => {
            resize(daemon, find(daemon, &address)?, bytes).await.map(Value::String)
        }
        Request::ReplaceVolume(request) => replace(daemon, request).await.map(Value::String),
        Request::RemoveVolume(request) => remove(daemon, request).await.map(Value::String),
        Request::Register { address: Some(address) } => {
            register(daemon, &find(daemon, &address)?).await.map(Value::String)
        }
        Request::Register { address: None } => register_all(daemon).await.map(Value::String),
        Request::Reload => reload(daemon, config).await.map(Value::String),
    }
}

fn all(daemon: &Daemon) -> Vec<Volume> {
    daemon.volumes().values().cloned().collect()
}

fn find(daemon: &Daemon, address: &str) -> Result<Volume, String> {
    let address = parse_address(address)?;
    let volume = daemon.volumes().get(&address).cloned();
    volume.ok_or_else(|| format!("{address}: there is no such volume; see `etherpair volume list`"))
}

async fn leave(daemon: &Daemon) -> Result<Value, String> {
    let text = |addresses: Vec<Address>| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    };
    let (volumes, needed) = daemon.dispensable().await;
    if !needed.is_empty() {
        return Err(format!(
            "{} cannot be left to the peer: it is away, or its copy is not up to date; nothing was changed, see `etherpair \
             status`",
            text(needed)
        ));
    }
    let staying = daemon.leave(&volumes).await;
    if !staying.is_empty() {
        return Err(format!(
            "{} did not leave in time, goes on being served and is left as soon as it can be; `etherpair join` takes this back",
            text(staying)
        ));
    }
    Ok(Value::String("the peer goes on alone; this node may be stopped, or come back with `join`".to_owned()))
}

/// What is said of a volume whose thread does not say how it stands.
const SILENT: &str = "its thread does not answer; see the log";

async fn promote(daemon: &Daemon, address: &str, inconsistent: bool) -> Result<Value, String> {
    let volume = find(daemon, address)?;
    refuse_not_served(daemon, &volume)?;
    let status = daemon.status_of(&volume).await.ok_or(SILENT)?;
    // That may take long: what is judged is what comes after it.
    let held = daemon.held_by_arbiter(&volume, status.membership).await;
    let status = daemon.status_of(&volume).await.ok_or(SILENT)?;
    if status.phase != Phase::Frozen {
        return Err(format!("{address} is not frozen but {:?}: nothing is to be forced", status.phase));
    }
    if *daemon.leaving() {
        return Err(format!(
            "{address}: this node was told to leave, so it would serve nobody, and what it is forced to would shut the other one out; nothing \
             was changed. `etherpair join` takes the leave back: this node then serves with the other one if that is there, and otherwise \
             stays frozen and can be forced"
        ));
    }
    match status.copy {
        CopyState::Good => {}
        CopyState::Inconsistent if inconsistent => {}
        CopyState::Inconsistent => {
            return Err(format!(
                "{address}: this copy is not whole: sectors that only the other node has are old here, or empty if the copy was made \
                 anew; bring the other node back, or say --inconsistent if it is lost for good"
            ));
        }
        CopyState::Diskless => {
            return Err(format!(
                "{address}: this node has no disk to serve from. If it was the last to serve, mend its disk or metadata and start its daemon \
                 anew; force the other node only if this one is lost: what was written here alone is lost then"
            ));
        }
    }
    daemon.control(std::slice::from_ref(&volume), Control::Force { held });
    Ok(Value::String(format!("{address}: forced; see `etherpair status`")))
}

/// Its thread still knows of a volume that is about to go.
fn refuse_not_served(daemon: &Daemon, volume: &Volume) -> Result<(), String> {
    let address = volume.entry.address;
    daemon.broken().get(&address).map_or(Ok(()), |Broken { error, .. }| {
        Err(format!(
            "{address} is about to go from this node, and is not to be forced: {error}. To keep it, wait until its disk has answered, \
             then `etherpair reload`"
        ))
    })
}

async fn verify(daemon: &Daemon, address: &str, fix: bool) -> Result<Value, String> {
    let volume = find(daemon, address)?;
    let status = daemon.statuses(std::slice::from_ref(&volume)).await.pop().flatten();
    let is_in_sync = |status: &VolumeStatus| {
        let is_whole = status.lacking == 0 && status.out_of_sync == 0;
        status.phase == Phase::Paired && status.membership.members == Members::Both && is_whole
    };
    let verify = status.and_then(|status| status.verify);
    if let Some(under_way) = verify.filter(|verify| verify.is_source) {
        let sectors = status.map_or(0, |status| status.sectors);
        return Err(format!(
            "{address}: this node is comparing already, and has done {} of {sectors} sectors; wait for `verify-done` in `etherpair events`",
            under_way.sectors
        ));
    }
    if !status.as_ref().is_some_and(is_in_sync) {
        return Err(format!(
            "{address}: both nodes must be connected and in sync to compare; see `etherpair status`"
        ));
    }
    daemon.control(std::slice::from_ref(&volume), Control::Verify { fix });
    Ok(Value::String(format!("{address}: comparing; the outcome is an event, see `etherpair events`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::Arbiter;
    use crate::streams::veil::veiled;

    #[tokio::test]
    async fn a_volume_that_is_about_to_go_is_not_forced() {
        let daemon = Daemon::on_stage(Arbiter::None);
        let entry = daemon.config.volumes[0].clone();
        let address = entry.address.to_string();
        daemon.put_on_stage(entry.clone());
        daemon.not_served(entry, None, &"its disk is slow");
        let refused = promote(&daemon, &address, false).await.expect_err("it is about to go");
        assert!(refused.contains("its disk is slow. To keep it"), "{refused}");
    }

    #[tokio::test]
    async fn commands_are_answered_with_a_layer_between_as_without_one() {
        let daemon = Daemon::on_stage(Arbiter::None);
        let (near, far) = veiled();
        let listeners = Arc::new(Semaphore::new(1));
        tokio::spawn(async move { converse(&daemon, far, Path::new("node.toml"), &listeners).await });
        let mut near = BufReader::new(near);
        near.write_all(Request::Status.line().as_bytes()).await.expect("it listens");
        let mut answer = String::new();
        near.read_line(&mut answer).await.expect("it answers");
        let Ok(Reply::Done(status)) = serde_json::from_str(&answer) else { panic!("{answer}") };
        assert_eq!(status["node"], 0);
    }

    #[test]
    fn only_its_owner_may_use_the_socket_also_in_the_place_of_one_that_was_left_open_to_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        fs::write(&path, "").expect("something in its place");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("open to all");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _listener = runtime.block_on(async { bind_private(&path) }).expect("a socket");
        let found = fs::symlink_metadata(&path).expect("it is there");
        assert!(is_socket(&found));
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
}

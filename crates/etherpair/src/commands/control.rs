//! Commands for a running daemon: each sends a request to its socket, and tells what it answers.

use admin::{CreateRequest, RemoveRequest, ReplaceRequest, Reply, Request};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use thiserror::Error;

use super::examples;
use crate::byte_size;
use crate::config::node::SOCKET;
use crate::exit_code::{self, Failure};
use crate::serve::status::Status;
use crate::standard::{self, mention};
use crate::streams::connect_command;

/// How often `status --watch` looks.
const WATCH: Duration = Duration::from_secs(1);

/// Where the daemon is.
#[derive(Args, Debug)]
pub(crate) struct Socket {
    /// The daemon's socket, as `socket` in the section admin of its configuration says
    #[arg(long, value_name = "PATH", default_value = SOCKET, global = true)]
    socket: PathBuf,
}

/// `etherpair status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    socket: Socket,

    /// Tell it in JSON; docs/operating/pair.md explains the fields
    #[arg(long)]
    json: bool,

    /// Tell it again every second
    #[arg(long)]
    watch: bool,
}

/// `etherpair events`, `leave`, `join`, `reload`.
#[derive(Args, Debug)]
pub(crate) struct PlainArguments {
    #[command(flatten)]
    socket: Socket,
}

/// `etherpair promote`.
#[derive(Args, Debug)]
pub(crate) struct PromoteArguments {
    /// Which volume
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// Serve although the copy may be stale
    #[arg(long, required = true)]
    force: bool,

    /// Also a copy that is not whole, because the other node is lost for good: sectors are old, or empty
    #[arg(long)]
    inconsistent: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    socket: Socket,
}

/// `etherpair volume`.
#[derive(Args, Debug)]
pub(crate) struct VolumeArguments {
    #[command(subcommand)]
    command: VolumeCommand,

    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    /// Make a volume at both nodes; an image that exists here is taken as it is and copied to the peer
    #[command(after_help = examples::CREATE)]
    Create {
        /// Its address (shelf.slot)
        #[arg(value_name = "ADDRESS")]
        address: String,

        /// Its size (k, M, G, T: powers of 1024); left out: that of the image
        #[arg(long, value_name = "BYTES", value_parser = byte_size::parse)]
        size: Option<u64>,

        /// Its file or device here; left out: a new file in the volumes directory
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        data: Option<PathBuf>,

        /// Its metadata here; left out: a new file in the volumes directory
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        metadata: Option<PathBuf>,

        /// Its file or device at the peer; left out: a new file in the peer's volumes directory
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        peer_data: Option<PathBuf>,

        /// Its metadata at the peer; left out: a new file in the peer's volumes directory
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        peer_metadata: Option<PathBuf>,

        /// What is on the device at the peer may be overwritten
        #[arg(long)]
        overwrite_peer: bool,

        /// What is on devices for metadata, here and at the peer, may be overwritten
        #[arg(long)]
        overwrite_metadata: bool,
    },
    /// Make a volume larger at both nodes; initiators are told
    #[command(after_help = examples::RESIZE)]
    Resize {
        /// Which volume
        #[arg(value_name = "ADDRESS")]
        address: String,

        /// Its new size (k, M, G, T: powers of 1024)
        #[arg(long, value_name = "BYTES", value_parser = byte_size::parse)]
        size: u64,
    },
    /// Remove a volume from both nodes: initiators are answered no more; its data stays unless told otherwise
    #[command(after_help = examples::REMOVE)]
    Remove {
        /// Which volume
        #[arg(value_name = "ADDRESS")]
        address: String,

        /// Delete its data as well; devices are left as they are
        #[arg(long)]
        delete_data: bool,

        /// Only from this node: the peer cannot be reached, or is to keep it
        #[arg(long)]
        here_only: bool,

        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Make this node's copy of a volume anew, from the peer's: its disk was replaced, its metadata is lost, or all of the node was
    #[command(after_help = examples::REPLACE)]
    Replace {
        /// Which volume
        #[arg(value_name = "ADDRESS", required_unless_present = "all")]
        address: Option<String>,

        /// All volumes of the peer's of which this node has no copy that can be used
        #[arg(long, conflicts_with_all = ["address", "data", "metadata"])]
        all: bool,

        /// Its file or device, if this node does not know of the volume; left out: a new file in the volumes directory
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        data: Option<PathBuf>,

        /// Its metadata, likewise
        #[arg(long, value_name = "PATH", value_parser = utf8_path)]
        metadata: Option<PathBuf>,

        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show the volumes
    #[command(after_help = examples::LIST)]
    List,
    /// Compare the two copies of a volume; the outcome is an event
    #[command(after_help = examples::VERIFY)]
    Verify {
        /// Which volume
        #[arg(value_name = "ADDRESS")]
        address: String,

        /// Copy what differs from this node to the other
        #[arg(long)]
        fix: bool,
    },
    /// Make the arbiter's register of a volume anew, after the arbiter was replaced
    #[command(after_help = examples::REGISTER)]
    Register {
        /// Which volume
        #[arg(value_name = "ADDRESS", required_unless_present = "all")]
        address: Option<String>,

        /// Those of all volumes
        #[arg(long, conflicts_with = "address")]
        all: bool,
    },
}

/// Why a daemon did nothing.
#[derive(Debug, Error)]
enum ControlError {
    #[error("{path}: no daemon answers there ({error}); start `etherpair serve`, or name its socket with --socket", path = path.display())]
    Unreachable { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error(
        "the daemon has answered what this program does not understand ({0}); they are of different versions"
    )]
    Answer(String),
    #[error(
        "the daemon has ended before it had answered: what was asked may be done, in part or not at all; see its log, and `etherpair volume \
         list` on both nodes"
    )]
    Ended,
    #[error("standard input cannot be read ({0}); say --yes where nobody can be asked")]
    Input(io::Error),
    #[error("standard output cannot be written ({0})")]
    Output(io::Error),
    #[error("nothing was done")]
    NotConfirmed,
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::Unreachable { .. } => exit_code::DAEMON_UNREACHABLE,
            ControlError::Refused(_) | ControlError::NotConfirmed => exit_code::DAEMON_REFUSED,
            ControlError::Answer(_)
            | ControlError::Ended
            | ControlError::Input(_)
            | ControlError::Output(_) => exit_code::SYSTEM,
        };
        Self::new(code, &error)
    }
}

/// Shows how everything stands.
pub(crate) fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    loop {
        let value = arguments.socket.ask(&Request::Status)?;
        let is_read = if arguments.json {
            say(&value.to_string())?
        } else {
            let status: Status =
                serde_json::from_value(value).map_err(|error| ControlError::Answer(error.to_string()))?;
            let clear = if arguments.watch { "\x1b[H\x1b[2J\n" } else { "" };
            say(&format!("{clear}{}", status.display().trim_end()))?
        };
        if !arguments.watch || !is_read {
            return Ok(());
        }
        thread::sleep(WATCH);
    }
}

/// Tells what happens until the daemon or the reader goes.
pub(crate) fn events(arguments: &PlainArguments) -> Result<(), Failure> {
    let mut stream = arguments.socket.connect()?;
    let path = arguments.socket.socket.clone();
    let unreachable = |error| ControlError::Unreachable { path: path.clone(), error };
    stream.write_all(Request::Events.line().as_bytes()).map_err(unreachable)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(unreachable)?;
        if let Ok(Reply::Refused(why)) = serde_json::from_str(&line) {
            return Err(ControlError::Refused(why).into());
        }
        if !say(&line)? {
            break;
        }
    }
    Ok(())
}

/// Has the peer go on alone.
pub(crate) fn leave(arguments: &PlainArguments) -> Result<(), Failure> {
    arguments.socket.tell(&Request::Leave)
}

/// Comes back after that.
pub(crate) fn join(arguments: &PlainArguments) -> Result<(), Failure> {
    arguments.socket.tell(&Request::Join)
}

/// Reads the configuration again.
pub(crate) fn reload(arguments: &PlainArguments) -> Result<(), Failure> {
    arguments.socket.tell(&Request::Reload)
}

/// Serves although the copy may be stale.
pub(crate) fn promote(arguments: &PromoteArguments) -> Result<(), Failure> {
    let PromoteArguments { address, yes, inconsistent, socket, .. } = arguments;
    mention(&format!("{}\n", risk_of_promotion(address, *inconsistent)));
    if !yes && !confirmed(address)? {
        return Err(ControlError::NotConfirmed.into());
    }
    socket.tell(&Request::Promote { address: address.clone(), inconsistent: *inconsistent })
}

fn risk_of_promotion(address: &str, inconsistent: bool) -> String {
    let old_blocks = "- This copy need not be whole: blocks that are known to be old here, or were never written here, are served as if they \
                      were good, among newer ones. A file system in it may be damaged beyond repair, and data in it wrong without \
                      any error. When the other node comes back, its copy of them is overwritten with these.\n";
    format!(
        "This node is to serve {address} without knowing whether the other one does.\n\
         - If the other node serves it, or has served it alone, there are two histories from now on, and one of them is lost when the \
         nodes meet: that of the lower epoch, and where the epochs are alike, that of node 1.\n\
         - If the other node was the last to serve, what it has answered alone is lost.\n\
         {}\
         Make sure that the other node is switched off, and stays so until this one is served and in sync again.",
        if inconsistent { old_blocks } else { "" }
    )
}

/// Everything about volumes.
pub(crate) fn volume(arguments: VolumeArguments) -> Result<(), Failure> {
    let VolumeArguments { command, socket } = arguments;
    match command {
        VolumeCommand::Create {
            address,
            size,
            data,
            metadata,
            peer_data,
            peer_metadata,
            overwrite_peer,
            overwrite_metadata,
        } => {
            let request = CreateRequest {
                address,
                bytes: size,
                data,
                metadata,
                peer_data,
                peer_metadata,
                overwrite_peer,
                overwrite_metadata,
            };
            socket.tell(&Request::CreateVolume(request))
        }
        VolumeCommand::Replace { address, data, metadata, yes, .. } => {
            replace(&socket, ReplaceRequest { address, data, metadata }, yes)
        }
        VolumeCommand::Remove { address, delete_data, here_only, yes } => {
            let request = RemoveRequest { address, delete_data, here_only };
            remove(&socket, request, yes)
        }
        VolumeCommand::List => {
            let status: Status = serde_json::from_value(socket.ask(&Request::Status)?)
                .map_err(|error| ControlError::Answer(error.to_string()))?;
            for volume in &status.volumes {
                say(&format!("{} {} {}", volume.address, byte_size::display(volume.bytes), volume.data))?;
            }
            for not_served in &status.not_served {
                say(&not_served.display())?;
            }
            Ok(())
        }
        VolumeCommand::Resize { address, size } => socket.tell(&Request::Resize { address, bytes: size }),
        VolumeCommand::Verify { address, fix } => socket.tell(&Request::Verify { address, fix }),
        VolumeCommand::Register { address, .. } => socket.tell(&Request::Register { address }),
    }
}

/// Says what it means, and has it confirmed.
fn remove(socket: &Socket, request: RemoveRequest, yes: bool) -> Result<(), Failure> {
    let RemoveRequest { address, delete_data, here_only } = &request;
    let place = if *here_only { "this node" } else { "both nodes" };
    let data = if *delete_data { "is deleted there: nothing brings it back" } else { "stays there" };
    let only_copy = if *here_only && *delete_data {
        " See in `etherpair status` that the peer's copy is good: this one may be the only one."
    } else {
        ""
    };
    mention(&format!(
        "{address} is to be removed from {place}: nobody is answered for it there any more. Its data {data}.{only_copy}\n"
    ));
    if !yes && !confirmed(address)? {
        return Err(ControlError::NotConfirmed.into());
    }
    socket.tell(&Request::RemoveVolume(request))
}

/// Says what it means, and has it confirmed.
fn replace(socket: &Socket, request: ReplaceRequest, yes: bool) -> Result<(), Failure> {
    let what = request.address.as_deref().unwrap_or("all");
    mention(&format!(
        "This node's copy of {what} is to be made anew from the peer's: whatever is in its data files and devices here is written over.\n"
    ));
    if !yes && !confirmed(what)? {
        return Err(ControlError::NotConfirmed.into());
    }
    socket.tell(&Request::ReplaceVolume(request))
}

fn confirmed(address: &str) -> Result<bool, ControlError> {
    mention(&format!("Type {address} to go on: "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(ControlError::Input)?;
    Ok(answer.trim() == address)
}

/// Paths go to the daemons as JSON, which has no others. An empty one is most likely a variable that was not set.
fn utf8_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() {
        return Err("the path is empty; name a file or a device, or leave the option out");
    }
    Ok(text.into())
}

/// Whether anybody reads on.
fn say(line: &str) -> Result<bool, ControlError> {
    standard::say(&format!("{line}\n")).map_err(ControlError::Output)
}

impl Socket {
    fn connect(&self) -> Result<impl Read + Write, ControlError> {
        let path = self.socket.clone();
        connect_command(&path).map_err(|error| ControlError::Unreachable { path, error })
    }

    fn ask(&self, request: &Request) -> Result<Value, ControlError> {
        let unreachable = |error| ControlError::Unreachable { path: self.socket.clone(), error };
        let mut stream = self.connect()?;
        stream.write_all(request.line().as_bytes()).map_err(unreachable)?;
        let mut answer = String::new();
        let read = BufReader::new(stream).read_line(&mut answer);
        // It has got the request, so whatever keeps the end of its answer from coming, it may have done something.
        if read.is_err() || !answer.ends_with('\n') {
            return Err(ControlError::Ended);
        }
        match serde_json::from_str(&answer) {
            Ok(Reply::Done(value)) => Ok(value),
            Ok(Reply::Refused(text)) => Err(ControlError::Refused(text)),
            Err(error) => Err(ControlError::Answer(error.to_string())),
        }
    }

    fn tell(&self, request: &Request) -> Result<(), Failure> {
        let answer = self.ask(request)?;
        say(answer.as_str().unwrap_or_default())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn a_daemon_that_ends_before_it_has_answered_may_have_done_what_was_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = Socket { socket: directory.path().join("socket") };
        let listener = UnixListener::bind(&socket.socket).expect("a socket");
        let ask = |answer: &str| {
            thread::scope(|scope| {
                let daemon = scope.spawn(|| {
                    let (mut stream, _) = listener.accept().expect("a command");
                    BufReader::new(&stream).read_line(&mut String::new()).expect("a request");
                    stream.write_all(answer.as_bytes()).expect("somebody listens");
                });
                let answer = socket.ask(&Request::Leave);
                daemon.join().expect("no panic");
                answer
            })
        };
        for answer in ["", "{\"done\":", "{\"done\":\"all of it\"}"] {
            let failure = Failure::from(ask(answer).expect_err("no answer"));
            assert_eq!(failure.code(), exit_code::SYSTEM, "{answer}");
            assert!(failure.to_string().contains("has ended before it had answered"), "{answer}: {failure}");
        }
        let other = ask("{\"flown\":1}\n").expect_err("no answer that is known");
        assert!(other.to_string().contains("of different versions"), "{other}");
        assert_eq!(ask("{\"done\":1}\n").expect("an answer"), 1);
    }

    #[test]
    fn a_path_that_is_no_text_or_empty_is_refused_before_anybody_is_asked() {
        let options = [
            ("create", "--data"),
            ("create", "--metadata"),
            ("create", "--peer-data"),
            ("create", "--peer-metadata"),
            ("replace", "--data"),
            ("replace", "--metadata"),
        ];
        for (command, option) in options {
            let ask = |path: &'static [u8]| {
                let words = ["volume", command, "7.1", option].map(OsStr::new);
                let volume = VolumeArguments::augment_args(clap::Command::new("volume"));
                volume.try_get_matches_from(words.into_iter().chain([OsStr::from_bytes(path)]))
            };
            assert!(ask(b"/srv/e7.1").is_ok(), "{command} {option}");
            let refused = ask(b"/srv/\xff").expect_err("no text").kind();
            assert_eq!(refused, ErrorKind::InvalidUtf8, "{command} {option}");
            let refused = ask(b"").expect_err("empty").to_string();
            assert!(refused.contains(option) && refused.contains("the path is empty"), "{refused}");
        }
    }
}

//! Standard output and standard error that cannot be written: a full disk, a reader who has gone. The real program; no test here needs root.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use lab::{Scratch, wait_until};
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::witness::question::{ANSWER_BYTES, QUESTION_BYTES};
use replication::witness::{Answer, AnswerKind, Moment, Question, QuestionKind, RegisterKey};

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn etherpair(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etherpair"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

/// Takes no byte, like a disk that is full.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a device").into()
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    io::pipe().expect("a pipe").1.into()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon's socket at which each command is told these lines.
fn tells(socket: &Path, lines: &'static str) {
    let listener = UnixListener::bind(socket).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a command");
            BufReader::new(&stream).read_line(&mut String::new()).expect("a request");
            // Who has heard enough is gone.
            while stream.write_all(lines.as_bytes()).is_ok() && lines.starts_with("{\"event") {}
        }
    });
}

#[test]
fn what_cannot_be_told_is_a_failure_of_the_machine_and_a_reader_who_has_gone_is_none() {
    let scratch = Scratch::new("standard").expect("a scratch directory");
    let socket = scratch.join("socket");
    tells(&socket, "{\"done\":\"it is done\"}\n");
    let events = scratch.join("events");
    tells(&events, "{\"event\":\"something\"}\n");
    let commands = [
        "--version".to_owned(),
        "help status".to_owned(),
        "config identity".to_owned(),
        format!("leave --socket {}", socket.display()),
        format!("status --json --watch --socket {}", socket.display()),
        format!("events --socket {}", events.display()),
    ];
    for command in &commands {
        let output = etherpair(command).stdout(full()).output().expect("it ends");
        assert_eq!(code(&output), 1, "{command}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("standard output cannot be written (No space left"), "{command}: {said}");
        assert_eq!(said.lines().count(), 1, "{command}: {said}");
        let output = etherpair(command).stdout(closed()).output().expect("it ends");
        assert_eq!((code(&output), text(&output.stderr)), (0, String::new()), "{command}");
    }
}

#[test]
fn a_failure_that_cannot_be_told_keeps_its_code() {
    let scratch = Scratch::new("standard").expect("a scratch directory");
    let nowhere = scratch.join("nothing");
    let nowhere = nowhere.display();
    let failures = [
        (2, "--nonesuch".to_owned()),
        (2, "volume".to_owned()),
        (80, format!("config check -c {nowhere}")),
        (80, format!("serve -c {nowhere}")),
        (85, format!("leave --socket {nowhere}")),
        (86, format!("volume remove 7.1 --socket {nowhere}")),
        (86, format!("volume replace 7.1 --socket {nowhere}")),
        (86, format!("promote 7.1 --force --socket {nowhere}")),
    ];
    for (expected, command) in &failures {
        for stderr in [full, closed] {
            let output = etherpair(command).stderr(stderr()).output().expect("it ends");
            assert_eq!(code(&output), *expected, "{command}");
        }
    }
}

/// A daemon that ends with its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_whose_log_cannot_be_written_goes_on() {
    let scratch = Scratch::new("standard").expect("a scratch directory");
    for (number, stderr) in [full, closed].into_iter().enumerate() {
        let address = own_address();
        let file = witness(&scratch, number, address);
        let mut daemon = etherpair("witness -c");
        daemon.arg(file).env("ETHERPAIR_LOG", "info").stderr(stderr());
        let mut daemon = Daemon(daemon.spawn().expect("it starts"));
        wait_until("the witness", PATIENCE, || {
            assert_eq!(daemon.0.try_wait().expect("a child"), None, "it has ended");
            Ok(TcpStream::connect(address).ok().map(drop))
        })
        .expect("it listens");
        for _ in 0..3 {
            // Which is told in the log.
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.write_all(&[0xff; 300]).expect("somebody listens");
            assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0, "no answer");
            assert_eq!(greeted(address).expect("an answer").kind, AnswerKind::Welcome);
        }
        assert_eq!(daemon.0.try_wait().expect("a child"), None, "it has ended");
    }
}

/// Of this process alone.
fn own_address() -> SocketAddr {
    let [one, other, ..] = std::process::id().to_le_bytes();
    SocketAddr::from(([127, 77, one, other], 8803))
}

fn witness(scratch: &Scratch, number: usize, address: SocketAddr) -> PathBuf {
    let directory = scratch.join(format!("registers{number}"));
    let file = scratch.join(format!("witness{number}.toml"));
    let text =
        format!("listen = [\"{address}\"]\ndirectory = \"{}\"\ninsecure = true\n", directory.display());
    fs::write(&file, text).expect("a configuration");
    file
}

fn greeted(address: SocketAddr) -> io::Result<Answer> {
    let key = RegisterKey { pair: PairIdentity(1), volume: VolumeIdentity(0) };
    let hello = Question { number: 7, key, moment: Moment::default(), kind: QuestionKind::Hello };
    let question: [u8; QUESTION_BYTES] = hello.emit();
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&question)?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    Ok(Answer::parse(&answer).expect("an answer"))
}

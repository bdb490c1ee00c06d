//! Programs and running processes: where they run, what they printed, how they end, what CPU time they used.
//!
//! A process dies with the thread that started it, at the latest when its [`Process`] is dropped. What it prints goes
//! to a file, so that it never blocks on a full pipe and so that a failure can show the end of it.

use crate::{Error, Namespace, error::tail, sys, wait_until};
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How many lines of output an error shows.
const TAIL_LINES: usize = 40;
/// What a program that is run to its end may take, if nothing else is said.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A program that is about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    namespace: Option<Namespace>,
    core: Option<usize>,
    inherited: Vec<OwnedFd>,
    confined: bool,
    limit: Duration,
}

/// How a program ended that was run to its end.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Terminate,
    /// End at once, with no chance to tidy up.
    Kill,
    /// As Control-C.
    Interrupt,
    /// Read the configuration or the sizes again.
    HangUp,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Program {
    /// A program in the host's namespace. In tests prefer [`Namespace::program`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let command = Command::new(program);
        let inherited = Vec::new();
        Self { command, namespace: None, core: None, inherited, confined: false, limit: RUN_LIMIT }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets its working directory.
    #[must_use]
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Lets it run in `namespace`.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Keeps it on one core.
    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Confines it as the usual containers do: the kernel refuses it io_uring and rings of packet sockets.
    #[must_use]
    pub fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    /// Lets it have `descriptor` under the same number.
    #[must_use]
    pub fn inherit(mut self, descriptor: OwnedFd) -> Self {
        self.inherited.push(descriptor);
        self
    }

    /// What it may take when run to its end; two minutes if not said.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, which must be a good one, and gives what it printed.
    pub fn run(self) -> Result<Output, Error> {
        let name = self.describe();
        let output = self.output()?;
        if output.status.success() {
            return Ok(output);
        }
        let text = format!("{}\n{}", output.stdout, output.stderr);
        Err(Error::Failed { program: name, status: output.status, output: tail(&text, TAIL_LINES) })
    }

    /// Runs it to its end, whatever that is.
    pub fn output(mut self) -> Result<Output, Error> {
        let name = self.describe();
        let limit = self.limit;
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let stdout = scope.spawn(move || read_all(stdout));
            let stderr = scope.spawn(move || read_all(stderr));
            let status = wait_for_end(&mut child, limit);
            if status.is_none() {
                sys::kill_group(child.id());
                let _ = child.wait();
            }
            let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
            status.map(|status| Output { status, stdout: stdout.clone(), stderr: stderr.clone() }).ok_or_else(
                || {
                    let output = tail(&format!("{stdout}\n{stderr}"), TAIL_LINES);
                    Error::Timeout { expected: format!("the end of {name}"), waited: limit, output }
                },
            )
        })
    }

    /// Starts it; its output goes to the file `log`.
    pub fn start(mut self, log: PathBuf) -> Result<Process, Error> {
        let name = self.describe();
        let file = File::create(&log).map_err(Error::system(format!("make {}", log.display())))?;
        let copy = file.try_clone().map_err(Error::system(format!("share {}", log.display())))?;
        self.command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = self.spawn()?;
        Ok(Process { name, child, log })
    }

    fn spawn(&mut self) -> Result<Child, Error> {
        let setup = sys::ChildSetup {
            namespace: self.namespace.as_ref().map(Namespace::descriptor),
            core: self.core,
            confined: self.confined,
            inherited: self.inherited.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        sys::prepare_child(&mut self.command, setup);
        self.command.spawn().map_err(|source| Error::Start { program: self.describe(), source })
    }

    fn describe(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a complete line that holds `text`, and gives it. Fails at once when the process ends before.
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<String, Error> {
        let expected = format!("a line with {text:?} from {}", self.name);
        let log = self.log.clone();
        wait_until(&expected, limit, || {
            // The end is looked at before the output: so what it printed last is never missed.
            let ended = self.status()?;
            let output = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            let complete = &output[..output.rfind('\n').map_or(0, |end| end + 1)];
            match (complete.lines().find(|line| line.contains(text)), ended) {
                (Some(line), _) => Ok(Some(line.to_owned())),
                (None, Some(status)) => Err(self.exited(status, &expected)),
                (None, None) => Ok(None),
            }
        })
        .map_err(|error| self.with_output(error))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let expected = format!("the end of {}", self.name);
        wait_until(&expected, limit, || self.status()).map_err(|error| self.with_output(error))
    }

    /// Its exit status if it has ended.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::system(format!("look at {}", self.name)))
    }

    /// Fails if it has ended.
    pub fn expect_running(&mut self) -> Result<(), Error> {
        self.status()?.map_or(Ok(()), |status| Err(self.exited(status, "it to go on")))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let number = match signal {
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Interrupt => libc::SIGINT,
            Signal::HangUp => libc::SIGHUP,
            Signal::Stop => libc::SIGSTOP,
            Signal::Continue => libc::SIGCONT,
        };
        sys::send_signal(self.id(), number).map_err(Error::system(format!("signal {}", self.name)))
    }

    /// Kills it and what it started, without warning, and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), Error> {
        if self.status()?.is_some() {
            return Ok(());
        }
        sys::kill_group(self.id());
        self.child.wait().map_err(Error::system(format!("wait for {}", self.name))).map(|_| ())
    }

    /// Asks it to end and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::Terminate)?;
        self.wait(limit)
    }

    /// The CPU time it has used so far, in user space and in the kernel, all its threads together.
    pub fn cpu_time(&self) -> Result<Duration, Error> {
        let path = format!("/proc/{}/stat", self.id());
        let text = fs::read_to_string(&path).map_err(Error::system(format!("read {path}")))?;
        parse_cpu_time(&text, sys::clock_ticks_per_second())
            .ok_or(Error::Unexpected { program: path, detail: text })
    }

    /// The memory it holds at this moment, in bytes.
    pub fn resident_bytes(&self) -> Result<u64, Error> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).map_err(Error::system(format!("read {path}")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kibibytes
            .map(|number| number * 1024)
            .ok_or_else(|| Error::Unexpected { program: path, detail: text.clone() })
    }

    fn exited(&self, status: ExitStatus, expected: &str) -> Error {
        let output = tail(&self.output(), TAIL_LINES);
        Error::Exited { program: self.name.clone(), status, expected: expected.into(), output }
    }

    fn with_output(&self, error: Error) -> Error {
        match error {
            Error::Timeout { expected, waited, .. } => {
                Error::Timeout { expected, waited, output: tail(&self.output(), TAIL_LINES) }
            }
            other => other,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be somebody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            sys::kill_group(self.id());
            let _ = self.child.wait();
        }
    }
}

fn read_all(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait_for_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    while start.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    None
}

/// User and system time from the text of `/proc/PID/stat`: fields 14 and 15, counted behind the name in brackets.
fn parse_cpu_time(text: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn a_program_that_fails_tells_its_output() {
        let error = Program::new("sh").args(["-c", "echo why; exit 3"]).run().expect_err("exit 3");
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let program =
            Program::new("sh").args(["-c", "echo begun; exec sleep 60"]).within(Duration::from_millis(200));
        let error = program.run().expect_err("too long");
        assert!(matches!(&error, Error::Timeout { output, .. } if output.contains("begun")), "{error}");
    }

    #[test]
    fn a_line_is_waited_for_and_a_dead_process_is_noticed() {
        let scratch = Scratch::new("process-test").expect("scratch");
        let program = Program::new("sh").args(["-c", "echo one; sleep 0.05; echo two"]);
        let mut process = program.start(scratch.join("log")).expect("start");
        let limit = Duration::from_secs(10);
        assert_eq!(process.wait_for_line("two", limit).expect("two"), "two");
        let error = process.wait_for_line("three", limit).expect_err("it ended");
        assert!(matches!(error, Error::Exited { .. }), "{error}");
    }

    #[test]
    fn the_name_in_brackets_may_hold_anything() {
        let text = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 30 20 0";
        assert_eq!(parse_cpu_time(text, 100), Some(Duration::from_millis(500)));
    }
}

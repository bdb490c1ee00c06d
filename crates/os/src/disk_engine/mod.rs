//! Carries disk operations to the kernel and their results back, for one shard.
//!
//! Two engines behind one face: io_uring, and threads with `pread`/`pwrite` where a container forbids io_uring. Also
//! the place where the shard sleeps: until an operation completes, a descriptor becomes readable, or time is up.

mod threads;
mod uring;

use std::io;
use std::os::fd::RawFd;

use block::Duration;

use crate::sys::memory::{Buffers, IoSlice};
use threads::ThreadEngine;
use uring::UringEngine;

/// What to do with a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Read(Buffers),
    Write { data: Buffers, durable: bool },
    Sync,
}

/// One operation; `token` comes back with its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskOperation {
    pub(crate) token: u32,
    pub(crate) file: RawFd,
    /// In bytes from the start of the file.
    pub(crate) offset: u64,
    pub(crate) action: Action,
}

/// The end of one operation: bytes moved, or the negated error number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DiskResult {
    pub(crate) token: u32,
    pub(crate) result: i32,
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EngineKind {
    /// io_uring if the kernel lets us, else threads, with one line in the log.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Threads.
    Threads,
}

/// The engine of one shard. One lives as long as its shard, so the size of the larger does not matter.
#[expect(clippy::large_enum_variant, reason = "one value a shard")]
pub(crate) enum DiskEngine {
    Uring(UringEngine),
    Threads(ThreadEngine),
}

impl DiskEngine {
    /// An engine; `region` is the memory that most operations will use. Must be made by the thread that uses it.
    pub(crate) fn new(kind: EngineKind, region: IoSlice) -> io::Result<Self> {
        match kind {
            EngineKind::Uring => UringEngine::new(region).map(Self::Uring),
            EngineKind::Threads => ThreadEngine::new().map(Self::Threads),
            EngineKind::Auto => match UringEngine::new(region) {
                Ok(engine) => Ok(Self::Uring(engine)),
                Err(error) => {
                    tracing::warn!(
                        "io_uring is not available here ({error}): disk requests go through threads, which is \
                         slower; allow io_uring in the container's seccomp profile and set kernel.io_uring_disabled=0"
                    );
                    ThreadEngine::new().map(Self::Threads)
                }
            },
        }
    }

    /// Queues an operation. Its memory must stay as it is until the result was taken.
    pub(crate) fn queue(&mut self, operation: DiskOperation) {
        match self {
            Self::Uring(engine) => engine.queue(operation),
            Self::Threads(engine) => engine.queue(operation),
        }
    }

    /// Starts what is queued and makes finished operations visible to [`DiskEngine::completed`].
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        match self {
            Self::Uring(engine) => engine.submit(),
            Self::Threads(_) => Ok(()),
        }
    }

    /// The next result.
    pub(crate) fn completed(&mut self) -> Option<DiskResult> {
        match self {
            Self::Uring(engine) => engine.completed(),
            Self::Threads(engine) => engine.completed(),
        }
    }

    /// Whether [`DiskEngine::completed`] has a result at hand, as far as is known without asking the kernel.
    pub(crate) fn has_completed(&mut self) -> bool {
        match self {
            Self::Uring(engine) => engine.has_completed(),
            Self::Threads(engine) => engine.has_completed(),
        }
    }

    /// Operations queued or running.
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Uring(engine) => engine.in_flight(),
            Self::Threads(engine) => engine.in_flight(),
        }
    }

    /// Prepares to sleep: a descriptor among `files` that is or becomes readable ends [`DiskEngine::wait`].
    pub(crate) fn arm(&mut self, files: &[RawFd]) {
        match self {
            Self::Uring(engine) => engine.arm(files),
            Self::Threads(engine) => engine.arm(files),
        }
    }

    /// Takes a descriptor back that is about to be closed.
    pub(crate) fn disarm(&mut self, file: RawFd) {
        match self {
            Self::Uring(engine) => engine.disarm(file),
            Self::Threads(engine) => engine.disarm(file),
        }
    }

    /// Whether `file` may have ended the last sleep.
    pub(crate) fn may_be_readable(&self, file: RawFd) -> bool {
        match self {
            Self::Uring(engine) => !engine.is_armed(file),
            Self::Threads(_) => true,
        }
    }

    /// Whether what has ended the last sleep may be an error that waits at `file`. Says so once.
    pub(crate) fn take_failed(&mut self, file: RawFd) -> bool {
        match self {
            Self::Uring(engine) => engine.take_failed(file),
            Self::Threads(_) => true,
        }
    }

    /// Has pieces sent, in order and as far as there is room, by the call that starts the next operations; says whether this engine can.
    /// One at a time: the pieces, and the row of them, stay as they are until [`DiskEngine::take_sent`].
    pub(crate) fn send(&mut self, socket: RawFd, pieces: &[IoSlice]) -> bool {
        match self {
            Self::Uring(engine) => engine.send(socket, pieces),
            Self::Threads(_) => false,
        }
    }

    /// Sees to it that what [`DiskEngine::send`] was given has been sent. None if it has as a whole; otherwise how many bytes have, or
    /// what was wrong.
    pub(crate) fn take_sent(&mut self) -> io::Result<Option<io::Result<usize>>> {
        match self {
            Self::Uring(engine) => engine.take_sent(),
            Self::Threads(_) => unreachable!("it sends nothing"),
        }
    }

    /// Starts what is queued, and sleeps until something completes, an armed descriptor is readable, or `timeout` has passed.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Uring(engine) => engine.wait(timeout),
            Self::Threads(engine) => engine.wait(timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::Memory;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn engines() -> Vec<(Memory, DiskEngine)> {
        [EngineKind::Uring, EngineKind::Threads]
            .into_iter()
            .map(|kind| {
                let memory = Memory::anonymous(1 << 16).expect("memory");
                let engine = DiskEngine::new(kind, memory.slice()).expect("an engine");
                (memory, engine)
            })
            .collect()
    }

    fn wait_for(engine: &mut DiskEngine) -> DiskResult {
        loop {
            if let Some(result) = engine.completed() {
                return result;
            }
            engine.wait(None).expect("a wait");
        }
    }

    #[test]
    fn both_engines_write_read_and_sync() {
        for (memory, mut engine) in engines() {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&[0; 4096]).expect("a page");
            let (from, to) = (memory.slice().part(0, 4096), memory.slice().part(4096, 4096));
            from.copy_from(&[9; 4096]);
            let file_number = file.as_raw_fd();
            let operation = |token, action| DiskOperation { token, file: file_number, offset: 0, action };
            engine.queue(operation(1, Action::Write { data: Buffers::One(from), durable: true }));
            assert_eq!(wait_for(&mut engine), DiskResult { token: 1, result: 4096 });
            engine.queue(operation(2, Action::Read(Buffers::One(to))));
            assert_eq!(wait_for(&mut engine), DiskResult { token: 2, result: 4096 });
            assert_eq!(to.look(), [9; 4096]);
            engine.queue(operation(3, Action::Sync));
            assert_eq!(wait_for(&mut engine), DiskResult { token: 3, result: 0 });
            assert_eq!(engine.in_flight(), 0);
        }
    }

    #[test]
    fn both_engines_fill_and_write_several_buffers_in_order() {
        for (memory, mut engine) in engines() {
            let file = tempfile::tempfile().expect("a file");
            let part = |page: usize| memory.slice().part(page * 4096, 4096);
            part(0).copy_from(&[1; 4096]);
            part(1).copy_from(&[2; 4096]);
            let (from, to) = ([part(1), part(0)], [part(2), part(3)]);
            let operation =
                |token, action| DiskOperation { token, file: file.as_raw_fd(), offset: 0, action };
            engine.queue(operation(1, Action::Write { data: Buffers::many(&from), durable: true }));
            assert_eq!(wait_for(&mut engine), DiskResult { token: 1, result: 8192 });
            engine.queue(operation(2, Action::Read(Buffers::many(&to))));
            assert_eq!(wait_for(&mut engine), DiskResult { token: 2, result: 8192 });
            assert!(part(2).look() == [2; 4096] && part(3).look() == [1; 4096]);
        }
    }

    #[test]
    fn both_engines_report_errors_and_the_end_of_a_file() {
        for (memory, mut engine) in engines() {
            let file = tempfile::tempfile().expect("an empty file");
            let data = memory.slice().part(0, 512);
            engine.queue(DiskOperation {
                token: 1,
                file: file.as_raw_fd(),
                offset: 0,
                action: Action::Read(Buffers::One(data)),
            });
            assert_eq!(wait_for(&mut engine), DiskResult { token: 1, result: 0 });
            engine.queue(DiskOperation {
                token: 2,
                file: -1,
                offset: 0,
                action: Action::Read(Buffers::One(data)),
            });
            assert_eq!(wait_for(&mut engine), DiskResult { token: 2, result: -libc::EBADF });
        }
    }

    #[test]
    fn a_descriptor_that_was_taken_back_ends_no_sleep_and_is_closed_for_good() {
        for (_memory, mut engine) in engines() {
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let short = Some(Duration::from_millis(1));
            engine.arm(&[writer.as_raw_fd(), reader.as_raw_fd()]);
            engine.wait(short).expect("a sleep");
            engine.disarm(writer.as_raw_fd());
            drop(writer);
            while engine.completed().is_some() {}
            engine.wait(short).expect("another");
            let (ended, end) = std::sync::mpsc::channel();
            std::thread::spawn(move || ended.send(reader.read(&mut [0]).expect("the end")));
            let end = end.recv_timeout(Duration::from_secs(10));
            assert_eq!(end, Ok(0), "the other end is held open");
        }
    }

    #[test]
    fn a_readable_descriptor_ends_the_sleep_of_both_engines() {
        for (_memory, mut engine) in engines() {
            let (mut reader, mut writer) = io::pipe().expect("a pipe");
            engine.arm(&[reader.as_raw_fd()]);
            writer.write_all(b"x").expect("a byte");
            engine.wait(None).expect("ends");
            let mut byte = [0];
            reader.read_exact(&mut byte).expect("the byte");
            assert_eq!(engine.completed(), None);
        }
    }
    #[test]
    fn a_descriptor_that_becomes_readable_is_heard_of_without_sleep_and_without_disk_operations() {
        for (_memory, mut engine) in engines() {
            let (reader, mut writer) = io::pipe().expect("a pipe");
            engine.arm(&[reader.as_raw_fd()]);
            engine.wait(Some(Duration::from_millis(1))).expect("a sleep");
            writer.write_all(b"x").expect("a byte");
            // A shard that is never without work does no more than this.
            engine.submit().expect("nothing to start");
            assert!(engine.may_be_readable(reader.as_raw_fd()));
            assert_eq!(engine.completed(), None);
        }
    }

    #[test]
    fn what_has_ended_is_known_while_results_before_it_wait() {
        for (memory, mut engine) in engines() {
            let file = tempfile::tempfile().expect("a file");
            let (reader, mut writer) = io::pipe().expect("a pipe");
            engine.arm(&[reader.as_raw_fd()]);
            let data = Buffers::One(memory.slice().part(0, 512));
            engine.queue(DiskOperation {
                token: 1,
                file: file.as_raw_fd(),
                offset: 0,
                action: Action::Write { data, durable: true },
            });
            engine.wait(None).expect("the write");
            writer.write_all(b"x").expect("a byte");
            engine.submit().expect("nothing to start");
            assert!(engine.may_be_readable(reader.as_raw_fd()), "the write's result was not taken");
            assert_eq!(wait_for(&mut engine), DiskResult { token: 1, result: 512 });
        }
    }

    #[test]
    fn what_has_ended_a_sleep_is_at_hand_until_it_is_taken() {
        for (memory, mut engine) in engines() {
            let file = tempfile::tempfile().expect("a file");
            let action = Action::Write { data: Buffers::One(memory.slice().part(0, 512)), durable: false };
            engine.queue(DiskOperation { token: 1, file: file.as_raw_fd(), offset: 0, action });
            engine.wait(None).expect("the write");
            assert!(engine.has_completed());
            assert!(engine.completed().is_some());
            assert!(!engine.has_completed());
        }
    }

    #[test]
    fn what_is_sent_goes_with_the_work_of_the_disk_and_with_what_has_ended_before() {
        let (memory, mut engine) = engines().remove(0);
        let (near, mut far) = UnixStream::pair().expect("a connection");
        let file = tempfile::tempfile().expect("a file");
        let pieces = [memory.slice().part(0, 512), memory.slice().part(512, 512)];
        pieces[0].copy_from(&[1; 512]);
        pieces[1].copy_from(&[2; 512]);
        for token in 1..=2 {
            // The first write's result is still there when the second round begins.
            assert!(engine.send(near.as_raw_fd(), &pieces));
            let action = Action::Write { data: Buffers::One(pieces[0]), durable: true };
            engine.queue(DiskOperation { token, file: file.as_raw_fd(), offset: 0, action });
            engine.wait(None).expect("the first write");
            assert!(engine.take_sent().expect("the kernel takes it").is_none(), "as a whole");
            let mut received = [0; 1024];
            far.read_exact(&mut received).expect("it is there");
            assert!(received[..512] == [1; 512] && received[512..] == [2; 512]);
        }
        assert_eq!(wait_for(&mut engine), DiskResult { token: 1, result: 512 });
        assert_eq!(wait_for(&mut engine), DiskResult { token: 2, result: 512 });
    }

    #[test]
    fn an_error_that_waits_at_a_descriptor_is_told_once() {
        let (_memory, mut engine) = engines().remove(0);
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = writer.as_raw_fd();
        engine.arm(&[file]);
        engine.wait(Some(Duration::from_millis(1))).expect("a sleep");
        assert!(!engine.take_failed(file), "nothing is wrong yet");
        drop(reader);
        engine.wait(None).expect("the pipe is of no more use");
        assert!(engine.may_be_readable(file));
        assert!(engine.take_failed(file));
        assert!(!engine.take_failed(file));
        // Nor is it kept for whoever has the number next.
        engine.arm(&[file]);
        engine.wait(None).expect("again");
        engine.disarm(file);
        assert!(!engine.take_failed(file));
    }

    #[test]
    fn what_is_only_readable_has_not_failed() {
        let (_memory, mut engine) = engines().remove(0);
        let (reader, mut writer) = io::pipe().expect("a pipe");
        engine.arm(&[reader.as_raw_fd()]);
        writer.write_all(b"x").expect("a byte");
        engine.wait(None).expect("ends");
        assert!(engine.may_be_readable(reader.as_raw_fd()));
        assert!(!engine.take_failed(reader.as_raw_fd()));
    }
}

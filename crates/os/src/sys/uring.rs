//! One io_uring, wrapped so that disk operations, and what is sent beside them, can be queued, handed over in batches and waited for.
//!
//! Unsafe because the kernel reads and writes memory named only by address. The contract is [`IoSlice`]'s: whoever
//! queues an operation keeps its memory mapped until the operation's completion was taken.

use std::io;
use std::os::fd::RawFd;

use block::Duration;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::memory::{Buffers, IoSlice};
use super::stream;

/// Flags of `pwritev2` that make one write durable.
const RWF_DSYNC: i32 = libc::RWF_DSYNC;

/// The ring of one thread.
pub(crate) struct Ring {
    ring: IoUring,
    /// The region registered as fixed buffer 0, if the kernel let us.
    fixed: Option<IoSlice>,
    /// Whether the kernel says when completions wait inside, so that looking for them costs nothing.
    defers: bool,
    /// What is sent, as the kernel is told of it; there is none if the kernel does not send as it should.
    message: Option<Box<libc::msghdr>>,
}

impl Ring {
    /// A ring for at most `entries` operations queued at once, used only by the thread that makes it.
    ///
    /// # Errors
    /// If the kernel has no io_uring for us: too old, forbidden by a container or by `kernel.io_uring_disabled`.
    pub(crate) fn new(entries: u32) -> io::Result<Self> {
        let completions = entries * 4;
        let modern = IoUring::builder()
            .setup_cqsize(completions)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries);
        let (ring, defers) = match modern {
            Ok(ring) => (ring, true),
            // Kernels before 6.1 know neither flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (IoUring::builder().setup_cqsize(completions).build(entries)?, false)
            }
            Err(error) => return Err(error),
        };
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        // Kernels before 6.1, the first to defer, may lose how much of what is sent has gone.
        let sends = defers && ring.params().is_feature_skip_cqe_on_success();
        Ok(Self { ring, fixed: None, defers, message: sends.then(|| Box::new(stream::message(&[]))) })
    }

    /// Pins `region`, so that operations inside it skip looking up their pages each time.
    /// Returns whether the kernel agreed (a limit on locked memory may forbid it).
    pub(crate) fn register(&mut self, region: IoSlice) -> bool {
        let vector = libc::iovec { iov_base: region.address().cast(), iov_len: region.length() };
        // SAFETY: the region is mapped for longer than the ring lives, by `IoSlice`'s contract.
        let registered = unsafe { self.ring.submitter().register_buffers(&[vector]) }.is_ok();
        if registered {
            self.fixed = Some(region);
        }
        registered
    }

    /// Queues a read into `data`.
    pub(crate) fn read(&mut self, token: u64, file: RawFd, offset: u64, data: Buffers) {
        let file = Fd(file);
        let entry = match data {
            Buffers::One(slice) if self.is_fixed(slice) => {
                opcode::ReadFixed::new(file, slice.address(), length_u32(slice), 0).offset(offset).build()
            }
            Buffers::One(slice) => {
                opcode::Read::new(file, slice.address(), length_u32(slice)).offset(offset).build()
            }
            Buffers::Many { first, count } => {
                opcode::Readv::new(file, first.cast(), count).offset(offset).build()
            }
        };
        self.push(entry.user_data(token));
    }

    /// Queues a write of `data`, `durable` once complete if asked.
    pub(crate) fn write(&mut self, token: u64, file: RawFd, offset: u64, data: Buffers, durable: bool) {
        let file = Fd(file);
        let flags = if durable { RWF_DSYNC } else { 0 };
        let entry = match data {
            Buffers::One(slice) if self.is_fixed(slice) => {
                opcode::WriteFixed::new(file, slice.address(), length_u32(slice), 0)
                    .offset(offset)
                    .rw_flags(flags)
                    .build()
            }
            Buffers::One(slice) => opcode::Write::new(file, slice.address(), length_u32(slice))
                .offset(offset)
                .rw_flags(flags)
                .build(),
            Buffers::Many { first, count } => {
                opcode::Writev::new(file, first.cast(), count).offset(offset).rw_flags(flags).build()
            }
        };
        self.push(entry.user_data(token));
    }

    /// Queues `fdatasync`.
    pub(crate) fn sync(&mut self, token: u64, file: RawFd) {
        let entry = opcode::Fsync::new(Fd(file)).flags(types::FsyncFlags::DATASYNC).build();
        self.push(entry.user_data(token));
    }

    /// Whether [`Ring::send`] is possible.
    pub(crate) const fn sends(&self) -> bool {
        self.message.is_some()
    }

    /// Queues sending the pieces in order by a stream socket, without waiting for room. Once it was handed over there is a completion
    /// if not everything went: bytes that did, or the negated error number. Only one is queued at a time, and the pieces and the row
    /// of them stay as they are until it was handed over.
    pub(crate) fn send(&mut self, token: u64, socket: RawFd, pieces: &[IoSlice]) {
        let message = self.message.as_mut().expect("asked before");
        **message = stream::message(pieces);
        // Without waiting it ends within the call; to want all of it makes a part of it worth a completion.
        let flags = stream::SEND_FLAGS | libc::MSG_WAITALL;
        let flags = u32::try_from(flags).expect("flags are positive");
        let entry = opcode::SendMsg::new(Fd(socket), &raw const **message).flags(flags).build();
        self.push(entry.user_data(token).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Whether operations are queued.
    pub(crate) fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Queues one wait for `file` to become readable.
    pub(crate) fn poll(&mut self, token: u64, file: RawFd) {
        let readable = u32::try_from(libc::POLLIN).expect("a small positive flag");
        self.push(opcode::PollAdd::new(Fd(file), readable).build().user_data(token));
    }

    /// Queues taking back the wait that was queued as `poll`; both end with a completion.
    pub(crate) fn take_back(&mut self, poll: u64, token: u64) {
        self.push(opcode::PollRemove::new(poll).build().user_data(token));
    }

    /// Hands what is queued to the kernel and runs what it has ready, without waiting.
    ///
    /// # Errors
    /// Only on faults of our own: a busy kernel is waited out.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        // With deferred task work, completions appear only when the kernel is entered for them, so ask for none but enter.
        self.enter(0, Some(Duration::ZERO))
    }

    /// Hands over what is queued and sleeps until `want` completions are there or `timeout` has passed.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub(crate) fn wait(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.enter(want, timeout)
    }

    /// The next completion: its token and the kernel's result.
    pub(crate) fn completed(&mut self) -> Option<(u64, i32)> {
        self.ring.completion().next().map(|entry: cqueue::Entry| (entry.user_data(), entry.result()))
    }

    /// Whether completions wait to be taken without entering the kernel.
    pub(crate) fn has_completed(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether entering the kernel would do anything: operations are queued, or completions wait inside.
    pub(crate) fn has_work(&mut self) -> bool {
        self.wants_entry() || !self.defers
    }

    /// Whether operations are queued, or the kernel has said that completions wait inside.
    pub(crate) fn wants_entry(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun()
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let timespec = timeout.map(|t| Timespec::new().sec(t.as_secs()).nsec(t.subsec_nanos()));
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        loop {
            let result = if want == 0 {
                self.enter_without_waiting()
            } else {
                self.ring.submitter().submit_with_args(want, &arguments).map(drop)
            };
            match result {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) && want == 0 => {}
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                        _ => Err(error),
                    };
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn enter_without_waiting(&mut self) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        let queued = {
            let mut queue = self.ring.submission();
            queue.sync();
            u32::try_from(queue.len()).expect("bounded by the ring's size")
        };
        // SAFETY: plain numbers and no signal mask.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) }.map(drop)
    }

    fn is_fixed(&self, data: IoSlice) -> bool {
        self.fixed.is_some_and(|region| {
            let start = region.address() as usize;
            let at = data.address() as usize;
            at >= start && at + data.length() <= start + region.length()
        })
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: the memory behind the entry stays mapped until its completion, by `IoSlice`'s contract.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: hand over what is there; the kernel takes all of it or fails for good.
            self.submit().expect("the kernel takes queued operations");
        }
    }
}

fn length_u32(data: IoSlice) -> u32 {
    u32::try_from(data.length()).expect("one operation is less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::Memory;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_is_written_durably_is_read_back() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0; 8192]).expect("two pages");
        let memory = Memory::anonymous(8192).expect("memory");
        let mut ring = Ring::new(8).expect("io_uring");
        ring.register(memory.slice().part(0, 4096));
        memory.slice().part(0, 4096).copy_from(&[7; 4096]);
        let from = Buffers::One(memory.slice().part(0, 4096));
        ring.write(1, file.as_raw_fd(), 4096, from, true);
        ring.wait(1, None).expect("a completion");
        assert_eq!(ring.completed(), Some((1, 4096)));
        let to = Buffers::One(memory.slice().part(4096, 4096));
        ring.read(2, file.as_raw_fd(), 4096, to);
        ring.wait(1, None).expect("a completion");
        assert_eq!(ring.completed(), Some((2, 4096)));
        assert_eq!(memory.slice().part(4096, 4096).look(), [7; 4096]);
        ring.sync(3, file.as_raw_fd());
        ring.wait(1, None).expect("a completion");
        assert_eq!(ring.completed(), Some((3, 0)));
    }

    #[test]
    fn a_wait_ends_with_its_timeout() {
        let mut ring = Ring::new(8).expect("io_uring");
        ring.wait(1, Some(Duration::from_millis(1))).expect("no completion, no error");
        assert_eq!(ring.completed(), None);
    }
}

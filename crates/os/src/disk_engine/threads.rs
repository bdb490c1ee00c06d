//! Disk operations through a few threads, for kernels and containers without io_uring.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use block::Duration;

use super::{DiskOperation, DiskResult};
use crate::sys::file::{EventFd, perform, poll_readable};

/// Operations that run at once.
const THREADS: usize = 8;

pub(crate) struct ThreadEngine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    in_flight: usize,
    files: Vec<RawFd>,
}

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    /// Readable while results wait.
    finished: EventFd,
}

struct Queues {
    waiting: VecDeque<DiskOperation>,
    finished: VecDeque<DiskResult>,
    stopping: bool,
}

impl ThreadEngine {
    pub(super) fn new() -> io::Result<Self> {
        let queues = Queues {
            waiting: VecDeque::with_capacity(4096),
            finished: VecDeque::with_capacity(4096),
            stopping: false,
        };
        let shared =
            Arc::new(Shared { queues: Mutex::new(queues), work: Condvar::new(), finished: EventFd::new()? });
        let threads = (0..THREADS)
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("disk-{index}")).spawn(move || work(&shared))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { shared, threads, in_flight: 0, files: Vec::with_capacity(16) })
    }

    pub(super) fn queue(&mut self, operation: DiskOperation) {
        self.shared.lock().waiting.push_back(operation);
        self.shared.work.notify_one();
        self.in_flight += 1;
    }

    pub(super) fn completed(&mut self) -> Option<DiskResult> {
        if self.in_flight == 0 {
            return None;
        }
        let result = self.shared.lock().finished.pop_front()?;
        self.in_flight -= 1;
        Some(result)
    }

    pub(super) fn has_completed(&self) -> bool {
        self.in_flight > 0 && !self.shared.lock().finished.is_empty()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn arm(&mut self, files: &[RawFd]) {
        self.files.clear();
        self.files.extend_from_slice(files);
        self.files.push(self.shared.finished.as_raw_fd());
    }

    pub(super) fn disarm(&mut self, file: RawFd) {
        self.files.retain(|armed| *armed != file);
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.files.is_empty() {
            self.files.push(self.shared.finished.as_raw_fd());
        }
        poll_readable(&self.files, timeout)?;
        self.shared.finished.clear();
        Ok(())
    }
}

impl Drop for ThreadEngine {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Shared) {
    loop {
        let mut queues = shared.lock();
        let operation = loop {
            if let Some(operation) = queues.waiting.pop_front() {
                break operation;
            }
            if queues.stopping {
                return;
            }
            queues = shared.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queues);
        let result = perform(&operation);
        shared.lock().finished.push_back(DiskResult { token: operation.token, result });
        shared.finished.signal();
    }
}

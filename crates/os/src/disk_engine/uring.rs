//! Disk operations through io_uring, together with the descriptors that end a sleep.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use block::Duration;

use super::{Action, DiskOperation, DiskResult};
use crate::sys::memory::IoSlice;
use crate::sys::uring::Ring;

/// Operations queued before they are handed over in between; the completion queue holds four times as many.
const RING_ENTRIES: u32 = 1024;
/// Tokens from here on name an armed descriptor, not an operation.
const ARMED: u64 = 1 << 32;
/// Of what is sent.
const SENT: u64 = u64::MAX - 1;
/// Of what nobody waits for.
const NOTHING: u64 = u64::MAX;

pub(crate) struct UringEngine {
    ring: Ring,
    in_flight: usize,
    /// Descriptors with a poll outstanding. A poll stays armed over several sleeps until its descriptor is readable.
    armed: Vec<RawFd>,
    /// Descriptors whose poll has told of an error since they were armed.
    failed: Vec<RawFd>,
    /// Operations that have ended and were not taken.
    ended: VecDeque<DiskResult>,
    /// What the kernel has said of what was sent: it says nothing of what went as a whole.
    sent: Option<i32>,
}

impl UringEngine {
    pub(super) fn new(region: IoSlice) -> io::Result<Self> {
        let mut ring = Ring::new(RING_ENTRIES)?;
        if !ring.register(region) {
            tracing::debug!("the kernel does not pin our buffers (limit on locked memory): a little slower");
        }
        Ok(Self {
            ring,
            in_flight: 0,
            armed: Vec::with_capacity(16),
            failed: Vec::with_capacity(16),
            ended: VecDeque::with_capacity(RING_ENTRIES as usize * 4),
            sent: None,
        })
    }

    pub(super) fn queue(&mut self, operation: DiskOperation) {
        let DiskOperation { token, file, offset, action } = operation;
        let token = u64::from(token);
        match action {
            Action::Read(data) => self.ring.read(token, file, offset, data),
            Action::Write { data, durable } => self.ring.write(token, file, offset, data, durable),
            Action::Sync => self.ring.sync(token, file),
        }
        self.in_flight += 1;
    }

    pub(super) fn submit(&mut self) -> io::Result<()> {
        let is_due = if self.in_flight > 0 {
            self.ring.has_work()
        } else {
            !self.armed.is_empty() && self.ring.wants_entry()
        };
        if is_due {
            self.ring.submit()?;
        }
        self.take_in();
        Ok(())
    }

    pub(super) fn completed(&mut self) -> Option<DiskResult> {
        if self.ended.is_empty() {
            self.take_in();
        }
        let result = self.ended.pop_front()?;
        self.in_flight -= 1;
        Some(result)
    }

    pub(super) fn has_completed(&mut self) -> bool {
        !self.ended.is_empty() || self.ring.has_completed()
    }

    /// Empties the completion queue, so that what it says of descriptors is known whoever takes the rest, and when.
    fn take_in(&mut self) {
        while let Some((token, result)) = self.ring.completed() {
            if let Ok(token) = u32::try_from(token) {
                self.ended.push_back(DiskResult { token, result });
            } else if token == SENT {
                self.sent = Some(result);
            } else if token != NOTHING {
                self.disarmed(token - ARMED, result);
            }
        }
    }

    /// A poll has ended, with what it has seen or a negated error number.
    fn disarmed(&mut self, file: u64, result: i32) {
        let is_it = |armed: &RawFd| u64::try_from(*armed) == Ok(file);
        if let Some(index) = self.armed.iter().position(is_it) {
            let file = self.armed.swap_remove(index);
            let has_failed = result < 0 || result & i32::from(libc::POLLERR) != 0;
            if has_failed && !self.failed.contains(&file) {
                self.failed.push(file);
            }
        }
    }

    pub(super) fn send(&mut self, socket: RawFd, pieces: &[IoSlice]) -> bool {
        if self.ring.sends() {
            self.ring.send(SENT, socket, pieces);
        }
        self.ring.sends()
    }

    pub(super) fn take_sent(&mut self) -> io::Result<Option<io::Result<usize>>> {
        while self.ring.has_queued() {
            self.ring.submit()?;
        }
        self.take_in();
        let result = self.sent.take();
        Ok(result.map(|count| usize::try_from(count).map_err(|_| io::Error::from_raw_os_error(-count))))
    }

    /// Whether the last poll of a descriptor has told of an error.
    pub(super) fn take_failed(&mut self, file: RawFd) -> bool {
        let place = self.failed.iter().position(|failed| *failed == file);
        place.map(|index| self.failed.swap_remove(index)).is_some()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn arm(&mut self, files: &[RawFd]) {
        for file in files {
            if !self.is_armed(*file) {
                self.armed.push(*file);
                let file_number = u64::try_from(*file).expect("an open descriptor is not negative");
                // Handed over by the wait that follows; the kernel looks at the descriptor then, so what came in
                // between is not slept over.
                self.ring.poll(ARMED + file_number, *file);
            }
        }
    }

    /// Until the kernel has taken the poll back the file stays open, whoever closes it.
    pub(super) fn disarm(&mut self, file: RawFd) {
        self.failed.retain(|failed| *failed != file);
        if self.is_armed(file) {
            self.armed.retain(|armed| *armed != file);
            let file_number = u64::try_from(file).expect("an open descriptor is not negative");
            self.ring.take_back(ARMED + file_number, NOTHING);
        }
    }

    pub(super) fn is_armed(&self, file: RawFd) -> bool {
        self.armed.contains(&file)
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.has_completed() {
            self.ring.wait(1, timeout)?;
        }
        self.take_in();
        Ok(())
    }
}

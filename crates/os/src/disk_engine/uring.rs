//! Disk operations through io_uring, together with the descriptors that end a sleep.

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
/// Of what nobody waits for.
const NOTHING: u64 = u64::MAX;

pub(crate) struct UringEngine {
    ring: Ring,
    in_flight: usize,
    /// Descriptors with a poll outstanding. A poll stays armed over several sleeps until its descriptor is readable.
    armed: Vec<RawFd>,
}

impl UringEngine {
    pub(super) fn new(region: IoSlice) -> io::Result<Self> {
        let mut ring = Ring::new(RING_ENTRIES)?;
        if !ring.register(region) {
            tracing::debug!("the kernel does not pin our buffers (limit on locked memory): a little slower");
        }
        Ok(Self { ring, in_flight: 0, armed: Vec::with_capacity(16) })
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
        if self.in_flight > 0 && self.ring.has_work() { self.ring.submit() } else { Ok(()) }
    }

    pub(super) fn completed(&mut self) -> Option<DiskResult> {
        loop {
            let (token, result) = self.ring.completed()?;
            if token == NOTHING {
                continue;
            }
            if let Some(file) = token.checked_sub(ARMED) {
                self.armed.retain(|armed| u64::try_from(*armed) != Ok(file));
                continue;
            }
            self.in_flight -= 1;
            let token = u32::try_from(token).expect("below ARMED");
            return Some(DiskResult { token, result });
        }
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
        if self.ring.has_completed() {
            return Ok(());
        }
        self.ring.wait(1, timeout)
    }
}

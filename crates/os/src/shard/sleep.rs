//! Whether a shard sleeps, looks for what comes next, or has something to do already.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use block::{Duration, Instant};

use super::Shard;
use crate::clock;

/// With so many cores a thread that looks for work without finding any is in nobody's way. With two of them it took a core from
/// the peer's disk or the initiator, 50 µs a write ("A mirrored pair beside its parts" in docs/measurements.md).
pub(super) const CORES_TO_SPARE: usize = 4;

/// How soon to try again to send what the interface's queue had no room for.
const BLOCKED_RETRY: Duration = Duration::from_millis(1);

impl Shard {
    /// Whether there is work already, or perhaps no more to come.
    fn is_something_at_hand(&mut self, now: Instant) -> bool {
        self.disks.has_completed(&self.pool)
            || self.ports.oldest().is_some()
            || self.is_timeout_due(now)
            || self.stopping_since.is_some()
    }

    /// Whether the node is to hear that it is late.
    pub(super) fn is_timeout_due(&self, now: Instant) -> bool {
        self.node.poll_timeout().is_some_and(|at| at <= now)
    }

    /// Whether what was taken is all that there is to do, and it is not worth while to look for more.
    pub(super) fn may_sleep(&mut self, now: Instant) -> bool {
        !self.is_something_at_hand(now) && !self.is_worth_a_look()
    }

    /// Nothing happened: look a little longer if a frame is likely, else sleep.
    pub(super) fn idle(&mut self, now: Instant) -> io::Result<()> {
        if self.is_worth_a_look() && now.since(self.active_at) < self.busy_poll {
            std::hint::spin_loop();
            return Ok(());
        }
        self.sleep(now)
    }

    /// Sends what is queued, starts what waits for the disk, and sleeps until something comes or is due: with one call, as far as that
    /// is possible. The peer is told first; if it runs on this core, it does so only once the disk has its work.
    pub(super) fn sleep(&mut self, now: Instant) -> io::Result<()> {
        if self.has_stopped() || self.was_woken() {
            self.transmit(now);
            return Ok(());
        }
        let is_handed_over = self.transmit_with_disk(now);
        // Sending has given back the buffers that a request waited for.
        if !is_handed_over && self.disks.is_ready(&self.pool) {
            return Ok(());
        }
        let stalled = self.peer.as_ref().is_some_and(|peer| peer.is_stalled());
        self.disks.arm(&self.sleepers[..self.sleepers.len() - usize::from(stalled)]);
        let commits = self.peer.as_ref().and_then(|peer| peer.commits_due());
        let due = [self.node.poll_timeout(), commits, self.parting_due()];
        // The turn may have taken long.
        let now = clock::now();
        let timeout = due.into_iter().flatten().min().map(|at| at.since(now));
        let blocked = self.peer.as_ref().is_some_and(|peer| peer.is_blocked());
        let timeout = if blocked || self.transmitter.has_queued() {
            Some(timeout.unwrap_or(BLOCKED_RETRY).min(BLOCKED_RETRY))
        } else {
            timeout
        };
        self.disks.wait(timeout)?;
        if is_handed_over {
            let sent = self.disks.take_sent()?;
            self.was_sent_with_disk(sent);
        }
        Ok(())
    }

    /// Whether to look for what comes next instead of sleeping, if what is under way ends soon. A node of a pair shares a machine's
    /// cores with whatever makes the writes of its peer durable, and perhaps with its initiators: without cores to spare it looks
    /// only while an initiator waits for an answer.
    fn is_worth_a_look(&self) -> bool {
        let is_welcome = self.peer.is_none() || self.has_cores_to_spare || self.node.outstanding() > 0;
        is_welcome && self.disks.ends_soon() && self.busy_poll > Duration::ZERO
    }

    /// What may end a sleep, the connection to the peer last.
    pub(super) fn look_up_sleepers(&mut self) {
        let peer = self.peer.as_ref().and_then(|peer| peer.descriptor());
        self.sleepers.clear();
        self.sleepers.extend(self.ports.descriptors().chain([self.wake.as_raw_fd()]).chain(peer));
    }

    /// Quiets the descriptors that have ended a sleep, then looks once more for what they may have told of: whatever
    /// comes after that look makes them readable again. Commands are left to the next turn, which obeys them with nothing queued: what
    /// is queued may lie in memory that one of them takes away.
    fn was_woken(&mut self) -> bool {
        if self.disks.may_be_readable(self.wake.as_raw_fd()) && self.wake.clear() {
            return true;
        }
        for port in self.ports.iter_mut() {
            let file = port.as_fd().as_raw_fd();
            if self.disks.may_be_readable(file) {
                port.clear_wake();
            }
            if self.disks.take_failed(file) {
                port.take_error();
            }
        }
        self.ports.oldest().is_some()
    }
}

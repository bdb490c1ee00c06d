//! Frames on their way out of a shard: which buffer each queued frame still needs, and what becomes of it.

use std::collections::VecDeque;

use aoe::limits::FRAME_AGE_MAX;
use block::{BufferName, Instant};

use crate::frame_port::{FramePort, Payload, SendError, TransmitFrame};
use crate::pcap::PcapWriter;
use crate::sys::memory::IoSlice;

/// What a flush did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushed {
    pub(super) sent: usize,
    /// Frames the kernel did not take and that are given up: their initiators ask again.
    pub(super) dropped: usize,
}

/// The queues of all ports.
pub(super) struct Transmitter {
    /// By port: the payload's buffer of each queued frame, oldest first.
    queued: Vec<VecDeque<Option<BufferName>>>,
    /// By port: since when it has had no room for any of them.
    blocked_since: Vec<Option<Instant>>,
    /// Buffers of frames that are out.
    done: Vec<BufferName>,
    /// Buffers that the kernel could not read.
    unreadable: Vec<BufferName>,
    pcap: Option<PcapWriter>,
}

impl Transmitter {
    /// For ports that take `batch` frames at once.
    pub(super) fn new(ports: usize, batch: usize, pcap: Option<PcapWriter>) -> Self {
        Self {
            queued: (0..ports).map(|_| VecDeque::with_capacity(batch)).collect(),
            blocked_since: vec![None; ports],
            done: Vec::with_capacity(ports * batch),
            unreadable: Vec::with_capacity(ports * batch),
            pcap,
        }
    }

    /// For one more port.
    pub(super) fn open_next(&mut self, batch: usize) {
        self.queued.push(VecDeque::with_capacity(batch));
        self.blocked_since.push(None);
    }

    /// For one port less, the last, which is empty.
    pub(super) fn close_last(&mut self) {
        self.blocked_since.pop();
        let queued = self.queued.pop();
        assert!(queued.is_none_or(|queued| queued.is_empty()), "a port is emptied before it is closed");
    }

    /// Whether something is queued at a port: after all were flushed, because one had no room for it.
    pub(super) fn has_queued(&self) -> bool {
        self.queued.iter().any(|queued| !queued.is_empty())
    }

    /// Queues a frame; `payload` is freed once it is out.
    pub(super) fn queue(
        &mut self,
        now: Instant,
        index: usize,
        port: &mut FramePort,
        head: &[u8],
        payload: Option<(BufferName, IoSlice)>,
    ) -> Flushed {
        let bytes = payload.map(|(_, slice)| Payload { address: slice.address(), length: slice.length() });
        let name = payload.map(|(name, _)| name);
        let frame = TransmitFrame { head, payload: bytes };
        let mut flushed = Flushed::default();
        if port.queue(frame).is_err() {
            flushed = self.flush(now, index, port);
            if port.queue(frame).is_err() {
                // The card has no room for minutes' worth of replies: the initiator asks again.
                flushed.dropped += 1;
                self.done.extend(name);
                return flushed;
            }
        }
        self.queued[index].push_back(name);
        if let Some(pcap) = &mut self.pcap {
            pcap.record(now, &[head, payload.map_or(&[], |(_, slice)| slice.look())]);
        }
        flushed
    }

    /// Sends what a port has queued, as far as there is room. If there has been none for any of it for so long that its initiators
    /// have asked again, all of it is given up.
    pub(super) fn flush(&mut self, now: Instant, index: usize, port: &mut FramePort) -> Flushed {
        let mut flushed = self.send(index, port);
        let is_blocked = flushed.sent == 0 && port.queued() > 0;
        let since = is_blocked.then(|| self.blocked_since[index].unwrap_or(now));
        self.blocked_since[index] = since;
        if since.is_some_and(|since| now.since(since) >= FRAME_AGE_MAX) {
            flushed.dropped += self.discard(index, port).dropped;
        }
        flushed
    }

    fn send(&mut self, index: usize, port: &mut FramePort) -> Flushed {
        let mut flushed = Flushed::default();
        while port.queued() > 0 {
            let result = port.flush();
            let sent = result.as_ref().map_or_else(SendError::sent, |sent| *sent);
            flushed.sent += sent;
            self.done.extend(self.queued[index].drain(..sent).flatten());
            match result {
                Ok(_) => {}
                Err(SendError::Busy { .. }) => break,
                Err(SendError::Unreadable { .. }) => {
                    flushed.dropped += 1;
                    self.unreadable.extend(self.queued[index].pop_front().flatten());
                }
                Err(SendError::LinkDown { dropped, .. }) => {
                    flushed.dropped += dropped;
                    self.done.extend(self.queued[index].drain(..).flatten());
                }
                Err(error @ (SendError::TooLong { .. } | SendError::Other { .. })) => {
                    flushed.dropped += 1;
                    tracing::debug!("{}: {error}", port.interface().name);
                    self.done.extend(self.queued[index].pop_front().flatten());
                }
            }
        }
        debug_assert_eq!(port.queued(), self.queued[index].len(), "both queues hold the same frames");
        flushed
    }

    /// Sends what there is room for and gives up the rest: the port is about to be replaced.
    pub(super) fn empty(&mut self, index: usize, port: &mut FramePort) -> Flushed {
        let mut flushed = self.send(index, port);
        flushed.dropped += self.discard(index, port).dropped;
        flushed
    }

    /// Gives up all that is queued.
    pub(super) fn discard(&mut self, index: usize, port: &mut FramePort) -> Flushed {
        let dropped = port.discard_queued();
        self.done.extend(self.queued[index].drain(..).flatten());
        self.blocked_since[index] = None;
        Flushed { sent: 0, dropped }
    }

    /// Records a frame that came in.
    pub(super) fn record(&mut self, received: Instant, frame: &[u8]) {
        if let Some(pcap) = &mut self.pcap {
            pcap.record(received, &[frame]);
        }
    }

    /// The buffer of a frame that is out or given up.
    pub(super) fn take_done(&mut self) -> Option<BufferName> {
        self.done.pop()
    }

    /// A buffer that the kernel could not read.
    pub(super) fn take_unreadable(&mut self) -> Option<BufferName> {
        self.unreadable.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_port::{FrameFilter, PortKind, PortOptions};
    use crate::interface::Interface;
    use lab::Namespace;
    use std::time::Duration;

    const BATCH: usize = 64;
    const NOW: Instant = Instant::from_nanos(1);

    fn port(namespace: &Namespace, name: &str) -> FramePort {
        let look = || namespace.enter(|| Ok(Interface::named(name).ok().filter(|tap| tap.has_carrier)));
        lab::wait_until("the tap", Duration::from_secs(10), look).expect("a tap");
        let options = PortOptions {
            kind: PortKind::Plain,
            send_batch: BATCH,
            ..PortOptions::new(name, FrameFilter::Responses)
        };
        namespace.enter(|| Ok(FramePort::open(&options))).expect("a namespace").expect("a port")
    }

    #[test]
    fn a_port_that_sends_does_not_hide_that_another_one_had_no_room_which_keeps_answers_for_a_while() {
        let namespace = Namespace::new().expect("this test makes a network namespace: run it as root");
        // Nobody reads the taps, so at some point there is no room.
        let _taps = ["tap0", "tap1"].map(|name| namespace.add_tap(name, 1500).expect("a tap"));
        let mut ports = ["tap0", "tap1"].map(|name| port(&namespace, name));
        let mut transmitter = Transmitter::new(2, BATCH, None);
        let mut queue = |transmitter: &mut Transmitter, index: usize| {
            let flushed = transmitter.queue(NOW, index, &mut ports[index], &[0xff; 60], None);
            assert_eq!(flushed.dropped, 0);
            transmitter.flush(NOW, index, &mut ports[index]);
        };
        assert!(!transmitter.has_queued());
        while !transmitter.has_queued() {
            queue(&mut transmitter, 0);
        }
        queue(&mut transmitter, 1);
        assert!(transmitter.queued[1].is_empty() && transmitter.has_queued());
        // Nobody waits for it any more at some point.
        let mut dropped = |after| transmitter.flush(NOW.after(after), 0, &mut ports[0]).dropped;
        assert_eq!(dropped(FRAME_AGE_MAX - Duration::from_millis(1)), 0);
        assert!(dropped(FRAME_AGE_MAX) > 0 && !transmitter.has_queued());
    }
}

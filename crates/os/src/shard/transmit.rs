//! Frames on their way out of a shard: which buffer each queued frame still needs, and what becomes of it.

use std::collections::VecDeque;

use aoe::limits::ANSWER_AGE_MAX;
use block::{BufferName, Instant};

use crate::clock;
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

/// A frame that is queued.
#[derive(Clone, Copy, Debug)]
struct Queued {
    /// The buffer of its payload.
    payload: Option<BufferName>,
    /// When it was made: a write that it answers is remembered from then on, not from when it leaves.
    made: Instant,
}

/// The queues of all ports.
pub(super) struct Transmitter {
    /// By port, oldest first.
    queued: Vec<VecDeque<Queued>>,
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
            done: Vec::with_capacity(ports * batch),
            unreadable: Vec::with_capacity(ports * batch),
            pcap,
        }
    }

    /// For one more port.
    pub(super) fn open_next(&mut self, batch: usize) {
        self.queued.push(VecDeque::with_capacity(batch));
    }

    /// For one port less, the last, which is empty.
    pub(super) fn close_last(&mut self) {
        let queued = self.queued.pop();
        assert!(queued.is_none_or(|queued| queued.is_empty()), "a port is emptied before it is closed");
    }

    /// Whether something is queued at a port: after all were flushed, because one had no room for it.
    pub(super) fn has_queued(&self) -> bool {
        self.queued.iter().any(|queued| !queued.is_empty())
    }

    /// Queues a frame that was `made` in this turn; `payload` is freed once it is out.
    pub(super) fn queue(
        &mut self,
        made: Instant,
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
            flushed = self.flush(clock::now(), index, port);
            if port.queue(frame).is_err() {
                // The card has no room for minutes' worth of replies: the initiator asks again.
                flushed.dropped += 1;
                self.done.extend(name);
                return flushed;
            }
        }
        self.queued[index].push_back(Queued { payload: name, made });
        if let Some(pcap) = &mut self.pcap {
            pcap.record(made, &[head, payload.map_or(&[], |(_, slice)| slice.look())]);
        }
        flushed
    }

    /// Sends what a port has queued, as far as there is room, and gives up what was made too long ago, of which the initiator may
    /// send late copies that nobody knows any more. This thread may have been held up since then, so `now` is looked up for this call.
    pub(super) fn flush(&mut self, now: Instant, index: usize, port: &mut FramePort) -> Flushed {
        let mut flushed = self.discard_late(now, index, port);
        while port.queued() > 0 {
            let result = port.flush();
            let sent = result.as_ref().map_or_else(SendError::sent, |sent| *sent);
            flushed.sent += sent;
            self.done.extend(payloads(self.queued[index].drain(..sent)));
            match result {
                Ok(_) => {}
                Err(SendError::Busy { .. }) => break,
                Err(SendError::Unreadable { .. }) => {
                    flushed.dropped += 1;
                    self.unreadable.extend(payloads(self.queued[index].pop_front()));
                }
                Err(SendError::LinkDown { dropped, .. }) => {
                    flushed.dropped += dropped;
                    self.done.extend(payloads(self.queued[index].drain(..)));
                }
                Err(error @ (SendError::TooLong { .. } | SendError::Other { .. })) => {
                    flushed.dropped += 1;
                    tracing::debug!("{}: {error}", port.interface().name);
                    self.done.extend(payloads(self.queued[index].pop_front()));
                }
            }
        }
        debug_assert_eq!(port.queued(), self.queued[index].len(), "both queues hold the same frames");
        flushed
    }

    /// Sends what there is room for and gives up the rest: the port is about to be replaced.
    pub(super) fn empty(&mut self, index: usize, port: &mut FramePort) -> Flushed {
        let mut flushed = self.flush(clock::now(), index, port);
        flushed.dropped += self.discard(index, port).dropped;
        flushed
    }

    /// Gives up all that is queued.
    pub(super) fn discard(&mut self, index: usize, port: &mut FramePort) -> Flushed {
        let dropped = port.discard_queued();
        self.done.extend(payloads(self.queued[index].drain(..)));
        Flushed { sent: 0, dropped }
    }

    /// Gives up what was made too long ago, however many others have left meanwhile.
    fn discard_late(&mut self, now: Instant, index: usize, port: &mut FramePort) -> Flushed {
        let is_late = |frame: &&Queued| now.since(frame.made) >= ANSWER_AGE_MAX;
        let dropped = self.queued[index].iter().take_while(is_late).count();
        if dropped > 0 {
            port.discard_oldest(dropped);
            self.done.extend(payloads(self.queued[index].drain(..dropped)));
        }
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

fn payloads(frames: impl IntoIterator<Item = Queued>) -> impl Iterator<Item = BufferName> {
    frames.into_iter().filter_map(|frame| frame.payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_port::{FrameFilter, PortKind, PortOptions};
    use crate::interface::Interface;
    use lab::Namespace;
    use std::fs::File;
    use std::io::Read;
    use std::time::Duration;

    /// More than a tap has room for.
    const BATCH: usize = 2048;
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

    /// Queues a frame and sends what there is room for.
    fn send(transmitter: &mut Transmitter, index: usize, port: &mut FramePort) {
        queue(transmitter, NOW, index, port);
        transmitter.flush(NOW, index, port);
    }

    fn queue(transmitter: &mut Transmitter, made: Instant, index: usize, port: &mut FramePort) {
        let flushed = transmitter.queue(made, index, port, &[0xff; 60], None);
        assert_eq!((flushed.sent, flushed.dropped), (0, 0));
    }

    #[test]
    fn a_port_that_sends_does_not_hide_that_another_one_had_no_room_which_keeps_answers_for_a_while() {
        let namespace = Namespace::new().expect("this test makes a network namespace: run it as root");
        // Nobody reads the taps, so at some point there is no room.
        let _taps = ["tap0", "tap1"].map(|name| namespace.add_tap(name, 1500).expect("a tap"));
        let mut ports = ["tap0", "tap1"].map(|name| port(&namespace, name));
        let mut transmitter = Transmitter::new(2, BATCH, None);
        assert!(!transmitter.has_queued());
        while !transmitter.has_queued() {
            send(&mut transmitter, 0, &mut ports[0]);
        }
        send(&mut transmitter, 1, &mut ports[1]);
        assert!(transmitter.queued[1].is_empty() && transmitter.has_queued());
        // Nobody waits for it any more at some point.
        let mut dropped = |after| transmitter.flush(NOW.after(after), 0, &mut ports[0]).dropped;
        assert_eq!(dropped(ANSWER_AGE_MAX - Duration::from_millis(1)), 0);
        assert!(dropped(ANSWER_AGE_MAX) > 0 && !transmitter.has_queued());
    }

    #[test]
    fn an_answer_that_does_not_leave_in_time_is_given_up_though_others_leave() {
        const MOMENT: Duration = Duration::from_millis(1);
        let namespace = Namespace::new().expect("this test makes a network namespace: run it as root");
        let mut tap = File::from(namespace.add_tap("tap0", 1500).expect("a tap"));
        let mut read = || tap.read(&mut [0; 2048]).expect("a frame");
        let mut port = port(&namespace, "tap0");
        let mut transmitter = Transmitter::new(1, BATCH, None);
        while !transmitter.has_queued() {
            send(&mut transmitter, 0, &mut port);
        }
        while port.queued() < BATCH - 1 {
            queue(&mut transmitter, NOW, 0, &mut port);
        }
        queue(&mut transmitter, NOW.after(MOMENT), 0, &mut port);
        let (in_time, late) = (NOW.after(ANSWER_AGE_MAX - MOMENT), NOW.after(ANSWER_AGE_MAX));
        while transmitter.flush(in_time, 0, &mut port).sent == 0 {
            read();
        }
        let left = port.queued();
        assert!(left > 1, "there was no room for all");
        // There is still no room for the younger one.
        let flushed = transmitter.flush(late, 0, &mut port);
        assert_eq!((flushed.sent, flushed.dropped, port.queued()), (0, left - 1, 1));
        while transmitter.has_queued() {
            read();
            assert_eq!(transmitter.flush(late, 0, &mut port).dropped, 0);
        }
    }
}

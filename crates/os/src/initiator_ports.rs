//! The ports of an initiator: opened together, sent to by number, answers taken in turn. Decides nothing about frames.

use crate::frame_port::{FrameFilter, FramePort, Payload, PortError, PortKind, PortOptions, TransmitFrame};
use aoe::MacAddress;
use aoe::initiator::{PortId, PortLink, RequestHead};

/// Frames handed to the kernel in one call.
const SEND_BATCH: usize = 64;

/// Open ports, numbered in the order of their interfaces on the command line.
#[derive(Debug)]
pub struct InitiatorPorts {
    ports: Vec<FramePort>,
}

/// A frame that came in and is not released yet.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which port.
    pub port: PortId,
    /// Where in its memory.
    pub slot: u32,
}

impl InitiatorPorts {
    /// Opens a port on each interface of the calling thread's namespace, with so much memory for answers each.
    ///
    /// # Errors
    /// If one of them cannot be opened.
    pub fn open(interfaces: &[String], kind: PortKind, receive_bytes: usize) -> Result<Self, PortError> {
        let open = |interface: &String| {
            FramePort::open(&PortOptions {
                kind,
                ring_bytes: receive_bytes,
                send_batch: SEND_BATCH,
                ..PortOptions::new(interface, FrameFilter::Responses)
            })
        };
        Ok(Self { ports: interfaces.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// What an initiator wants to know of them.
    pub fn links(&self) -> Vec<(PortId, PortLink)> {
        let link = |port: &FramePort| {
            let interface = port.interface();
            PortLink { mac: MacAddress(interface.mac), mtu: interface.mtu }
        };
        (0..=u8::MAX).map(PortId).zip(self.ports.iter().map(link)).collect()
    }

    /// The name of an interface.
    pub fn interface(&self, port: PortId) -> &str {
        &self.ports[usize::from(port.0)].interface().name
    }

    /// The next frame that came in by any port.
    pub fn receive(&mut self) -> Option<Arrival> {
        let mut arrivals = (0..=u8::MAX).map(PortId).zip(&mut self.ports);
        arrivals.find_map(|(port, receiver)| Some(Arrival { port, slot: receiver.receive()?.slot }))
    }

    /// Its bytes.
    pub fn frame(&self, arrival: Arrival) -> &[u8] {
        self.ports[usize::from(arrival.port.0)].frame(arrival.slot)
    }

    /// Its memory is free.
    pub fn release(&mut self, arrival: Arrival) {
        self.ports[usize::from(arrival.port.0)].release(arrival.slot);
    }

    /// Queues a frame. What cannot be sent is lost as on any network: the initiator sends it again in time. The payload
    /// must stay as it is until the next flush.
    pub fn send(&mut self, port: PortId, head: &RequestHead, payload: Option<&[u8]>) {
        let port = &mut self.ports[usize::from(port.0)];
        let frame = TransmitFrame { head: head.bytes(), payload: payload.map(Payload::of) };
        if port.queue(frame).is_err() {
            let _ = port.flush();
            let _ = port.queue(frame);
        }
    }

    /// Sends what is queued.
    pub fn flush(&mut self) {
        for port in &mut self.ports {
            if port.queued() > 0 {
                // What the kernel has no room for is kept and tried again; for the rest see `send`.
                let _ = port.flush();
            }
        }
    }

    /// Whether frames are queued that have not left, so that their payload must stay as it is.
    pub fn is_queued(&self) -> bool {
        self.ports.iter().any(|port| port.queued() > 0)
    }

    /// Waits for a frame, at most so long; only one interface can be waited for, with several this looks at each briefly.
    pub fn wait(&mut self, limit: std::time::Duration) {
        if let [port] = self.ports.as_mut_slice() {
            port.wait(Some(limit));
            return;
        }
        let each = limit.min(WAIT_OF_MANY);
        for port in &mut self.ports {
            if port.wait(Some(each)) {
                return;
            }
        }
    }

    /// Answers lost because there was no memory for them.
    pub fn lost(&mut self) -> u64 {
        self.ports.iter_mut().map(|port| port.statistics().lost).sum()
    }
}

/// How long an interface is listened to while the others wait.
const WAIT_OF_MANY: std::time::Duration = std::time::Duration::from_micros(100);

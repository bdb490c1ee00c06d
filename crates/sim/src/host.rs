//! What the world knows of a host with an initiator: frames and time go in, frames come out.
//!
//! The world carries the frames, keeps the clock and decides what gets lost; a host decides what is asked and when, and
//! writes into the log what it asked and what it was told. A host sends only from inside its two handlers: after each of
//! them the world drains [`Host::poll_frame`] and asks for [`Host::poll_timeout`] anew.

use aoe::MacAddress;
use block::{Duration, Instant};

/// Ethernet segments of the world. Every node and every host has one port, of that number, on each segment in use.
pub const SEGMENTS_MAX: usize = 2;

/// A frame that a host sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostFrame {
    /// Through which of its ports.
    pub port: u8,
    /// All of it, from the destination address on.
    pub bytes: Vec<u8>,
}

/// A host with an initiator. `Log` is where it writes what it asked and what it was told.
pub trait Host<Log> {
    /// Its address on a segment: the world delivers frames to this and to everybody.
    fn mac(&self, port: u8) -> MacAddress;

    /// A frame has come in, perhaps damaged.
    fn handle_frame(&mut self, now: Instant, port: u8, frame: &[u8], log: &mut Log);

    /// The time that [`Host::poll_timeout`] named has come. Also called once at the beginning.
    fn handle_timeout(&mut self, now: Instant, log: &mut Log);

    /// The next frame to send, until there is none.
    fn poll_frame(&mut self) -> Option<HostFrame>;

    /// When [`Host::handle_timeout`] is to be called.
    fn poll_timeout(&self) -> Option<Instant>;

    /// How long it waits before it sends again what was not answered, where no node has a say in that.
    fn resends_after(&self) -> Duration {
        Duration::ZERO
    }

    /// Ask nothing new from now on; what is open goes on.
    fn finish(&mut self);

    /// Ask so many more.
    fn ask_more(&mut self, requests: u32);

    /// Requests that wait for an answer.
    fn open(&self) -> usize;

    /// Whether it has asked everything, and everything was answered.
    fn is_done(&self) -> bool;

    /// Requests that ended with an error so far.
    fn failed(&self) -> u32;

    /// The host's power fails: everything open is abandoned. It comes back at the next timeout if it ever does.
    fn crash(&mut self, now: Instant, log: &mut Log);
}

/// A volume as hosts know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeShape {
    /// Its shelf and slot.
    pub address: aoe::Address,
    /// Its size.
    pub sectors: u64,
}

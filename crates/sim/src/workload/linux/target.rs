//! A target as the Linux driver keeps it: an Ethernet address, the interfaces that it was heard on, a window.

use aoe::MacAddress;

/// More interfaces of a target are not used.
const INTERFACES_MAX: usize = 8;
/// The worst reputation that a target can have.
const TAINT_MAX: u32 = 1000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) port: u8,
    /// Bytes of a frame's data.
    pub(super) bytes: u32,
    /// Frames sent that were not answered in time.
    lost: u32,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) mac: MacAddress,
    pub(super) reaches: Vec<Reach>,
    next_reach: usize,
    /// Frames that it can hold.
    frames: u32,
    /// Frames that may be under way, and those that are.
    window: u32,
    pub(super) under_way: u32,
    slow_start_below: u32,
    until_growth: u32,
    /// How bad its reputation is: frames go elsewhere until it is good again.
    pub(super) taint: u32,
    /// Frames under way that only try whether it answers.
    pub(super) probes: u32,
}

impl Target {
    pub(super) fn new(mac: MacAddress, frames: u32) -> Self {
        Self {
            mac,
            reaches: Vec::new(),
            next_reach: 0,
            frames,
            window: frames / 2,
            under_way: 0,
            slow_start_below: frames / 2,
            until_growth: frames,
            taint: 0,
            probes: 0,
        }
    }

    /// It can hold another number of frames now.
    pub(super) fn set_frames(&mut self, frames: u32) {
        self.frames = frames;
        if frames < self.window {
            (self.window, self.slow_start_below, self.until_growth) = (1, frames / 2, frames);
        }
    }

    /// It was heard on an interface that carries so many bytes of data a frame.
    pub(super) fn heard(&mut self, port: u8, bytes: u32) {
        if let Some(reach) = self.reaches.iter_mut().find(|reach| reach.port == port) {
            reach.bytes = bytes;
        } else if self.reaches.len() < INTERFACES_MAX {
            self.reaches.push(Reach { port, bytes, lost: 0 });
        }
    }

    pub(super) const fn has_room(&self) -> bool {
        self.under_way < self.window
    }

    /// The interface for the next frame.
    pub(super) fn rotate(&mut self) -> Option<u8> {
        let count = self.reaches.len();
        if count == 0 {
            return None;
        }
        let reach = self.reaches[self.next_reach % count];
        self.next_reach = (self.next_reach + 1) % count;
        Some(reach.port)
    }

    /// A frame was answered in time: the window may grow.
    pub(super) const fn answered(&mut self) {
        if self.window >= self.frames {
            return;
        }
        if self.window < self.slow_start_below {
            self.window += 1;
        } else if self.under_way == self.window {
            if self.until_growth == 0 {
                self.window += 1;
                self.until_growth = self.window;
            } else {
                self.until_growth -= 1;
            }
        }
    }

    /// A frame was not: the window closes.
    pub(super) const fn expired(&mut self) {
        if self.window != 1 {
            self.slow_start_below = self.window / 2;
            self.window = 1;
        }
    }

    /// A frame was lost on an interface; one on which many were is given up while there is another.
    pub(super) fn lost(&mut self, port: u8) {
        let Some(index) = self.reaches.iter().position(|reach| reach.port == port) else { return };
        self.reaches[index].lost += 1;
        if self.reaches[index].lost > 2 * self.frames && self.reaches.len() > 1 {
            self.reaches.remove(index);
        }
    }

    /// It has not answered for much too long.
    pub(super) fn scorn(&mut self) {
        let before = self.taint;
        self.taint = (3 * (before + 1)).max(before).min(TAINT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_half_at_first_shuts_at_a_loss_and_opens_again() {
        let mut target = Target::new(MacAddress::default(), 8);
        assert_eq!(target.window, 4);
        target.expired();
        assert_eq!((target.window, target.slow_start_below), (1, 2));
        target.answered();
        assert_eq!(target.window, 2);
        target.under_way = 2;
        for _ in 0..20 {
            target.answered();
        }
        assert!(target.window == 3, "it grows only while it is full");
    }

    #[test]
    fn interfaces_take_turns_and_the_last_one_is_never_given_up() {
        let mut target = Target::new(MacAddress::default(), 2);
        assert_eq!(target.rotate(), None);
        target.heard(0, 1024);
        target.heard(1, 1024);
        assert_eq!([target.rotate(), target.rotate(), target.rotate()], [Some(0), Some(1), Some(0)]);
        for _ in 0..10 {
            target.lost(1);
            target.lost(0);
        }
        assert_eq!(target.reaches.len(), 1);
    }
}

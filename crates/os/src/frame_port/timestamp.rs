//! From the kernel's receive timestamps, which are dates, to [`Instant`]s on the clock that never goes back.
//!
//! The distance between the two clocks changes only when somebody sets the wall clock. Until the frames from before
//! that are drained, the older of the two possible moments is taken: a frame may then be dropped as too old, which
//! costs its sender a retransmission, but an old frame never passes for a new one (design D3).

use block::Instant;

use crate::clock::WallOffset;

/// Two samples further apart than this mean that the wall clock was set.
const STEP_NANOS: u64 = 1_000_000;

/// After so many frames without a pause the distance is measured again.
const FRAMES_PER_SAMPLE: u32 = 64;

#[derive(Debug)]
pub(super) struct Timestamps {
    offset: WallOffset,
    /// The distance before the wall clock was set, until the port has been found empty.
    before_step: Option<WallOffset>,
    /// Frames to convert before the next sample.
    remaining: u32,
    last: Instant,
}

impl Timestamps {
    pub(super) fn new() -> Self {
        Self { offset: WallOffset::sample(), before_step: None, remaining: 0, last: Instant::default() }
    }

    /// The port was found empty: what comes next is stamped later than now.
    pub(super) fn drained(&mut self) {
        self.before_step = None;
        self.remaining = 0;
    }

    /// The moment a frame was received; frames are converted in the order they came.
    pub(super) fn convert(&mut self, unix_nanos: u64) -> Instant {
        if self.remaining == 0 {
            self.remaining = FRAMES_PER_SAMPLE;
            self.observe(WallOffset::sample());
        }
        self.remaining -= 1;
        let mut moment = self.offset.to_instant(unix_nanos);
        if let Some(before) = self.before_step {
            moment = moment.min(before.to_instant(unix_nanos));
        }
        self.last = moment.max(self.last);
        self.last
    }

    fn observe(&mut self, sample: WallOffset) {
        if sample.distance(self.offset) > STEP_NANOS {
            self.before_step = Some(self.offset);
            self.offset = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stamps(offset: i64) -> Timestamps {
        Timestamps {
            offset: WallOffset::from_nanos(offset),
            before_step: None,
            remaining: u32::MAX,
            last: Instant::default(),
        }
    }

    #[test]
    fn the_wall_clock_set_back_does_not_make_an_old_frame_new() {
        let mut stamps = stamps(100 * SECOND);
        // Received at boot time 50 s, drained after the clock was set back by 10 s.
        stamps.observe(WallOffset::from_nanos(90 * SECOND));
        assert_eq!(stamps.convert(150_000_000_000), Instant::from_nanos(50_000_000_000));
    }

    #[test]
    fn the_wall_clock_set_forward_makes_frames_at_worst_too_old_until_the_port_is_drained() {
        let mut stamps = stamps(100 * SECOND);
        stamps.observe(WallOffset::from_nanos(110 * SECOND));
        assert_eq!(stamps.convert(150_000_000_000), Instant::from_nanos(40_000_000_000));
        stamps.drained();
        stamps.remaining = u32::MAX;
        assert_eq!(stamps.convert(161_000_000_000), Instant::from_nanos(51_000_000_000));
    }

    #[test]
    fn noise_in_measuring_the_distance_is_not_a_step() {
        let mut stamps = stamps(100 * SECOND);
        stamps.observe(WallOffset::from_nanos(100 * SECOND + 20_000));
        assert_eq!(stamps.convert(150_000_000_000), Instant::from_nanos(50_000_000_000));
    }

    #[test]
    fn moments_never_go_back() {
        let mut stamps = stamps(0);
        assert_eq!(stamps.convert(70), Instant::from_nanos(70));
        assert_eq!(stamps.convert(60), Instant::from_nanos(70));
    }
}

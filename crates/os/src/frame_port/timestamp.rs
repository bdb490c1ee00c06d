//! From the kernel's receive timestamps, which are dates, to [`Instant`]s on the clock that never goes back.
//!
//! The distance between the two clocks changes only when somebody sets the wall clock. Until the frames from before
//! that are drained, the older of the two possible moments is taken: a frame may then be dropped as too old, which
//! costs its sender a retransmission, but an old frame never passes for a new one (design D3). Nor is a frame from the
//! future: a moment that lies after the distance was measured is believed only when it was measured again.

use block::Instant;

use crate::clock::{self, WallOffset};

/// Two samples further apart than this mean that the wall clock was set.
const STEP_NANOS: u64 = 1_000_000;

/// After so many frames from before it was measured the distance is measured again.
const FRAMES_PER_SAMPLE: u32 = 64;

#[derive(Debug)]
pub(super) struct Timestamps {
    offset: WallOffset,
    /// The distance before the wall clock was set, until the port has been found empty.
    before_step: Option<WallOffset>,
    /// When the distance was measured, or a moment after it.
    sampled_at: Instant,
    /// Frames to convert before the next sample.
    remaining: u32,
    last: Instant,
}

impl Timestamps {
    pub(super) fn new() -> Self {
        Self {
            offset: WallOffset::sample(),
            before_step: None,
            sampled_at: clock::now(),
            remaining: 0,
            last: Instant::default(),
        }
    }

    /// The port was found empty: what comes next is stamped later than now.
    pub(super) fn drained(&mut self) {
        self.before_step = None;
        self.remaining = 0;
    }

    /// The moment a frame was received; frames are converted in the order they came.
    pub(super) fn convert(&mut self, unix_nanos: u64) -> Instant {
        let mut moment = self.moment_of(unix_nanos);
        if self.remaining == 0 || moment > self.sampled_at {
            self.remaining = FRAMES_PER_SAMPLE;
            self.observe(WallOffset::sample());
            self.sampled_at = clock::now();
            moment = self.moment_of(unix_nanos).min(self.sampled_at);
        }
        self.remaining -= 1;
        self.last = moment.max(self.last);
        self.last
    }

    /// The older of the moments that it may stand for.
    fn moment_of(&self, unix_nanos: u64) -> Instant {
        let moment = self.offset.to_instant(unix_nanos);
        self.before_step.map_or(moment, |before| moment.min(before.to_instant(unix_nanos)))
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
            sampled_at: Instant::from_nanos(u64::MAX),
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
    fn a_frame_stamped_after_the_wall_clock_was_set_forward_is_not_from_the_future() {
        let wall_now = clock::unix_time(Instant::default()).cast_signed();
        let mut stamps = stamps(wall_now - 10 * SECOND);
        stamps.sampled_at = clock::now();
        for _ in 0..3 {
            let received = clock::now();
            let converted = stamps.convert(clock::unix_time(received));
            assert!(converted <= clock::now(), "{converted:?} of a frame received at {received:?}");
            assert!(received.since(converted).as_nanos() < u128::from(STEP_NANOS));
        }
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

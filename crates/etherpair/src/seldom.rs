//! Keeps a log readable when somebody misbehaves without end: one line at a time, and how many were left out.

use std::time::{Duration, Instant};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Says whether a line of one kind is to be written now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// Writes the line with `write`, or counts it. `write` is given what to append about lines left out.
    pub(crate) fn write(&mut self, now: Instant, write: impl FnOnce(&str)) {
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            self.left_out += 1;
            return;
        }
        self.last = Some(now);
        match std::mem::take(&mut self.left_out) {
            0 => write(""),
            count => write(&format!(" ({count} lines like this were left out)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_line_now_and_then_with_its_count() {
        let (start, mut seldom, mut lines) = (Instant::now(), Seldom::default(), Vec::new());
        for second in 0..=5 {
            seldom.write(start + Duration::from_secs(second), |more| lines.push(more.to_owned()));
        }
        assert_eq!(lines, ["", " (4 lines like this were left out)"]);
    }
}

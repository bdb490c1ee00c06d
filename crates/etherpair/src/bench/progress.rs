//! A line on the terminal that shows how far the load is; nothing where standard error is no terminal.

use std::io::IsTerminal;

use block::{Duration, Instant};
use indicatif::{ProgressBar, ProgressStyle};

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(250);

/// The line.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    begin: Instant,
    last: Instant,
    last_requests: u64,
}

impl Progress {
    pub(crate) fn new(now: Instant, length: Duration, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
            bar.set_style(style.expect("a fixed template"));
            bar
        });
        Self { bar, begin: now, last: now, last_requests: 0 }
    }

    /// Shows the rate since the last look, from time to time.
    pub(crate) fn look(&mut self, now: Instant, requests: u64) {
        let passed = now.since(self.last);
        if passed < PERIOD {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(now.since(self.begin).as_millis()).unwrap_or(u64::MAX));
            let rate = u128::from(requests - self.last_requests) * 1_000_000 / passed.as_micros().max(1);
            bar.set_message(format!("{rate} requests a second"));
        }
        self.last = now;
        self.last_requests = requests;
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

//! The way a run took, as one number, and as text for whoever wants to read it.
//!
//! Two runs with equal digests went the same way, event by event. The text is made only when somebody reads it.

use std::fmt::Arguments;

use block::Instant;

/// Whoever wants no more lines than these wants to see how it ended, not every frame.
const LINES_OF_AN_END: usize = 1000;

/// The way of a run so far.
#[derive(Default)]
pub struct Trace {
    digest: u64,
    events: u64,
    text: Option<Vec<String>>,
    lines_max: usize,
}

impl Trace {
    /// A trace that keeps the last lines of its text, if that is more than none.
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        Self { text: (lines_max > 0).then(Vec::new), lines_max, ..Self::default() }
    }

    /// Something happened that these numbers tell from everything else.
    pub fn note(&mut self, numbers: &[u64]) {
        self.events += 1;
        for number in numbers {
            self.digest = (self.digest.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    /// The same for bytes: their beginning and their length.
    pub fn note_bytes(&mut self, bytes: &[u8]) {
        const LOOKED_AT: usize = 56;
        let looked_at = &bytes[..bytes.len().min(LOOKED_AT)];
        let mut numbers = [0; 1 + LOOKED_AT / 8];
        numbers[0] = bytes.len() as u64;
        let (whole, rest) = looked_at.as_chunks();
        for (number, bytes) in numbers[1..].iter_mut().zip(whole) {
            *number = u64::from_le_bytes(*bytes);
        }
        if !rest.is_empty() {
            numbers[1 + whole.len()] = rest.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        self.note(&numbers);
    }

    /// A line of text, if anybody reads it.
    pub fn say(&mut self, now: Instant, line: Arguments<'_>) {
        let Some(text) = &mut self.text else { return };
        if text.len() >= 2 * self.lines_max {
            text.drain(..self.lines_max);
        }
        let micros = now.as_nanos() / 1000;
        text.push(format!("{}.{:06} {line}", micros / 1_000_000, micros % 1_000_000));
    }

    /// Whether anybody reads the text.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.text.is_some()
    }

    /// Whether all of it is read, so that every frame may have its line.
    #[must_use]
    pub const fn is_read_whole(&self) -> bool {
        self.text.is_some() && self.lines_max > LINES_OF_AN_END
    }

    /// The way as one number.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many things happened.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines of the text.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        let lines = self.text.as_deref().unwrap_or_default();
        &lines[lines.len().saturating_sub(self.lines_max)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_both_decide() {
        let digest = |noted: &[&[u8]]| {
            let mut trace = Trace::new(0);
            noted.iter().for_each(|bytes| trace.note_bytes(bytes));
            trace.digest()
        };
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"a", b"b"]));
        assert_ne!(digest(&[b"a", b"b"]), digest(&[b"b", b"a"]));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(2);
        for line in 0..9 {
            trace.say(Instant::from_nanos(1_500_000_000), format_args!("line {line}"));
        }
        assert_eq!(trace.lines(), ["1.500000 line 7", "1.500000 line 8"]);
    }
}

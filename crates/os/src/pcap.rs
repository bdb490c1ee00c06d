//! A capture of the frames that went in and out, for support: what Wireshark and tcpdump call pcap, nanosecond kind.
//!
//! Writing a capture never stops the work it records: when the file is full or the disk refuses, it ends, and says so
//! when asked.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use block::Instant;

use crate::clock;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const VERSION: (u16, u16) = (2, 4);
const LINK_TYPE_ETHERNET: u32 = 1;
const FILE_HEADER_BYTES: u64 = 24;
const RECORD_HEADER_BYTES: u64 = 16;

/// How much to keep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PcapLimits {
    /// Bytes kept of each frame; the rest is cut off.
    pub frame_bytes: u32,
    /// Bytes of the file; frames after that are only counted.
    pub file_bytes: u64,
}

impl Default for PcapLimits {
    /// Whole frames, a gigabyte.
    fn default() -> Self {
        Self { frame_bytes: 65_535 + 14, file_bytes: 1 << 30 }
    }
}

/// What a capture came to.
#[derive(Debug, Default)]
pub struct PcapSummary {
    /// Frames written.
    pub written: u64,
    /// Frames that came after the capture had ended.
    pub missed: u64,
    /// Why the disk ended it, if it did.
    pub error: Option<io::Error>,
}

/// A capture being written.
#[derive(Debug)]
pub struct PcapWriter<W: Write = BufWriter<File>> {
    out: W,
    limits: PcapLimits,
    file_bytes: u64,
    summary: PcapSummary,
}

impl PcapWriter {
    /// Begins a capture file, replacing one that is there.
    pub fn create(path: &Path, limits: PcapLimits) -> io::Result<Self> {
        Self::new(BufWriter::with_capacity(1 << 20, File::create(path)?), limits)
    }
}

impl<W: Write> PcapWriter<W> {
    /// Begins a capture.
    pub fn new(mut out: W, limits: PcapLimits) -> io::Result<Self> {
        out.write_all(&MAGIC_NANOSECONDS.to_ne_bytes())?;
        out.write_all(&VERSION.0.to_ne_bytes())?;
        out.write_all(&VERSION.1.to_ne_bytes())?;
        out.write_all(&[0; 8])?; // time zone and its precision, which nobody uses
        out.write_all(&limits.frame_bytes.to_ne_bytes())?;
        out.write_all(&LINK_TYPE_ETHERNET.to_ne_bytes())?;
        Ok(Self { out, limits, file_bytes: FILE_HEADER_BYTES, summary: PcapSummary::default() })
    }

    /// Writes one frame, given in parts, that passed at `moment`.
    pub fn record(&mut self, moment: Instant, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let kept = length.min(self.limits.frame_bytes);
        let file_bytes = self.file_bytes + RECORD_HEADER_BYTES + u64::from(kept);
        if self.summary.error.is_some() || file_bytes > self.limits.file_bytes {
            self.summary.missed += 1;
            return;
        }
        match self.write_record(clock::unix_time(moment), length, kept, parts) {
            Ok(()) => {
                self.file_bytes = file_bytes;
                self.summary.written += 1;
            }
            Err(error) => {
                self.summary.error = Some(error);
                self.summary.missed += 1;
            }
        }
    }

    /// Hands what is buffered to the file system.
    pub fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            self.summary.error.get_or_insert(error);
        }
    }

    /// What was written so far.
    #[must_use]
    pub const fn summary(&self) -> &PcapSummary {
        &self.summary
    }

    fn write_record(&mut self, unix_nanos: u64, length: u32, kept: u32, parts: &[&[u8]]) -> io::Result<()> {
        let seconds = u32::try_from(unix_nanos / 1_000_000_000).unwrap_or(u32::MAX); // until 2106
        let nanoseconds = u32::try_from(unix_nanos % 1_000_000_000).map_err(io::Error::other)?;
        for field in [seconds, nanoseconds, kept, length] {
            self.out.write_all(&field.to_ne_bytes())?;
        }
        let mut remaining = kept as usize;
        for part in parts {
            let part = &part[..part.len().min(remaining)];
            self.out.write_all(part)?;
            remaining -= part.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(limits: PcapLimits, frames: &[&[&[u8]]]) -> (Vec<u8>, PcapSummary) {
        let mut writer = PcapWriter::new(Vec::new(), limits).expect("memory takes it");
        for parts in frames {
            writer.record(clock::now(), parts);
        }
        (writer.out, writer.summary)
    }

    #[test]
    fn a_frame_in_parts_is_one_record() {
        let (bytes, summary) = capture(PcapLimits::default(), &[&[b"head", b"and payload"]]);
        assert_eq!(bytes[..4], 0xa1b2_3c4du32.to_ne_bytes());
        assert_eq!(bytes[20..24], 1u32.to_ne_bytes());
        assert_eq!(bytes[32..36], 15u32.to_ne_bytes(), "kept");
        assert_eq!(bytes[36..40], 15u32.to_ne_bytes(), "on the wire");
        assert_eq!(&bytes[40..], b"headand payload");
        assert_eq!((summary.written, summary.missed), (1, 0));
    }

    #[test]
    fn a_long_frame_is_cut_and_its_length_kept() {
        let limits = PcapLimits { frame_bytes: 6, ..PcapLimits::default() };
        let (bytes, _) = capture(limits, &[&[b"head", b"and payload"]]);
        assert_eq!(bytes[32..36], 6u32.to_ne_bytes());
        assert_eq!(bytes[36..40], 15u32.to_ne_bytes());
        assert_eq!(&bytes[40..], b"headan");
    }

    #[test]
    fn a_full_file_ends_the_capture_and_counts_what_was_missed() {
        let limits = PcapLimits { file_bytes: 24 + 20, ..PcapLimits::default() };
        let (bytes, summary) = capture(limits, &[&[b"four"], &[b"more"], &[b"more"]]);
        assert_eq!(bytes.len(), 44);
        assert_eq!((summary.written, summary.missed), (1, 2));
    }

    #[test]
    fn a_disk_that_refuses_ends_the_capture_and_nothing_else() {
        struct Refuses(usize);
        impl Write for Refuses {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = PcapWriter::new(Refuses(24), PcapLimits::default()).expect("the header fits");
        writer.record(clock::now(), &[b"frame"]);
        writer.record(clock::now(), &[b"frame"]);
        assert_eq!(writer.summary().missed, 2);
        assert!(writer.summary().error.is_some());
    }
}

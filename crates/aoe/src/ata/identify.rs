//! IDENTIFY DEVICE: the 256 words in which a disk describes itself (ACS-3 §7.12), written by targets and read by
//! initiators. Decides which words a volume on AoE has; what it does not have stays zero.
//!
//! Sectors are 512 bytes on the wire whatever the disk has: words 117 and 118 stay empty, and only the physical
//! sector size in word 106 tells of a disk with larger ones.

use std::fmt;

use block::{Geometry, LogicalSectorSize, SECTOR_BYTES};
use thiserror::Error;

/// The numbers of the words.
mod word {
    use std::ops::RangeInclusive;

    pub(super) const GENERAL_CONFIGURATION: usize = 0;
    pub(super) const CYLINDERS: usize = 1;
    pub(super) const HEADS: usize = 3;
    pub(super) const SECTORS_PER_TRACK: usize = 6;
    pub(super) const SERIAL: usize = 10;
    pub(super) const FIRMWARE: usize = 23;
    pub(super) const MODEL: usize = 27;
    pub(super) const SECTORS_PER_INTERRUPT: usize = 47;
    pub(super) const CAPABILITIES: usize = 49;
    pub(super) const CAPABILITIES_2: usize = 50;
    pub(super) const VALIDITY: usize = 53;
    pub(super) const CURRENT_CYLINDERS: usize = 54;
    pub(super) const CURRENT_HEADS: usize = 55;
    pub(super) const CURRENT_SECTORS_PER_TRACK: usize = 56;
    pub(super) const CURRENT_CAPACITY: RangeInclusive<usize> = 57..=58;
    pub(super) const SECTORS_LBA28: RangeInclusive<usize> = 60..=61;
    pub(super) const MAJOR_VERSION: usize = 80;
    pub(super) const SUPPORTED_1: usize = 82;
    pub(super) const SUPPORTED_2: usize = 83;
    pub(super) const SUPPORTED_3: usize = 84;
    pub(super) const ENABLED_1: usize = 85;
    pub(super) const ENABLED_2: usize = 86;
    pub(super) const ENABLED_3: usize = 87;
    pub(super) const SECTORS_LBA48: RangeInclusive<usize> = 100..=103;
    pub(super) const PHYSICAL_SECTOR_SIZE: usize = 106;
    pub(super) const SECTOR_ALIGNMENT: usize = 209;
    pub(super) const INTEGRITY: usize = 255;
}

/// The bits in the words.
mod bit {
    /// Word 0: a disk that cannot be taken out.
    pub(super) const FIXED_DEVICE: u16 = 1 << 6;
    /// Word 47: its upper byte is always 0x80; the lower says that READ MULTIPLE is not there.
    pub(super) const NO_MULTIPLE: u16 = 0x8000;
    /// Word 49.
    pub(super) const LBA: u16 = 1 << 9;
    /// Words 50, 83, 84, 87, 106 and 209: bit 14 set and bit 15 clear mean that the word is filled in.
    pub(super) const VALID: u16 = 1 << 14;
    /// Word 53: words 54 to 58 are filled in.
    pub(super) const CURRENT_CHS_VALID: u16 = 1 << 0;
    /// Word 80: ATA/ATAPI-4 to ATA8-ACS.
    pub(super) const VERSIONS_4_TO_8: u16 = 0x01f0;
    /// Words 82 and 85.
    pub(super) const SMART: u16 = 1 << 0;
    /// Words 82 and 85.
    pub(super) const WRITE_CACHE: u16 = 1 << 5;
    /// Words 83 and 86.
    pub(super) const LBA48: u16 = 1 << 10;
    /// Words 83 and 86.
    pub(super) const FLUSH_CACHE: u16 = 1 << 12;
    /// Words 83 and 86.
    pub(super) const FLUSH_CACHE_EXT: u16 = 1 << 13;
    /// Words 84 and 87.
    pub(super) const SMART_ERROR_LOG: u16 = 1 << 0;
    /// Word 106: a physical sector holds 2^(bits 0 to 3) logical ones.
    pub(super) const LARGE_PHYSICAL_SECTORS: u16 = 1 << 13;
    /// Word 106.
    pub(super) const SECTORS_PER_PHYSICAL_EXPONENT: u16 = 0x000f;
    /// Word 255, lower byte: the upper one is a checksum.
    pub(super) const SIGNATURE: u8 = 0xa5;
}

/// Most sectors that 28 bits are taken to count (ACS-3 §7.12.7.22).
pub const SECTORS_LBA28_MAX: u64 = 0x0fff_ffff;

/// The geometry that every large disk claims to have: 16 heads, 63 sectors a track, at most 16,383 cylinders.
const HEADS: u16 = 16;
const SECTORS_PER_TRACK: u16 = 63;
const CYLINDERS_MAX: u64 = 16_383;

/// Text in an IDENTIFY page: printable ASCII padded with spaces.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct AtaString<const N: usize>([u8; N]);

impl<const N: usize> AtaString<N> {
    /// As much of `text` as fits; characters that ATA does not allow become `?`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [b' '; N];
        for (byte, character) in bytes.iter_mut().zip(text.chars()) {
            *byte = u8::try_from(character).ok().filter(is_printable).unwrap_or(b'?');
        }
        Self(bytes)
    }

    /// All bytes with their padding.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// In each word the first character is the upper byte.
    fn emit(&self, page: &mut [u8; SECTOR_BYTES], word: usize) {
        for (target, pair) in page[word * 2..].chunks_exact_mut(2).zip(self.0.chunks_exact(2)) {
            target.copy_from_slice(&[pair[1], pair[0]]);
        }
    }

    fn parse(page: &[u8; SECTOR_BYTES], word: usize) -> Self {
        let mut bytes = [0; N];
        for (pair, source) in bytes.chunks_exact_mut(2).zip(page[word * 2..].chunks_exact(2)) {
            pair.copy_from_slice(&[source[1], source[0]]);
        }
        Self(bytes)
    }
}

fn is_printable(byte: &u8) -> bool {
    (0x20..=0x7e).contains(byte)
}

impl<const N: usize> fmt::Display for AtaString<N> {
    /// Without the padding; what a foreign disk has between is shown as `?` where it is not printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blank = |byte: &u8| *byte == b' ' || *byte == 0;
        let start = self.0.iter().position(|byte| !blank(byte)).unwrap_or(N);
        let end = self.0.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        for byte in &self.0[start..end] {
            write!(f, "{}", if is_printable(byte) { char::from(*byte) } else { '?' })?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for AtaString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a disk says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identify {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether it takes 48-bit addresses. Every volume of ours does.
    pub lba48: bool,
    /// Words 10 to 19.
    pub serial: AtaString<20>,
    /// Words 23 to 26.
    pub firmware: AtaString<8>,
    /// Words 27 to 46.
    pub model: AtaString<40>,
    /// The unit of the disk beneath: smaller writes cost a read.
    pub physical_sector_size: LogicalSectorSize,
    /// Whether writes are answered before they are durable.
    pub write_cache: bool,
    /// Whether SMART commands other than ENABLE are answered.
    pub smart: bool,
}

/// Why a page is not the description of a disk.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum IdentifyError {
    /// Not a whole page.
    #[error("IDENTIFY data of {length} bytes; 512 are needed")]
    Truncated {
        /// Length found.
        length: usize,
    },
    /// The page says that it has a checksum, and the sum is wrong.
    #[error("the checksum of the IDENTIFY data is wrong; the frame was damaged on its way")]
    Checksum,
    /// More sectors than 48 bits can name.
    #[error("IDENTIFY data claims {sectors} sectors, more than 48 bits can name")]
    Sectors {
        /// Words 100 to 103.
        sectors: u64,
    },
}

impl Identify {
    /// Writes the page.
    ///
    /// # Panics
    /// If there are more sectors than the address bits can name.
    pub fn emit(&self, page: &mut [u8; SECTOR_BYTES]) {
        page.fill(0);
        self.emit_size(page);
        self.serial.emit(page, word::SERIAL);
        self.firmware.emit(page, word::FIRMWARE);
        self.model.emit(page, word::MODEL);
        put(page, word::GENERAL_CONFIGURATION, bit::FIXED_DEVICE);
        put(page, word::SECTORS_PER_INTERRUPT, bit::NO_MULTIPLE);
        put(page, word::CAPABILITIES, bit::LBA);
        put(page, word::CAPABILITIES_2, bit::VALID);
        put(page, word::MAJOR_VERSION, bit::VERSIONS_4_TO_8);
        self.emit_features(page);
        put(page, word::SECTOR_ALIGNMENT, bit::VALID);
        put_checksum(page);
    }

    fn emit_size(&self, page: &mut [u8; SECTOR_BYTES]) {
        let sectors_max = if self.lba48 { Geometry::SECTORS_MAX } else { SECTORS_LBA28_MAX };
        assert!(self.sectors <= sectors_max, "{} sectors cannot be addressed", self.sectors);
        let per_cylinder = u64::from(HEADS) * u64::from(SECTORS_PER_TRACK);
        let cylinders = (self.sectors / per_cylinder).min(CYLINDERS_MAX);
        let cylinders_word = u16::try_from(cylinders).expect("at most 16383");
        put(page, word::CYLINDERS, cylinders_word);
        put(page, word::HEADS, HEADS);
        put(page, word::SECTORS_PER_TRACK, SECTORS_PER_TRACK);
        put(page, word::VALIDITY, bit::CURRENT_CHS_VALID);
        put(page, word::CURRENT_CYLINDERS, cylinders_word);
        put(page, word::CURRENT_HEADS, HEADS);
        put(page, word::CURRENT_SECTORS_PER_TRACK, SECTORS_PER_TRACK);
        put_many(page, word::CURRENT_CAPACITY, cylinders * per_cylinder);
        put_many(page, word::SECTORS_LBA28, self.sectors.min(SECTORS_LBA28_MAX));
        if self.lba48 {
            put_many(page, word::SECTORS_LBA48, self.sectors);
        }
        let sectors_per_physical = self.physical_sector_size.sectors();
        let physical = match u16::try_from(sectors_per_physical.ilog2()).expect("at most 16") {
            0 => bit::VALID,
            exponent => bit::VALID | bit::LARGE_PHYSICAL_SECTORS | exponent,
        };
        put(page, word::PHYSICAL_SECTOR_SIZE, physical);
    }

    fn emit_features(&self, page: &mut [u8; SECTOR_BYTES]) {
        let when = |condition: bool, bits: u16| if condition { bits } else { 0 };
        let flushes = bit::FLUSH_CACHE | when(self.lba48, bit::FLUSH_CACHE_EXT | bit::LBA48);
        put(page, word::SUPPORTED_1, bit::SMART | bit::WRITE_CACHE);
        put(page, word::SUPPORTED_2, bit::VALID | flushes);
        put(page, word::SUPPORTED_3, bit::VALID | bit::SMART_ERROR_LOG);
        let enabled = when(self.smart, bit::SMART) | when(self.write_cache, bit::WRITE_CACHE);
        put(page, word::ENABLED_1, enabled);
        put(page, word::ENABLED_2, flushes);
        put(page, word::ENABLED_3, bit::VALID | bit::SMART_ERROR_LOG);
    }

    /// Reads the first 512 bytes of `data`; a reply may have more behind them.
    ///
    /// # Errors
    /// See [`IdentifyError`]. A page without a checksum is taken as it is: not every target makes one.
    pub fn parse(data: &[u8]) -> Result<Self, IdentifyError> {
        let page: &[u8; SECTOR_BYTES] =
            data.first_chunk().ok_or(IdentifyError::Truncated { length: data.len() })?;
        let integrity = word::INTEGRITY * 2;
        if page[integrity] == bit::SIGNATURE && sum(page) != 0 {
            return Err(IdentifyError::Checksum);
        }
        // Some targets set the bit in only one of the two words; the Linux driver takes either.
        let lba48 = (take(page, word::SUPPORTED_2) | take(page, word::ENABLED_2)) & bit::LBA48 != 0;
        let words = if lba48 { word::SECTORS_LBA48 } else { word::SECTORS_LBA28 };
        let sectors = words.rev().fold(0, |sum, word| sum << 16 | u64::from(take(page, word)));
        if sectors > Geometry::SECTORS_MAX {
            return Err(IdentifyError::Sectors { sectors });
        }
        Ok(Self {
            sectors,
            lba48,
            serial: AtaString::parse(page, word::SERIAL),
            firmware: AtaString::parse(page, word::FIRMWARE),
            model: AtaString::parse(page, word::MODEL),
            physical_sector_size: physical_sector_size(take(page, word::PHYSICAL_SECTOR_SIZE)),
            write_cache: take(page, word::ENABLED_1) & bit::WRITE_CACHE != 0,
            smart: take(page, word::ENABLED_1) & bit::SMART != 0,
        })
    }
}

/// Anything but eight sectors of 512 bytes counts as one: it is a hint for alignment only.
fn physical_sector_size(word: u16) -> LogicalSectorSize {
    let valid = word & (bit::VALID | 1 << 15) == bit::VALID;
    let exponent = word & bit::SECTORS_PER_PHYSICAL_EXPONENT;
    if valid && word & bit::LARGE_PHYSICAL_SECTORS != 0 && exponent == 3 {
        LogicalSectorSize::B4096
    } else {
        LogicalSectorSize::B512
    }
}

fn put(page: &mut [u8; SECTOR_BYTES], word: usize, value: u16) {
    page[word * 2..word * 2 + 2].copy_from_slice(&value.to_le_bytes());
}

/// A number over several words, lowest first.
fn put_many(page: &mut [u8; SECTOR_BYTES], words: std::ops::RangeInclusive<usize>, value: u64) {
    let bytes = &mut page[words.start() * 2..words.end() * 2 + 2];
    let length = bytes.len();
    bytes.copy_from_slice(&value.to_le_bytes()[..length]);
}

fn take(page: &[u8; SECTOR_BYTES], word: usize) -> u16 {
    u16::from_le_bytes([page[word * 2], page[word * 2 + 1]])
}

/// All bytes of a page with a checksum add up to zero.
fn sum(page: &[u8; SECTOR_BYTES]) -> u8 {
    page.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

fn put_checksum(page: &mut [u8; SECTOR_BYTES]) {
    let integrity = word::INTEGRITY * 2;
    page[integrity] = bit::SIGNATURE;
    page[integrity + 1] = 0;
    page[integrity + 1] = sum(page).wrapping_neg();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify() -> Identify {
        Identify {
            sectors: 2048,
            lba48: true,
            serial: AtaString::new("e7.1"),
            firmware: AtaString::new("0.1"),
            model: AtaString::new("etherpair"),
            physical_sector_size: LogicalSectorSize::B512,
            write_cache: false,
            smart: true,
        }
    }

    fn page(identify: &Identify) -> [u8; SECTOR_BYTES] {
        let mut page = [0xaa; SECTOR_BYTES];
        identify.emit(&mut page);
        page
    }

    fn words(page: &[u8; SECTOR_BYTES]) -> Vec<(usize, u16)> {
        (0..256).map(|word| (word, take(page, word))).filter(|(_, value)| *value != 0).collect()
    }

    #[test]
    fn a_small_disk_has_these_words_and_no_others() {
        let page = page(&identify());
        assert_eq!(&page[20..40], b"7e1.                ");
        assert_eq!(&page[46..54], b".0 1    ");
        assert_eq!(&page[54..94], b"teehpria r                              ");
        let texts = 10..47;
        let found: Vec<_> = words(&page).into_iter().filter(|(word, _)| !texts.contains(word)).collect();
        let expected = [
            (0, 0x0040),
            (1, 2),
            (3, 16),
            (6, 63),
            (47, 0x8000),
            (49, 0x0200),
            (50, 0x4000),
            (53, 0x0001),
            (54, 2),
            (55, 16),
            (56, 63),
            (57, 2016),
            (60, 2048),
            (80, 0x01f0),
            (82, 0x0021),
            (83, 0x7400),
            (84, 0x4001),
            (85, 0x0001),
            (86, 0x3400),
            (87, 0x4001),
            (100, 2048),
            (106, 0x4000),
            (209, 0x4000),
        ];
        assert_eq!(found[..found.len() - 1], expected);
        assert_eq!(found.last().map(|(word, value)| (*word, value & 0xff)), Some((255, 0xa5)));
        assert_eq!(sum(&page), 0);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (sectors, lba48) in [(0, true), (1, false), (SECTORS_LBA28_MAX, false), (1 << 48, true)] {
            for physical_sector_size in [LogicalSectorSize::B512, LogicalSectorSize::B4096] {
                let written =
                    Identify { sectors, lba48, physical_sector_size, write_cache: true, ..identify() };
                assert_eq!(Identify::parse(&page(&written)), Ok(written));
            }
        }
    }

    #[test]
    fn a_large_disk_caps_its_old_sizes() {
        let page = page(&Identify { sectors: 1 << 32, ..identify() });
        assert_eq!((take(&page, 60), take(&page, 61)), (0xffff, 0x0fff));
        assert_eq!([100, 101, 102, 103].map(|word| take(&page, word)), [0, 0, 1, 0]);
        assert_eq!((take(&page, 1), take(&page, 54)), (16_383, 16_383));
        let capacity = u32::from(take(&page, 58)) << 16 | u32::from(take(&page, 57));
        assert_eq!(capacity, 16_383 * 16 * 63);
    }

    #[test]
    fn larger_physical_sectors_show_in_one_word() {
        let page = page(&Identify { physical_sector_size: LogicalSectorSize::B4096, ..identify() });
        assert_eq!((take(&page, 106), take(&page, 117), take(&page, 118)), (0x6003, 0, 0));
    }

    #[test]
    fn either_word_with_its_bit_makes_a_disk_of_48_bits() {
        for word in [word::SUPPORTED_2, word::ENABLED_2] {
            let mut page = page(&identify());
            let without = take(&page, word) & !bit::LBA48;
            put(&mut page, word, without);
            put_checksum(&mut page);
            assert_eq!(Identify::parse(&page).map(|identify| identify.lba48), Ok(true));
        }
    }

    #[test]
    fn damage_is_noticed_where_there_is_a_checksum() {
        let mut damaged = page(&identify());
        damaged[120] ^= 1;
        assert_eq!(Identify::parse(&damaged), Err(IdentifyError::Checksum));
        damaged[510] = 0;
        assert_eq!(Identify::parse(&damaged).map(|identify| identify.model), Ok(identify().model));
        assert_eq!(Identify::parse(&damaged[..511]), Err(IdentifyError::Truncated { length: 511 }));
    }

    #[test]
    fn a_size_beyond_48_bits_is_refused() {
        let mut page = page(&identify());
        put(&mut page, 103, 2);
        put_checksum(&mut page);
        let sectors = 2 << 48 | 2048;
        assert_eq!(Identify::parse(&page), Err(IdentifyError::Sectors { sectors }));
    }

    #[test]
    fn text_keeps_to_its_alphabet_and_length() {
        assert_eq!(AtaString::<4>::new("äb\u{7f}defg").as_bytes(), b"?b?d");
        assert_eq!(AtaString::<8>::new(" a b").to_string(), "a b");
        assert_eq!(AtaString::<8>([0; 8]).to_string(), "");
        assert_eq!(AtaString::<8>(*b"a\x00\xffb    ").to_string(), "a??b");
    }
}

//! SMART (ATA8-ACS §7.52): the sub-commands that `aoeping -S` sends, and the pages that answer them. Holds no state
//! and measures nothing: the target says what it counted and whether the disk is well.
//!
//! There are no self-tests and no logs that can be written; the pages say so, and WRITE LOG is aborted as by a disk
//! whose logs are for reading (`docs/decisions/0007`). aoeping takes no SMART reply that is shorter than the registers
//! and one sector, not even of a sub-command without data or of an abort: a target that wants to be understood fills
//! such a reply up with zeros.

use block::SECTOR_BYTES;

/// LBA mid and high in every SMART request, and in RETURN STATUS of a disk that is well.
pub const SIGNATURE: [u8; 2] = [0x4f, 0xc2];

/// LBA mid and high in RETURN STATUS of a disk that is failing.
pub const THRESHOLD_EXCEEDED: [u8; 2] = [0xf4, 0x2c];

/// The sub-command, in the feature register.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SmartFeature {
    /// 0xD0: the attributes.
    ReadData,
    /// 0xD1: how low each attribute may be, for programs as old as that; aoeping does not ask.
    ReadThresholds,
    /// 0xD4: collect data now.
    ExecuteOfflineImmediate,
    /// 0xD5: a log page, its address in LBA low.
    ReadLog,
    /// 0xD6: write one.
    WriteLog,
    /// 0xD8: from now on answer the others.
    EnableOperations,
    /// 0xD9: from now on answer only ENABLE.
    DisableOperations,
    /// 0xDA: say in LBA mid and high whether the disk is well.
    ReturnStatus,
    /// Any other: aborted.
    Unknown(u8),
}

impl SmartFeature {
    /// The byte in the feature register.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::ReadData => 0xd0,
            Self::ReadThresholds => 0xd1,
            Self::ExecuteOfflineImmediate => 0xd4,
            Self::ReadLog => 0xd5,
            Self::WriteLog => 0xd6,
            Self::EnableOperations => 0xd8,
            Self::DisableOperations => 0xd9,
            Self::ReturnStatus => 0xda,
            Self::Unknown(number) => number,
        }
    }
}

impl From<u8> for SmartFeature {
    fn from(number: u8) -> Self {
        match number {
            0xd0 => Self::ReadData,
            0xd1 => Self::ReadThresholds,
            0xd4 => Self::ExecuteOfflineImmediate,
            0xd5 => Self::ReadLog,
            0xd6 => Self::WriteLog,
            0xd8 => Self::EnableOperations,
            0xd9 => Self::DisableOperations,
            0xda => Self::ReturnStatus,
            other => Self::Unknown(other),
        }
    }
}

/// LBA low of EXECUTE OFFLINE IMMEDIATE: collect data. We have it all already; every other routine is a self-test.
pub const OFFLINE_ROUTINE: u8 = 0;

/// One attribute of READ DATA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// Which, by the numbers that all makers share; never 0.
    pub id: u8,
    /// Whether a bad value foretells failure.
    pub prefailure: bool,
    /// 100 is well, lower is worse.
    pub value: u8,
    /// The lowest value there was.
    pub worst: u8,
    /// A plain count, 48 bits.
    pub raw: u64,
}

impl Attribute {
    /// Errors while reading.
    pub const READ_ERROR_RATE: u8 = 1;
    /// Errors that nothing could correct and that the initiator was told of.
    pub const REPORTED_UNCORRECTABLE: u8 = 187;
    /// Errors while writing.
    pub const WRITE_ERROR_RATE: u8 = 200;
}

/// Attributes that a page has room for.
pub const ATTRIBUTES_MAX: usize = 30;

mod data {
    use std::ops::Range;

    pub(super) const REVISION: Range<usize> = 0..2;
    pub(super) const ATTRIBUTES: usize = 2;
    pub(super) const ATTRIBUTE_BYTES: usize = 12;
    pub(super) const OFFLINE_STATUS: usize = 362;
    pub(super) const OFFLINE_CAPABILITY: usize = 367;
    pub(super) const ERROR_LOG_CAPABILITY: usize = 370;
    pub(super) const CHECKSUM: usize = 511;

    /// What most disks say; READ DATA's layout is theirs.
    pub(super) const REVISION_NUMBER: u16 = 0x0010;
    /// Collected without error.
    pub(super) const OFFLINE_COMPLETED: u8 = 0x02;
    /// EXECUTE OFFLINE IMMEDIATE is answered; no self-tests.
    pub(super) const OFFLINE_IMMEDIATE: u8 = 0x01;
    /// There is an error log.
    pub(super) const ERROR_LOG: u8 = 0x01;
}

/// Writes the page of READ DATA.
///
/// # Panics
/// If there are more than [`ATTRIBUTES_MAX`] attributes.
pub fn emit_data(page: &mut [u8; SECTOR_BYTES], attributes: &[Attribute]) {
    assert!(attributes.len() <= ATTRIBUTES_MAX, "a page has room for 30 attributes");
    page.fill(0);
    page[data::REVISION].copy_from_slice(&data::REVISION_NUMBER.to_le_bytes());
    let entries = page[data::ATTRIBUTES..].chunks_exact_mut(data::ATTRIBUTE_BYTES);
    for (entry, attribute) in entries.zip(attributes) {
        let flags = u16::from(attribute.prefailure);
        entry[0] = attribute.id;
        entry[1..3].copy_from_slice(&flags.to_le_bytes());
        entry[3] = attribute.value;
        entry[4] = attribute.worst;
        entry[5..11].copy_from_slice(&attribute.raw.to_le_bytes()[..6]);
    }
    page[data::OFFLINE_STATUS] = data::OFFLINE_COMPLETED;
    page[data::OFFLINE_CAPABILITY] = data::OFFLINE_IMMEDIATE;
    page[data::ERROR_LOG_CAPABILITY] = data::ERROR_LOG;
    put_checksum(page);
}

/// Writes the page of READ THRESHOLDS: each of `attributes` is bad from `threshold` down.
///
/// # Panics
/// If there are more than [`ATTRIBUTES_MAX`] attributes.
pub fn emit_thresholds(page: &mut [u8; SECTOR_BYTES], attributes: &[Attribute], threshold: u8) {
    assert!(attributes.len() <= ATTRIBUTES_MAX, "a page has room for 30 attributes");
    page.fill(0);
    page[data::REVISION].copy_from_slice(&data::REVISION_NUMBER.to_le_bytes());
    let entries = page[data::ATTRIBUTES..].chunks_exact_mut(data::ATTRIBUTE_BYTES);
    for (entry, attribute) in entries.zip(attributes) {
        entry[0] = attribute.id;
        entry[1] = threshold;
    }
    put_checksum(page);
}

/// A log that can be read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SmartLog {
    /// 0x00: which logs there are.
    Directory,
    /// 0x01: the last errors. Ours counts them and keeps none.
    SummaryError,
    /// 0x06: the last self-tests: none.
    SelfTest,
}

impl SmartLog {
    const ALL: [Self; 3] = [Self::Directory, Self::SummaryError, Self::SelfTest];

    /// The log at the address in LBA low, if we have it.
    #[must_use]
    pub fn from_address(address: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|log| log.address() == address)
    }

    /// The address in LBA low.
    #[must_use]
    pub const fn address(self) -> u8 {
        match self {
            Self::Directory => 0x00,
            Self::SummaryError => 0x01,
            Self::SelfTest => 0x06,
        }
    }

    /// Writes the page of READ LOG; `error_count` is of the disk's life.
    pub fn emit(self, page: &mut [u8; SECTOR_BYTES], error_count: u16) {
        page.fill(0);
        // Each page begins with its version, 1; only the summary error log has it in one byte.
        page[0] = 1;
        match self {
            Self::Directory => {
                // One word a log with its pages; the directory itself has its version there, and no checksum.
                for log in Self::ALL {
                    page[usize::from(log.address()) * 2] = 1;
                }
            }
            Self::SummaryError => {
                page[452..454].copy_from_slice(&error_count.to_le_bytes());
                put_checksum(page);
            }
            Self::SelfTest => put_checksum(page),
        }
    }
}

/// All bytes of a page add up to zero.
fn put_checksum(page: &mut [u8; SECTOR_BYTES]) {
    page[data::CHECKSUM] = 0;
    page[data::CHECKSUM] = page.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).wrapping_neg();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(page: &[u8; SECTOR_BYTES]) -> u8 {
        page.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn read_data_has_its_attributes_and_a_checksum() {
        let mut page = [0xaa; SECTOR_BYTES];
        let errors = Attribute {
            id: Attribute::REPORTED_UNCORRECTABLE,
            prefailure: true,
            value: 99,
            worst: 98,
            raw: 0x0605_0403_0201,
        };
        emit_data(&mut page, &[errors]);
        assert_eq!(page[..14], [0x10, 0, 187, 1, 0, 99, 98, 1, 2, 3, 4, 5, 6, 0]);
        assert!(page[14..362].iter().all(|byte| *byte == 0));
        assert_eq!((page[362], page[367], page[370]), (2, 1, 1));
        assert_eq!(sum(&page), 0);
    }

    #[test]
    fn thresholds_stand_beside_the_attributes_they_are_for() {
        let attribute = |id| Attribute { id, prefailure: true, value: 100, worst: 100, raw: 7 };
        let mut page = [0xaa; SECTOR_BYTES];
        emit_thresholds(&mut page, &[attribute(1), attribute(187)], 50);
        assert_eq!(page[..4], [0x10, 0, 1, 50]);
        assert_eq!(page[14..17], [187, 50, 0]);
        assert!(page[4..14].iter().chain(&page[17..511]).all(|byte| *byte == 0));
        assert_eq!(sum(&page), 0);
    }

    #[test]
    fn a_page_is_full_with_thirty_attributes() {
        let attribute = Attribute { id: 1, prefailure: false, value: 100, worst: 100, raw: 0 };
        let mut page = [0; SECTOR_BYTES];
        emit_data(&mut page, &[attribute; ATTRIBUTES_MAX]);
        assert_eq!((page[2 + 29 * 12], page[362]), (1, 2));
    }

    #[test]
    fn the_directory_names_the_logs_that_can_be_read() {
        let mut page = [0xaa; SECTOR_BYTES];
        SmartLog::Directory.emit(&mut page, 0);
        for address in 0..=u8::MAX {
            let pages = u16::from(page[usize::from(address) * 2]);
            assert_eq!(pages, u16::from(SmartLog::from_address(address).is_some()), "log {address:#04x}");
        }
    }

    #[test]
    fn logs_have_a_version_and_a_checksum() {
        let mut page = [0xaa; SECTOR_BYTES];
        SmartLog::SummaryError.emit(&mut page, 0x0102);
        assert_eq!((page[0], page[1], page[452], page[453], sum(&page)), (1, 0, 2, 1, 0));
        SmartLog::SelfTest.emit(&mut page, 7);
        assert_eq!((page[0], page[1], page[508], sum(&page)), (1, 0, 0, 0));
    }

    #[test]
    fn every_feature_comes_back_as_itself() {
        for number in 0..=u8::MAX {
            assert_eq!(SmartFeature::from(number).number(), number);
        }
    }
}

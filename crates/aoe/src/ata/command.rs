//! The opcodes that a target knows. Decides nothing but which of them carry 48-bit addresses and data.

use std::fmt;

/// An ATA command.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AtaCommand {
    /// 0x20 READ SECTOR(S), 28 bits.
    ReadSectors,
    /// 0x24 READ SECTOR(S) EXT, 48 bits.
    ReadSectorsExt,
    /// 0x30 WRITE SECTOR(S), 28 bits.
    WriteSectors,
    /// 0x34 WRITE SECTOR(S) EXT, 48 bits.
    WriteSectorsExt,
    /// 0xB0 SMART, its sub-command in the feature register.
    Smart,
    /// 0xE5 CHECK POWER MODE.
    CheckPowerMode,
    /// 0xE7 FLUSH CACHE.
    FlushCache,
    /// 0xEA FLUSH CACHE EXT.
    FlushCacheExt,
    /// 0xEC IDENTIFY DEVICE.
    IdentifyDevice,
    /// 0xEF SET FEATURES, its sub-command in the feature register.
    SetFeatures,
    /// Any other: aborted.
    Unknown(u8),
}

impl AtaCommand {
    /// The byte in the command register.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        match self {
            Self::ReadSectors => 0x20,
            Self::ReadSectorsExt => 0x24,
            Self::WriteSectors => 0x30,
            Self::WriteSectorsExt => 0x34,
            Self::Smart => 0xb0,
            Self::CheckPowerMode => 0xe5,
            Self::FlushCache => 0xe7,
            Self::FlushCacheExt => 0xea,
            Self::IdentifyDevice => 0xec,
            Self::SetFeatures => 0xef,
            Self::Unknown(opcode) => opcode,
        }
    }

    /// Whether its address has 48 bits.
    #[must_use]
    pub const fn is_extended(self) -> bool {
        matches!(self, Self::ReadSectorsExt | Self::WriteSectorsExt | Self::FlushCacheExt)
    }

    /// Whether it reads sectors of the volume.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::ReadSectors | Self::ReadSectorsExt)
    }

    /// Whether it writes sectors of the volume.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::WriteSectors | Self::WriteSectorsExt)
    }

    /// Whether it asks that what was written be made durable.
    #[must_use]
    pub const fn is_flush(self) -> bool {
        matches!(self, Self::FlushCache | Self::FlushCacheExt)
    }
}

impl From<u8> for AtaCommand {
    fn from(opcode: u8) -> Self {
        match opcode {
            0x20 => Self::ReadSectors,
            0x24 => Self::ReadSectorsExt,
            0x30 => Self::WriteSectors,
            0x34 => Self::WriteSectorsExt,
            0xb0 => Self::Smart,
            0xe5 => Self::CheckPowerMode,
            0xe7 => Self::FlushCache,
            0xea => Self::FlushCacheExt,
            0xec => Self::IdentifyDevice,
            0xef => Self::SetFeatures,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for AtaCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadSectors => write!(f, "READ SECTORS"),
            Self::ReadSectorsExt => write!(f, "READ SECTORS EXT"),
            Self::WriteSectors => write!(f, "WRITE SECTORS"),
            Self::WriteSectorsExt => write!(f, "WRITE SECTORS EXT"),
            Self::Smart => write!(f, "SMART"),
            Self::CheckPowerMode => write!(f, "CHECK POWER MODE"),
            Self::FlushCache => write!(f, "FLUSH CACHE"),
            Self::FlushCacheExt => write!(f, "FLUSH CACHE EXT"),
            Self::IdentifyDevice => write!(f, "IDENTIFY DEVICE"),
            Self::SetFeatures => write!(f, "SET FEATURES"),
            Self::Unknown(opcode) => write!(f, "ATA {opcode:#04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_comes_back_as_itself() {
        for opcode in 0..=u8::MAX {
            assert_eq!(AtaCommand::from(opcode).opcode(), opcode);
        }
    }
}

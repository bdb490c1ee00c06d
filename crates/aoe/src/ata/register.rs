//! The status and error registers of a reply.

use std::fmt;
use std::ops::BitOr;

/// The status register.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Status(pub u8);

impl Status {
    /// The error register says what went wrong.
    pub const ERR: Self = Self(0x01);
    /// Data is waited for; on AoE a protocol error.
    pub const DRQ: Self = Self(0x08);
    /// The device failed.
    pub const DF: Self = Self(0x20);
    /// The device is ready.
    pub const DRDY: Self = Self(0x40);
    /// The device is busy.
    pub const BSY: Self = Self(0x80);

    /// How a success looks.
    pub const READY: Self = Self::DRDY;
    /// How a failed command looks.
    pub const READY_ERROR: Self = Self(Self::DRDY.0 | Self::ERR.0);
    /// How a failed device looks.
    pub const READY_FAULT: Self = Self(Self::DRDY.0 | Self::DF.0 | Self::ERR.0);

    /// What Linux, Plan 9 and illumos take for a failure (iPXE: only ERR, so a failure sets that too).
    const FAILURE: u8 = Self::BSY.0 | Self::DF.0 | Self::DRQ.0 | Self::ERR.0;

    /// Whether the command failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 & Self::FAILURE != 0
    }

    /// Whether every bit of `bits` is set.
    #[must_use]
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::BSY, "BSY"),
            (Self::DRDY, "DRDY"),
            (Self::DF, "DF"),
            (Self::DRQ, "DRQ"),
            (Self::ERR, "ERR"),
        ];
        write_bits(f, self.0, names.map(|(bit, name)| (bit.0, name)))
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

/// The error register; it counts only where the status has ERR.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct ErrorRegister(pub u8);

impl ErrorRegister {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The command is not supported, or not with these registers.
    pub const ABRT: Self = Self(0x04);
    /// No such sector.
    pub const IDNF: Self = Self(0x10);
    /// The medium cannot be read.
    pub const UNC: Self = Self(0x40);
    /// The data was damaged on its way.
    pub const ICRC: Self = Self(0x80);

    /// Whether every bit of `bits` is set.
    #[must_use]
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for ErrorRegister {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for ErrorRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::ICRC, "ICRC"), (Self::UNC, "UNC"), (Self::IDNF, "IDNF"), (Self::ABRT, "ABRT")];
        write_bits(f, self.0, names.map(|(bit, name)| (bit.0, name)))
    }
}

impl fmt::Debug for ErrorRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorRegister({self})")
    }
}

/// The names of the bits that are set with `|` between, what is left over in hexadecimal, `0` for none.
fn write_bits<const N: usize>(f: &mut fmt::Formatter<'_>, bits: u8, names: [(u8, &str); N]) -> fmt::Result {
    let mut rest = bits;
    let mut separator = "";
    for (bit, name) in names {
        if rest & bit != 0 {
            write!(f, "{separator}{name}")?;
            rest &= !bit;
            separator = "|";
        }
    }
    if rest != 0 || bits == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_and_a_failure_look_as_initiators_expect() {
        assert!(!Status::READY.is_failure());
        for bit in [Status::BSY, Status::DF, Status::DRQ, Status::ERR] {
            assert!((Status::READY | bit).is_failure());
        }
        assert!(Status::READY_FAULT.contains(Status::ERR));
    }

    #[test]
    fn bits_print_by_name() {
        assert_eq!(Status::READY_ERROR.to_string(), "DRDY|ERR");
        assert_eq!(Status(0x51).to_string(), "DRDY|ERR|0x10");
        assert_eq!(ErrorRegister(0).to_string(), "0x0");
        assert_eq!((ErrorRegister::ABRT | ErrorRegister::IDNF).to_string(), "IDNF|ABRT");
    }
}

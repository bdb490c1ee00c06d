//! Names the content of a write, so that a retransmission is told from another write to the same sectors.
//!
//! A duplicate is answered without being executed, so two contents with one digest mean an acknowledged write that
//! never happened. Under an overwrite load of 10^5 writes a second to hot sectors a 32-bit CRC would do that once in
//! half a day (2^32 / 10^5 s); 128 bits never. The hash is seeded, so that nobody prepares colliding blocks at home.

use twox_hash::XxHash3_128;

/// XXH3-128 of a write's payload under a seed that the shell drew at start.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of `payload`. Digests under different seeds do not compare.
    #[must_use]
    pub fn of(seed: u64, payload: &[u8]) -> Self {
        Self(XxHash3_128::oneshot_with_seed(seed, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_seed_both_decide() {
        let zeros = [0u8; 4096];
        let mut other = zeros;
        other[4095] = 1;
        assert_eq!(Digest::of(1, &zeros), Digest::of(1, &zeros));
        assert_ne!(Digest::of(1, &zeros), Digest::of(1, &other));
        assert_ne!(Digest::of(1, &zeros), Digest::of(2, &zeros));
        assert_ne!(Digest::of(1, &zeros), Digest::of(1, &zeros[..512]));
    }
}

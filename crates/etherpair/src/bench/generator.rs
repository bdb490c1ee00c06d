//! Which request comes next: reads or writes, anywhere or in order. The same seed gives the same requests.

use super::plan::Plan;

/// How requests are spread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mix {
    pub(crate) random: bool,
    /// Percentage of reads.
    pub(crate) reads: u8,
}

impl Mix {
    pub(crate) const fn writes(self) -> bool {
        self.reads < 100
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Gives out requests over `blocks` blocks.
#[derive(Debug)]
pub(crate) struct Generator {
    mix: Mix,
    blocks: u64,
    next: u64,
    state: u64,
}

impl Generator {
    pub(crate) fn new(plan: &Plan, blocks: u64) -> Self {
        assert!(blocks > 0, "a load needs a block");
        Self { mix: plan.mix, blocks, next: 0, state: plan.seed }
    }

    /// The next request: what, and which block.
    pub(crate) fn next(&mut self) -> (Direction, u64) {
        let reads = u64::from(self.mix.reads);
        let is_read = reads == 100 || (reads > 0 && self.below(100) < reads);
        let direction = if is_read { Direction::Read } else { Direction::Write };
        if self.mix.random {
            let blocks = self.blocks;
            return (direction, self.below(blocks));
        }
        let block = self.next;
        self.next = (block + 1) % self.blocks;
        (direction, block)
    }

    /// A number below `bound`, each as likely as any other to within 2^-32 for volumes that exist.
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.random()) * u128::from(bound);
        u64::try_from(product >> 64).expect("below a u64")
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(random: bool, reads: u8, blocks: u64) -> Generator {
        Generator { mix: Mix { random, reads }, blocks, next: 0, state: 42 }
    }

    #[test]
    fn in_order_it_goes_round() {
        let mut generator = generator(false, 100, 3);
        let blocks: Vec<u64> = (0..7).map(|_| generator.next().1).collect();
        assert_eq!(blocks, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn anywhere_means_every_block_about_as_often() {
        let mut generator = generator(true, 30, 10);
        let (mut hits, mut reads) = ([0u32; 10], 0u32);
        for _ in 0..10_000 {
            let (direction, block) = generator.next();
            hits[usize::try_from(block).expect("small")] += 1;
            reads += u32::from(direction == Direction::Read);
        }
        assert!(hits.iter().all(|&hits| (850..1150).contains(&hits)), "{hits:?}");
        assert!((2800..3200).contains(&reads), "{reads}");
    }
}

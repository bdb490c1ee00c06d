//! A disk's bytes. Copies share what they have in common, so that a moment costs little: who starts processes pays for all memory it has.

use std::sync::Arc;

const BLOCK_BYTES: usize = 4096;

#[derive(Debug, Clone)]
pub(super) struct Content {
    /// None has zeroes.
    blocks: Vec<Option<Arc<[u8; BLOCK_BYTES]>>>,
}

impl Content {
    /// Of whole blocks.
    pub(super) fn blank(length: usize) -> Self {
        assert!(length.is_multiple_of(BLOCK_BYTES), "disks have whole blocks");
        Self { blocks: vec![None; length / BLOCK_BYTES] }
    }

    pub(super) fn length(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// What there is of this range.
    pub(super) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let (begin, end) = (offset.min(self.length()), (offset + length).min(self.length()));
        let mut bytes = Vec::with_capacity(end - begin);
        while bytes.len() < end - begin {
            let (block, within) = position(begin + bytes.len());
            let count = (BLOCK_BYTES - within).min(end - begin - bytes.len());
            match &self.blocks[block] {
                Some(block) => bytes.extend_from_slice(&block[within..within + count]),
                None => bytes.resize(bytes.len() + count, 0),
            }
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let mut written = 0;
        while written < data.len() {
            let (block, within) = position(offset + written);
            let count = (BLOCK_BYTES - within).min(data.len() - written);
            let block = self.blocks[block].get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
            Arc::make_mut(block)[within..within + count].copy_from_slice(&data[written..written + count]);
            written += count;
        }
    }
}

/// The block of a byte, and where in it that is.
fn position(offset: usize) -> (usize, usize) {
    (offset / BLOCK_BYTES, offset % BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_across_blocks_and_copies_have_their_own() {
        let mut content = Content::blank(4 * BLOCK_BYTES);
        content.write(4000, &[1; 5000]);
        let copy = content.clone();
        content.write(4096, &[2; 512]);
        assert_eq!(content.read(3999, 98), [&[0][..], &[1; 96], &[2]].concat());
        assert_eq!(copy.read(3999, 98), [&[0][..], &[1; 97]].concat());
        assert_eq!(content.read(8999, 2), [1, 0]);
        assert_eq!(content.read(4 * BLOCK_BYTES - 1, 512), [0]);
    }
}

//! Bytes that a disk holds: pages where something was written, zeros elsewhere, so that a volume of terabytes costs nothing.

use std::collections::BTreeMap;

const PAGE_BYTES: usize = 4096;

/// Sparse bytes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Store {
    /// Copies out what stands from `offset` on.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let bytes = &mut bytes[part];
            match self.pages.get(&page) {
                Some(found) => bytes.copy_from_slice(&found[within..within + bytes.len()]),
                None => bytes.fill(0),
            }
        }
    }

    /// Puts bytes from `offset` on.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let bytes = &bytes[part];
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
            page[within..within + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Where something was ever written, in pages of 4 KiB, in order.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().map(|(page, bytes)| (page * PAGE_BYTES as u64, bytes.as_slice()))
    }
}

/// The pages that a run of bytes touches: which, from where in it, and which part of the run.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES as u64).expect("within a page");
        let count = (PAGE_BYTES - within).min(length - done);
        done += count;
        Some((at / PAGE_BYTES as u64, within, done - count..done))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_rest_is_zero() {
        let mut store = Store::default();
        store.write(4000, &[7; 200]);
        let mut bytes = [1; 300];
        store.read(3950, &mut bytes);
        assert!(bytes[..50] == [0; 50] && bytes[50..250] == [7; 200] && bytes[250..] == [0; 50]);
        assert_eq!(store.pages().map(|(at, _)| at).collect::<Vec<_>>(), [0, 4096]);
    }
}

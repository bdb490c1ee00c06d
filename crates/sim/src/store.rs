//! Bytes that a disk holds: pages where something was written, zeros elsewhere, so that a large volume costs little.

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// Sparse bytes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// By number, as far as one was ever written.
    pages: Vec<Option<Box<Page>>>,
}

impl Store {
    /// Copies out what stands from `offset` on.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let bytes = &mut bytes[part];
            match self.page(page) {
                Some(found) => bytes.copy_from_slice(&found[within..within + bytes.len()]),
                None => bytes.fill(0),
            }
        }
    }

    /// The same into memory of its own.
    #[must_use]
    pub fn read_to_vec(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        for (page, within, part) in pieces(offset, length) {
            match self.page(page) {
                Some(found) => bytes.extend_from_slice(&found[within..within + part.len()]),
                None => bytes.resize(part.end, 0),
            }
        }
        bytes
    }

    /// Puts bytes from `offset` on.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let bytes = &bytes[part];
            if page >= self.pages.len() {
                self.pages.resize_with(page + 1, || None);
            }
            let page = self.pages[page].get_or_insert_with(|| Box::new([0; PAGE_BYTES]));
            page[within..within + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Where something was ever written, in pages of 4 KiB, in order.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let pages = (0..).step_by(PAGE_BYTES).zip(&self.pages);
        pages.filter_map(|(offset, page)| Some((offset, page.as_deref()?.as_slice())))
    }

    /// The pages in which two differ, by where they begin.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        let content = |store: &'a Self, page| store.page(page).unwrap_or(&[0; PAGE_BYTES]);
        (0..self.pages.len().max(other.pages.len()))
            .filter(move |page| content(self, *page) != content(other, *page))
            .map(|page| page as u64 * PAGE_BYTES as u64)
    }

    fn page(&self, number: usize) -> Option<&Page> {
        self.pages.get(number)?.as_deref()
    }
}

/// The pages that a run of bytes touches: which, from where in it, and which part of the run.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES as u64).expect("within a page");
        let count = (PAGE_BYTES - within).min(length - done);
        done += count;
        let page = usize::try_from(at / PAGE_BYTES as u64).expect("a volume that fits the memory");
        Some((page, within, done - count..done))
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
        assert_eq!(store.read_to_vec(3950, 300), bytes);
    }

    #[test]
    fn a_page_that_is_not_there_equals_one_of_zeros() {
        let (mut one, mut other) = (Store::default(), Store::default());
        one.write(8192, &[0; 512]);
        one.write(4096, &[1]);
        other.write(4096, &[1]);
        assert_eq!(one.differences(&other).count(), 0);
        other.write(9000, &[2]);
        assert_eq!(one.differences(&other).collect::<Vec<_>>(), [8192]);
    }
}

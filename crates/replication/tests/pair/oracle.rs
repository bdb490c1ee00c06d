//! Whether what the clients saw is what one disk could have shown them, sector by sector.
//!
//! Every write has a value of its own, so the operations on one sector fall into groups of a write and the reads of its
//! value. Between the first end and the last beginning in a group its value must have stood on the disk (a forward zone);
//! where all of a group overlap, it may have stood there for a moment only (a backward zone). The history is linearizable
//! exactly if no two forward zones overlap and no backward zone lies within a forward one (Gibbons and Korach, "Testing
//! shared memories", 1997, section 4).

use std::collections::BTreeMap;

/// One operation on one sector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) sector: u64,
    pub(crate) value: u64,
    pub(crate) is_write: bool,
    pub(crate) begin: u64,
    /// `None`: nobody knows whether it took effect.
    pub(crate) end: Option<u64>,
}

#[derive(Debug)]
struct Group {
    write_begin: Option<u64>,
    first_end: u64,
    last_begin: u64,
    reads: u32,
}

/// Says what is wrong with a history, if anything is. Zero is what every sector holds at first.
pub(crate) fn check(history: &[Operation]) -> Result<(), String> {
    let mut sectors: BTreeMap<u64, BTreeMap<u64, Group>> = BTreeMap::new();
    for operation in history {
        let groups = sectors.entry(operation.sector).or_insert_with(|| {
            let initial = Group { write_begin: Some(0), first_end: 0, last_begin: 0, reads: 1 };
            BTreeMap::from([(0, initial)])
        });
        let group = groups.entry(operation.value).or_insert(Group {
            write_begin: None,
            first_end: u64::MAX,
            last_begin: 0,
            reads: 0,
        });
        group.first_end = group.first_end.min(operation.end.unwrap_or(u64::MAX));
        group.last_begin = group.last_begin.max(operation.begin);
        if operation.is_write {
            group.write_begin = Some(operation.begin);
        } else {
            group.reads += 1;
        }
    }
    sectors.iter().try_for_each(|(sector, groups)| check_sector(*sector, groups))
}

fn check_sector(sector: u64, groups: &BTreeMap<u64, Group>) -> Result<(), String> {
    let mut forward = Vec::new();
    let mut backward = Vec::new();
    for (value, group) in groups {
        let Some(write_begin) = group.write_begin else {
            return Err(format!("sector {sector}: {value:#x} was read but never written"));
        };
        if group.first_end < write_begin {
            return Err(format!("sector {sector}: {value:#x} was read before it was written"));
        }
        if group.reads == 0 && group.first_end == u64::MAX {
            continue;
        }
        if group.first_end < group.last_begin {
            forward.push((group.first_end, group.last_begin, *value));
        } else {
            backward.push((group.last_begin, group.first_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!(
                "sector {sector}: {:x?} and {:x?} both stood there at one time",
                pair[0], pair[1]
            ));
        }
    }
    for (begin, end, value) in backward {
        let within = forward.iter().find(|(from, to, _)| *from < begin && end < *to);
        if let Some(within) = within {
            return Err(format!("sector {sector}: ({begin}, {end}, {value:#x}) lies within {within:x?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn write(value: u64, begin: u64, end: u64) -> Operation {
        Operation { sector: 0, value, is_write: true, begin, end: Some(end) }
    }

    const fn read(value: u64, begin: u64, end: u64) -> Operation {
        Operation { sector: 0, value, is_write: false, begin, end: Some(end) }
    }

    #[test]
    fn a_stale_read_a_lost_write_and_a_value_that_comes_back_are_found() {
        assert!(check(&[write(1, 1, 2), read(0, 3, 4)]).is_err());
        assert!(check(&[write(1, 1, 9), read(1, 2, 3), read(0, 4, 5)]).is_err());
        assert!(check(&[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]).is_err());
        assert!(check(&[write(1, 1, 2), write(2, 3, 4), read(2, 5, 6), read(1, 7, 8)]).is_err());
        assert!(check(&[read(7, 1, 2)]).is_err());
        assert!(check(&[read(1, 1, 2), write(1, 3, 4)]).is_err());
    }

    #[test]
    fn whatever_one_disk_could_have_shown_is_legal() {
        assert!(check(&[write(1, 1, 5), read(0, 2, 3), read(1, 4, 6)]).is_ok());
        assert!(check(&[write(1, 1, 9), write(2, 2, 8), read(1, 10, 11), read(1, 12, 13)]).is_ok());
        let unknown = Operation { end: None, ..write(1, 1, 2) };
        assert!(check(&[unknown, read(0, 5, 6), read(1, 50, 51)]).is_ok());
        assert!(check(&[unknown, read(1, 50, 51), read(0, 55, 56)]).is_err());
    }
}

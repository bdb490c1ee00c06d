//! What the hosts saw could have come from one correct disk that does one thing at a time, sector by sector.

use crate::history::History;
use crate::oracle::{self, Violation};

/// Judges everything that was asked and answered so far.
///
/// # Errors
/// What no correct disk could have answered.
pub fn check(history: &History) -> Result<(), Violation> {
    oracle::check(history)
}

#[cfg(test)]
mod tests {
    use block::{Duration, Instant, Lba, LbaRange, SectorCount};

    use super::*;
    use crate::content::Value;
    use crate::history::Action;

    #[test]
    fn an_old_value_read_through_the_other_node_is_found() {
        let now = Instant::from_nanos(1);
        let range = LbaRange::new(Lba(3), SectorCount(2)).expect("two sectors");
        let mut history = History::new(Duration::from_secs(1));
        let action = Action::Write { value: Value::new(1, 1), sequenced: true };
        let write = history.call(now, 1, action, range);
        history.written(now, write, range);
        let read = history.call(now, 2, Action::Read, range);
        assert_eq!(check(&history), Ok(()));
        history.read(now, read, range, [Value::new(1, 1), Value::INITIAL]);
        let violation = check(&history).expect_err("half of it was lost");
        assert!(matches!(violation, Violation::Vanished { sector: Lba(4), .. }), "{violation}");
    }
}

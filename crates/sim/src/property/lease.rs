//! A node answers nothing while the other serves alone.
//!
//! What counts is when it looked at its lease, not when the answer left: a pause between the two does no harm, since the answer
//! belongs to a request that was open then. The world says when a node serves alone, and when the two have met again.

use block::Instant;
use replication::membership::NodeNumber;
use thiserror::Error;

/// An answer that should not have been given.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "{node} answered after a look at its lease at {} ns, though its peer serves alone since {} ns",
    .looked.as_nanos(), .alone_since.as_nanos()
)]
pub struct BeyondLease {
    /// Who answered.
    pub node: NodeNumber,
    /// When it last looked whether it may.
    pub looked: Instant,
    /// Since when it may not.
    pub alone_since: Instant,
}

/// Who serves alone, and since when.
#[derive(Debug, Default)]
pub struct Lease {
    alone: Option<(NodeNumber, Instant)>,
}

impl Lease {
    /// A node serves alone; to be said at its first moment or at every step.
    pub fn serves_alone(&mut self, now: Instant, node: NodeNumber) {
        if self.alone.is_none_or(|(alone, _)| alone != node) {
            self.alone = Some((node, now));
        }
    }

    /// The two have met, or nobody serves alone any more.
    pub const fn ended(&mut self) {
        self.alone = None;
    }

    /// A node has answered a read or a write, and looked at its lease at that time.
    ///
    /// # Errors
    /// If its peer served alone by then.
    pub fn answered(&self, node: NodeNumber, looked: Instant) -> Result<(), BeyondLease> {
        match self.alone {
            Some((alone, alone_since)) if alone != node && looked >= alone_since => {
                Err(BeyondLease { node, looked, alone_since })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanoseconds: u64) -> Instant {
        Instant::from_nanos(nanoseconds)
    }

    #[test]
    fn a_node_that_wakes_up_and_answers_without_a_look_at_its_lease_is_found() {
        let mut lease = Lease::default();
        assert_eq!(lease.answered(NodeNumber::One, at(4)), Ok(()));
        lease.serves_alone(at(5), NodeNumber::Zero);
        lease.serves_alone(at(6), NodeNumber::Zero);
        assert_eq!(lease.answered(NodeNumber::Zero, at(9)), Ok(()));
        assert_eq!(lease.answered(NodeNumber::One, at(4)), Ok(()), "it looked before, and was paused");
        let error = lease.answered(NodeNumber::One, at(5)).expect_err("too late");
        assert_eq!(error.alone_since, at(5));
        lease.ended();
        assert_eq!(lease.answered(NodeNumber::One, at(9)), Ok(()));
    }
}

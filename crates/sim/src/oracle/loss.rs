//! What may be there after both nodes have lost what only their memories held.
//!
//! A loss is something that puts into each sector what it has left there: a value that was there at some time since the last
//! moment that was safe. So it is a write, at the moment of the loss, of what somebody had read there since. Which of the two
//! disks counts is the nodes' affair: a history is legal if it is with what one of the two has left.

use std::collections::BTreeMap;

use block::{Lba, LbaRange};

use super::reading;
use super::{Access, Point, Violation};
use crate::content::Value;
use crate::history::{History, Loss, Moment};

/// A sector of which the two disks differed after more losses than these is passed over.
const TRIED_MAX: usize = 6;

/// Judges the accesses to one sector.
pub(super) fn judge_sector(history: &History, points: &[Point]) -> Result<(), Violation> {
    let like = points[0];
    let at = |left: &BTreeMap<Lba, Value>| left.get(&like.sector).copied().unwrap_or(Value::INITIAL);
    let losses = || history.losses().iter().map(|loss| (loss, loss.left.each_ref().map(at)));
    let open = losses().filter(|(_, [zero, one])| zero != one).count();
    if history.losses().is_empty() {
        return reading::judge_sector(points);
    }
    let mut first = None;
    for choice in 0..1_u32 << open.min(TRIED_MAX) {
        let mut rest = choice;
        let mut points = points.to_vec();
        for (loss, values) in losses() {
            let one = values[0] != values[1] && rest & 1 == 1;
            rest >>= u32::from(values[0] != values[1]);
            points.extend(of_loss(loss, like, values[usize::from(one)]));
        }
        points.sort_unstable_by_key(Point::place);
        match reading::judge_sector(&points) {
            Ok(()) => return Ok(()),
            Err(violation) => first = first.or(Some(violation)),
        }
    }
    first.filter(|_| open <= TRIED_MAX).map_or(Ok(()), Err)
}

/// Somebody has seen what is left, and writes it.
fn of_loss(loss: &Loss, like: Point, value: Value) -> [Point; 2] {
    let later = |by| Moment { order: loss.at.order + by, at: loss.at.at };
    let read = Access {
        operation: None,
        initiator: 0,
        is_write: false,
        sequenced: false,
        range: LbaRange::default(),
        call: loss.since,
        end: Some(loss.at),
    };
    let write = Access { is_write: true, call: later(1), end: Some(later(2)), ..read };
    [read, write].map(|access| Point { sector: like.sector, value, access })
}

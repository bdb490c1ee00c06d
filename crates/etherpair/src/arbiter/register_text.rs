//! A membership as text, in the witness's files and in etcd: `7 both`, `8 only-1`.

use replication::membership::{Epoch, Members, Membership, NodeNumber};

/// The text.
pub(crate) fn emit(membership: Membership) -> String {
    let members = match membership.members {
        Members::Both => "both",
        Members::Only(NodeNumber::Zero) => "only-0",
        Members::Only(NodeNumber::One) => "only-1",
    };
    format!("{} {members}", membership.epoch)
}

/// What the text means; nothing but [`emit`]'s own is accepted, so that equal memberships are equal texts.
pub(crate) fn parse(text: &str) -> Option<Membership> {
    let (epoch, members) = text.split_once(' ')?;
    let members = match members {
        "both" => Members::Both,
        "only-0" => Members::Only(NodeNumber::Zero),
        "only-1" => Members::Only(NodeNumber::One),
        _ => return None,
    };
    let membership = Membership { epoch: Epoch(epoch.parse().ok()?), members };
    (emit(membership) == text && membership.epoch <= Epoch::LAST).then_some(membership)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_membership_has_one_text() {
        for members in [Members::Both, Members::Only(NodeNumber::Zero), Members::Only(NodeNumber::One)] {
            let membership = Membership { epoch: Epoch::LAST, members };
            assert_eq!(parse(&emit(membership)), Some(membership));
        }
        for text in [
            "",
            "7",
            "07 both",
            "+7 both",
            "7 both ",
            "7  both",
            "7 only-2",
            "9223372036854775809 both",
            "18446744073709551616 both",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

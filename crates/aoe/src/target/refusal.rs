//! Why a frame got no answer, each reason with its counter.

use thiserror::Error;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident, $label:literal, $text:literal;)+) => {
        /// Why a frame was ignored. The sender hears nothing; an initiator that waits will ask again.
        #[derive(Clone, Copy, Debug, Eq, Error, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Refusal {
            $($(#[doc = $doc])+ #[error($text)] $name,)+
        }

        impl Refusal {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// A name for counters and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

refusals! {
    /// Not AoE, or shorter than an AoE header.
    NotAoe, "not_aoe", "the frame is not AoE";
    /// Another target's answer or advertisement.
    Response, "response", "the frame is an answer, not a request";
    /// The interface is down or was never announced.
    PortDown, "port_down", "the interface is not up";
    /// Sent by a group address, or by one of our own.
    BadSource, "bad_source", "the sender's address is a group or our own";
    /// Sent to another host, or to a group that is not everybody.
    OtherDestination, "other_destination", "the frame is for another host";
    /// Received more than a second ago (rule D3).
    Stale, "stale", "the frame is more than a second old";
    /// Nothing is exported at the address.
    UnknownAddress, "unknown_address", "no export has the address";
    /// The export may not be served by this node now, or could not when the frame was received (rule D5).
    NotServing, "not_serving", "the export may not be served now";
    /// The sender is not in the export's MAC mask list.
    Masked, "masked", "the sender is not in the MAC mask list";
    /// A write to a wildcard address or to everybody.
    WriteToMany, "write_to_many", "a write has to name one target";
    /// A read to a wildcard address that would have to wait for a write.
    ReadToMany, "read_to_many", "a read that waits for a write has to name one target";
    /// As many requests are outstanding as the shard holds.
    TooManyOutstanding, "too_many_outstanding", "too many requests are outstanding";
    /// As many writes were completed within two seconds as the shard can remember.
    HistoryFull, "history_full", "too many writes to remember";
    /// A duplicate of a write that was executed, and something that overlaps it was admitted since (rule D2).
    Superseded, "superseded", "the write was executed already and others came after it";
    /// A duplicate of a write that came by the other node and has not ended (rule D1).
    InFlightAtPeer, "in_flight_at_peer", "the other node is executing the write";
    /// A duplicate of a write of which nobody knows whether it took effect.
    Doubtful, "doubtful", "whether the write took effect is not known";
    /// The data of a sequenced write is not what its checksum says.
    BadChecksum, "bad_checksum", "the data of the write was damaged on its way";
    /// A sequenced write of one initiator more than the shard remembers.
    TooManyInitiators, "too_many_initiators", "too many initiators of sequenced writes";
    /// A config test that does not match: the protocol wants silence.
    ConfigMismatch, "config_mismatch", "the config string does not match";
    /// A change of config string, mask or reservation while another is being stored.
    ChangePending, "change_pending", "another change is being stored";
    /// The answer is longer than the interface's frames.
    ReplyTooLong, "reply_too_long", "the answer does not fit the interface's MTU";
    /// More answers that no disk was asked for are queued than there is room for.
    ReplyQueueFull, "reply_queue_full", "too many answers are queued";
}

/// How often each reason applied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RefusalCounters([u64; Refusal::ALL.len()]);

impl RefusalCounters {
    /// How often `refusal` applied.
    #[must_use]
    pub const fn count(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().copied().zip(self.0.iter().copied())
    }

    pub(crate) const fn add(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_label_of_its_own() {
        let mut counters = RefusalCounters::default();
        for refusal in Refusal::ALL {
            counters.add(*refusal);
        }
        assert!(counters.iter().all(|(refusal, count)| count == 1 && counters.count(refusal) == 1));
        let mut labels: Vec<&str> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}

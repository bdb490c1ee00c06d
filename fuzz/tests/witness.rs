//! The fuzz body of the witness's port on any bytes, and on good questions and answers, repeated, changed and cut.

use fuzz::witness_stream;
use proptest::collection::vec;
use proptest::prelude::*;
use replication::identity::{PairIdentity, VolumeIdentity};
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::witness::{Answer, AnswerKind, Moment, Question, QuestionKind, RegisterKey};

fn membership() -> impl Strategy<Value = Membership> {
    let members = prop_oneof![
        Just(Members::Both),
        Just(Members::Only(NodeNumber::Zero)),
        Just(Members::Only(NodeNumber::One))
    ];
    (0_u64..4, members).prop_map(|(epoch, members)| Membership { epoch: Epoch(epoch), members })
}

fn question() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        Just(QuestionKind::Hello),
        Just(QuestionKind::Read),
        (membership(), membership()).prop_map(|(expected, next)| QuestionKind::Swap { expected, next }),
        membership().prop_map(|first| QuestionKind::Create { first }),
        membership().prop_map(|expected| QuestionKind::Remove { expected }),
    ];
    (any::<u64>(), 0_u128..2, 0_u128..2, kind).prop_map(|(number, pair, volume, kind)| {
        let key = RegisterKey { pair: PairIdentity(pair), volume: VolumeIdentity(volume) };
        let moment = Moment { connection: number, milliseconds: 1 };
        Question { number, key, moment, kind }.emit().to_vec()
    })
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), membership()).prop_map(|(number, held)| {
        let (witness, moment) = (u128::from(number), Moment::default());
        Answer { number, witness, moment, kind: AnswerKind::Holds(held) }.emit().to_vec()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_keep_the_promises(data in vec(any::<u8>(), 0..400)) {
        witness_stream(&data);
    }

    #[test]
    fn good_messages_repeated_changed_and_cut_keep_the_promises(
        messages in vec(prop_oneof![question(), question(), answer()], 0..20),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = messages.concat();
        if !bytes.is_empty() {
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(end.index(bytes.len()) + 1);
        }
        witness_stream(&bytes);
    }

    #[test]
    fn good_questions_keep_the_promises(messages in vec(question(), 0..40)) {
        witness_stream(&messages.concat());
    }
}

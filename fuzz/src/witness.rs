//! What comes in at the witness's port, and what a node takes for a witness. Arbitrary bytes never panic; what is accepted
//! means the same after its own bytes; after a fault nothing more is accepted; a register never goes back.

use replication::witness::question::{ANSWER_BYTES, Moment, QUESTION_BYTES, QuestionKind};
use replication::witness::registers::REGISTERS_PER_PAIR_MAX;
use replication::witness::{Answer, AnswerReader, Decision, Question, QuestionReader, Registers};

/// A connection's bytes, cut into pieces by their own values, once as questions and once as answers.
pub fn witness_stream(data: &[u8]) {
    questions(data);
    answers(data);
}

fn questions(data: &[u8]) {
    let mut reader = QuestionReader::default();
    let mut registers = Registers::default();
    for mut piece in pieces(data) {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(question)) => carry_out(&mut registers, &question),
                Ok(None) => break,
                Err((error, _)) => {
                    let line = error.to_string();
                    assert!(!line.contains('\n'), "one line: {line:?}");
                    return;
                }
            }
        }
        assert!(piece.is_empty(), "everything is taken in");
    }
}

fn carry_out(registers: &mut Registers, question: &Question) {
    let bytes: [u8; QUESTION_BYTES] = question.emit();
    assert_eq!(Question::parse(&bytes).as_ref(), Ok(question));
    assert!(!question.moment.is_fresh(Moment { connection: !question.moment.connection, ..question.moment }));
    let before = registers.read(question.key);
    let Decision::Change(change) = registers.decide(question.key, question.kind) else { return };
    assert_eq!(change.key, question.key);
    match question.kind {
        QuestionKind::Swap { expected, next } => {
            assert_eq!((before, change.to), (Some(expected), Some(next)), "a swap is of what was expected");
        }
        QuestionKind::Create { first } => assert_eq!((before, change.to), (None, Some(first))),
        QuestionKind::Remove { expected } => assert_eq!((before, change.to), (Some(expected), None)),
        QuestionKind::Hello | QuestionKind::Read => panic!("{:?} changes nothing", question.kind),
    }
    registers.apply(change);
    assert_eq!(registers.read(question.key), change.to);
    assert!(registers.of_pair(question.key.pair).count() <= REGISTERS_PER_PAIR_MAX);
}

fn answers(data: &[u8]) {
    let mut reader = AnswerReader::default();
    for mut piece in pieces(data) {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(answer)) => {
                    let bytes: [u8; ANSWER_BYTES] = answer.emit();
                    assert_eq!(Answer::parse(&bytes), Ok(answer));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(piece.is_empty(), "everything is taken in");
    }
}

fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?).clamp(1, rest.len());
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece)
    })
}

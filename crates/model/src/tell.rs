//! Tells what happens in words, for the traces that a person reads. Writes are called A, B, C, reads r, s, t.

use crate::link::Message;
use crate::scope::Scope;
use crate::words::{Image, Kind, RequestId, Side, Value, WriteId};
use crate::world::{Action, World};

/// What an action means in the state in which it happens, and which answers follow from it.
#[must_use]
pub(crate) fn step(scope: &Scope, before: &World, action: Action, after: &World) -> String {
    let mut text = happening(scope, before, action);
    text.push_str(frames(before, action, after));
    for (id, call) in after.history.iter() {
        if call.progress == before.history.call(id).progress {
            continue;
        }
        if let Some(outcome) = outcome(scope, id, call.progress) {
            text.push_str(&outcome);
        }
    }
    text
}

/// What else there is to say of a frame.
fn frames(before: &World, action: Action, after: &World) -> &'static str {
    let queued = |world: &World, side: Side| world.ethernet.queues[side.index()].len();
    match action {
        Action::Send(_) | Action::MoveOver(_) => {
            match Side::BOTH.map(|side| queued(after, side) - queued(before, side)) {
                [1, 1] => ", which comes to both nodes",
                [2, 0] | [0, 2] => ", which comes twice",
                _ => "",
            }
        }
        Action::Take(side, place) if before.ethernet.queues[side.index()][place].waits => {
            ", whose turn has come"
        }
        Action::Take(side, _) if queued(after, side) == queued(before, side) => ", which waits",
        _ => "",
    }
}

fn outcome(scope: &Scope, id: RequestId, progress: crate::history::Progress) -> Option<String> {
    use crate::history::Progress;
    let name = request(scope, id);
    match (progress, scope.requests[id.index()].kind) {
        (Progress::Returned(_), Kind::Write) => Some(format!("; **{name} is answered**")),
        (Progress::Returned(found), Kind::Read) => {
            Some(format!("; **{name} is answered with {}**", content(scope, id, found)))
        }
        (Progress::Dropped, _) => Some(format!("; {name} is dropped")),
        _ => None,
    }
}

fn happening(scope: &Scope, before: &World, action: Action) -> String {
    match action {
        Action::Invoke(id) => {
            let at = before.history.call(id).at;
            let name = request(scope, id);
            match scope.requests[id.index()].kind {
                Kind::Write => format!("{at} admits write {name}"),
                Kind::Read => format!("{at} begins read {name}"),
            }
        }
        Action::Sample(id) => format!("the disk gives read {} its value", request(scope, id)),
        Action::Deliver(to) => {
            let message = before.links[to.index()].first().expect("a message that arrives was under way");
            format!("{to} receives {}", told(scope, message))
        }
        Action::Show(side, write, sector) => {
            format!("{} becomes visible in sector {sector} of {}", name(scope, write), disk(side))
        }
        Action::Finish(side, write) => format!("{} is durable on {}", name(scope, write), disk(side)),
        Action::Send(id) => format!("the initiator of {} sends a frame", request(scope, id)),
        Action::MoveOver(id) => format!("the initiator of {} turns to the other node", request(scope, id)),
        Action::Take(side, place) => {
            let frame = before.ethernet.queues[side.index()][place];
            format!("{side} takes the frame of {}", request(scope, frame.request))
        }
        Action::Return(id) => format!("an answer to {} arrives", request(scope, id)),
        Action::LoseAnswer(id) => format!("**the answer to {} is lost**", request(scope, id)),
        Action::Tick => "time passes".to_owned(),
        Action::Cut => "**the link breaks**".to_owned(),
        Action::Heal => "the link is whole again".to_owned(),
        Action::LosePower(side, kept) if kept.is_empty() => format!("**{side} loses power**"),
        Action::LosePower(side, kept) => {
            let sectors = kept.iter().map(|sector| sector.to_string()).collect::<Vec<_>>().join(" and ");
            format!("**{side} loses power**; its disk had written sector {sectors} through")
        }
        Action::Restart(side) => format!("{side} has power again"),
        _ => membership(action),
    }
}

fn membership(action: Action) -> String {
    match action {
        Action::Freeze(side) => format!("{side} freezes"),
        Action::Ask(side) => format!("{side} asks the arbiter to be the sole member"),
        Action::Arbitrate(side) => format!("the question of {side} reaches the arbiter"),
        Action::GoAlone(side) => format!("{side} begins to serve alone"),
        Action::Meet => "the nodes meet".to_owned(),
        Action::Leave(side) => format!("**{side} leaves on purpose**"),
        Action::Copy(side, sector) => format!("{side} copies sector {sector} to its peer"),
        Action::Propose(side) => format!("{side} proposes its peer as a member, and the arbiter agrees"),
        Action::Promote(side) => format!("{side} hears that both are members"),
        other => format!("{other:?}"),
    }
}

fn told(scope: &Scope, message: Message) -> String {
    match message {
        Message::Replicate(write) => format!("replicated write {}", name(scope, write)),
        Message::Ack(write) => format!("the acknowledgement of {}", name(scope, write)),
        Message::Commit(write) => format!("the commit of {}", name(scope, write)),
        Message::Leave => "that its peer leaves".to_owned(),
        Message::Copy(sector, content) => format!("a copy of sector {sector}: {}", value(scope, content)),
        Message::Copied(sector) => format!("that sector {sector} is copied"),
        Message::Member(membership) => format!("that both are members of epoch {}", membership.epoch),
    }
}

fn disk(side: Side) -> String {
    format!("disk {}", side.index())
}

/// A write that may be executed more than once is called after its coordinator, too.
fn name(scope: &Scope, write: WriteId) -> String {
    let name = request(scope, write.request);
    if scope.is_framed(write.request) { format!("{name} by {}", write.by) } else { name }
}

fn request(scope: &Scope, id: RequestId) -> String {
    let kind = scope.requests[id.index()].kind;
    let before = scope.requests[..id.index()].iter().filter(|request| request.kind == kind).count();
    let names = if kind == Kind::Write { "ABCDEFG" } else { "rstuvwx" };
    names.chars().nth(before).expect("a scope has at most seven requests").to_string()
}

fn content(scope: &Scope, id: RequestId, found: Image) -> String {
    let values = scope.requests[id.index()].sectors.iter().map(|sector| value(scope, found[sector]));
    values.collect::<Vec<_>>().join(", ")
}

fn value(scope: &Scope, value: Value) -> String {
    match value.written_by() {
        Some(id) => request(scope, id),
        None if value == Value::STALE => "what it had missed".to_owned(),
        None => "the initial content".to_owned(),
    }
}

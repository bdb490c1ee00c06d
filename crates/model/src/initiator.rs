//! What an Ethernet initiator does to the nodes: frames that are sent again, linger in a queue, or come by the other node.
//!
//! A *stock* initiator sends a write to one node, again after any time, and to the other node only after a long time; a
//! node can know a second frame of a write only by its content. A *sequenced* one names each write and may send it
//! anywhere at any time. Answers may be late or lost: an answer that never arrives is lost. A frame that is lost is one
//! that is never taken. Rules D1 to D6, each behind its switch; reads are not the subject and come without frames.

use crate::history::Progress;
use crate::node::{Node, Phase};
use crate::rules::Rule;
use crate::scope::Scope;
use crate::words::{Image, Request, RequestId, RequestSet, Side, WriteId};
use crate::world::World;

/// How long a node remembers a finished write (D2) and how old a frame it takes may be (D3), in ticks.
pub const WINDOW: u8 = 1;
/// How long a stock initiator stays with a node, in ticks: longer than any frame that still counts.
pub const PATIENCE: u8 = 2;

/// The kind of initiator that sends frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As in Linux: nothing in a frame tells a write sent again from a new one.
    Stock,
    /// Ours: each write has an identity.
    Sequenced,
}

/// A frame in the queue of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The write it asks for.
    pub request: RequestId,
    /// The time since it was received.
    pub age: u8,
    /// It was judged, and only waits for its turn. (Others are judged when their turn comes.)
    pub waits: bool,
}

impl Frame {
    /// A frame that has just been received.
    #[must_use]
    pub fn new(request: RequestId) -> Self {
        Self { request, age: 0, waits: false }
    }
}

/// What the network makes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// One frame, which arrives or is as good as not sent.
    Once,
    /// Two frames at the node that answers for the address.
    Twice,
    /// A switch that does not know yet where the address is sends the frame to both nodes: besides the one that stands in for
    /// the other, that one takes it, too.
    Flooding,
}

/// How an initiator has sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sending {
    /// How many more frames it may send.
    pub left: u8,
    /// The node to whose address it sends.
    pub to: Side,
    /// The time since it first sent.
    pub waited: u8,
}

/// A write that a node remembers to have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finished {
    /// The write.
    pub request: RequestId,
    /// The time since then.
    pub age: u8,
    /// An overlapping write was admitted since.
    pub overtaken: bool,
}

/// All that is between initiators and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ethernet {
    /// The frames that each node has received and not taken, in the order received.
    pub queues: [Vec<Frame>; 2],
    /// How each request was sent; `None` for those that come without frames.
    pub sendings: Vec<Option<Sending>>,
    /// The requests to which an answer is under way, or lost.
    pub answers: RequestSet,
}

impl Ethernet {
    /// Nothing sent yet, to these nodes.
    #[must_use]
    pub fn new(requests: &[Request], placement: &[Side]) -> Self {
        let sending = |(request, &to): (&Request, &Side)| {
            (request.frames > 0).then_some(Sending { left: request.frames, to, waited: 0 })
        };
        let sendings = requests.iter().zip(placement).map(sending).collect();
        Self { sendings, ..Self::default() }
    }
}

/// What a node does with a frame whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Drop,
    Answer,
    Execute,
    /// Leaves it in the queue for now.
    Wait,
}

impl World {
    /// Whether an initiator may send a frame of this request: the first one, or one more.
    #[must_use]
    pub fn may_send(&self, request: RequestId) -> bool {
        let open = matches!(self.history.call(request).progress, Progress::Waiting | Progress::Pending);
        open && self.ethernet.sendings[request.index()].is_some_and(|sending| sending.left > 0)
    }

    /// An initiator sends a frame; the node that answers for the address receives it.
    pub fn send_frame(&mut self, scope: &Scope, request: RequestId) {
        if self.history.call(request).progress == Progress::Waiting {
            self.history.invoke(request);
        }
        let sending =
            self.ethernet.sendings[request.index()].as_mut().expect("a request that comes in frames");
        sending.left -= 1;
        let to = sending.to;
        let at = if self.nodes[to.peer().index()].phase == Phase::Alone { to.peer() } else { to };
        self.ethernet.queues[at.index()].push(Frame::new(request));
        let second = match scope.network {
            Network::Once => None,
            Network::Twice => Some(at),
            Network::Flooding => (at != to && self.nodes[to.index()].phase != Phase::Down).then_some(to),
        };
        if let Some(second) = second {
            self.ethernet.queues[second.index()].push(Frame::new(request));
        }
    }

    /// Whether an initiator may turn to the other node.
    #[must_use]
    pub fn may_move(&self, scope: &Scope, request: RequestId) -> bool {
        let patience = if scope.initiator == Kind::Stock { PATIENCE } else { 0 };
        self.history.call(request).progress == Progress::Pending
            && self.ethernet.sendings[request.index()].is_some_and(|sending| {
                sending.left > 0 && sending.waited >= patience && sending.to == self.history.call(request).at
            })
    }

    /// An initiator turns to the other node.
    pub fn move_over(&mut self, scope: &Scope, request: RequestId) {
        let sending =
            self.ethernet.sendings[request.index()].as_mut().expect("a request that comes in frames");
        sending.to = sending.to.peer();
        self.send_frame(scope, request);
    }

    /// Whether the time matters, and has not passed long since.
    #[must_use]
    pub fn may_tick(&self, scope: &Scope) -> bool {
        let mut requests = self.history.iter().map(|(request, _)| request);
        let late = scope.rules.has(Rule::AnswersInTime) && requests.any(|request| self.may_return(request));
        let mut later = self.clone();
        later.tick();
        scope.initiator == Kind::Stock && !late && later != *self
    }

    /// Time passes.
    pub fn tick(&mut self) {
        for frame in self.ethernet.queues.iter_mut().flatten() {
            frame.age = (frame.age + 1).min(WINDOW + 1);
        }
        for (index, sending) in self.ethernet.sendings.iter_mut().enumerate() {
            let pending = self.history.call(RequestId::new(index)).progress == Progress::Pending;
            if let Some(sending) = sending.as_mut().filter(|sending| pending && sending.left > 0) {
                sending.waited = (sending.waited + 1).min(PATIENCE);
            }
        }
        for node in &mut self.nodes {
            node.finished.iter_mut().for_each(|finished| finished.age += 1);
            node.finished.retain(|finished| finished.age <= WINDOW);
        }
    }

    /// The places in a node's queue whose frames it may take now.
    #[must_use]
    pub fn may_take(&self, scope: &Scope, at: Side) -> Vec<usize> {
        let queue = &self.ethernet.queues[at.index()];
        let sectors = |frame: &Frame| scope.requests[frame.request.index()].sectors;
        let in_order = |place: usize| {
            let ordered = scope.initiator == Kind::Stock && scope.rules.has(Rule::ReceiveOrder);
            let in_the_way =
                |earlier: &Frame| !earlier.waits && sectors(earlier).overlaps(sectors(&queue[place]));
            !ordered || !queue[..place].iter().any(in_the_way)
        };
        let serves = self.nodes[at.index()].serves();
        let decided = |place: &usize| {
            let may_begin_to_wait = !scope.rules.has(Rule::JudgedInTurn) && !queue[*place].waits;
            may_begin_to_wait || self.judge(scope, at, *place) != Verdict::Wait
        };
        (0..queue.len()).filter(|&place| serves && in_order(place)).filter(decided).collect()
    }

    /// The turn of a frame has come.
    pub fn take_frame(&mut self, scope: &Scope, at: Side, place: usize) {
        let frame = self.ethernet.queues[at.index()][place];
        let verdict = self.judge(scope, at, place);
        if verdict == Verdict::Wait {
            self.ethernet.queues[at.index()][place].waits = true;
            return;
        }
        self.ethernet.queues[at.index()].remove(place);
        match verdict {
            Verdict::Drop => {}
            Verdict::Answer => self.ethernet.answers.insert(frame.request),
            Verdict::Execute => self.admit(scope, WriteId { request: frame.request, by: at }),
            Verdict::Wait => unreachable!("a frame that waits stays where it is"),
        }
        self.follow_up(scope);
    }

    /// The answer of a node is ready: to a request in frames it goes on its way, otherwise it is there.
    pub(crate) fn answer_write(&mut self, request: RequestId) {
        if self.ethernet.sendings[request.index()].is_some() {
            self.ethernet.answers.insert(request);
        } else {
            self.history.complete(request, Image::default());
        }
    }

    /// Whether an answer may arrive.
    #[must_use]
    pub fn may_return(&self, request: RequestId) -> bool {
        self.ethernet.answers.contains(request) && self.history.call(request).progress == Progress::Pending
    }

    /// Whether an answer may be lost. (An answer that never arrives is as good as lost, except where time matters.)
    #[must_use]
    pub fn may_lose(&self, scope: &Scope, request: RequestId) -> bool {
        scope.initiator == Kind::Stock && self.may_return(request)
    }

    /// An answer arrives.
    pub fn return_answer(&mut self, request: RequestId) {
        self.history.complete(request, Image::default());
    }

    /// Forgets what no frame will ask for any more, so that equal worlds look equal.
    pub fn tidy(&mut self) {
        for index in 0..self.ethernet.sendings.len() {
            let request = RequestId::new(index);
            let Some(sending) = &mut self.ethernet.sendings[index] else { continue };
            let progress = self.history.call(request).progress;
            if matches!(progress, Progress::Returned(_)) {
                self.ethernet.answers.remove(request);
                sending.left = 0;
            }
            if sending.left == 0 {
                (sending.waited, sending.to) = (0, self.history.call(request).at);
            }
            let left = sending.left;
            let queued = self.ethernet.queues.iter().flatten().any(|frame| frame.request == request);
            if left == 0 && !queued {
                self.nodes
                    .iter_mut()
                    .for_each(|node| node.finished.retain(|finished| finished.request != request));
            }
        }
    }

    /// Before a node serves again, what was queued meanwhile is dropped (D5).
    pub(crate) fn clear_queue(&mut self, scope: &Scope, at: Side) {
        if scope.initiator == Kind::Stock && scope.rules.has(Rule::QueueDroppedAfterFreeze) {
            self.ethernet.queues[at.index()].clear();
        }
    }

    fn judge(&self, scope: &Scope, at: Side, place: usize) -> Verdict {
        let (node, queue) = (&self.nodes[at.index()], &self.ethernet.queues[at.index()]);
        let frame = queue[place];
        let sectors = scope.requests[frame.request.index()].sectors;
        let verdict = match scope.initiator {
            Kind::Stock if is_too_old(scope, frame) => Verdict::Drop,
            Kind::Stock if frame.waits => Verdict::Execute,
            Kind::Stock => judge_by_content(scope, node, queue, frame),
            Kind::Sequenced => judge_by_identity(scope, node, frame),
        };
        let first = |earlier: &Frame| {
            earlier.waits && scope.requests[earlier.request.index()].sectors.overlaps(sectors)
        };
        let turn = self.is_its_turn(scope, at, sectors) && !queue[..place].iter().any(first);
        if verdict == Verdict::Execute && !turn { Verdict::Wait } else { verdict }
    }
}

/// D3.
fn is_too_old(scope: &Scope, frame: Frame) -> bool {
    frame.age > WINDOW && scope.rules.has(Rule::OldFramesDropped)
}

/// D1, D2: what a node can tell from the content of a frame and from the time.
fn judge_by_content(scope: &Scope, node: &Node, queue: &[Frame], frame: Frame) -> Verdict {
    let waits = queue.iter().any(|other| other.waits && other.request == frame.request);
    let here = (is_local(node, frame.request) || waits) && scope.rules.has(Rule::InFlightOnce);
    let at_peer = is_remote(node, frame.request) && scope.rules.has(Rule::InFlightAtBoth);
    if here || at_peer {
        return Verdict::Drop;
    }
    let finished = node.finished.iter().find(|finished| finished.request == frame.request);
    match finished.filter(|_| scope.rules.has(Rule::FinishedRemembered)) {
        Some(finished) if finished.overtaken => Verdict::Drop,
        Some(_) => Verdict::Answer,
        None => Verdict::Execute,
    }
}

/// D6: a write with a name is executed once.
fn judge_by_identity(scope: &Scope, node: &Node, frame: Frame) -> Verdict {
    if !scope.rules.has(Rule::Identity) {
        Verdict::Execute
    } else if node.executed.contains(frame.request) {
        Verdict::Answer
    } else if is_local(node, frame.request) || is_remote(node, frame.request) {
        Verdict::Wait
    } else {
        Verdict::Execute
    }
}

fn is_local(node: &Node, request: RequestId) -> bool {
    node.local.iter().any(|local| local.id.request == request)
}

fn is_remote(node: &Node, request: RequestId) -> bool {
    node.remote.iter().any(|remote| remote.id.request == request)
}

impl Node {
    /// An overlapping write was admitted or received: what was finished before it is overtaken.
    pub fn overtake(&mut self, scope: &Scope, by: RequestId) {
        let sectors = scope.requests[by.index()].sectors;
        for finished in self.finished.iter_mut().filter(|finished| finished.request != by) {
            finished.overtaken |= scope.requests[finished.request.index()].sectors.overlaps(sectors);
        }
    }

    /// A write has ended: it is remembered by content for a while, and by name.
    pub fn remember(&mut self, scope: &Scope, write: WriteId, at: Side) {
        if !scope.is_framed(write.request) {
            return;
        }
        match scope.initiator {
            Kind::Stock if write.by == at || scope.rules.has(Rule::FinishedAtBoth) => {
                self.remember_finished(write.request);
            }
            Kind::Sequenced if write.by == at || scope.rules.has(Rule::IdentityReplicated) => {
                self.executed.insert(write.request);
            }
            _ => {}
        }
    }

    /// Keeps in mind which writes are on their way to this node's disk when it freezes: they will be on it.
    pub fn remember_started(&mut self, scope: &Scope, at: Side) {
        let local = self.local.iter().map(|local| local.id);
        let remote = self.remote.iter().filter(|remote| remote.is_on_its_way()).map(|remote| remote.id);
        let known = |write: &WriteId| match scope.initiator {
            _ if !scope.is_framed(write.request) => false,
            Kind::Stock => write.by == at || scope.rules.has(Rule::FinishedAtBoth),
            Kind::Sequenced => write.by == at || scope.rules.has(Rule::IdentityReplicated),
        };
        for write in local.chain(remote).filter(known) {
            self.started.insert(write.request);
        }
    }

    /// The node goes on with its disk: what was on its way there is executed.
    pub fn adopt_started(&mut self, scope: &Scope) {
        let started = std::mem::take(&mut self.started);
        if !scope.rules.has(Rule::StartedIsExecuted) {
            return;
        }
        for request in
            (0..scope.requests.len()).map(RequestId::new).filter(|&request| started.contains(request))
        {
            match scope.initiator {
                Kind::Stock => self.remember_finished(request),
                Kind::Sequenced => self.executed.insert(request),
            }
        }
    }

    /// Learns what the other node remembers to have finished.
    pub fn learn_finished(&mut self, others: &[Finished]) {
        for other in others {
            match self.finished.iter_mut().find(|finished| finished.request == other.request) {
                Some(known) => {
                    known.age = known.age.min(other.age);
                    known.overtaken |= other.overtaken;
                }
                None => self.finished.push(*other),
            }
        }
        self.finished.sort_unstable();
    }

    /// Power is lost: a name is kept if it is recorded with the data and the data is on the disk.
    pub fn keep_names(&mut self, scope: &Scope) {
        self.finished.clear();
        let kept = scope.initiator == Kind::Sequenced && scope.rules.has(Rule::IdentityKept);
        let landed =
            |request: RequestId| self.disk.outstanding.iter().all(|entry| entry.write.request != request);
        let requests = (0..scope.requests.len()).map(RequestId::new);
        self.started =
            requests.filter(|&request| kept && self.started.contains(request) && landed(request)).collect();
        if !kept {
            self.executed = RequestSet::default();
        }
    }

    /// Whether these writes took effect nobody can tell now: until the window has passed, their frames are dropped.
    pub fn remember_doubtful(&mut self, scope: &Scope, doubtful: RequestSet) {
        let requests = (0..scope.requests.len()).map(RequestId::new);
        for request in requests.filter(|&request| doubtful.contains(request)) {
            self.learn_finished(&[Finished { request, age: 0, overtaken: true }]);
        }
    }

    fn remember_finished(&mut self, request: RequestId) {
        self.finished.retain(|finished| finished.request != request);
        self.finished.push(Finished { request, age: 0, overtaken: false });
        self.finished.sort_unstable();
    }
}

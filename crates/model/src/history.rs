//! What the initiators saw, and whether a single correct disk could have shown it to them.
//!
//! A history keeps for each request only what linearizability depends on: what it returned, and which requests had
//! returned before it was invoked. Sectors are judged one by one. It never looks at a node.

use crate::words::{Image, Kind, Request, RequestId, RequestSet, Side, Value};

/// How far a request has come, as its initiator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Not asked yet.
    Waiting,
    /// Asked, no answer. A write may take effect at any time from now on, or never.
    Pending,
    /// Answered; for a read, with this content.
    Returned(Image),
    /// The node gave it up without an answer. A write may have taken effect, or may yet.
    Dropped,
}

/// One request of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The node it is sent to.
    pub at: Side,
    /// How far it has come.
    pub progress: Progress,
    /// The requests that had returned when this one was invoked.
    pub after: RequestSet,
}

/// All requests of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    calls: Vec<Call>,
}

impl History {
    /// A history in which nothing was asked yet, with the node of each request.
    #[must_use]
    pub fn new(placement: &[Side]) -> Self {
        let call = |&at: &Side| Call { at, progress: Progress::Waiting, after: RequestSet::default() };
        Self { calls: placement.iter().map(call).collect() }
    }

    /// The requests with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (RequestId, &Call)> {
        self.calls.iter().enumerate().map(|(index, call)| (RequestId::new(index), call))
    }

    /// One request.
    #[must_use]
    pub fn call(&self, request: RequestId) -> &Call {
        &self.calls[request.index()]
    }

    /// The initiator asks.
    pub fn invoke(&mut self, request: RequestId) {
        let after = self.returned();
        let call = &mut self.calls[request.index()];
        assert_eq!(call.progress, Progress::Waiting, "a request is invoked once");
        (call.progress, call.after) = (Progress::Pending, after);
    }

    /// The initiator has its answer.
    pub fn complete(&mut self, request: RequestId, content: Image) {
        let call = &mut self.calls[request.index()];
        assert_eq!(call.progress, Progress::Pending, "a request is answered once");
        call.progress = Progress::Returned(content);
    }

    /// The node drops the request: the initiator never hears of it again.
    pub fn give_up(&mut self, request: RequestId) {
        let call = &mut self.calls[request.index()];
        assert_eq!(call.progress, Progress::Pending, "only a pending request is dropped");
        call.progress = Progress::Dropped;
    }

    /// The requests that have returned.
    #[must_use]
    pub fn returned(&self) -> RequestSet {
        let mut set = RequestSet::default();
        for (request, call) in self.iter() {
            if matches!(call.progress, Progress::Returned(_)) {
                set.insert(request);
            }
        }
        set
    }

    /// Whether one correct sector explains what was seen of this one, and can hold `last` at the end if that is given.
    #[must_use]
    pub fn is_linearizable(&self, requests: &[Request], sector: usize, last: Option<Value>) -> bool {
        let mut search = Search { history: self, requests, sector, last, must: RequestSet::default() };
        for (id, call) in self.iter() {
            if matches!(call.progress, Progress::Returned(_)) && requests[id.index()].sectors.contains(sector)
            {
                search.must.insert(id);
            }
        }
        search.explain(RequestSet::default(), Value::INITIAL)
    }
}

/// The search for an order of the requests that explains one sector.
struct Search<'a> {
    history: &'a History,
    requests: &'a [Request],
    sector: usize,
    last: Option<Value>,
    /// What must have a place in the order: everything that returned and covers the sector.
    must: RequestSet,
}

impl Search<'_> {
    /// Whether the requests that are not `done` can follow, when the sector holds `value` now.
    fn explain(&self, mut done: RequestSet, value: Value) -> bool {
        // a read that fits can only lose by waiting, so it is taken at once
        while let Some(read) = self.fitting_read(done, value) {
            done.insert(read);
        }
        if self.must.is_subset(done) && self.last.is_none_or(|last| last == value) {
            return true;
        }
        self.history.iter().any(|(id, call)| {
            let possible =
                !matches!(call.progress, Progress::Waiting) && self.may_be_next(id, call, done, Kind::Write);
            let mut then = done;
            then.insert(id);
            possible && self.explain(then, Value::of(id))
        })
    }

    fn fitting_read(&self, done: RequestSet, value: Value) -> Option<RequestId> {
        let fits = |(id, call): (RequestId, &Call)| match call.progress {
            Progress::Returned(content) if content[self.sector] == value => {
                self.may_be_next(id, call, done, Kind::Read).then_some(id)
            }
            _ => None,
        };
        self.history.iter().find_map(fits)
    }

    fn may_be_next(&self, id: RequestId, call: &Call, done: RequestSet, kind: Kind) -> bool {
        let request = &self.requests[id.index()];
        request.kind == kind
            && request.sectors.contains(self.sector)
            && !done.contains(id)
            && call.after.and(self.must).is_subset(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Sectors;

    fn write_then_two_reads() -> (Vec<Request>, [RequestId; 3], History) {
        let requests = vec![
            Request::write(Sectors::FIRST),
            Request::read(Sectors::FIRST),
            Request::read(Sectors::FIRST),
        ];
        (requests, [0, 1, 2].map(RequestId::new), History::new(&[Side::Zero; 3]))
    }

    #[test]
    fn a_value_once_read_is_never_unread() {
        let (requests, [write, first, second], mut history) = write_then_two_reads();
        history.invoke(write);
        history.invoke(first);
        history.complete(first, [Value::of(write); 2]);
        history.invoke(second);
        let mut later = history.clone();
        later.complete(second, [Value::of(write); 2]);
        assert!(later.is_linearizable(&requests, 0, Some(Value::of(write))));
        assert!(!later.is_linearizable(&requests, 0, Some(Value::INITIAL)));
        history.complete(second, [Value::INITIAL; 2]);
        assert!(!history.is_linearizable(&requests, 0, None));
    }

    #[test]
    fn concurrent_reads_may_differ() {
        let (requests, [write, first, second], mut history) = write_then_two_reads();
        for request in [write, first, second] {
            history.invoke(request);
        }
        history.complete(first, [Value::of(write); 2]);
        history.complete(second, [Value::INITIAL; 2]);
        assert!(history.is_linearizable(&requests, 0, None));
        assert!(history.is_linearizable(&requests, 1, None), "the other sector is not concerned");
    }

    #[test]
    fn an_answered_write_is_in_every_later_image() {
        let (requests, [write, ..], mut history) = write_then_two_reads();
        history.invoke(write);
        assert!(history.is_linearizable(&requests, 0, Some(Value::INITIAL)));
        assert!(history.is_linearizable(&requests, 0, Some(Value::of(write))));
        history.complete(write, [Value::INITIAL; 2]);
        assert!(!history.is_linearizable(&requests, 0, Some(Value::INITIAL)));
    }
}

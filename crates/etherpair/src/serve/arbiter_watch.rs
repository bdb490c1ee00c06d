//! Tells operators that the arbiter is lost, before a node has something to ask it, and that it is back. It asks nothing: whether
//! it can be reached the arbiter's client knows.

use std::sync::Arc;
use std::time::Duration;

use aoe::Address;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::daemon::Daemon;
use super::events::{Report, Severity};
use crate::arbiter::{ArbiterError, ArbiterState};

/// Whoever is reached again within this time, if only at another of its addresses, was not lost.
const SETTLED: Duration = Duration::from_secs(2);

/// Follows the arbiter for as long as there is a daemon.
pub(super) fn follow(daemon: &Arc<Daemon>) {
    if let Some(states) = daemon.arbiter.states() {
        let daemon = Arc::downgrade(daemon);
        let report = move |report| {
            if let Some(daemon) = daemon.upgrade() {
                daemon.report(report);
            }
        };
        tokio::spawn(tell(states, || sleep(SETTLED), report));
    }
}

/// Not when it was not tried yet.
const fn is_lost(state: &ArbiterState) -> bool {
    !state.is_reachable && state.error.is_some()
}

async fn tell<F: Future>(
    mut states: Receiver<ArbiterState>,
    settled: impl Fn() -> F,
    report: impl Fn(Report),
) {
    loop {
        if states.wait_for(is_lost).await.is_err() {
            return;
        }
        settled().await;
        let state = states.borrow_and_update().clone();
        if !is_lost(&state) {
            continue;
        }
        report(lost(&state));
        let Ok(state) = states.wait_for(|state| state.is_reachable).await.map(|state| state.clone()) else {
            return;
        };
        report(back(&state));
    }
}

/// A question about a volume was not answered; `more` says how often that was not told.
pub(super) fn silent(address: Address, error: &ArbiterError, more: &str) -> Report {
    let text = format!("the arbiter gives no answer for {address}: {error}{more}");
    Report::new("arbiter", Severity::Warning, "arbiter-silent", text, Value::Null)
}

/// It cannot be reached any more.
pub(super) fn lost(state: &ArbiterState) -> Report {
    let error = state.error.as_deref().unwrap_or_default();
    let text = format!(
        "the {} cannot be reached ({error}): while the pair is whole nothing changes, but a node that loses its peer now serves \
         nothing; see to it",
        state.kind
    );
    Report::new("arbiter", Severity::Warning, "arbiter-lost", text, json!({ "error": error }))
}

/// It can be reached again.
pub(super) fn back(state: &ArbiterState) -> Report {
    let text =
        format!("the {} is reached again at {}", state.kind, state.address.as_deref().unwrap_or_default());
    Report::new("arbiter", Severity::Info, "arbiter-back", text, Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use tokio::sync::{Semaphore, watch};

    fn state(is_reachable: bool, error: &str) -> ArbiterState {
        ArbiterState {
            kind: "witness",
            identity: None,
            address: Some("10.0.0.3:8803".to_owned()),
            is_reachable,
            error: Some(error.to_owned()).filter(|error| !error.is_empty()),
        }
    }

    #[test]
    fn a_loss_that_lasts_is_told_once_and_its_end_as_well() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (told, states) = watch::channel(state(false, ""));
            let (sender, reports) = channel();
            // A permit is as much time as a loss has to last.
            let time = Arc::new(Semaphore::new(0));
            let passed = Arc::clone(&time);
            let settled = move || {
                let passed = Arc::clone(&passed);
                async move { passed.acquire().await.expect("open").forget() }
            };
            let report = move |report: Report| sender.send(report.event).expect("listened to");
            tokio::spawn(tell(states, settled, report));
            // Found; lost for a moment; lost for good, with one error after the other; found again.
            for (next, permits, expected) in [
                (state(true, ""), 0, None),
                (state(false, "closed"), 0, None),
                (state(true, ""), 1, None),
                (state(false, "closed"), 0, None),
                (state(false, "refused"), 1, Some("arbiter-lost")),
                (state(false, "no answer"), 0, None),
                (state(true, ""), 0, Some("arbiter-back")),
            ] {
                let what = format!("{next:?}");
                told.send(next).expect("listened to");
                time.add_permits(permits);
                // All there is to do is done in a few rounds.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(reports.try_recv().ok(), expected, "{what}");
            }
        });
    }
}

//! What the arbiter is asked and told. A question is a task of its own, so that nothing else waits for it.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use aoe::Address;
use block::ExportId;
use os::shard::Command;
use replication::input::ArbiterAnswer;
use replication::membership::Membership;
use replication::output::Wish;
use replication::witness::RegisterKey;
use serde_json::Value;

use super::super::events::{Report, Severity};
use super::super::volumes::Volume;
use super::{Daemon, PATIENCE};
use crate::arbiter::ArbiterError;

/// What the arbiter is to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) expected: Membership,
    pub(super) next: Membership,
    pub(super) wish: Wish,
}

impl Daemon {
    /// An operator has forced a membership on a volume: the arbiter is to know, or both nodes could go on from what it holds.
    pub(super) fn tell_forced(self: &Arc<Self>, volume: Volume, forced: Membership) {
        let (daemon, key, address) = (Arc::clone(self), self.key(&volume), volume.entry.address);
        tokio::spawn(async move {
            let (mut expected, mut seen) = (forced, None);
            loop {
                match daemon.arbiter.ask(key, expected, forced).await {
                    Ok(ArbiterAnswer::Holds(held)) if held.epoch < forced.epoch => expected = held,
                    // An answer was lost, or the node has been granted more since.
                    Ok(ArbiterAnswer::Holds(held)) if daemon.goes_by(&volume, held).await => return,
                    // Just now, perhaps.
                    Ok(ArbiterAnswer::Holds(held)) if seen != Some(held) => seen = Some(held),
                    Ok(ArbiterAnswer::Holds(held)) => {
                        let text = format!(
                            "forced to membership {forced}, but the arbiter has granted {held}: if the other node serves, there are two \
                             histories; stop one of the nodes at once"
                        );
                        let about = address.to_string();
                        return daemon.report(Report::new(
                            &about,
                            Severity::Error,
                            "two-histories",
                            text,
                            Value::Null,
                        ));
                    }
                    Ok(_) => return tracing::info!("{address}: the arbiter knows of membership {forced}"),
                    Err(ArbiterError::Nobody) => return,
                    Err(error) => {
                        daemon.not_asked(address, &error);
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
            }
        });
    }

    async fn goes_by(&self, volume: &Volume, membership: Membership) -> bool {
        let status = self.statuses(std::slice::from_ref(volume)).await.pop().flatten();
        status.is_some_and(|status| status.membership == membership)
    }

    pub(super) fn ask(self: &Arc<Self>, shard: usize, export: ExportId, question: u64, asked: Asked) {
        let daemon = Arc::clone(self);
        tokio::spawn(async move {
            let answer = match daemon.find(shard, export) {
                Some(volume) => daemon.arbiter_says(&volume, asked).await,
                None => ArbiterAnswer::Unreachable,
            };
            daemon.shards[shard].send(Command::ArbiterAnswered { volume: export, question, answer });
        });
    }

    async fn arbiter_says(&self, volume: &Volume, asked: Asked) -> ArbiterAnswer {
        let Asked { expected, next, wish } = asked;
        match self.arbiter.ask(self.key(volume), expected, next).await {
            Ok(answer) => {
                if next != expected && answer == ArbiterAnswer::Swapped {
                    tracing::info!("{}: the arbiter has granted epoch {}", volume.entry.address, next);
                }
                answer
            }
            // Nobody can hold anything else than both nodes believe.
            Err(ArbiterError::Nobody) if wish == Wish::OfBoth => ArbiterAnswer::Swapped,
            Err(error) => {
                self.not_asked(volume.entry.address, &error);
                ArbiterAnswer::Unreachable
            }
        }
    }

    /// The register of a volume.
    pub(crate) fn key(&self, volume: &Volume) -> RegisterKey {
        RegisterKey { pair: self.config.pair, volume: volume.identity }
    }

    fn not_asked(&self, address: Address, error: &ArbiterError) {
        let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
        unasked.write(Instant::now(), |more| {
            let text = format!("the arbiter gives no answer for {address}: {error}{more}");
            self.report(Report::new("arbiter", Severity::Warning, "arbiter-silent", text, Value::Null));
        });
    }
}

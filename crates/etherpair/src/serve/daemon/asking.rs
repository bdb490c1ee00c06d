//! What the arbiter is asked and told. A question is a task of its own, so that nothing else waits for it.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use aoe::Address;
use block::ExportId;
use os::shard::Command;
use replication::input::{ArbiterAnswer, Control};
use replication::limits::ARBITER_RETRY;
use replication::membership::{Epoch, Membership};
use replication::output::Wish;
use replication::volume::{Phase, VolumeStatus};
use replication::witness::RegisterKey;

use super::super::arbiter_watch;
use super::super::events::Report;
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
        let daemon = Arc::clone(self);
        tokio::spawn(async move { daemon.make_forced_known(&volume, forced).await });
    }

    /// What epoch the arbiter has a volume in, as far as it can be asked: nobody is forced into one that the other node was granted.
    pub(crate) async fn held_by_arbiter(&self, volume: &Volume, own: Membership) -> Epoch {
        match self.arbiter.ask(self.key(volume), own, own).await {
            Ok(ArbiterAnswer::Holds(held)) if held.epoch <= Epoch::LAST => held.epoch,
            _ => Epoch(0),
        }
    }

    /// Until the arbiter knows, or this node goes by something else, or the volume is no more. Where the arbiter has granted the other
    /// node that epoch, or a later one, this one goes on in a later one still; that is told anew.
    async fn make_forced_known(&self, volume: &Volume, forced: Membership) {
        let (key, address) = (self.key(volume), volume.entry.address);
        let (mut expected, mut seen, mut is_told) = (forced, None, false);
        while self.has(volume) {
            match self.arbiter.ask(key, expected, forced).await {
                Ok(ArbiterAnswer::Holds(held)) if held.epoch < forced.epoch => {
                    if self.status_of(volume).await.is_some_and(|status| status.membership != forced) {
                        return;
                    }
                    expected = held;
                }
                Ok(ArbiterAnswer::Holds(held)) => {
                    match self.status_of(volume).await {
                        // An answer was lost, or the node has been granted more since, or it has given way.
                        Some(status) if status.membership != forced => return,
                        // Nobody goes by what the arbiter holds.
                        Some(status) if seen == Some(held) && status.phase == Phase::Paired => {
                            expected = held;
                            continue;
                        }
                        Some(_) if seen == Some(held) => {
                            if !std::mem::replace(&mut is_told, true) {
                                self.tell_of_two_histories(address, forced, held);
                            }
                            if held.epoch >= Epoch::LAST {
                                return;
                            }
                            let control = Control::Surpass { held: held.epoch };
                            self.control(std::slice::from_ref(volume), control);
                        }
                        // Just now, perhaps: the node asks for what it has not heard of as often as this.
                        Some(_) => seen = Some(held),
                        None => {}
                    }
                    tokio::time::sleep(ARBITER_RETRY).await;
                }
                Ok(_) => return tracing::info!("{address}: the arbiter knows of membership {forced}"),
                Err(ArbiterError::Nobody) => return,
                Err(error) => {
                    self.not_asked(address, &error);
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    fn tell_of_two_histories(&self, address: Address, forced: Membership, held: Membership) {
        self.report(Report::two_histories(&address.to_string(), forced, held));
    }

    /// How a volume stands here, if its thread says so.
    pub(crate) async fn status_of(&self, volume: &Volume) -> Option<VolumeStatus> {
        self.statuses(std::slice::from_ref(volume)).await.pop().flatten()
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
            self.report(arbiter_watch::silent(address, error, more));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lab::Namespace;
    use replication::membership::{Members, NodeNumber};
    use tokio::time::timeout;

    use super::*;
    use crate::arbiter::Arbiter;
    use crate::config::arbiter::ArbiterConfig;
    use crate::witness::{WitnessConfig, start};

    const FORCED: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::Zero) };
    const GRANTED: Membership = Membership { epoch: Epoch(2), members: Members::Only(NodeNumber::One) };

    #[test]
    fn while_nobody_says_what_this_node_goes_by_there_are_no_two_histories_and_a_volume_that_is_gone_has_none()
     {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = vec!["127.0.0.1:0".parse().expect("an address")];
        let witness = WitnessConfig { listen, directory: directory.path().to_owned(), pairs: Vec::new() };
        let test = async || {
            let addresses = start(&witness).await.expect("a witness");
            let arbiter = Arbiter::start(&ArbiterConfig::Witness(addresses));
            let daemon = Daemon::on_stage(arbiter.clone());
            let volume = daemon.put_on_stage(daemon.config.volumes[0].clone());
            let created = arbiter.create(daemon.key(&volume), GRANTED).await;
            created.expect("a register");
            let mut events = daemon.events.subscribe();
            let telling = timeout(Duration::from_secs(3), daemon.make_forced_known(&volume, FORCED));
            assert!(telling.await.is_err(), "it goes on");
            assert!(events.try_recv().is_err(), "nothing is known");
            daemon.volumes().clear();
            let telling = timeout(Duration::from_secs(3), daemon.make_forced_known(&volume, FORCED));
            assert!(telling.await.is_ok(), "nobody is left to tell of");
        };
        let namespace = Namespace::new().expect("run as root");
        let done = namespace.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(test());
            Ok(())
        });
        done.expect("a namespace");
    }
}

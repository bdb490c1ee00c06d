//! Who may change which volumes a node has: one at a time, whether an operator, the peer or the configuration wants it, and what is
//! being made is nobody else's meanwhile. Also what other processes of the machine see of it: the addresses that this one has.
//!
//! Nobody waits for the peer while he is the one, since there, too, he waits for his turn: two operators who change something at both
//! nodes at once wait for each other's steps, never for each other's commands. What takes several steps is a [`Reservation`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aoe::Address;
use os::Interface;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::daemon::Daemon;
use super::error::VolumeError;
use crate::config::volume::VolumeEntry;
use crate::export::Claims;

/// Whoever has it before waits for disks at most, which are many or slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What those who change volumes have to agree upon.
#[derive(Debug, Default)]
pub(crate) struct Changing {
    one: tokio::sync::Mutex<()>,
    being_made: Mutex<BTreeMap<Address, VolumeEntry>>,
    claims: Mutex<Claims>,
}

/// An address and files that are somebody's who makes a volume of them, until dropped.
pub(super) struct Reservation {
    daemon: Arc<Daemon>,
    address: Address,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.daemon.being_made().remove(&self.address);
        self.daemon.give_up_claims(self.address);
    }
}

impl Daemon {
    /// Waits until nobody else changes volumes; nobody else does until what comes back is dropped.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) async fn change_alone(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, String> {
        let alone = timeout(PATIENCE, self.changing.one.lock()).await;
        alone.map_err(|_| {
            "another change of this node's volumes is still under way; try again when it is done".to_owned()
        })
    }

    /// Keeps a volume's address and files for whoever makes it. Blocks.
    ///
    /// # Errors
    /// Who has one of them already.
    pub(super) fn reserve(self: &Arc<Self>, entry: &VolumeEntry) -> Result<Reservation, String> {
        let _alone = Handle::current().block_on(self.change_alone())?;
        let address = entry.address;
        if let Some(text) = self.clash_with_configured(entry).or_else(|| self.clash_with_made(entry)) {
            return Err(text);
        }
        let claims = self.claim(address, &self.interfaces().clone());
        self.claims().add(claims.map_err(|error| format!("{address}: {error}"))?);
        self.being_made().insert(address, entry.clone());
        Ok(Reservation { daemon: Arc::clone(self), address })
    }

    /// What a volume has in common with one that this node is to serve, whether it does or not: configured both, none would be any more.
    pub(super) fn clash_with_configured(&self, entry: &VolumeEntry) -> Option<String> {
        let clash = self.volumes().values().find_map(|volume| entry.clash(&volume.entry));
        clash.or_else(|| self.broken().values().find_map(|broken| entry.clash(&broken.entry)))
    }

    /// What a volume has in common with one that is just being made.
    pub(super) fn clash_with_made(&self, entry: &VolumeEntry) -> Option<String> {
        let made = self.being_made();
        let text = made.values().find_map(|made| entry.clash(made))?;
        Some(format!("{text}; `volume create` is just making that one: try again when it is done"))
    }

    /// Claims an address on these interfaces, unless this process has it already.
    ///
    /// # Errors
    /// If another process has.
    pub(super) fn claim(&self, address: Address, interfaces: &[String]) -> Result<Claims, VolumeError> {
        if self.claims().include(address) {
            return Ok(Claims::default());
        }
        let interfaces: Vec<Interface> =
            interfaces.iter().filter_map(|name| Interface::named(name).ok()).collect();
        Ok(Claims::new(&[address], &interfaces, false)?)
    }

    /// An address is free for others, unless it is served, is to be served, or is just being made.
    pub(super) fn give_up_claims(&self, address: Address) {
        let is_ours = self.volumes().contains_key(&address)
            || self.broken().contains_key(&address)
            || self.being_made().contains_key(&address);
        if !is_ours {
            self.claims().give_up_address(address);
        }
    }

    /// The addresses of this process, as others of the machine see them.
    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.changing.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn being_made(&self) -> MutexGuard<'_, BTreeMap<Address, VolumeEntry>> {
        self.changing.being_made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

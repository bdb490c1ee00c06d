//! The same things in the words of the target and in those of the engine.

use aoe::target;
use aoe::{Digest, MacAddress};
use replication::identity::VolumeIdentity;
use replication::message::{NumberWindow, Origin};
use replication::meta::small_state::SmallState;

pub(super) const fn to_engine_origin(origin: target::Origin) -> Origin {
    match origin {
        target::Origin::Stock { digest: Digest(digest) } => Origin::Stock { digest },
        target::Origin::Sequenced { initiator, sequence } => Origin::Sequenced { initiator, sequence },
    }
}

pub(super) const fn to_target_origin(origin: Origin) -> target::Origin {
    match origin {
        Origin::Stock { digest } => target::Origin::Stock { digest: Digest(digest) },
        Origin::Sequenced { initiator, sequence } => target::Origin::Sequenced { initiator, sequence },
    }
}

pub(super) fn to_engine_window(window: target::NumberWindow) -> NumberWindow {
    let target::NumberWindow { initiator, latest, executed, failed } = window;
    NumberWindow { initiator, latest, executed, failed }
}

pub(super) const fn to_target_window(window: &NumberWindow) -> target::NumberWindow {
    let NumberWindow { initiator, latest, executed, failed } = *window;
    target::NumberWindow { initiator, latest, executed, failed }
}

pub(super) fn to_target_state(state: &SmallState) -> target::SmallState {
    target::SmallState {
        config_string: state.config_string.clone(),
        mac_mask: state.mac_mask.iter().copied().map(MacAddress).collect(),
        reservation: state.reservation.iter().copied().map(MacAddress).collect(),
    }
}

pub(super) fn to_engine_state(volume: VolumeIdentity, state: &target::SmallState) -> SmallState {
    SmallState {
        config_string: state.config_string.clone(),
        mac_mask: state.mac_mask.iter().map(|mac| mac.0).collect(),
        reservation: state.reservation.iter().map(|mac| mac.0).collect(),
        ..SmallState::new(volume)
    }
}

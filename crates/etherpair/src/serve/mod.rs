//! Everything behind `etherpair serve`: a node of a pair.
//!
//! Read in this order: [`run`](mod@run) (from the configuration to the end), [`daemon`] (what all tasks know, and what shards say),
//! [`volumes`] (opening what is configured), [`peer_port`] and [`peer_dial`] (the connections between the nodes), [`peer_control`] (what
//! their control planes ask of each other), [`create`], [`resize`], [`remove`] and [`replace`] with [`anew`] (volumes at both nodes, in
//! [`files`]), [`register`] (what the arbiter knows of them), [`reload`] (the configuration read again; [`changes`]: what of it can change,
//! [`withdraw`]: volumes that go, [`leaving`] them to the peer), [`changing`] (one of all these at a time), [`admin`] (the socket for
//! commands), [`events`] and [`status`] (what operators are told; of [`interfaces`], by [`arbiter_watch`], [`same_arbiter`] and
//! [`same_addresses`] too).
//! Nothing here is in the way of a request: shards serve by themselves, and are asked by queues.

mod admin;
mod anew;
mod arbiter_watch;
mod changes;
mod changing;
mod create;
mod daemon;
mod error;
pub(crate) mod events;
mod files;
mod interfaces;
mod leaving;
mod look;
mod peer_control;
mod peer_dial;
mod peer_links;
mod peer_port;
mod register;
mod reload;
mod remove;
mod replace;
mod resize;
mod run;
mod same_addresses;
mod same_arbiter;
mod slow;
pub(crate) mod status;
mod volumes;
mod withdraw;

pub(crate) use run::run;

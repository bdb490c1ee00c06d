//! `etherpair export` as its users meet it: the real program in network namespaces, spoken to in raw AoE frames.
//!
//! [`world`] is the stage (two namespaces, a wire, a scratch directory), [`client`] speaks AoE in the plainest way there
//! is: one request, one answer, no retransmission. All tests need root, because namespaces do.
#![allow(clippy::disallowed_methods, reason = "tests wait for the real world by the real clock")]

mod bad_input;
mod client;
mod data;
mod events;
mod state;
mod world;

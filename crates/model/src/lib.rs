//! An abstract model of the mirror protocol, searched exhaustively in small scopes, so that no rule is folklore.
//!
//! It knows nothing of the code that keeps the protocol: it is a second, much smaller telling of the same rules, in which
//! everything that can happen within a scope does happen. A scope is a handful of requests from both sides; a search
//! visits every state that chance can bring about (which message arrives, which sector a disk writes, which power fails)
//! and asks of each whether what the initiators saw could come from one correct disk.
//!
//! Reading order: [`words`], [`rules`] (the switchboard), [`disk`], [`link`], [`node`]; then what happens: `mirror` (the life
//! of a write and of a read, R1 to R5), [`arbiter`] and `failover` (losing the peer and meeting it), `resync`, [`initiator`]
//! (frames that come twice, D1 to D6), and [`lease`], a model of its own with two clocks; then [`world`] (all that can
//! happen), [`history`] and [`property`] (what is right), [`scope`] and [`catalogue`] (what is searched and claimed), [`search`]
//! and [`record`] (how, and what came out: `docs/model.md`).
#![forbid(unsafe_code)]

pub mod arbiter;
pub mod catalogue;
pub mod disk;
mod failover;
pub mod history;
pub mod initiator;
pub mod lease;
pub mod link;
mod mirror;
pub mod node;
pub mod property;
pub mod record;
mod resync;
pub mod rules;
pub mod scope;
pub mod search;
mod tell;
pub mod words;
pub mod world;

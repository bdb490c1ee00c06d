//! The replication stream of one shard: messages in, messages out, on a connection that somebody else has made.
//!
//! Read in this order: [`PeerStream`] (bytes in, bytes out), `receive` (bytes become messages, and data goes where it is to
//! stay), `send` (the messages of a turn leave together), [`PeerFailure`]. What a message means is not decided here, nor
//! when to connect.

mod failure;
mod stream;

pub use failure::PeerFailure;
pub use stream::PeerStream;

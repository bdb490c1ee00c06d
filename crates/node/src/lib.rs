//! A StorageNode without I/O: which core feeds which.
//!
//! [`Node`] stands between the AoE target and the disks of one shard, and, for exports that its peer holds as well,
//! between the target, the engine that keeps the two copies equal, the disks and the peer. Frames, completions and
//! messages go in; disk requests, replies and messages come out; nothing here opens a file, reads a clock or touches
//! payload bytes. Read [`node`](Node) first, then `pair` (an export with a peer), then `read_modify_write`, the one thing
//! the composition adds of its own.
#![forbid(unsafe_code)]

mod hand_over;
mod node;
mod output;
mod pair;
mod read_modify_write;
mod virtual_mac;

pub use node::{Node, NodeError};
pub use output::{Input, Output, SlowRequest};
pub use pair::{MirrorError, PairConfig};
pub use virtual_mac::virtual_mac;

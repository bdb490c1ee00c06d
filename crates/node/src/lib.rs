//! A StorageNode without I/O: which core feeds which.
//!
//! [`Node`] stands between the AoE target and the disks of one shard. Frames go in, disk requests and replies come
//! out; nothing here opens a file, reads a clock or touches payload bytes. Read [`node`](Node) first, then
//! `read_modify_write`, the one thing the composition adds of its own.
#![forbid(unsafe_code)]

mod node;
mod read_modify_write;

pub use node::{Input, Node, NodeError, Output};

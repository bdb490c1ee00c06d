//! `etherpair witness`: the arbiter for pairs that have no etcd. It stores one register a volume and decides nothing else.
//!
//! [`config`] is its file, [`files`] what it keeps on disk, [`store`] the one thread that changes registers, [`conversation`]
//! what it says on a connection, [`serve`](mod@serve) runs it all. What a question means is `replication::witness`.

mod config;
mod conversation;
mod files;
mod serve;
mod store;

pub(crate) use config::WitnessConfig;
pub(crate) use files::FilesError;
#[cfg(test)]
pub(crate) use serve::start;
pub(crate) use serve::{WitnessFailure, serve};

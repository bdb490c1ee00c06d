//! The commands: what each takes on the command line, and where it starts.

pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod discover;
pub(crate) mod dump;
pub(crate) mod examples;
pub(crate) mod export;
pub(crate) mod serve;
pub(crate) mod witness;

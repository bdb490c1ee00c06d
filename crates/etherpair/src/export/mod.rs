//! Everything behind `etherpair export`, in the order it happens.
//!
//! [`plan`] checks the command line as a whole, [`volume`] opens the disks and their [`state_file`]s, [`shards`] starts
//! the threads that serve, [`claim`] and [`watch`] (by [`probe`]) see to it that nobody else serves an address, [`links`]
//! follows the interfaces, [`control`] runs until it is told to stop, [`report`] tells what happens.

mod claim;
mod control;
mod error;
mod links;
mod plan;
mod probe;
mod report;
mod shards;
mod state_file;
mod volume;
mod watch;

pub(crate) use claim::Claims;
pub(crate) use control::serve;
pub(crate) use error::ExportError;
pub(crate) use links::{LinkChange, Links};
pub(crate) use plan::Plan;
pub(crate) use probe::{Heard, Probe};

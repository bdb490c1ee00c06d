//! Power loss: no acknowledged write is lost, on either side, and the copies become equal.
//!
//! Data and metadata of both nodes are on disks with volatile caches ([`tests::Rack`]), and an initiator writes through both nodes and
//! keeps a record. Of both nodes together (`both`), of one and then of the other (`one`), and of disks that say they have flushed and have
//! not (`lie`): those must be found out, by each of the ways in which the other tests judge.
#![allow(clippy::disallowed_methods, reason = "these are tests of the real world")]

mod afterwards;
mod both;
mod lie;
mod one;
mod story;

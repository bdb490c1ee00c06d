//! The main stories of the mirror, step by step: what came in, what came out, and why.
//!
//! Each is a file in `testdata/`, written by `TRANSCRIPTS=write cargo test -p replication --test transcripts` and reviewed
//! as a diff. Two engines follow a script in virtual time; nothing is left to chance.

mod compare;
mod stories;
mod words;
mod world;

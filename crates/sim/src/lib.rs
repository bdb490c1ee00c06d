//! A deterministic simulator of the whole pair: the real code of both nodes in a world where everything can go wrong.
//!
//! One seed decides everything: what is tried, what fails and when. The same seed takes the same way, event by event, so a
//! failure is a number. Nothing here reads a clock, opens a file or starts a thread; the command around it does.
//!
//! What is asked and what is right:
//! - `content`, `history`, `oracle`: what is written, what was asked and told, whether one correct disk could have done it. `exchange`: what
//!   frames say of that.
//! - `workload`: hosts with initiators, of both kinds. `property`: what must hold during and after a run, one a file.
//!
//! What it happens in:
//! - [`host`]: what the world knows of an initiator.
//! - `world`, `event`: the nodes, the hosts, one virtual clock, one heap of events.
//! - `network`, `peer_link`, `disk`, `damage`, `machine`, `process`, `arbiter`: the parts of the world and what goes wrong with each.
//! - `operator`: what somebody other than the hosts asks of the nodes. `examine`: what the disks hold, seen from outside.
//! - `options`, `mistake`, `scenario`, `trace`, `glimpse`: which run, told how. `finding`: what is wrong with it; `minimise`, `replay`: how a
//!   failing one is made small and seen again. `mark`, `tally`: what was seen, in a run and in many.
#![forbid(unsafe_code)]

pub mod arbiter;
mod buffers;
mod build;
pub mod clock;
pub mod conflict;
pub mod content;
pub mod counts;
mod damage;
pub mod disk;
pub mod event;
mod examine;
mod exchange;
pub mod fault;
pub mod finding;
mod glimpse;
pub mod history;
pub mod host;
pub mod machine;
pub mod mark;
pub mod minimise;
pub mod mistake;
pub mod network;
mod operator;
pub mod options;
pub mod oracle;
pub mod peer_link;
pub mod process;
pub mod property;
pub mod random;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod store;
pub mod stream;
pub mod survivor;
pub mod tally;
pub mod trace;
pub mod watch;
pub mod workload;
pub mod world;

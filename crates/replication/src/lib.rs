//! Keeping two copies of a volume equal, without I/O.
//!
//! Two nodes hold the same volume and both serve it. This crate decides; others send, read and write. Read in this order:
//!
//! 1. [`membership`]: who serves since which epoch, and what may follow what. [`lease`]: how long a node may serve unheard.
//! 2. [`message`]: what the nodes say to each other; [`wire`]: how that looks as bytes. [`input`] and [`output`]: what the
//!    engine is told and what it wants done.
//! 3. [`engine`] hands each input to the file named after it: the life of a write is in `write` (as its coordinator) and
//!    `follow` (as its follower), that of a read in `read` (`heal` if both disks have lost part of it); who is in whose way (rules R1 to R5) in `conflict`.
//! 4. [`volume`] is what a node knows of one volume, with the drawing of its phases. `session` is the conversation with the
//!    peer; `standing` loses the peer, serves alone and leaves, `disk_failure` gives a disk up or keeps it, `arbiter` asks whether it may; `meeting` finds the peer again (`role`: whose copy counts, `lacking`: where the other's does not, `promotion`: both are members), and
//!    `doubt` what became of the writes that were in flight; [`resync`] makes the copies equal, [`resize`] makes them larger.
//!    [`durability`] says what an answer promises. A node without a disk leaves its address to its peer, which serves alone, and hands over what comes to it all the same.
//! 5. `records` writes the metadata in the order that makes all this true after a loss of power; [`activity_log`] and
//!    [`bitmap`] are its two large parts, [`meta`] is what it looks like on disk: every record names its version, place,
//!    owner and number in the row, so that torn, stale, misdirected and foreign ones are recognised. [`dump`] explains it
//!    to people.
//! 6. [`witness`]: what the arbiter of ours is asked and grants. [`mutation`] lists mistakes that tests make on purpose.
//!
//! No clock, thread, file or socket; time and bytes are arguments.
#![forbid(unsafe_code)]

pub mod activity_log;
mod address;
mod arbiter;
pub mod bitmap;
mod conflict;
mod disk_failure;
mod doubt;
pub mod dump;
pub mod durability;
pub mod engine;
mod flush;
mod follow;
mod hand_over;
mod heal;
pub mod identity;
pub mod input;
mod lacking;
pub mod lease;
pub mod limits;
pub mod links;
mod meeting;
pub mod membership;
pub mod message;
pub mod meta;
pub mod mutation;
pub mod output;
mod promotion;
mod read;
mod records;
mod removal;
pub mod resize;
pub mod resync;
mod role;
mod session;
mod slots;
mod small_state;
pub mod spent;
mod standing;
pub mod start;
pub mod version;
pub mod volume;
pub mod wire;
pub mod witness;
mod write;

//! Everything unsafe: system calls, memory shared with the kernel, and the structures they are spoken to with.
//!
//! What is offered upward is safe to call. Memory that the kernel may write to is never lent out as a slice while it may.

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod file;
pub(crate) mod guarded_copy;
pub(crate) mod large_pages;
pub(crate) mod limit;
pub(crate) mod link;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod messages;
pub(crate) mod packet_ring;
pub(crate) mod packet_socket;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod uring;
pub(crate) mod uring_receive;
pub(crate) mod xdp_ring;

//! The kernel: packet sockets, rings, io_uring, clock; the only unsafe code.

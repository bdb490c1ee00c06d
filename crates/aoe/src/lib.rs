//! The ATA over Ethernet protocol without I/O: wire format, target and initiator.

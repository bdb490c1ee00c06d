//! The test laboratory: namespaces, virtual wires, guests, processes and packages, cleaned up by their owner.

//! A StorageNode without I/O: exports composed of protocol cores and disks.

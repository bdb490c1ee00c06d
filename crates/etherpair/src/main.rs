//! The `etherpair` command.

fn main() {}

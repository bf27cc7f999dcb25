//! The `tunneld` command.

fn main() {}

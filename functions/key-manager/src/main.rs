//! Wiring only: see the library.

fn main() {}

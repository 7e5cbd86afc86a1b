//! Build, run and test Tally.

fn main() {}

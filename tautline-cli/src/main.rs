//! The program `tautline`.
fn main() {}

//! encrypt
fn main() {}

//! portal
fn main() {}

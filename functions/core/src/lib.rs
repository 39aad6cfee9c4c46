//! The product: every rule of Sealpost, and its AWS calls.

pub mod clock;

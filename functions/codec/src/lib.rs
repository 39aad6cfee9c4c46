//! Bytes in, bytes out: addresses, MIME messages, OpenPGP, S/MIME and the archive envelope.
//!
//! Nothing here does I/O, reads a clock or keeps state; every entry point takes hostile input and answers with a value
//! or an error that does not repeat it.

pub mod address;
mod character;
pub mod envelope;
pub mod html;
pub mod mime;
pub mod openpgp;
pub mod smime;

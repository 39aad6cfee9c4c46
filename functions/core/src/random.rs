//! The only source of ids, tokens and codes.
//!
//! Nonces and keys inside a cryptographic operation come from the library that does the operation.

use crate::error::{Error, Result};

/// The random source of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Random {
    /// The operating system's generator, through AWS-LC.
    #[must_use]
    pub fn system() -> Self {
        Self
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// Internal, when the generator fails; nothing may be made without it.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|error| Error::internal("No randomness.").because(error))?;
        Ok(bytes)
    }

    /// A number in `0..bound`, without bias.
    ///
    /// # Errors
    /// Internal, when the generator fails.
    pub fn below(&self, bound: u32) -> Result<u32> {
        let bound = bound.max(1);
        let limit = u32::MAX - u32::MAX % bound;
        loop {
            let draw = u32::from_le_bytes(self.bytes()?);
            if draw < limit {
                return Ok(draw % bound);
            }
        }
    }
}

//! The only source of ids, tokens and codes.
//!
//! Nonces and keys inside a cryptographic operation come from the library that does the operation.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Fills a buffer with random bytes, or answers that it cannot.
type Source = Arc<dyn Fn(&mut [u8]) -> Result<()> + Send + Sync>;

/// The random source of the system.
#[derive(Clone, Default)]
pub struct Random {
    /// `None` is the operating system's generator.
    source: Option<Source>,
}

impl Random {
    /// The operating system's generator, through AWS-LC.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A source of the caller's own, such as one that repeats itself from a seed.
    #[must_use]
    pub fn of(source: impl Fn(&mut [u8]) -> Result<()> + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
        }
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// Internal, when the generator fails; nothing may be made without it.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match &self.source {
            Some(source) => source(&mut bytes)?,
            None => {
                aws_lc_rs::rand::fill(&mut bytes).map_err(|error| Error::internal("No randomness.").because(error))?;
            }
        }
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

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

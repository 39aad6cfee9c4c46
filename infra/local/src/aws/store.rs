//! Where the local services keep their state: one SQLite file a service, or memory.
//!
//! A change is one SQLite transaction, so a process killed between any two steps leaves either all of it or nothing.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::error::AwsError;

/// One service's database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens `path`, or memory for `None`, and runs `schema` (idempotent `CREATE … IF NOT EXISTS` statements).
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened or the schema does not apply.
    pub fn open(path: Option<&Path>, schema: &str) -> rusqlite::Result<Self> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
        connection.execute_batch(schema)?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Runs `change` in one transaction: it commits when `change` answers `Ok`, and leaves nothing behind otherwise.
    ///
    /// # Errors
    /// What `change` answers, or SQLite's own error at begin or commit.
    pub fn change<T, E: From<rusqlite::Error>>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let answer = change(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }
}

/// A row that may not be there.
pub(crate) fn maybe<T>(result: rusqlite::Result<T>) -> Result<Option<T>, AwsError> {
    Ok(result.optional()?)
}

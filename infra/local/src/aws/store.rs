//! Where the local services keep their state: one SQLite file a service, or memory.
//!
//! A change is one SQLite transaction, so a process killed between any two steps leaves either all of it or nothing.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use super::error::AwsError;

/// How many statements a database keeps prepared: more than any service has.
const MOST_PREPARED: usize = 128;

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
        connection.set_prepared_statement_cache_capacity(MOST_PREPARED);
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

/// Statements that are prepared once and kept, since preparing one costs more than most of them cost to run.
pub(crate) trait Prepared {
    /// Runs a statement and answers how many rows it changed.
    fn run(&self, sql: &str, given: impl Params) -> rusqlite::Result<usize>;

    /// Reads the one row that a query finds.
    fn row<T>(
        &self,
        sql: &str,
        given: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T>;
}

impl Prepared for Connection {
    fn run(&self, sql: &str, given: impl Params) -> rusqlite::Result<usize> {
        self.prepare_cached(sql)?.execute(given)
    }

    fn row<T>(
        &self,
        sql: &str,
        given: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare_cached(sql)?.query_row(given, read)
    }
}

/// A row that may not be there.
pub(crate) fn maybe<T>(result: rusqlite::Result<T>) -> Result<Option<T>, AwsError> {
    Ok(result.optional()?)
}

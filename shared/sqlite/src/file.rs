//! A file: made, recognised, refused.

use std::fs::{OpenOptions, Permissions};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::{DAMAGED, Failure};

/// Says that a file is Evergrant's: "evrg".
const APPLICATION_ID: i64 = 0x6576_7267;
/// The version of the schema that this release makes and reads.
const VERSION: i64 = 3;
const SCHEMA: &str = include_str!("schema.sql");
/// What a file of version 1 lacks.
const SINCE_1: &str =
    "CREATE TABLE first_tokens (token TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID";

/// What a file of version 2 lacks.
const SINCE_2: &str = "ALTER TABLE audit ADD COLUMN number INTEGER;
     CREATE UNIQUE INDEX audit_number ON audit (number) WHERE number IS NOT NULL";

/// Keys of callers of the gateway: `key` is JSON and holds no secret, only hashes.
/// What a file of an earlier release of this version lacks. That release can still read the file.
const ADDED: &str = "CREATE TABLE IF NOT EXISTS api_keys \
     (name TEXT PRIMARY KEY, key TEXT NOT NULL, used_ms INTEGER) WITHOUT ROWID";

/// How long another process's write is waited for, in milliseconds.
const BUSY_TIMEOUT_MS: i32 = 10_000;
/// Statements that a connection keeps compiled.
const STATEMENTS: usize = 64;
/// Memory for pages of the file, in KiB.
const WRITER_CACHE_KIB: i32 = 8_192;
const READER_CACHE_KIB: i32 = 2_048;
/// Pages in the write-ahead log before it is carried over: SQLite's own 1,000 are written many times a
/// second, and each time the disk is flushed twice more.
const WAL_PAGES: i64 = 4_000;
/// The write-ahead log is cut to this when it has been carried over.
const WAL_KEPT_BYTES: i64 = WAL_PAGES * 4_096;

/// Opens the file to write; makes it if it does not exist.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    keep_private(path);
    let mut connection = Connection::open_with_flags(path, flags)?;
    configure(&mut connection, WRITER_CACHE_KIB)?;
    recognise(&connection)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failure::refused("its disk cannot hold a write-ahead log: choose a local one"));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    // Tokens that were replaced or removed are overwritten with zeros, where that costs no write of its own.
    connection.pragma_update(None, "secure_delete", "fast")?;
    // Of what undoes a request, should it fail, SQLite would put all but a little into a file.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    make(&connection)?;
    Ok(connection)
}

/// Opens the file to read; it has been made.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Failure> {
    // Not read-only for SQLite: the first reader after a crash may have to recover the log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    configure(&mut connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn configure(connection: &mut Connection, cache_kib: i32) -> Result<(), Failure> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else a statement's plan depends on the values that it is given, and each use of one that is kept
    // compiles it anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_handler(Some(wait_for_others))?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(())
}

/// Looks again and again. SQLite's own handler looks less and less often, so a process that writes
/// all the time could keep others out.
#[allow(
    clippy::disallowed_methods,
    reason = "SQLite calls it on its own threads, not the runtime's"
)]
fn wait_for_others(waited_ms: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    waited_ms < BUSY_TIMEOUT_MS
}

/// Refuses what another program or a later release has made.
pub(super) fn recognise(connection: &Connection) -> Result<(), Failure> {
    let pragma = |name: &str| -> Result<i64, Failure> {
        Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(()),
        (APPLICATION_ID, 1..=VERSION) => Ok(()),
        (APPLICATION_ID, later) => Err(Failure::refused(format!(
            "it is of version {later}, made by a later release; this one reads up to version \
             {VERSION}: upgrade"
        ))),
        _ => Err(Failure::refused("it is an SQLite file of another program: choose another name")),
    }
}

/// Makes the tables that are missing, unless another process has.
fn make(connection: &Connection) -> Result<(), Failure> {
    let made = connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        if version == 1 {
            connection.execute_batch(SINCE_1)?;
        }
        if matches!(version, 1 | 2) {
            connection.execute_batch(SINCE_2)?;
        }
        connection.execute_batch(ADDED)?;
        if version != VERSION {
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        connection.execute_batch("COMMIT")
    });
    if made.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(made?)
}

/// The file holds tokens, so others must not read it; what SQLite makes beside it is as private as the
/// file is. Whatever fails here, SQLite will fail over and say why.
fn keep_private(path: &Path) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut new = OpenOptions::new();
    if new.write(true).create_new(true).mode(0o600).open(path).is_ok() {
        return;
    }
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.is_file()
        && metadata.permissions().mode() & 0o007 != 0
    {
        let private = Permissions::from_mode(metadata.permissions().mode() & 0o770);
        let _ = std::fs::set_permissions(path, private);
    }
}

/// Reads all of the file and says whether it is whole.
pub(super) fn check(connection: &Connection) -> Result<(), Failure> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Failure::refused(DAMAGED)) }
}

/// This machine's clock, as SQLite tells it: milliseconds since the Unix epoch.
pub(super) fn now_ms(connection: &Connection) -> Result<i64, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_that_is_kept_is_not_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_writer(&folder.path().join("e.db")).unwrap();
        let sql = "SELECT n FROM documents WHERE key = ?1";
        for id in 0..3 {
            connection.prepare_cached(sql).unwrap().exists([id]).unwrap();
        }
        let kept = connection.prepare_cached(sql).unwrap();
        assert_eq!(kept.get_status(StatementStatus::RePrepare), 0);
    }
}

//! Documents and jobs in one SQLite file, for one machine.
//!
//! * `address`, `file`: from a URL to a connection, and what a file must be to be used.
//! * `writer`: the one thread that writes, in groups; `database`: it and the readers, one for each
//!   file of a process.
//! * `process`: who works on a file, and whether it still lives.
//! * `store`: [`SqliteStore`]; `queue`: [`SqliteQueue`].
//! * `backup`: a copy of a file that is in use.
//! * `failure`: what operators read.
//!
//! What holds everywhere here:
//!
//! * What is answered as done is on the disk (`synchronous=FULL`). Requests that arrive while a group
//!   is being written form the next one, so one flush serves many.
//! * Whatever a caller drops is only the wait for an answer: a write that has begun is finished.
//! * Several processes may share a file. What a process that dies was delivered comes again as soon
//!   as another one looks, and its leases are over, since a lock tells that it is gone.
//! * No transaction is held open between two calls, so the write-ahead log stays short.

mod address;
mod backup;
mod database;
mod failure;
mod file;
mod process;
mod queue;
mod store;
mod writer;

pub use address::path_of_url;
pub use backup::{BackupError, backup};
pub use queue::{SqliteQueue, SqliteQueueSettings};
pub use store::{SqliteStore, SqliteStoreSettings};

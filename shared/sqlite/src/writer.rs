//! The one thread of a process that writes to a file.
//!
//! Requests that arrive while a group is being written form the next one: each in a savepoint of its
//! own, all in one transaction, so one flush of the disk serves them all, and nobody is answered
//! before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::Failure;

/// Requests in one transaction.
const GROUP_MAX: usize = 512;

/// Something to write.
pub(super) struct Request(Box<dyn WriterTask>);

trait WriterTask: Send {
    /// Does it within the transaction.
    fn carry_out(self: Box<Self>, connection: &Connection) -> WriterReply;

    /// Says that it was not done.
    fn refuse(self: Box<Self>, failure: Failure);
}

/// What came of it, to be told once it is on the disk.
struct WriterReply {
    failed: bool,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;

struct WriterRequest<T, F> {
    work: F,
    sender: oneshot::Sender<Result<T, Failure>>,
}

impl<T, F> WriterTask for WriterRequest<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
{
    fn carry_out(self: Box<Self>, connection: &Connection) -> WriterReply {
        let Self { work, sender } = *self;
        let panicked =
            |_| Err(Failure::refused("an internal error of Evergrant: please report it"));
        let result = catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or_else(panicked);
        let failed = result.is_err();
        let answer = move |flushed: Result<(), Failure>| {
            // Whoever asked may have gone.
            let _ = sender.send(result.and_then(|value| flushed.map(|()| value)));
        };
        WriterReply { failed, answer: Box::new(answer) }
    }

    fn refuse(self: Box<Self>, failure: Failure) {
        let _ = self.sender.send(Err(failure));
    }
}

/// A request that does `work`, and what it answers. `work` has an effect only if it succeeds.
pub(super) fn request<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
) -> (Request, oneshot::Receiver<Result<T, Failure>>) {
    let (sender, receiver) = oneshot::channel();
    (Request(Box::new(WriterRequest { work, sender })), receiver)
}

/// Writes until nobody can ask any more. `reopen` opens the file anew.
pub(super) fn run(
    connection: Connection,
    requests: &Receiver<Request>,
    reopen: impl Fn() -> Result<Connection, Failure>,
) {
    let mut connection = Some(connection);
    while let Ok(first) = requests.recv() {
        let begun = usable(connection.take(), &reopen)
            .and_then(|usable| statement(connection.insert(usable), "BEGIN IMMEDIATE"));
        let (Ok(()), Some(connection)) = (&begun, &connection) else {
            refuse_all(first, requests, begun.err());
            continue;
        };
        let mut answers = Vec::new();
        let written = write_group(connection, first, requests, &mut answers);
        if written.is_err() && !connection.is_autocommit() {
            // If that fails as well, the connection is closed before the next request.
            let _ = statement(connection, "ROLLBACK");
        }
        for answer in answers {
            answer(written.clone());
        }
    }
}

/// A connection without a transaction: one that could not be rolled back would let no other begin, so
/// nothing would be written any more. It ends when its connection is closed.
fn usable(
    connection: Option<Connection>,
    reopen: &impl Fn() -> Result<Connection, Failure>,
) -> Result<Connection, Failure> {
    if let Some(connection) = connection {
        if connection.is_autocommit() {
            return Ok(connection);
        }
        tracing::warn!("a transaction could not be rolled back: opening the file anew");
        drop(connection);
    }
    reopen()
}

fn write_group(
    connection: &Connection,
    first: Request,
    requests: &Receiver<Request>,
    answers: &mut Vec<Answer>,
) -> Result<(), Failure> {
    let mut next = Some(first);
    while let Some(Request(work)) = next {
        if let Err(failure) = statement(connection, "SAVEPOINT one") {
            work.refuse(failure.clone());
            return Err(failure);
        }
        let WriterReply { failed, answer } = work.carry_out(connection);
        answers.push(answer);
        if connection.is_autocommit() {
            // SQLite gives up the whole transaction over some errors.
            return Err(Failure::unavailable("the disk is full, or reports an error"));
        }
        if failed {
            statement(connection, "ROLLBACK TO one")?;
        }
        statement(connection, "RELEASE one")?;
        let has_room = answers.len() < GROUP_MAX;
        next = if has_room { requests.try_recv().ok() } else { None };
    }
    statement(connection, "COMMIT")
}

/// They are told why, and not kept waiting one after the other.
fn refuse_all(first: Request, requests: &Receiver<Request>, failure: Option<Failure>) {
    let failure = failure.unwrap_or_else(|| Failure::unavailable("it is not open"));
    for Request(work) in std::iter::once(first).chain(requests.try_iter()) {
        work.refuse(failure.clone());
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<(), Failure> {
    Ok(connection.prepare_cached(sql)?.execute([]).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A file with a table, opened by one more connection each time it is asked.
    struct File(tempfile::TempDir);

    impl File {
        fn new() -> Self {
            let file = Self(tempfile::tempdir().unwrap());
            file.open().unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
            file
        }

        fn open(&self) -> Result<Connection, Failure> {
            Ok(Connection::open(self.0.path().join("t.db"))?)
        }
    }

    fn insert(n: i64) -> (Request, oneshot::Receiver<Result<(), Failure>>) {
        request(move |connection| {
            Ok(connection.execute("INSERT INTO t VALUES (?1)", [n]).map(drop)?)
        })
    }

    fn answered<T>(mut answer: oneshot::Receiver<Result<T, Failure>>) -> Result<T, Failure> {
        answer.try_recv().unwrap()
    }

    #[test]
    fn a_transaction_that_cannot_be_rolled_back_ends_with_its_connection() {
        let file = File::new();
        let stuck = file.open().unwrap();
        stuck.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        let (sender, requests) = mpsc::channel();
        let (request, answer) = insert(2);
        sender.send(request).ok().unwrap();
        drop(sender);
        run(stuck, &requests, || file.open());
        assert_eq!(answered(answer), Ok(()));
        let count = file.open().unwrap().query_row("SELECT sum(n) FROM t", [], |row| row.get(0));
        assert_eq!(count, Ok(2_i64));
    }
}

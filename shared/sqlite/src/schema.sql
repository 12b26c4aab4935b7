-- One file for documents and jobs. A change of this needs a new version in file.rs.

-- Token documents. `body` is the whole document in BSON and the truth; the other columns are taken
-- from it at each write, to find it by.
CREATE TABLE documents (
    n INTEGER PRIMARY KEY,
    -- The _id, in a form that sorts as MongoDB sorts ids.
    key BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL,
    user TEXT,
    email TEXT,
    provider TEXT,
    -- Null for a document that is not adopted yet.
    status TEXT,
    due_ms INTEGER NOT NULL,
    queued_ms INTEGER NOT NULL,
    -- When the refresh token dies unless it is exchanged.
    expires_ms INTEGER,
    -- The process that took the lease last.
    holder TEXT
);
CREATE INDEX documents_due ON documents (status, provider, due_ms);
CREATE INDEX documents_expiry ON documents (status, provider, expires_ms);
CREATE INDEX documents_user ON documents (user, key) WHERE user IS NOT NULL;
-- What operators list. A refresh changes nothing in these.
CREATE INDEX documents_email ON documents (email, key) WHERE email IS NOT NULL;
CREATE INDEX documents_provider ON documents (provider, key);
CREATE INDEX documents_status ON documents (status, key);
CREATE INDEX documents_unadopted ON documents (n) WHERE status IS NULL;

-- The document, by its key, that a refresh token was exchanged for first. `token` is its provider and
-- fingerprint.
CREATE TABLE first_tokens (token TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;

-- Who leads in a role.
CREATE TABLE leads (role TEXT PRIMARY KEY, owner TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;

-- What is known of each provider, as JSON.
CREATE TABLE providers (id TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;

-- Names of fields that the columns of `documents` were taken by.
CREATE TABLE layout (names TEXT NOT NULL);

-- `dead` names the queue of dead letters for what is delivered again and again.
CREATE TABLE queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dead TEXT);

-- Messages that wait (`consumer` is null) or are held by a consumer. They wait until `ready_ms`, and
-- come in its order. Those that come back after a try (`again` is 1) don't wait behind the others.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    again INTEGER NOT NULL,
    ready_ms INTEGER NOT NULL,
    consumer INTEGER,
    deliveries INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
CREATE INDEX messages_waiting ON messages (queue, again, ready_ms, id) WHERE consumer IS NULL;
CREATE INDEX messages_held ON messages (consumer) WHERE consumer IS NOT NULL;

-- Consumers of the processes that live, or died and were not noticed yet.
CREATE TABLE consumers (id INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT NOT NULL);

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    body BLOB NOT NULL,
    document_id TEXT,
    reason TEXT NOT NULL,
    http_status INTEGER,
    code TEXT,
    description TEXT,
    attempts INTEGER NOT NULL,
    first_failed_ms INTEGER NOT NULL,
    last_failed_ms INTEGER NOT NULL,
    redrive_count INTEGER NOT NULL,
    worker TEXT
);
CREATE INDEX dead_letters_queue ON dead_letters (queue, id);

-- What operators did. `entry` and `progress` are JSON.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    provider TEXT,
    document TEXT,
    entry TEXT NOT NULL,
    told_ms INTEGER NOT NULL,
    progress TEXT NOT NULL,
    -- Its place in the chain. Null for an entry of before there was one.
    number INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX audit_number ON audit (number) WHERE number IS NOT NULL;

-- The processes that live or have lately, as JSON.
CREATE TABLE processes (name TEXT PRIMARY KEY, beat_ms INTEGER NOT NULL, beat TEXT NOT NULL) WITHOUT ROWID;

-- What happened in each minute at each provider.
CREATE TABLE statistics (
    minute_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (minute_ms, provider, name)
) WITHOUT ROWID;

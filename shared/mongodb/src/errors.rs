//! What the driver and the server say, made safe to pass on.
//!
//! Both quote: the driver the URL, the server the document that it did not like, or the whole
//! command that someone is not allowed to run, tokens included. So codes and names are passed on,
//! and words only where they cannot hold a value.

use mongodb::error::{CommandError, Error, ErrorKind, WriteFailure};

use evergrant_ports::StoreError;

/// The store refuses, and will again.
pub(super) fn refused(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { operation, reason: reason.into() }
}

pub(super) fn unavailable(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { operation, reason: reason.into() }
}

/// What a failure of the driver means.
pub(super) fn driver(operation: &'static str, error: &Error) -> StoreError {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => access(operation, AUTHENTICATION),
        ErrorKind::Command(error) => command(operation, error),
        ErrorKind::Write(WriteFailure::WriteError(error)) => server(operation, error.code, ""),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
            not_durable(operation, error.code, &error.code_name)
        }
        ErrorKind::ServerSelection { message, .. } if message.contains("Authentication") => {
            access(operation, AUTHENTICATION)
        }
        // It names addresses and the reasons of the operating system and of TLS.
        ErrorKind::ServerSelection { message, .. } => {
            unavailable(operation, without_login(&without_answer(message)))
        }
        ErrorKind::Io(error) => unavailable(operation, without_login(&error.to_string())),
        ErrorKind::ConnectionPoolCleared { .. } => {
            unavailable(operation, "the connection was lost")
        }
        ErrorKind::DnsResolve { message, .. } => unavailable(operation, without_login(message)),
        ErrorKind::Shutdown => unavailable(operation, "the client is shut down"),
        ErrorKind::InvalidTlsConfig { message, .. } => refused(operation, without_login(message)),
        ErrorKind::IncompatibleServer { message, .. } => refused(operation, without_login(message)),
        ErrorKind::Bson(_) => refused(operation, "a document cannot be written or read as BSON"),
        ErrorKind::InvalidResponse { .. } => {
            unavailable(operation, "the server's answer cannot be understood")
        }
        ErrorKind::Internal { .. } => unavailable(operation, "an internal error of the driver"),
        _ => refused(operation, "the driver refuses it as invalid"),
    }
}

/// The server's code, if it is the server's error.
pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}

/// Whether a cursor is gone that nobody took from for long. A reading goes on with another one.
pub(super) fn is_cursor_gone(error: &Error) -> bool {
    code(error) == Some(CURSOR_NOT_FOUND)
}

const CURSOR_NOT_FOUND: i32 = 43;

/// A document with the same `_id`, or the same value in a unique index, exists already.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// Whether a unique index rejects a document.
pub(super) fn is_duplicate_key(code: i32) -> bool {
    matches!(code, DUPLICATE_KEY | 11_001)
}

/// Whether the server does not know the user, or does not let him.
pub(super) fn is_of_access(code: i32) -> bool {
    matches!(code, UNAUTHORIZED | AUTHENTICATION_FAILED | ATLAS)
}

const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
/// Atlas' own for whatever its plans do not include.
const ATLAS: i32 = 8_000;

/// What the driver says of an error that has none of it.
const NOISE: &str = ", labels: {}, source: None, server response: None";

const AUTHENTICATION: &str =
    "the server rejects the user or the password in store.url (see also its authSource)";

/// A URL that cannot be used. The driver's words quote parts of it, and where a `/`, `?` or `:` in
/// a password is not percent-encoded those are parts of the password.
pub(super) fn url(url: &str, error: &Error) -> StoreError {
    if let ErrorKind::DnsResolve { .. } = error.kind.as_ref() {
        let reason =
            "the DNS name in store.url has no record of MongoDB servers, or no DNS answers";
        return unavailable("connect", reason);
    }
    let mut reason = "store.url is not a MongoDB URL, such as \
                      mongodb://user:password@host:27017/?authSource=admin"
        .to_owned();
    if url.contains('@') {
        reason.push_str("; in the user and the password, special characters are percent-encoded");
    } else if let ErrorKind::InvalidArgument { message, .. } = error.kind.as_ref() {
        reason = format!("{reason}: {message}");
    }
    refused("connect", reason)
}

fn command(operation: &'static str, error: &CommandError) -> StoreError {
    if matches!(error.code, INDEX_OPTIONS_CONFLICT | INDEX_KEY_CONFLICT) {
        // These describe indexes only.
        return refused(operation, format!("{}; {INDEX_IN_THE_WAY}", error.message));
    }
    // Amazon DocumentDB's words: its code 301 stands for anything that it does not know.
    if error.message.contains("Retryable writes are not supported") {
        return refused(
            operation,
            "the server has no retryable writes: add retryWrites=false to store.url",
        );
    }
    if error.code == ATLAS {
        return access(operation, atlas(&error.message));
    }
    server(operation, error.code, &error.code_name)
}

/// What Atlas does not allow, in words of ours: its own may quote.
fn atlas(words: &str) -> &'static str {
    if words.contains("quota") {
        "the Atlas cluster is over its storage quota: free space, or choose a larger one"
    } else if words.contains("collections") {
        "the Atlas cluster takes no more collections, and Evergrant has six of its own: drop some, \
         or choose a larger one"
    } else {
        "Atlas does not allow it (AtlasError): see the limits of the cluster's plan and the roles of \
         the user in store.url"
    }
}

const INDEX_IN_THE_WAY: &str = "an index in this collection stands in the way of one that Evergrant makes. \
                                If its name begins with evergrant_, drop it: it is made anew. If it is the \
                                application's, it serves as well once it is not sparse or hidden";
const SHARD_KEY_NOT_FOUND: i32 = 61;
/// An update that changes the shard key, on the condition of an `_id`.
const SHARD_KEY_CHANGED: i32 = 31_025;
const INDEX_OPTIONS_CONFLICT: i32 = 85;
const INDEX_KEY_CONFLICT: i32 = 86;

/// A server's error by its code.
pub(super) fn server(operation: &'static str, code: i32, name: &str) -> StoreError {
    match code {
        UNAUTHORIZED => access(
            operation,
            "the user in store.url is not authorized: it needs the role readWrite on store.database",
        ),
        AUTHENTICATION_FAILED => access(operation, AUTHENTICATION),
        SHARD_KEY_NOT_FOUND | SHARD_KEY_CHANGED => refused(
            operation,
            "the collection is sharded, and the document would lack or change a field of the shard key",
        ),
        121 => refused(
            operation,
            "the collection's validation rules reject the document; they must allow \
             the sub-document store.state_field",
        ),
        code if is_duplicate_key(code) => {
            refused(operation, "a unique index rejects the document: DuplicateKey")
        }
        10_334 | 17_419 | 17_420 => refused(operation, "the document would be too large"),
        59 | 168 | 31_325 | 40_324 => {
            refused(operation, "the server is too old: MongoDB 5.0 or later is needed")
        }
        code if FINAL.contains(&code) => refused(operation, named(code, name)),
        code => unavailable(operation, named(code, name)),
    }
}

/// The server does not know the user, or does not let him. When a process starts, that is the fault of
/// whoever set it up. Later it may be a password or a role that is being replaced.
fn access(operation: &'static str, reason: &str) -> StoreError {
    match operation {
        "prepare" | "connect" => refused(operation, reason),
        _ => unavailable(operation, reason),
    }
}

/// Codes that will be the same however often the statement is tried: the document or the statement cannot
/// be. Any other code is tried again, whatever it says: to give up an answer over something that passes
/// loses a grant. Names and numbers are those of MongoDB's `error_codes.yml`; 301, 303 and 304 are Amazon
/// DocumentDB's for what it does not know, and 40 324 is that of an unknown stage.
const FINAL: [i32; 52] = [
    2, 9, 10, 14, 15, 16, 20, 22, 28, 30, 40, 52, 53, 54, 55, 56, 57, 66, 67, 72, 73, 85, 86, 101,
    115, 116, 159, 166, 167, 171, 182, 197, 201, 224, 232, 238, 241, 301, 303, 304, 322, 323, 324,
    352, 357, 378, 10_003, 17_280, 40_413, 40_414, 40_415, 50_768,
];

fn named(code: i32, name: &str) -> String {
    let known = match code {
        28 => "PathNotViable",
        CURSOR_NOT_FOUND => "CursorNotFound",
        50 => "MaxTimeMSExpired",
        10_107 => "NotWritablePrimary",
        _ => name,
    };
    match known {
        "" => format!("the server's error {code}"),
        known => format!("the server's error {code} ({known})"),
    }
}

/// A write that was done but is not known to last.
pub(super) fn not_durable(operation: &'static str, code: i32, name: &str) -> StoreError {
    if code == 100 || code == 79 {
        // UnsatisfiableWriteConcern: there are too few servers for a majority, now.
        return unavailable(operation, "a majority of the replica set cannot be reached");
    }
    let reason = format!("the write is not yet durable on a majority: {}", named(code, name));
    unavailable(operation, reason)
}

/// Words without what a server has answered: they end with its code.
fn without_answer(words: &str) -> String {
    const CODE: &str = "Command failed: Error code ";
    let Some((before, answer)) = words.split_once(CODE) else { return words.to_owned() };
    let code = answer.split(':').next().unwrap_or_default();
    format!("{before}{CODE}{code}")
}

/// Words without anything of the form `//user:password@`.
fn without_login(words: &str) -> String {
    let words = words.replace(NOISE, "");
    let mut clean = String::with_capacity(words.len());
    let mut rest = words.as_str();
    while let Some(start) = rest.find("//") {
        let (before, login) = rest.split_at(start + 2);
        clean.push_str(before);
        let end = login.find(char::is_whitespace).unwrap_or(login.len());
        rest = login[..end].rfind('@').map_or(login, |at| {
            clean.push('…');
            &login[at..]
        });
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_cut_out_of_words() {
        let words = "cannot reach mongodb://me:p@ss/w@db:27017/x or http://plain/";
        let expected = "cannot reach mongodb://…@db:27017/x or http://plain/";
        assert_eq!(without_login(words), expected);
        assert_eq!(without_login("nothing // here"), "nothing // here");
    }

    #[test]
    fn an_answer_is_cut_out_of_words() {
        let words = "no server: { Address: h:1, Error: Command failed: Error code 91 (Ending): s3cret, \
                     server response: Some(\"s3cret\") }";
        let expected = "no server: { Address: h:1, Error: Command failed: Error code 91 (Ending)";
        assert_eq!(without_answer(words), expected);
        assert_eq!(without_answer("no server"), "no server");
    }

    fn is_refused(operation: &'static str, code: i32) -> bool {
        matches!(server(operation, code, ""), StoreError::Refused { .. })
    }

    #[test]
    fn only_what_is_known_to_be_final_is_refused() {
        for code in [121, 10_334, 17_419, 17_420, 17_280, 11_000, 66, 61, 31_025, 2, 14, 9, 28] {
            assert!(is_refused("commit", code), "{code}");
        }
        // No primary, interrupted, no room, too much load, Atlas, and one that nobody knows yet.
        let passing = [
            6, 91, 133, 149, 189, 211, 262, 264, 355, 365, 371, 384, 402, 406, 407, 412, 433, 449,
            450, 453, 462, 8_000, 10_107, 11_600, 11_601, 11_602, 14_031, 16_500, 91_331, 987_654,
        ];
        for code in passing {
            assert!(!is_refused("commit", code), "{code}");
        }
    }

    #[test]
    fn what_atlas_does_not_allow_is_told_at_the_start_and_passes_later() {
        for (words, expected) in [
            ("you are over your space quota, using 513 MB of 512 MB", "storage quota"),
            ("already using 500 collections of 500", "no more collections"),
            ("user is not allowed to do action [update] on [s3cret]", "roles of"),
        ] {
            let told = atlas(words);
            assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
            assert!(matches!(access("prepare", told), StoreError::Refused { .. }));
            assert!(matches!(access("commit", told), StoreError::Unavailable { .. }));
        }
    }

    #[test]
    fn a_user_who_is_not_let_in_is_refused_at_the_start_alone() {
        for code in [13, 18] {
            assert!(is_refused("prepare", code) && !is_refused("commit", code), "{code}");
        }
    }
}

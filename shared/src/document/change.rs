//! What a commit makes of its document.

use mongodb::bson::{Bson, Document, doc};
use secrecy::{ExposeSecret, SecretString};

use super::names::Names;
use super::paths::at;
use crate::domain::fingerprint::fingerprint;
use crate::domain::marks::{REMEMBERED, mark, mark_of_fingerprint};
use crate::domain::schedule::Times;
use crate::domain::{LastError, Status, Timestamp, Write};
use crate::ports::Commit;

/// The claim that settled a document last.
pub(crate) const SETTLED_BY: &str = "settled_by";

/// What a grant that lives has nothing of: the parts of the state that tell of failures.
pub(crate) const FORGOTTEN: [&str; 5] =
    ["last_error", "failing_since", "in_doubt", "questioned", "dead_fingerprint"];

/// What a death that is not believed any more leaves nothing of. Whether an answer to the token was lost is
/// as it was.
pub(crate) const OF_A_DEATH: [&str; 5] =
    ["last_error", "failing_since", "questioned", "dead_fingerprint", "queued_until"];

/// What a grant that has ended leaves nothing of when it is sent back to work. Whether an answer to its token
/// was lost is as it was; but the token may be another, and the end of the old grant is not the new one's.
pub(crate) const OF_AN_END: [&str; 5] =
    ["last_error", "failing_since", "questioned", "dead_fingerprint", "refresh_absolute_until"];

/// The fingerprint of the token whose ends a document tells, where one of them is absolute.
pub(crate) const ENDS_OF: &str = "ends_of";

/// What else a new sign-in leaves nothing of: the job that was under way, and the end of a grant that is
/// gone.
pub(crate) const OF_THE_OLD_GRANT: [&str; 3] = ["queued_until", "refresh_absolute_until", ENDS_OF];

/// Marks of the tokens that a document held before: see [`crate::domain::marks`].
pub(crate) const HELD_BEFORE: &str = "held_before";

/// What a commit makes of its document, as the operators `$set`, `$unset` and `$push` of paths.
pub(crate) fn change(names: &Names, commit: &Commit) -> Document {
    let mut change = Change::new(names, &commit.owner);
    match &commit.write {
        Write::Refresh { access_token, refresh_token, refreshed_at, times } => {
            change.token(&names.fields.access_token, access_token);
            if let Some(refresh_token) = refresh_token {
                change.token(&names.fields.refresh_token, refresh_token);
            }
            // A new token is proof that the grant lives, whatever was thought of it meanwhile.
            change.set("status", "active");
            change.set("generation", int(commit.generation.unwrap_or_default() + 1));
            change.set("attempts", 0);
            change.time("refreshed_at", Some(*refreshed_at));
            change.times(times, refresh_token.as_ref().or(commit.sent.as_ref()));
            for part in FORGOTTEN {
                change.unset(part);
            }
            change.unset("queued_until");
            change.remember(commit, refresh_token.as_ref());
        }
        Write::Schedule(times) => {
            change.times(times, commit.sent.as_ref());
            change.unset("queued_until");
        }
        Write::Postpone {
            attempts,
            in_doubt,
            questioned,
            failing_since,
            last_error,
            next_refresh_at,
            queued_until,
        } => {
            change.set("attempts", i64::from(*attempts));
            // Of this token: what the user brings later is not meant.
            for (part, holds) in [("in_doubt", *in_doubt), ("questioned", *questioned)] {
                match commit.sent.as_ref().filter(|_| holds) {
                    Some(sent) => change.set(part, fingerprint(sent)),
                    None => change.unset(part),
                }
            }
            change.time("failing_since", *failing_since);
            if let Some(last_error) = last_error {
                change.set("last_error", error_document(last_error));
            }
            if let Some(next_refresh_at) = next_refresh_at {
                change.time("next_refresh_at", Some(*next_refresh_at));
            }
            change.time("queued_until", Some(*queued_until));
        }
        Write::End { status, attempts, failing_since, last_error, dead_fingerprint } => {
            change.set("status", status.as_str());
            change.set("attempts", i64::from(*attempts));
            change.time("failing_since", Some(*failing_since));
            change.set("last_error", error_document(last_error));
            match dead_fingerprint {
                Some(fingerprint) => {
                    change.set("dead_fingerprint", fingerprint.as_str());
                    let dead = mark_of_fingerprint(fingerprint);
                    change.marks = commit.remembers.added(commit.generation, dead, None);
                }
                None => change.unset("dead_fingerprint"),
            }
            change.unset("queued_until");
        }
        Write::Unadopt => {
            // What tells whether this was written stays.
            for part in ["status", "provider", "next_refresh_at", "attempts"] {
                change.unset(part);
            }
            for part in FORGOTTEN.into_iter().chain(OF_THE_OLD_GRANT) {
                change.unset(part);
            }
        }
        Write::NoToken => {
            change.set("status", Status::NoToken.as_str());
            change.set("attempts", 0);
            for part in FORGOTTEN {
                change.unset(part);
            }
            change.unset("queued_until");
        }
    }
    change.into_document()
}

/// What becomes of a document whose new tokens wait elsewhere; see
/// [`crate::ports::TokenStore::withhold`].
pub(crate) fn withheld(names: &Names, spent: &str, last_error: &LastError) -> Document {
    let mut change = Change { names, set: Document::new(), unset: Document::new(), marks: vec![] };
    change.set("status", Status::Failed.as_str());
    change.set("last_error", error_document(last_error));
    change.set("dead_fingerprint", spent);
    change.marks = vec![mark_of_fingerprint(spent)];
    change.unset("lease");
    change.unset("queued_until");
    change.into_document()
}

/// Whether a document holds the token of which this is the fingerprint, and has Evergrant's state.
pub(crate) fn holds_token(names: &Names, document: &Document, fingerprint_of_it: &str) -> bool {
    let token = at(document, &names.fields.refresh_token).and_then(Bson::as_str);
    at(document, &names.path("status")).is_some()
        && token.is_some_and(|token| fingerprint(&token.into()) == fingerprint_of_it)
}

/// The same change without the status: a document that an operator has paused meanwhile stays paused, and
/// its tokens are written.
pub(crate) fn but_paused(names: &Names, mut change: Document) -> Document {
    if let Ok(set) = change.get_document_mut("$set") {
        set.remove(names.path("status"));
    }
    change
}

/// The parts of a classic update of the state.
struct Change<'a> {
    names: &'a Names,
    set: Document,
    unset: Document,
    /// Marks that are added to those of the tokens that were held before.
    marks: Vec<i64>,
}

impl<'a> Change<'a> {
    /// Every settlement gives the lease back and says whose it was.
    fn new(names: &'a Names, owner: &str) -> Self {
        let mut change =
            Self { names, set: Document::new(), unset: Document::new(), marks: vec![] };
        change.set(SETTLED_BY, owner);
        change.unset("lease");
        change
    }

    fn token(&mut self, field: &str, token: &SecretString) {
        self.set.insert(field, token.expose_secret());
    }

    fn set(&mut self, part: &str, value: impl Into<Bson>) {
        self.set.insert(self.names.path(part), value);
    }

    fn unset(&mut self, part: &str) {
        self.unset.insert(self.names.path(part), "");
    }

    fn time(&mut self, part: &str, time: Option<Timestamp>) {
        match time {
            Some(time) => self.set(part, date(time)),
            None => self.unset(part),
        }
    }

    /// The times of tokens, of which this one is exchanged next.
    fn times(&mut self, times: &Times, token: Option<&SecretString>) {
        self.time("access_expires_at", Some(times.access_expires_at));
        self.time("refresh_idle_until", times.refresh_idle_until);
        self.time("refresh_absolute_until", times.refresh_absolute_until);
        // Of this token: what the user brings later ends at another time.
        match times.refresh_absolute_until.and(token) {
            Some(token) => self.set(ENDS_OF, fingerprint(token)),
            None => self.unset(ENDS_OF),
        }
        self.time("next_refresh_at", Some(times.next_refresh_at));
    }

    /// The token that was sent was used, and the one that came for it is known.
    fn remember(&mut self, commit: &Commit, new: Option<&SecretString>) {
        let brought = new.filter(|_| commit.rotates()).map(|new| mark(Some(new)));
        self.marks = commit.remembers.added(commit.generation, mark(commit.sent.as_ref()), brought);
    }

    fn into_document(self) -> Document {
        let mut change = doc! { "$set": self.set, "$unset": self.unset };
        if !self.marks.is_empty() {
            change.insert("$push", doc! { self.names.path(HELD_BEFORE): pushed(&self.marks) });
        }
        change
    }
}

/// What `$push` is given to add `marks` to those of a document, of which the last are kept.
pub(crate) fn pushed(marks: &[i64]) -> Document {
    doc! { "$each": marks, "$slice": kept() }
}

/// How many marks are kept, counted from the end.
fn kept() -> i32 {
    -i32::try_from(REMEMBERED).unwrap_or(i32::MAX)
}

/// What `$push` makes of the marks that are there, for stores that have none.
pub(crate) fn push(marks: Option<&Bson>, pushed: &Bson) -> Bson {
    let each = pushed.as_document().and_then(|pushed| pushed.get_array("$each").ok());
    let before = marks.and_then(Bson::as_array);
    let all: Vec<_> = before.into_iter().chain(each).flatten().cloned().collect();
    let forgotten = all.len().saturating_sub(REMEMBERED);
    Bson::Array(all.into_iter().skip(forgotten).collect())
}

/// A time as BSON has it.
pub(crate) fn date(time: Timestamp) -> mongodb::bson::DateTime {
    mongodb::bson::DateTime::from_millis(time.unix_ms())
}

pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn error_document(error: &LastError) -> Document {
    let mut document = doc! { "reason": error.reason.as_str() };
    if let Some(status) = error.http_status {
        document.insert("http_status", i32::from(status));
    }
    if let Some(code) = &error.code {
        document.insert("code", code);
    }
    if let Some(description) = &error.description {
        document.insert("description", description);
    }
    document.insert("at", date(error.at));
    document
}

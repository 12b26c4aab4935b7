//! What a commit makes of its document.

use bson::{Bson, Document, doc};
use secrecy::{ExposeSecret, SecretString};

use super::FieldNames;
use super::also_written::also_written;
use super::field_paths::FieldPaths;
use super::paths::at;
use super::state::{HELD_BEFORE, generation, marks};
use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::marks::{mark, mark_of_fingerprint, remembered};
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{DocumentWrite, GrantStatus, LastError, Timestamp};
use evergrant_ports::Commit;

/// The claim that settled a document last.
pub const SETTLED_BY: &str = "settled_by";

/// What a grant that lives has nothing of: the parts of the state that tell of failures.
pub const FORGOTTEN: [&str; 5] =
    ["last_error", "failing_since", "in_doubt", "questioned", "dead_fingerprint"];

/// The fingerprint of the token whose ends a document tells, where one of them is absolute.
pub const ENDS_OF: &str = "ends_of";

/// What else a new sign-in leaves nothing of: the job that was under way, and the end of a grant that is
/// gone.
pub const OF_THE_OLD_GRANT: [&str; 3] = ["queued_until", "refresh_absolute_until", ENDS_OF];

/// Whether a change has to know its document: what it remembers, and its status.
pub fn needs_document(write: &DocumentWrite) -> bool {
    matches!(
        write,
        DocumentWrite::Refresh { .. } | DocumentWrite::End { dead_fingerprint: Some(_), .. }
    )
}

/// Whether a refresh leaves the status as it is. A document that an operator has paused meanwhile stays
/// paused, and one that nobody has adopted is for adoption; its tokens are written.
fn keeps_status(names: &FieldPaths, document: &Document) -> bool {
    match at(document, &names.path("status")) {
        None => true,
        Some(status) => [GrantStatus::Active, GrantStatus::Paused]
            .iter()
            .any(|kept| status.as_str() == Some(kept.as_str())),
    }
}

/// What is made of a document: its tokens and further fields, and parts of Evergrant's state.
pub struct DocumentUpdate<'a> {
    names: &'a FieldPaths,
    /// Of the application: by their paths.
    fields: Document,
    set: Vec<(&'static str, Bson)>,
    unset: Vec<&'static str>,
}

impl<'a> DocumentUpdate<'a> {
    /// What a commit makes of its document.
    pub fn from_commit(names: &'a FieldPaths, commit: &Commit, document: &Document) -> Self {
        let mut change = Self::nothing(names);
        // Every settlement gives the lease back and says whose it was.
        change.set(SETTLED_BY, commit.owner.as_str());
        change.unset("lease");
        match &commit.write {
            DocumentWrite::Refresh { access_token, refresh_token, refreshed_at, times, also } => {
                change.fields = also_written(names, document, also, *refreshed_at, times);
                change.token(&names.fields.access_token, access_token);
                if let Some(refresh_token) = refresh_token {
                    change.token(&names.fields.refresh_token, refresh_token);
                }
                // A new token is proof that the grant lives, whatever was thought of it meanwhile.
                if !keeps_status(names, document) {
                    change.set("status", GrantStatus::Active.as_str());
                }
                change.set("generation", int(commit.generation.unwrap_or_default() + 1));
                change.set("attempts", 0);
                change.time("refreshed_at", Some(*refreshed_at));
                change.times(times, refresh_token.as_ref().or(commit.sent.as_ref()));
                change.unset.extend(FORGOTTEN);
                change.unset("queued_until");
                let sent = mark(commit.sent.as_ref());
                let brought = refresh_token.as_ref().filter(|_| commit.rotates());
                let brought = brought.map(|new| mark(Some(new)));
                change.remember(document, commit.generation, sent, brought);
            }
            DocumentWrite::Schedule(times) => {
                change.times(times, commit.sent.as_ref());
                change.unset("queued_until");
            }
            DocumentWrite::Postpone {
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
            DocumentWrite::End {
                status,
                attempts,
                failing_since,
                last_error,
                dead_fingerprint,
            } => {
                change.set("status", status.as_str());
                change.set("attempts", i64::from(*attempts));
                change.time("failing_since", Some(*failing_since));
                change.set("last_error", error_document(last_error));
                match dead_fingerprint {
                    Some(fingerprint) => {
                        change.set("dead_fingerprint", fingerprint.as_str());
                        let dead = mark_of_fingerprint(fingerprint);
                        change.remember(document, commit.generation, dead, None);
                    }
                    None => change.unset("dead_fingerprint"),
                }
                change.unset("queued_until");
            }
            DocumentWrite::Unadopt => {
                // What tells whether this was written stays.
                change.unset.extend(["status", "provider", "next_refresh_at", "attempts"]);
                change.unset.extend(FORGOTTEN.into_iter().chain(OF_THE_OLD_GRANT));
            }
            DocumentWrite::NoToken => {
                change.set("status", GrantStatus::NoToken.as_str());
                change.set("attempts", 0);
                change.unset.extend(FORGOTTEN);
                change.unset("queued_until");
            }
        }
        change
    }

    /// The same of the application's fields for nothing but the tokens, which are worth more than any other.
    #[must_use]
    pub fn of_tokens_alone(mut self) -> Self {
        let FieldNames { access_token, refresh_token, .. } = &self.names.fields;
        self.fields = self
            .fields
            .into_iter()
            .filter(|(path, _)| [access_token, refresh_token].contains(&path))
            .collect();
        self
    }

    /// What becomes of a document whose new tokens wait elsewhere; see
    /// [`evergrant_ports::LeaseStore::withhold`].
    pub fn withheld(
        names: &'a FieldPaths,
        spent: &str,
        last_error: &LastError,
        document: &Document,
    ) -> Self {
        let mut change = Self::nothing(names);
        change.set("status", GrantStatus::Failed.as_str());
        change.set("last_error", error_document(last_error));
        change.set("dead_fingerprint", spent);
        change.remember(document, generation(names, document), mark_of_fingerprint(spent), None);
        change.unset("lease");
        change.unset("queued_until");
        change
    }

    /// The change as the operators `$set` and `$unset` of paths.
    pub fn operators(self) -> Document {
        let names = self.names;
        let mut set = self.fields;
        set.extend(self.set.into_iter().map(|(part, value)| (names.path(part), value)));
        let unset = self.unset.into_iter().map(|part| (names.path(part), Bson::from("")));
        doc! { "$set": set, "$unset": Document::from_iter(unset) }
    }

    /// The change of a document as the operator `$set`, with the state as one value: what it does not
    /// change stays as it is in the document. None where something else stands in the place of the state.
    pub fn of_whole_state(&self, document: &Document) -> Option<Document> {
        let before = match at(document, &self.names.state) {
            Some(Bson::Document(state)) => Some(state),
            None => None,
            Some(_) => return None,
        };
        let stays =
            before.into_iter().flatten().filter(|(part, _)| !self.unset.contains(&part.as_str()));
        let mut state: Document =
            stays.map(|(part, value)| (part.clone(), value.clone())).collect();
        // What was there keeps its place.
        state.extend(self.set.iter().map(|(part, value)| ((*part).to_owned(), value.clone())));
        let mut set = self.fields.clone();
        set.insert(&self.names.state, state);
        Some(doc! { "$set": set })
    }

    fn nothing(names: &'a FieldPaths) -> Self {
        Self { names, fields: Document::new(), set: Vec::new(), unset: Vec::new() }
    }

    fn token(&mut self, field: &str, token: &SecretString) {
        self.fields.insert(field, token.expose_secret());
    }

    fn set(&mut self, part: &'static str, value: impl Into<Bson>) {
        self.set.push((part, value.into()));
    }

    fn unset(&mut self, part: &'static str) {
        self.unset.push(part);
    }

    fn time(&mut self, part: &'static str, time: Option<Timestamp>) {
        match time {
            Some(time) => self.set(part, date(time)),
            None => self.unset(part),
        }
    }

    /// The times of tokens, of which this one is exchanged next.
    fn times(&mut self, times: &RefreshTimes, token: Option<&SecretString>) {
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

    /// What the document [remembers](remembered) once a token was used, if that changes.
    fn remember(
        &mut self,
        document: &Document,
        generation: Option<u64>,
        used: i64,
        brought: Option<i64>,
    ) {
        let before = marks(self.names, document);
        let after = remembered(&before, generation, used, brought);
        if before != after {
            self.set(HELD_BEFORE, after);
        }
    }
}

/// A time as BSON has it.
pub fn date(time: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(time.unix_ms())
}

/// A number as BSON has it; the largest where it does not fit.
pub fn int(number: u64) -> i64 {
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

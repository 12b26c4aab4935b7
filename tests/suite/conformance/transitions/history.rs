//! What a store makes of a sequence of steps.

use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, FailureKind, Grant, GrantStatus,
    Timestamp,
};
use evergrant_ports::{Commit, DueSelection, ImportDocument, ImportMode, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::step::{Hours, Step, Write};
use crate::conformance::store::{due, error, exported, refreshed};

const HOUR_MS: i64 = 3_600_000;

/// A line for each step and one for each document that is left. Times are hours after `base`.
pub(super) async fn history(store: &dyn Store, steps: &[Step], base: Timestamp) -> Vec<String> {
    let documents = (1..=2).map(|number| document(number, json!(token(number, 0))));
    store.import(documents.collect()).await.unwrap();
    store.adopt().await.unwrap();
    let mut history = History { store, base, claims: Vec::new(), decoys: 0 };
    let mut lines = Vec::new();
    for step in steps {
        let outcome = history.carry_out(step).await;
        lines.push(format!("{step:?}: {outcome}"));
    }
    let as_line = |mut document: Value| {
        as_hours(&mut document, base);
        document.sort_all_objects();
        document.to_string()
    };
    let mut documents: Vec<_> = exported(store).await.into_iter().map(as_line).collect();
    documents.sort();
    lines.extend(documents);
    lines
}

struct History<'a> {
    store: &'a dyn Store,
    base: Timestamp,
    /// The document of each claim, its owner, and the grant if there was one.
    claims: Vec<(u8, String, Option<Grant>)>,
    /// Documents that were imported to be adopted: an adoption that finds nothing may be followed by a rest.
    decoys: u32,
}

impl History<'_> {
    async fn carry_out(&mut self, step: &Step) -> String {
        let store = self.store;
        match *step {
            Step::Adopt => {
                self.decoys += 1;
                let decoy = format!("decoy-{}", self.decoys);
                self.write(json!({ "_id": decoy, "refresh_token": decoy })).await;
                store.adopt().await.unwrap().to_string()
            }
            Step::Claim(number, owner, lease) => self.claim(number, owner, lease).await,
            Step::Renew(number, owner, lease) => {
                told(store.renew(&[id(number)], owner, lease.duration()).await)
            }
            Step::Release(number, owner) => told(store.release(&[id(number)], owner).await),
            Step::MarkQueued(number, queued) => {
                told(store.mark_queued(&[id(number)], queued.duration()).await)
            }
            Step::Commit(number, claim, ref write, by_a_journal) => {
                self.commit(number, claim, write, by_a_journal).await
            }
            Step::Withhold(number, held) => {
                let spent = fingerprint(&token(number, held).into());
                let why = error(FailureKind::UncommittedAnswer, self.base);
                told(store.withhold(&id(number), &spent, &why).await)
            }
            Step::Sweep => self.sweep().await.to_string(),
            Step::ReviveDead(since) => {
                let provider = "p".parse().unwrap();
                told(store.revive_dead(&provider, since.time(self.base)).await)
            }
            Step::Reactivate(number, queued) => {
                let revived = store.reactivate(&id(number), queued.duration()).await.unwrap();
                format!("{:?}", revived.map(|grant| (grant.id, grant.provider, grant.generation)))
            }
            Step::Change(number, change) => told(store.change_grant(&id(number), change).await),
            Step::SignIn(number, new) => {
                let new = new.map(|new| token(number, new));
                self.write(json!({ "_id": number, "refresh_token": new })).await
            }
            Step::Damage(number) => self.write(json!({ "_id": number, "refresh_token": 5 })).await,
            Step::DropState(number) => self.write(json!({ "_id": number, "evergrant": {} })).await,
            Step::Import(number, new) => {
                let document = document(number, json!(token(number, new)));
                told(store.import(vec![document]).await)
            }
            Step::Due => {
                let mut due = due(store, DueSelection::Due).await;
                due.sort_by(|one, other| one.id.cmp(&other.id));
                let ids: Vec<_> =
                    due.iter().map(|due| (due.id.to_string(), due.generation)).collect();
                let count = store.count_due(&"p".parse().unwrap(), 100).await.unwrap();
                format!("{ids:?}, {count}")
            }
        }
    }

    async fn claim(&mut self, number: u8, owner: &str, lease: Hours) -> String {
        let claimed = self.store.claim(&[id(number)], owner, lease.duration()).await.unwrap();
        let row = claimed.rows.into_iter().next().unwrap();
        let told = described(&row);
        let grant = match row {
            ClaimedDocument::Present { grant, .. } => Some(grant),
            _ => None,
        };
        self.claims.push((number, owner.to_owned(), grant));
        told
    }

    /// Where there was no grant, it is as if nothing could be read.
    async fn commit(
        &mut self,
        number: u8,
        claim: Option<u8>,
        write: &Write,
        by_a_journal: bool,
    ) -> String {
        let mut told_of_claim = String::new();
        if claim.is_none() {
            let owner = format!("claim-{}", self.claims.len());
            told_of_claim = self.claim(number, &owner, Hours::One).await;
        }
        let mut claims = self.claims.iter().rev().filter(|(it, ..)| *it == number);
        let Some((_, owner, grant)) = claims.nth(claim.unwrap_or_default().into()) else {
            return "nothing was claimed".to_owned();
        };
        let grant = grant.as_ref();
        let write = self.document_write(number, write, grant.map(|grant| &grant.refresh_token));
        let mut commit = match (grant, write) {
            (Some(grant), write) => Commit::of_grant(grant, owner, write),
            // Nobody exchanges a token that there is none of.
            (None, DocumentWrite::Refresh { .. } | DocumentWrite::Schedule(_)) => {
                return "there is no token".to_owned();
            }
            (None, write) => Commit {
                id: id(number),
                owner: owner.clone(),
                generation: None,
                sent: None,
                note: ClaimNote::default(),
                write,
            },
        };
        if by_a_journal {
            commit.note = ClaimNote::default();
        }
        format!("{told_of_claim} {}", told(self.store.commit(&[commit]).await))
    }

    fn document_write(
        &self,
        number: u8,
        write: &Write,
        sent: Option<&SecretString>,
    ) -> DocumentWrite {
        let base = self.base;
        match *write {
            Write::Refresh { token: new, next, absolute } => {
                let new = new.map(|new| token(number, new));
                let mut write = refreshed("access", new.as_deref(), base);
                if let DocumentWrite::Refresh { times, .. } = &mut write {
                    *times = self.times(next, absolute);
                }
                write
            }
            Write::Schedule { next } => DocumentWrite::Schedule(self.times(next, false)),
            Write::Postpone { is_of_token, next, queued } => DocumentWrite::Postpone {
                attempts: 2,
                in_doubt: is_of_token,
                questioned: !is_of_token,
                failing_since: Some(base),
                last_error: next.map(|_| error(FailureKind::Ambiguous, base)),
                next_refresh_at: next.map(|next| next.time(base)),
                queued_until: queued.time(base),
            },
            Write::End { status, is_of_token } => {
                let reason = match status {
                    GrantStatus::NeedsReauth => FailureKind::GrantDead,
                    _ => FailureKind::AttemptsExhausted,
                };
                DocumentWrite::End {
                    status,
                    attempts: 1,
                    failing_since: base,
                    last_error: error(reason, base),
                    dead_fingerprint: sent.filter(|_| is_of_token).map(fingerprint),
                }
            }
            Write::NoToken => DocumentWrite::NoToken,
            Write::Unadopt => DocumentWrite::Unadopt,
        }
    }

    fn times(&self, next: Hours, absolute: bool) -> RefreshTimes {
        let later = Hours::One.time(self.base);
        RefreshTimes {
            access_expires_at: later,
            access_is_assumed: false,
            refresh_idle_until: (!absolute).then_some(later),
            refresh_absolute_until: absolute.then_some(later),
            next_refresh_at: next.time(self.base),
        }
    }

    async fn sweep(&self) -> u64 {
        let (mut revived, mut place) = (0, None);
        loop {
            let part = self.store.revive_signed_in(place, 2).await.unwrap();
            (revived, place) = (revived + part.revived, part.next);
            if place.is_none() {
                return revived;
            }
        }
    }

    /// Writes as the application does: fields, whatever was there.
    async fn write(&self, fields: Value) -> String {
        let document = ImportDocument(fields.as_object().unwrap().clone());
        told(self.store.import_as(vec![document], ImportMode::Copy).await)
    }
}

fn id(number: u8) -> DocumentId {
    DocumentId::Integer(i64::from(number))
}

/// A token of a document. No two documents have the same.
fn token(number: u8, token: u8) -> String {
    format!("token-{number}-{token}")
}

fn document(number: u8, token: Value) -> ImportDocument {
    crate::conformance::store::document(number, token)
}

/// What a call returned. One that is refused is refused by every store; in what words, is its own affair.
fn told<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Refused { .. }) => "refused".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

/// A row without its times. The tokens are made up.
fn described(row: &ClaimedDocument) -> String {
    let ClaimedDocument::Present { grant, lease, owned } = row else { return format!("{row:?}") };
    let lease = lease.as_ref().map(|lease| (&lease.owner, &lease.taken_over));
    let error = grant.last_error.as_ref().map(|error| error.reason);
    format!(
        "{} {} generation {} attempts {} doubt {} questioned {} token {} error {error:?} lease {lease:?} \
         owned {owned}",
        grant.provider,
        grant.status,
        grant.generation,
        grant.attempts,
        grant.in_doubt,
        grant.questioned,
        grant.refresh_token.expose_secret(),
    )
}

/// Makes of each time the nearest hour after `base`: the stores' clocks are not the same.
fn as_hours(value: &mut Value, base: Timestamp) {
    if let Some(date) = value.get("$date").and_then(Value::as_str) {
        let since_ms = date.parse::<Timestamp>().unwrap().unix_ms() - base.unix_ms();
        *value = format!("{} h", (since_ms + HOUR_MS / 2).div_euclid(HOUR_MS)).into();
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| as_hours(field, base)),
        Value::Array(items) => items.iter_mut().for_each(|item| as_hours(item, base)),
        _ => {}
    }
}

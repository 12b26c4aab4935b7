//! Invariants about claims and commits.

use std::time::Duration;

use evergrant_domain::{
    ClaimedDocument, DocumentId, DocumentWrite, FailureKind, GrantStatus, Timestamp,
};
use evergrant_ports::{ClaimResult, Commit};
use secrecy::ExposeSecret;

use super::Fault;
use super::world::World;

/// A document whose job is expected within this time counts as due.
const AT_ONCE: Duration = Duration::from_secs(10);

impl World {
    /// Checks a claim.
    pub(crate) fn claimed(&self, owner: &str, ids: &[DocumentId], claimed: &ClaimResult) {
        for (id, after) in ids.iter().zip(&claimed.rows) {
            self.looked_at(id, after, claimed.now);
            self.seen(id, after);
            self.note(|| {
                let state = if after.owned() { "owned" } else { "not owned" };
                format!("claim {owner}: {id} is {state}")
            });
            // Its holder may have sent the token.
            if let ClaimedDocument::Present { grant, lease: Some(lease), owned: true } = after
                && lease.taken_over.is_some()
            {
                let token = grant.refresh_token.expose_secret().to_owned();
                self.note(|| format!("claim {owner}: {id} is taken over"));
                self.reached(Fault::Takeover);
                self.with(|state| state.tokens.doubted.insert(token));
            }
        }
    }

    /// Checks that a withheld document has new tokens elsewhere.
    pub(crate) fn withheld(&self, id: &DocumentId) {
        let ClaimedDocument::Present { grant, .. } = self.store.look(id) else { return };
        self.note(|| format!("{id} is out of reach"));
        self.changed(id);
        let token = grant.refresh_token.expose_secret().to_owned();
        self.with(|state| state.tokens.withheld.insert(token));
    }

    /// Checks a commit, which may have had an effect.
    pub(crate) fn written(&self, commit: &Commit, before: &ClaimedDocument) {
        let after = self.store.look(&commit.id);
        if !has_changed(before, &after) {
            self.note(|| format!("commit {}: {} has no effect", commit.owner, commit.id));
            return;
        }
        self.seen(&commit.id, &after);
        match commit.write {
            // Its job is settled once it is in its queue again.
            DocumentWrite::Postpone { queued_until, .. }
                if queued_until.since(self.now()) > AT_ONCE =>
            {
                self.postponed(&commit.id)
            }
            DocumentWrite::Refresh { .. }
            | DocumentWrite::Postpone { .. }
            | DocumentWrite::End { .. }
            | DocumentWrite::Schedule(_)
            | DocumentWrite::NoToken
            | DocumentWrite::Unadopt => self.changed(&commit.id),
        }
        self.refreshed(commit);
        let what = match &commit.write {
            DocumentWrite::Refresh { .. } => "refreshed",
            DocumentWrite::Postpone { .. } => "postponed",
            DocumentWrite::End { status, .. } => status.as_str(),
            DocumentWrite::Schedule(_) => "scheduled",
            DocumentWrite::NoToken => GrantStatus::NoToken.as_str(),
            DocumentWrite::Unadopt => "unadopted",
        };
        self.note(|| format!("commit {}: {} is {what}", commit.owner, commit.id));
        if matches!(commit.write, DocumentWrite::Refresh { .. }) {
            self.with(|state| state.figures.refreshes += 1);
        }
        self.with(|state| state.tokens.told.extend(tokens_of(commit)));
        let ClaimedDocument::Present { grant, lease, .. } = before else { return };
        if let (
            DocumentWrite::Postpone { last_error: Some(error), .. },
            ClaimedDocument::Present { grant: is, .. },
        ) = (&commit.write, &after)
            && error.reason == FailureKind::Throttled
            && is.attempts > grant.attempts
        {
            self.violate(format!("{}: a throttle burns an attempt", commit.id));
        }
        let sent = commit.sent.as_ref().map(ExposeSecret::expose_secret);
        if sent.is_some_and(|sent| sent != grant.refresh_token.expose_secret()) {
            self.violate(format!(
                "{}: {} was written for a token it no longer holds",
                what, commit.id
            ));
        }
        if commit.expected_generation().is_some_and(|generation| generation != grant.generation) {
            self.violate(format!("{}: {} was written for an earlier generation", what, commit.id));
        }
        let leased = lease.as_ref().is_some_and(|lease| lease.owner == commit.owner);
        if !leased && !matches!(commit.write, DocumentWrite::Refresh { .. }) {
            self.violate(format!("{}: {} was written without its lease", what, commit.id));
        }
    }
}

/// The tokens that a commit records in its document.
fn tokens_of(commit: &Commit) -> impl Iterator<Item = String> {
    let (sent, new) = match &commit.write {
        DocumentWrite::Refresh { refresh_token, .. } => {
            (commit.sent.as_ref(), refresh_token.as_ref())
        }
        DocumentWrite::End { dead_fingerprint: Some(_), .. } => (commit.sent.as_ref(), None),
        _ => (None, None),
    };
    sent.into_iter().chain(new).map(|token| token.expose_secret().to_owned())
}

/// Whether a commit has had an effect. Releasing a lease does not count.
fn has_changed(before: &ClaimedDocument, after: &ClaimedDocument) -> bool {
    match (before, after) {
        (
            ClaimedDocument::Present { grant: was, .. },
            ClaimedDocument::Present { grant: is, .. },
        ) => {
            was.generation != is.generation
                || was.status != is.status
                || was.attempts != is.attempts
                || was.next_refresh_at != is.next_refresh_at
                || was.last_error != is.last_error
                || was.refresh_token.expose_secret() != is.refresh_token.expose_secret()
        }
        (ClaimedDocument::Malformed { .. }, ClaimedDocument::Malformed { .. }) => true,
        _ => false,
    }
}

/// Whether a claim of the process holds the lease now.
pub(crate) fn is_leased(row: &ClaimedDocument, process: &str, now: Timestamp) -> bool {
    let lease = match row {
        ClaimedDocument::Present { lease, .. } => lease.as_ref(),
        ClaimedDocument::Absent
        | ClaimedDocument::Malformed { .. }
        | ClaimedDocument::NoToken { .. }
        | ClaimedDocument::OfAnother { .. }
        | ClaimedDocument::Twin { .. } => None,
    };
    lease.is_some_and(|lease| {
        let holder = lease.owner.split('/').next();
        holder == Some(process) && lease.until > now
    })
}

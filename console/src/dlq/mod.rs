//! `evergrant dlq`: dead letters, grouped, shown, sent back or removed.

mod bulk;
mod filter;
mod group;

use evergrant_shared::domain::{DeadLetter, ProviderId};
use evergrant_shared::ports::{JobQueue, QueueError, StoreError, TokenStore};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Output, or_dash};

pub(crate) use bulk::Action;
pub(crate) use filter::LetterFilter;
use group::{Group, group};

/// What the commands need.
pub(crate) struct Dlq<'a> {
    pub(crate) store: &'a dyn TokenStore,
    pub(crate) queue: &'a dyn JobQueue,
    /// All providers that are configured.
    pub(crate) providers: Vec<ProviderId>,
    pub(crate) output: &'a Output,
}

/// A command that failed. What was done before stays done, and can be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DlqError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("no provider {0} is configured")]
    UnknownProvider(ProviderId),
}

/// A dead letter as operators see it: all of it but the message's body, which may hold anything.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    provider: &'a ProviderId,
    id: Option<&'a evergrant_shared::domain::DocumentId>,
    user: Option<String>,
    email: Option<String>,
    reason: evergrant_shared::domain::DeadReason,
    remedy: &'static str,
    http_status: Option<u16>,
    code: Option<&'a str>,
    description: Option<&'a str>,
    attempts: u32,
    first_failed_at: evergrant_shared::domain::Timestamp,
    last_failed_at: evergrant_shared::domain::Timestamp,
    redrive_count: u32,
    worker: Option<&'a str>,
}

impl Dlq<'_> {
    /// Counts dead letters by provider and reason.
    pub(crate) async fn list(&self, provider: Option<ProviderId>) -> Result<Exit, DlqError> {
        let mut groups: Vec<Group> = Vec::new();
        for provider in self.providers(provider.as_ref())? {
            let mut letters = self.queue.dead_letters(&provider).await?;
            while let Some(letter) = letters.next().await? {
                group(&mut groups, &letter);
            }
            letters.close().await?;
        }
        if self.output.json {
            self.output.json(&groups);
        } else if !groups.is_empty() {
            let header = ["PROVIDER", "REASON", "COUNT", "REDRIVEN", "FIRST", "LAST", "WHAT TO DO"];
            self.output.table(&header, groups.iter().map(Group::row));
        }
        Ok(self.found(!groups.is_empty()))
    }

    /// Shows the dead letters that match.
    pub(crate) async fn show(
        &self,
        filter: &LetterFilter,
        limit: Option<u64>,
    ) -> Result<Exit, DlqError> {
        let mut left = limit.unwrap_or(u64::MAX);
        let mut found = false;
        for provider in self.providers(filter.provider.as_ref())? {
            let mut letters = self.queue.dead_letters(&provider).await?;
            while left > 0
                && let Some(letter) = letters.next().await?
            {
                if self.matches(filter, &letter).await? {
                    found = true;
                    left -= 1;
                    self.show_one(&letter).await?;
                }
            }
            letters.close().await?;
        }
        Ok(self.found(found))
    }

    async fn show_one(&self, letter: &DeadLetter) -> Result<(), DlqError> {
        let grant = match &letter.id {
            Some(id) => self.store.get(id).await?,
            None => None,
        };
        let (user, email) = grant.map_or((None, None), |grant| (grant.user, grant.email));
        let shown = Shown {
            provider: &letter.provider,
            id: letter.id.as_ref(),
            user,
            email,
            reason: letter.reason,
            remedy: letter.reason.remedy(),
            http_status: letter.http_status,
            code: letter.code.as_deref(),
            description: letter.description.as_deref(),
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            redrive_count: letter.redrive_count,
            worker: letter.worker.as_deref(),
        };
        if self.output.json {
            self.output.json(&shown);
            return Ok(());
        }
        let rows = shown.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        self.output.table(&["FIELD", "VALUE"], rows);
        self.output.line("");
        Ok(())
    }

    /// Whether a letter matches, its document looked up only where the filter asks for its user.
    async fn matches(&self, filter: &LetterFilter, letter: &DeadLetter) -> Result<bool, DlqError> {
        if !filter.matches_letter(letter) {
            return Ok(false);
        }
        if !filter.asks_for_user() {
            return Ok(true);
        }
        let Some(id) = &letter.id else { return Ok(false) };
        Ok(self.store.get(id).await?.is_some_and(|grant| filter.matches_user(&grant)))
    }

    fn providers(&self, wanted: Option<&ProviderId>) -> Result<Vec<ProviderId>, DlqError> {
        match wanted {
            None => Ok(self.providers.clone()),
            Some(provider) if self.providers.contains(provider) => Ok(vec![provider.clone()]),
            Some(provider) => Err(DlqError::UnknownProvider(provider.clone())),
        }
    }

    fn found(&self, found: bool) -> Exit {
        if found {
            return Exit::Done;
        }
        self.output.message("no dead letter matches");
        Exit::Nothing
    }
}

impl Shown<'_> {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("provider", self.provider.to_string()),
            ("id", or_dash(self.id)),
            ("user", or_dash(self.user.as_ref())),
            ("email", or_dash(self.email.as_ref())),
            ("reason", self.reason.to_string()),
            ("what to do", self.remedy.to_owned()),
            ("HTTP status", or_dash(self.http_status)),
            ("error code", or_dash(self.code)),
            ("description", or_dash(self.description)),
            ("attempts", self.attempts.to_string()),
            ("first failed", self.first_failed_at.to_string()),
            ("last failed", self.last_failed_at.to_string()),
            ("redriven", self.redrive_count.to_string()),
            ("worker", or_dash(self.worker)),
        ]
    }
}

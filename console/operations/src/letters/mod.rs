//! Dead letters as operators see them, in the terminal and the web console.

mod filter;
mod group;
mod revived;
mod view;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use evergrant_domain::audit::{ActionOutcome, AuditEntry, AuditFilter, OperatorAction};
use evergrant_domain::{DeadLetter, DocumentId, ProviderId};
use evergrant_ports::{GrantFilter, JobQueue, QueueError, Store, StoreError};
use futures::TryStreamExt;

pub use filter::LetterFilter;
pub use group::{LetterGroup, group};
use revived::{Marks, are_revived, next_chunk};
pub use view::LetterView;

/// The most documents of one user or address that are looked up.
const DOCUMENTS_MAX: u64 = 10_000;
/// The audit entries among which a running action is looked for.
const RECENT: u32 = 100;

/// The dead letters of all providers.
#[derive(Clone)]
pub struct LetterQueues {
    /// The store with the grants.
    pub store: Arc<dyn Store>,
    /// The queue with the letters.
    pub queue: Arc<dyn JobQueue>,
    /// All configured providers.
    pub providers: Vec<ProviderId>,
}

/// Dead letters by provider and reason.
pub struct LetterGroups {
    /// The groups.
    pub groups: Vec<LetterGroup>,
    /// Letters that are not counted, because their grants live again.
    pub left_out: u64,
}

/// An operation on dead letters that failed. What was done before stays done, and can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The filter names a provider that has no section.
    #[error("no provider {wanted} is configured; there are: {known}")]
    UnknownProvider {
        /// The provider in the filter.
        wanted: ProviderId,
        /// The configured providers.
        known: String,
    },
}

/// A filter with its user already looked up, ready to be compared with letters.
pub struct LetterSelection {
    filter: LetterFilter,
    /// The documents of the filter's user or address.
    documents: Option<HashSet<DocumentId>>,
}

impl LetterSelection {
    /// Whether a letter matches.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let of_user = |documents: &HashSet<DocumentId>| {
            letter.id.as_ref().is_some_and(|id| documents.contains(id))
        };
        self.filter.matches(letter) && self.documents.as_ref().is_none_or(of_user)
    }

    /// Whether no letter can match.
    pub fn is_impossible(&self) -> bool {
        self.documents.as_ref().is_some_and(HashSet::is_empty)
    }
}

impl LetterQueues {
    /// Counts by provider and reason.
    pub async fn groups(&self, filter: &LetterFilter) -> Result<LetterGroups, LettersError> {
        let mut groups = Vec::new();
        let looked = self.each(filter, |letter| {
            group(&mut groups, &letter);
            ControlFlow::Continue(())
        });
        let left_out = looked.await?;
        Ok(LetterGroups { groups, left_out })
    }

    /// A letter with its user.
    pub async fn view(&self, letter: &DeadLetter) -> Result<LetterView, StoreError> {
        let grant = match &letter.id {
            Some(id) => self.store.get(id).await?,
            None => None,
        };
        Ok(LetterView::new(letter, grant))
    }

    /// Calls `see` for all letters that match, oldest first for each provider. Returns how many
    /// were left out, because their grants live again.
    pub async fn each(
        &self,
        filter: &LetterFilter,
        mut look: impl FnMut(DeadLetter) -> ControlFlow<()>,
    ) -> Result<u64, LettersError> {
        let mut left_out = 0;
        let all = |letter, revived| match (revived, filter.revived) {
            (true, false) => {
                left_out += 1;
                ControlFlow::Continue(())
            }
            (false, true) => ControlFlow::Continue(()),
            _ => look(letter),
        };
        self.each_marked(filter, all).await?;
        Ok(left_out)
    }

    /// Calls `see` for all letters that match regardless of [`LetterFilter::revived`], each with
    /// whether its grant lives again.
    pub async fn each_marked(
        &self,
        filter: &LetterFilter,
        mut look: impl FnMut(DeadLetter, bool) -> ControlFlow<()>,
    ) -> Result<(), LettersError> {
        let providers = self.providers(filter)?;
        let wanted = self.wanted(filter).await?;
        if wanted.is_impossible() {
            return Ok(());
        }
        let mut marks = Marks { store: &*self.store, away: false };
        for provider in providers {
            let mut letters = self.queue.dead_letters(&provider).await?;
            letters.browse_only();
            let mut flow = ControlFlow::Continue(());
            while flow.is_continue() {
                let chunk = next_chunk(&mut *letters, &wanted).await?;
                if chunk.is_empty() {
                    break;
                }
                let revived = marks.of(&chunk).await;
                let mut marked = chunk.into_iter().zip(revived);
                flow = marked.try_for_each(|(letter, revived)| look(letter, revived));
            }
            letters.close().await?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the grant of one letter lives again.
    pub async fn is_revived(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        Ok(are_revived(&*self.store, std::slice::from_ref(letter)).await?.contains(&true))
    }

    /// Looks up the parts of the filter that letters do not contain.
    pub async fn wanted(&self, filter: &LetterFilter) -> Result<LetterSelection, StoreError> {
        let filter = filter.clone();
        if filter.user.is_none() && filter.email.is_none() {
            return Ok(LetterSelection { filter, documents: None });
        }
        let of_user = GrantFilter {
            user: filter.user.clone(),
            email: filter.email.clone(),
            limit: Some(DOCUMENTS_MAX),
            ..GrantFilter::default()
        };
        let documents = self.store.list(of_user).map_ok(|grant| grant.id).try_collect().await?;
        Ok(LetterSelection { filter, documents: Some(documents) })
    }

    /// The providers of a filter.
    pub fn providers(&self, filter: &LetterFilter) -> Result<Vec<ProviderId>, LettersError> {
        match &filter.provider {
            None => Ok(self.providers.clone()),
            Some(provider) if self.providers.contains(provider) => Ok(vec![provider.clone()]),
            Some(provider) => {
                let known = self.providers.iter().map(ProviderId::as_str).collect::<Vec<_>>();
                let (wanted, known) = (provider.clone(), known.join(", "));
                Err(LettersError::UnknownProvider { wanted, known })
            }
        }
    }

    /// The running bulk action, if there is one. It holds letters that nobody else sees meanwhile.
    pub async fn under_way(&self) -> Result<Option<AuditEntry>, StoreError> {
        let recent = AuditFilter { limit: RECENT, ..AuditFilter::default() };
        let (recent, now) = (self.store.audit(&recent).await?, self.store.now().await?);
        let is_bulk = |entry: &AuditEntry| {
            matches!(entry.action, OperatorAction::Redrive | OperatorAction::Discard)
                && entry.outcome(now) == ActionOutcome::Running
        };
        Ok(recent.into_iter().find(is_bulk))
    }
}

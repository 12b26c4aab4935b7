//! Dead letters as operators see them, for the terminal and for pages alike.

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

/// Documents of one user or address that are looked for. Nobody has more.
const DOCUMENTS_MAX: u64 = 10_000;
/// Audit entries among which one that is under way is looked for.
const RECENT: u32 = 100;

/// The dead letters of all providers.
#[derive(Clone)]
pub struct LetterQueues {
    /// Where the grants are.
    pub store: Arc<dyn Store>,
    /// Where the letters are.
    pub queue: Arc<dyn JobQueue>,
    /// All providers that are configured.
    pub providers: Vec<ProviderId>,
}

/// Dead letters by provider and reason.
pub struct LetterGroups {
    /// The groups.
    pub groups: Vec<LetterGroup>,
    /// Letters that are not counted, since their grants live again.
    pub left_out: u64,
}

/// Something that failed. What was done before stays done, and can be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The filter names a provider that has no section.
    #[error("no provider {wanted} is configured; there are: {known}")]
    UnknownProvider {
        /// The provider that the filter names.
        wanted: ProviderId,
        /// Those that there are.
        known: String,
    },
}

/// Which letters are meant, ready to be compared: who the filter's user is was looked up.
pub struct LetterSelection {
    filter: LetterFilter,
    /// The documents of the user or address that is asked for.
    documents: Option<HashSet<DocumentId>>,
}

impl LetterSelection {
    /// Whether a letter is meant.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let of_user = |documents: &HashSet<DocumentId>| {
            letter.id.as_ref().is_some_and(|id| documents.contains(id))
        };
        self.filter.matches(letter) && self.documents.as_ref().is_none_or(of_user)
    }

    /// No letter can match.
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

    /// Looks at all that match, oldest first for each provider. Returns how many were left out, since
    /// their grants live again.
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

    /// Looks at all that match but for [`LetterFilter::revived`], each with whether its grant lives
    /// again.
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

    /// Looks up what the filter asks for that letters don't tell.
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

    /// The providers that a filter is about.
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

    /// A bulk action that is under way: while it lasts it has letters in hand, which nobody else sees.
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

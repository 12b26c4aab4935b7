//! Grants that wait because the application has sealed their tokens.

use evergrant_domain::decide::SEALED_DELAY_MAX;
use evergrant_domain::{GrantStatus, ProviderId};
use evergrant_ports::GrantAdmin;
use evergrant_ports::{GrantFilter, StoreError};
use futures::TryStreamExt;

/// Grants that are looked at: where an application seals tokens, it seals all.
const SAMPLE_MAX: u64 = 500;

/// How many of a sample of a provider's grants wait so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedSample {
    pub(crate) sealed: u64,
    looked_at: u64,
}

impl SealedSample {
    /// Looks at those that are due next, among which all that wait so are.
    pub(crate) async fn of(
        store: &dyn GrantAdmin,
        provider: &ProviderId,
    ) -> Result<Self, StoreError> {
        let due_soon = GrantFilter {
            provider: Some(provider.clone()),
            status: Some(GrantStatus::Active),
            due_by: Some(store.now().await?.plus(SEALED_DELAY_MAX)),
            limit: Some(SAMPLE_MAX),
            ..GrantFilter::default()
        };
        let mut sample = Self { sealed: 0, looked_at: 0 };
        let mut grants = store.list(due_soon);
        while let Some(grant) = grants.try_next().await? {
            sample.looked_at += 1;
            sample.sealed += u64::from(grant.is_held_as_sealed());
        }
        Ok(sample)
    }

    /// What it is and what to do, if there are any.
    pub(crate) fn words(self) -> Option<String> {
        let Self { sealed, looked_at } = self;
        (sealed > 0).then(|| {
            format!(
                "{sealed} of {looked_at} grants that are due next hold a refresh token that the application \
                 has sealed (encrypted or hashed): nothing is sent for them. Let the application store the \
                 tokens as the provider issued them, since Evergrant writes new ones so; evergrant tokens \
                 show tells the form. If the provider issues such tokens: sealed_tokens = \"send\" in its \
                 section"
            )
        })
    }
}

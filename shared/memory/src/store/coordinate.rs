//! What replicas agree on: who leads, and what is known of each provider.

use std::collections::BTreeMap;
use std::time::Duration;

use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::VersionedValue;

/// What replicas agree on.
#[derive(Default)]
pub(super) struct AgreedState {
    /// Who leads in each role, and until when.
    leaders: BTreeMap<String, (String, Timestamp)>,
    /// What is known of each provider, and how often it was changed.
    providers: BTreeMap<ProviderId, (ProviderState, u64)>,
}

impl AgreedState {
    pub(super) fn lead(
        &mut self,
        role: &str,
        owner: &str,
        lease: Duration,
        now: Timestamp,
    ) -> bool {
        let leader = self.leaders.get(role);
        if leader.is_some_and(|(leader, until)| leader != owner && *until > now) {
            return false;
        }
        self.leaders.insert(role.to_owned(), (owner.to_owned(), now.plus(lease)));
        true
    }

    pub(super) fn resign(&mut self, role: &str, owner: &str) {
        if self.leaders.get(role).is_some_and(|(leader, _)| leader == owner) {
            self.leaders.remove(role);
        }
    }

    pub(super) fn provider_state(
        &self,
        provider: &ProviderId,
        now: Timestamp,
    ) -> VersionedValue<ProviderState> {
        let (value, version) = self.providers.get(provider).cloned().unwrap_or_default();
        VersionedValue { value, version, now, now_error: None }
    }

    pub(super) fn set_provider_state(
        &mut self,
        provider: &ProviderId,
        version: u64,
        value: &ProviderState,
    ) -> bool {
        let known = self.providers.get(provider).map_or(0, |(_, version)| *version);
        if known == version {
            self.providers.insert(provider.clone(), (value.clone(), version.saturating_add(1)));
        }
        known == version
    }
}

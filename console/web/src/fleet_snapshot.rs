//! A snapshot of the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use evergrant_domain::forecast::Forecast;
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::{GrantCount, wall_clock};
use evergrant_provider::Provider;

use evergrant_operations::overview::ProviderOverview;

/// Whether a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Works,
    Away {
        /// By this machine's clock.
        since: Timestamp,
        why: String,
    },
}

impl Part {
    pub(super) fn after(&self, answer: Result<(), String>) -> Self {
        match (answer, self) {
            (Ok(()), _) => Self::Works,
            (Err(why), Self::Away { since, .. }) => Self::Away { since: *since, why },
            (Err(why), Self::Works) => Self::Away { since: wall_clock(), why },
        }
    }
}

/// The state of a provider.
#[derive(Clone)]
pub(super) struct ProviderWatch {
    pub(super) provider: Arc<Provider>,
    pub(super) state: Option<ProviderState>,
    /// Grants that need a job, up to [`evergrant_operations::overview::DUE_MAX`].
    pub(super) due: Option<u64>,
    /// Jobs in its queues.
    pub(super) queued: Option<u64>,
}

/// Counts of each minute.
pub(super) type Minutes = BTreeMap<Timestamp, BTreeMap<ProviderId, ProviderCounts>>;

/// The forecast of each provider's grants, and when it was made.
pub(super) type Outlook = (Timestamp, Arc<Vec<(ProviderId, Forecast)>>);

/// A snapshot of the fleet.
#[derive(Clone)]
pub(super) struct FleetSnapshot {
    pub(super) store: Part,
    pub(super) queue: Part,
    /// The store's time, and this machine's when it was read.
    pub(super) now: Option<(Timestamp, Timestamp)>,
    pub(super) providers: Vec<ProviderWatch>,
    pub(super) processes: Vec<Heartbeat>,
    pub(super) grants: Vec<GrantCount>,
    pub(super) minutes: Arc<Minutes>,
    pub(super) outlook: Option<Outlook>,
}

impl FleetSnapshot {
    /// The store's time now.
    pub(super) fn now(&self) -> Timestamp {
        let ours = wall_clock();
        self.now.map_or(ours, |(stores, read_at)| stores.plus(ours.since(read_at)))
    }

    /// A provider's overview from processes and statistics.
    pub(super) fn overview(&self, watch: &ProviderWatch, now: Timestamp) -> ProviderOverview {
        let id = &watch.provider.id;
        let minutes = self
            .minutes
            .iter()
            .filter_map(|(minute, of)| of.get(id).map(|counts| (*minute, counts)));
        let state = watch.state.clone().unwrap_or_default();
        ProviderOverview::new(&watch.provider, &state, &self.processes, minutes, now)
    }

    pub(super) fn provider(&self, id: &ProviderId) -> Option<&ProviderWatch> {
        self.providers.iter().find(|watch| watch.provider.id == *id)
    }
}

//! What operators need beside the documents, and what they do to one grant.

use std::collections::BTreeMap;

use super::documents::Documents;
use evergrant_document::{decode, transition};
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::audit_chain::StoredProgress;
use evergrant_domain::heartbeat::{HEARTBEAT_TTL, Heartbeat};
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts, STATISTICS_TTL, minute_of};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::{
    ChangeResult, DueQuery, DueSelection, GrantChange, GrantCount, new_audit_id,
};

/// What is kept for operators.
#[derive(Default)]
pub(super) struct Records {
    audit: BTreeMap<String, AuditEntry>,
    processes: BTreeMap<String, Heartbeat>,
    statistics: BTreeMap<(Timestamp, ProviderId), ProviderCounts>,
}

impl Records {
    pub(super) fn begin_audit(&mut self, intent: ActionIntent, now: Timestamp) -> AuditEntry {
        let links = self.audit.values().filter_map(|entry| entry.link.as_ref());
        let entry =
            AuditEntry::begin(new_audit_id(now), intent, now, links.max_by_key(|link| link.number));
        let entry = StoredProgress::new(&entry.id, &ActionProgress::default()).put_into(entry, now);
        self.audit.insert(entry.id.clone(), entry.clone());
        entry
    }

    pub(super) fn tell_audit(&mut self, id: &str, progress: &ActionProgress, now: Timestamp) {
        if let Some(entry) = self.audit.remove(id) {
            let told = StoredProgress::new(id, progress).put_into(entry, now);
            self.audit.insert(id.to_owned(), told);
        }
    }

    pub(super) fn audit_chain(&self, number: u64, limit: u32) -> Vec<AuditEntry> {
        let place = |entry: &&AuditEntry| entry.link.as_ref().map_or(0, |link| link.number);
        let mut chain: Vec<_> = self.audit.values().filter(|entry| place(entry) > number).collect();
        chain.sort_by_key(place);
        chain.into_iter().take(limit as usize).cloned().collect()
    }

    pub(super) fn audit(&self, filter: &AuditFilter) -> Vec<AuditEntry> {
        let newest_first = self.audit.values().rev().filter(|entry| filter.matches(entry));
        newest_first.take(filter.limit as usize).cloned().collect()
    }

    pub(super) fn audit_entry(&self, id: &str) -> Option<AuditEntry> {
        self.audit.get(id).cloned()
    }

    pub(super) fn beat(&mut self, heartbeat: &Heartbeat, now: Timestamp) {
        let heartbeat = Heartbeat { beat_at: now, ..heartbeat.clone() };
        self.processes.insert(heartbeat.name.clone(), heartbeat);
        self.processes.retain(|_, process| process.beat_at >= now.minus(HEARTBEAT_TTL));
    }

    pub(super) fn end_beat(&mut self, name: &str) {
        self.processes.remove(name);
    }

    pub(super) fn processes(&self) -> Vec<Heartbeat> {
        let mut processes: Vec<_> = self.processes.values().cloned().collect();
        processes.sort_by_key(|process| process.role);
        processes
    }

    pub(super) fn add_statistics(
        &mut self,
        counts: &[(ProviderId, ProviderCounts)],
        now: Timestamp,
    ) {
        let minute = minute_of(now);
        for (provider, counts) in counts.iter().filter(|(_, counts)| !counts.is_empty()) {
            self.statistics.entry((minute, provider.clone())).or_default().add(counts);
        }
        let kept = now.minus(STATISTICS_TTL);
        self.statistics.retain(|(minute, _), _| *minute >= kept);
    }

    pub(super) fn statistics(&self, since: Timestamp) -> Vec<MinuteCounts> {
        let since = minute_of(since);
        let wanted = self.statistics.iter().filter(|((minute, _), _)| *minute >= since);
        let counts = |((minute, provider), counts): (&(Timestamp, ProviderId), &ProviderCounts)| {
            MinuteCounts { provider: provider.clone(), minute: *minute, counts: counts.clone() }
        };
        wanted.map(counts).collect()
    }
}

impl Documents {
    pub(super) fn count_grants(&self) -> Vec<GrantCount> {
        let mut counts: BTreeMap<(Option<ProviderId>, Option<GrantStatus>), u64> = BTreeMap::new();
        for document in self.all() {
            let view = decode::view(&self.names, document);
            *counts.entry((view.provider, view.status)).or_default() += 1;
        }
        let count = |((provider, status), count)| GrantCount { provider, status, count };
        counts.into_iter().map(count).collect()
    }

    pub(super) fn change(
        &mut self,
        id: &DocumentId,
        change: GrantChange,
        now: Timestamp,
    ) -> ChangeResult {
        let changed = transition::change(&self.names, change);
        let Some(document) = self.get_mut(id) else { return ChangeResult::Absent };
        if changed.carry_out(document, now) {
            return ChangeResult::Applied;
        }
        let status = self.view(id).and_then(|view| view.status);
        transition::why_unchanged(change, status)
    }

    pub(super) fn count_due(&self, provider: &ProviderId, most: u64, now: Timestamp) -> u64 {
        let query = DueQuery { provider: provider.clone(), which: DueSelection::Due, from: None };
        (self.due(&query, now).len() as u64).min(most)
    }
}
